//! What a record says besides its message: between whom, on which connection, how it was seen.

use std::net::SocketAddr;

use fathom_bpf::abi::{
    Event, L7_RECORD_MAX, L7Head, direction, flag, l7_flag, l7_type, obs_point, trigger, verdict,
};

use crate::dialogue::Transport;
use crate::packet::{PEER_IDENTITY, POD_IDENTITY};
use crate::plan::Plan;

/// A record without its texts.
#[derive(Debug)]
pub struct Envelope {
    pub event: Event,
    pub head: L7Head,
}

/// The records of one dialogue, each by itself and all together; `whole` says that nothing was missed.
pub fn judge(transport: Transport, plan: &Plan, ends: [SocketAddr; 2], envelopes: &[Envelope], whole: bool) {
    for envelope in envelopes {
        one(transport, plan, ends, envelope);
        assert_eq!(envelope.head.conn, envelopes[0].head.conn, "one connection: {envelope:#?}");
    }
    let firsts: Vec<&L7Head> = envelopes
        .iter()
        .map(|envelope| &envelope.head)
        .filter(|head| head.flags & l7_flag::FIRST != 0)
        .collect();
    assert!(firsts.len() <= 1, "one first exchange: {firsts:#?}");
    let responses =
        envelopes.iter().filter(|e| e.head.kind == l7_type::RESPONSE && e.head.flags & l7_flag::ENDED == 0);
    if whole
        && let (Transport::Tcp, None, Some(first)) = (transport, plan.joined, responses.into_iter().next())
    {
        assert!(first.head.flags & l7_flag::FIRST != 0, "the first response says so: {first:#?}");
    }
}

fn one(transport: Transport, plan: &Plan, [client, server]: [SocketAddr; 2], envelope: &Envelope) {
    let Envelope { event, head } = envelope;
    assert!(usize::from(event.len) <= L7_RECORD_MAX && event.len % 8 == 0, "{event:?}");
    assert_eq!((event.verdict, event.trigger), (verdict::FORWARDED, trigger::PACKET), "{event:?}");
    assert_eq!(event.family, if plan.ipv6 { 6 } else { 4 }, "{event:?}");
    assert_eq!(event.proto, if transport == Transport::Tcp { 6 } else { 17 }, "{event:?}");

    // Responses come from the server, requests and hellos from the client; samples go either way.
    let (source, destination) =
        (SocketAddr::new(event.source(), event.sport()), SocketAddr::new(event.destination(), event.dport()));
    let from_client = source == client;
    let ends = if from_client { (client, server) } else { (server, client) };
    assert_eq!((source, destination), ends, "{envelope:#?}");
    if transport == Transport::Tcp && head.kind != l7_type::SAMPLE {
        assert_eq!(from_client, head.kind != l7_type::RESPONSE, "{envelope:#?}");
    }
    let from_pod = from_client != plan.server_in_pod;
    let identities = if from_pod { (POD_IDENTITY, PEER_IDENTITY) } else { (PEER_IDENTITY, POD_IDENTITY) };
    assert_eq!((event.src_identity, event.dst_identity), identities, "{envelope:#?}");
    let seen = if from_pod {
        (direction::EGRESS, obs_point::TO_STACK)
    } else {
        (direction::INGRESS, obs_point::TO_ENDPOINT)
    };
    assert_eq!((event.direction, event.obs_point), seen, "{envelope:#?}");

    assert!(head.conn != 0, "{envelope:#?}");
    if plan.joined.is_none() {
        // Of a datagram the kernel knows no better than what it says of itself: an answer nobody asked for
        // is told as one, and believed in nothing; so is a question of the server's.
        let asked = transport == Transport::Udp && head.kind == l7_type::REQUEST;
        if asked {
            assert_eq!(event.flags & flag::REPLY, 0, "{envelope:#?}");
        } else if transport == Transport::Tcp || head.flags & l7_flag::UNMATCHED == 0 {
            assert_eq!(event.flags & flag::REPLY != 0, !from_client, "{envelope:#?}");
        }
        assert_eq!(head.flags & l7_flag::JOINED, 0, "{envelope:#?}");
    } else if transport == Transport::Tcp {
        assert!(head.flags & l7_flag::JOINED != 0, "{envelope:#?}");
    }
    assert_eq!(event.handshake_us != 0, head.flags & l7_flag::FIRST != 0, "{envelope:#?}");
    if head.latency_ns > 0 {
        assert!(head.latency_ns <= head.duration_ns, "{envelope:#?}");
    }
    assert!(head.duration_ns < 60_000_000_000, "{envelope:#?}");
}
