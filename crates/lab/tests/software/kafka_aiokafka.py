"""client.py BROKER NAME COUNT ALREADY TOPIC …: produces and consumes by aiokafka.

Three producers send COUNT messages each, with acks 0, 1 and all; a group of two consumes these and the ALREADY
that were there. The library's own log of requests and responses goes to standard error.
"""

import asyncio
import logging
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

broker, name, count, already, topics = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]


async def produce(acks):
    producer = AIOKafkaProducer(
        bootstrap_servers=broker,
        client_id=f"{name}-acks-{acks}",
        acks=acks,
        enable_idempotence=acks == "all",
        linger_ms=1,
    )
    async with producer:
        sent = [await producer.send(topics[n % len(topics)], b"%d" % n, key=b"%d" % n) for n in range(count)]
        await asyncio.gather(*sent)


def consumer(suffix):
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=broker,
        client_id=f"{name}-{suffix}",
        group_id=f"{name}-group",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )


async def consume(expected):
    members = [consumer("one"), consumer("two")]
    await asyncio.gather(*(member.start() for member in members))
    places = set()
    while len(places) < expected:
        for member in members:
            for batch in (await member.getmany(timeout_ms=50)).values():
                places.update((message.topic, message.partition, message.offset) for message in batch)
    for member in members:
        await member.commit()
    place = TopicPartition(topics[0], 0)
    await members[0].end_offsets([place])
    await asyncio.gather(*(member.stop() for member in members))
    last = consumer("last")
    await last.start()
    committed = [await last.committed(TopicPartition(topic, n)) for topic in topics for n in range(3)]
    assert sum(offset or 0 for offset in committed) == expected, committed
    await last.stop()


async def main():
    for acks in [0, 1, "all"]:
        await produce(acks)
    await asyncio.wait_for(consume(already + 3 * count), 30)


logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
logging.getLogger("aiokafka.conn").setLevel(logging.DEBUG)
asyncio.run(main())
