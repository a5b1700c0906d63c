"""client.py BROKER NAME COUNT ALREADY TOPIC …: produces and consumes by confluent-kafka.

Three producers send COUNT messages each, with acks 0, 1 and all; a group of two consumes these and the ALREADY
that were there. The library's own log of requests and responses goes to standard error.
"""

import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

broker, name, count, already, topics = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]
common = {"bootstrap.servers": broker, "debug": "protocol"}


def produce(acks):
    delivered = []
    producer = Producer({
        **common,
        "client.id": f"{name}-acks-{acks}",
        "acks": acks,
        "enable.idempotence": acks == "all",
        "linger.ms": 1,
        "batch.num.messages": 5,
    })
    for n in range(count):
        producer.produce(topics[n % len(topics)], f"{acks} {n}", key=str(n), on_delivery=lambda e, m: delivered.append(e))
        producer.poll(0)
    assert producer.flush(20) == 0
    assert delivered == [None] * count, delivered


def refused():
    errors = []
    producer = Producer({**common, "client.id": f"{name}-refused", "message.max.bytes": 2_000_000})
    producer.produce(topics[0], "x" * 1_000_000, on_delivery=lambda e, m: errors.append(e and e.name()))
    producer.flush(20)
    assert errors == ["MSG_SIZE_TOO_LARGE"], errors
    admin = AdminClient({**common, "client.id": f"{name}-admin"})
    wanted = [NewTopic(topics[0], 1), NewTopic(f"{name}-new", 2)]
    made = {topic: future.exception() for topic, future in admin.create_topics(wanted).items()}
    assert made[topics[0]].args[0].name() == "TOPIC_ALREADY_EXISTS" and made[f"{name}-new"] is None, made
    unknown = admin.list_topics("no-such-topic-anywhere", timeout=10).topics
    assert len(unknown) == 1, unknown


def consumer(suffix):
    return Consumer({
        **common,
        "client.id": f"{name}-{suffix}",
        "group.id": f"{name}-group",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 100,
    })


def consume(expected):
    members = [consumer("one"), consumer("two")]
    seen, until = 0, time.monotonic() + 30
    for member in members:
        member.subscribe(topics)
    # Until both have a part, what is read may come again.
    while not all(member.assignment() for member in members):
        assert time.monotonic() < until, "no assignment"
        seen += sum(len(member.consume(500, 0.05)) for member in members)
    places = set()
    for member in members:
        for place in member.assignment():
            member.seek(TopicPartition(place.topic, place.partition, 0))
    while len(places) < expected:
        assert time.monotonic() < until, f"{len(places)} of {expected}"
        for member in members:
            for message in member.consume(500, 0.05):
                assert message.error() is None, message.error()
                places.add((message.topic(), message.partition(), message.offset()))
    for member in members:
        member.commit(asynchronous=False)
        low_high = [member.get_watermark_offsets(place, timeout=10) for place in member.assignment()[:1]]
        assert low_high, low_high
        member.close()
    last = consumer("last")
    committed = last.committed([TopicPartition(topic, n) for topic in topics for n in range(3)], timeout=10)
    assert sum(max(place.offset, 0) for place in committed) == expected, committed
    last.close()


for acks in ["0", "1", "all"]:
    produce(acks)
refused()
consume(already + 3 * count)
