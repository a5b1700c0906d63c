# SPDX-License-Identifier: Apache-2.0
"""The server and a client of talk.proto in grpcio.

    talk.py GENERATED serve PORT
    talk.py GENERATED ask HOST:PORT PLAN TOGETHER

GENERATED is the directory of the generated code, PLAN a file with a call in JSON on each line, of which
TOGETHER run at once. Both write a line for each call:

    told PATH TRACE STATUS ASKED ANSWERED ASKED_BYTES ANSWERED_BYTES

with the messages of client and server and their bytes before compression, prefixes included.
"""

import concurrent.futures
import functools
import json
import sys
import threading
import time

import grpc

sys.path.insert(0, sys.argv[1])
from talk_pb2 import Answer, Ask  # noqa: E402
from talk_pb2_grpc import TalkServicer, add_TalkServicer_to_server  # noqa: E402

SERVICE = "/software.v1.Talk/"
PREFIX = 5
NOTE = "note-bin"
ENCODING = "answer-encoding"
CODES = {code.value[0]: code for code in grpc.StatusCode}


class Tally:
    """What one call came to."""

    def __init__(self, path, trace):
        self.path, self.trace, self.status = path, trace, grpc.StatusCode.CANCELLED.value[0]
        self.messages, self.bytes = [0, 0], [0, 0]

    def count(self, side, message):
        self.messages[side] += 1
        self.bytes[side] += PREFIX + message.ByteSize()
        return message

    def tell(self):
        numbers = [self.status, *self.messages, *self.bytes]
        sys.stdout.write(f"told {self.path} {self.trace} {' '.join(map(str, numbers))}\n")
        sys.stdout.flush()


class Call:
    """A call on the server, from its metadata to its line."""

    def __init__(self, method, context):
        metadata = dict(context.invocation_metadata())
        self.context = context
        self.tally = Tally(SERVICE + method, metadata.get("traceparent", "--").split("-")[1])
        self.note = [(NOTE, metadata[NOTE])] if NOTE in metadata else []
        self.ended = threading.Event()
        if not context.add_callback(self.ended.set):
            self.ended.set()
        if metadata.get(ENCODING) == "gzip":
            context.set_compression(grpc.Compression.Gzip)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tally.tell()

    def hear(self, ask):
        return self.tally.count(0, ask)

    def begin(self):
        self.context.send_initial_metadata(self.note)

    def end(self, ask):
        """As the last message wants it."""
        if ask.wait:
            self.ended.wait()
            return
        self.tally.status = ask.code
        if ask.code:
            self.context.set_trailing_metadata(self.note)
            self.context.abort(CODES[ask.code], f"as it was asked: {ask.code}")

    def answers(self, ask):
        start = time.monotonic()
        for number in range(1, ask.answers + 1):
            early = start + number * ask.pace_us / 1e6 - time.monotonic()
            if ask.pace_us and early > 0:
                time.sleep(early)
            yield self.tally.count(1, Answer(number=number, payload=bytes(ask.size)))

    def answer(self, ask):
        time.sleep(ask.pace_us / 1e6)
        self.end(ask)
        self.begin()
        return self.tally.count(1, Answer(number=1, payload=bytes(ask.size)))


class Talk(TalkServicer):
    def One(self, request, context):
        with Call("One", context) as call:
            return call.answer(call.hear(request))

    def Collect(self, request_iterator, context):
        with Call("Collect", context) as call:
            for ask in request_iterator:
                call.hear(ask)
            return call.answer(ask)

    def Spread(self, request, context):
        with Call("Spread", context) as call:
            call.hear(request)
            if request.answers:
                call.begin()
            yield from call.answers(request)
            call.end(request)

    def Converse(self, request_iterator, context):
        with Call("Converse", context) as call:
            call.begin()
            for ask in request_iterator:
                yield from call.answers(call.hear(ask))
                if ask.wait:
                    break
            call.end(ask)


def serve(port):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
    add_TalkServicer_to_server(Talk(), server)
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    server.wait_for_termination()


def ask_one(channel, plan):
    """One call, as planned."""
    path, method = plan["path"], plan["path"].rsplit("/", 1)[1]
    tally = Tally(path, plan["trace"])
    metadata = [("traceparent", f"00-{plan['trace']}-00f067aa0ba902b7-01")]
    note = bytes(n % 256 for n in range(plan["note"]))
    if note:
        metadata.append((NOTE, note))
    if plan["gzip"]:
        metadata.append((ENCODING, "gzip"))
    released = threading.Event()

    def asks():
        for number in range(1, plan["asks"] + 1):
            last = number == plan["asks"]
            yield tally.count(
                0,
                Ask(
                    answers=plan["answers"],
                    size=plan["size"],
                    pace_us=plan["pace_us"],
                    code=plan["code"] if last else 0,
                    wait=plan["wait"] and last,
                    payload=bytes(plan["ask_size"]),
                ),
            )
        if plan["wait"]:
            released.wait()

    options = {
        "metadata": metadata,
        "timeout": plan["deadline_ms"] / 1e3 or None,
        "compression": grpc.Compression.Gzip if plan["gzip"] else None,
    }
    code = {"request_serializer": Ask.SerializeToString, "response_deserializer": Answer.FromString}
    if method == "Collect":
        # Its future() leaves the compression out.
        call = functools.partial(channel.stream_unary(path, **code).with_call, asks(), **options)
    elif method == "Converse":
        call = channel.stream_stream(path, **code)(asks(), **options)
    elif method == "Spread":
        call = channel.unary_stream(path, **code)(next(asks()), **options)
    else:
        call = channel.unary_unary(path, **code).future(next(asks()), **options)
    try:
        if method in ("Spread", "Converse"):
            wanted = plan["answers"] * (plan["asks"] if method == "Converse" else 1)
            for answer in call:
                tally.count(1, answer)
                if plan["cancel"] and tally.messages[1] == wanted:
                    call.cancel()
        elif method == "Collect":
            answer, call = call()
            tally.count(1, answer)
        else:
            tally.count(1, call.result())
    except grpc.RpcError as error:
        call = error
    released.set()
    tally.status = call.code().value[0]
    served = tally.status != grpc.StatusCode.UNIMPLEMENTED.value[0] or plan["code"] == tally.status
    echoed = [value for key, value in (*call.initial_metadata(), *call.trailing_metadata()) if key == NOTE]
    if note and served and set(echoed) != {note}:
        raise AssertionError(f"{path} {plan['trace']}: sent {note!r}, got {echoed}")
    tally.tell()


def ask(target, plan, together):
    with open(plan) as lines:
        plans = [json.loads(line) for line in lines]
    with grpc.insecure_channel(target) as channel:
        with concurrent.futures.ThreadPoolExecutor(int(together)) as pool:
            for done in [pool.submit(ask_one, channel, plan) for plan in plans]:
                done.result()


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[2]](*sys.argv[3:])
