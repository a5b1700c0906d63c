# SPDX-License-Identifier: Apache-2.0
"""A stock client of the public API: one call, its answer as a line of JSON per message.

Knows what the public .proto files say and nothing else. A refusal ends it with status 1 and a line of
JSON with code and details. Start it by ci/interop/client, which makes what it imports.
"""

import argparse
import json
import sys

import grpc
from flow import flow_pb2
from google.protobuf import json_format
from observer import observer_pb2, observer_pb2_grpc
from peer import peer_pb2, peer_pb2_grpc


def say(value):
    print(json.dumps(value), flush=True)


def message(value):
    """As JSON: raises for an Any of a type that a stock client can't know."""
    return json_format.MessageToDict(value, preserving_proto_field_name=True)


def filters(args):
    """One filter per side that a pod may be on, as `hubble observe --pod` asks."""
    common = {"verdict": [flow_pb2.Verdict.Value(name) for name in args.verdict]}
    if args.port:
        common["destination_port"] = args.port
    if not args.pod:
        return [flow_pb2.FlowFilter(**common)] if args.verdict or args.port else []
    sides = ("source_pod", "destination_pod")
    return [flow_pb2.FlowFilter(**common, **{side: args.pod}) for side in sides]


def flows(channel, args):
    request = observer_pb2.GetFlowsRequest(
        number=args.last or args.first,
        first=bool(args.first),
        follow=args.follow,
        whitelist=filters(args),
        blacklist=[flow_pb2.FlowFilter(source_pod=[pod]) for pod in args.not_from_pod],
    )
    if args.since:
        request.since.FromJsonString(args.since)
    call = observer_pb2_grpc.ObserverStub(channel).GetFlows(request, timeout=args.timeout)
    # Headers are there once the server has accepted the request.
    call.initial_metadata()
    say({"accepted": True})
    seen = 0
    for response in call:
        say(message(response))
        seen += response.HasField("flow")
        if args.count and seen == args.count:
            call.cancel()
            return


def status(channel, args):
    stub = observer_pb2_grpc.ObserverStub(channel)
    say(message(stub.ServerStatus(observer_pb2.ServerStatusRequest(), timeout=args.timeout)))


def nodes(channel, args):
    stub = observer_pb2_grpc.ObserverStub(channel)
    say(message(stub.GetNodes(observer_pb2.GetNodesRequest(), timeout=args.timeout)))


def namespaces(channel, args):
    stub = observer_pb2_grpc.ObserverStub(channel)
    say(message(stub.GetNamespaces(observer_pb2.GetNamespacesRequest(), timeout=args.timeout)))


def peers(channel, args):
    """The stream has no end: as many notifications as --count says."""
    call = peer_pb2_grpc.PeerStub(channel).Notify(peer_pb2.NotifyRequest(), timeout=args.timeout)
    for _, notification in zip(range(args.count or 1), call):
        say(message(notification))
    call.cancel()


CALLS = {"flows": flows, "status": status, "nodes": nodes, "namespaces": namespaces, "peers": peers}


def arguments():
    parser = argparse.ArgumentParser(prog="ci/interop/client", description=__doc__)
    parser.add_argument("target", help="unix:///path or host:port")
    parser.add_argument("call", choices=CALLS)
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--last", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--since", help="as RFC 3339")
    parser.add_argument("--verdict", action="append", default=[], choices=flow_pb2.Verdict.keys())
    parser.add_argument("--pod", action="append", default=[], help="on either side, namespace/name")
    parser.add_argument("--not-from-pod", action="append", default=[])
    parser.add_argument("--port", action="append", default=[], help="of the destination")
    parser.add_argument("--count", type=int, default=0, help="end after so many flows or notifications")
    parser.add_argument("--timeout", type=float, default=30, help="seconds")
    return parser.parse_args()


# gRPC's C core (Python, C++, Ruby) names a unix socket's path as the authority, percent-encoded, which
# RFC 3986 §3.2 does not allow and Rust's HTTP/2 servers refuse (grpc/grpc#38142). Go's says "localhost".
UNIX_OPTIONS = [("grpc.default_authority", "localhost")]


def main():
    args = arguments()
    options = UNIX_OPTIONS if args.target.startswith("unix:") else []
    with grpc.insecure_channel(args.target, options) as channel:
        try:
            CALLS[args.call](channel, args)
        except grpc.RpcError as error:
            say({"code": error.code().name, "details": error.details()})
            sys.exit(1)


if __name__ == "__main__":
    main()
