//! The life of a connection in each protocol: which packets are reported, and with what.

use fathom_bpf::abi::{LedgerStage, ct_state, direction, flag, obs_point, trigger};

use crate::packet::{
    ACK, FIN, Fate, Frame, PEER_IDENTITY, POD_IDENTITY, PSH, RST, Rig, SYN, at, families, ip,
};

/// Both ends of one connection that the pod opened.
fn pair(pod: &str, peer: &str) -> (std::net::SocketAddr, std::net::SocketAddr) {
    (at(pod, 40000), at(peer, 80))
}

#[test]
fn a_tcp_connection_gives_four_events_that_account_for_every_packet() {
    for (pod, peer) in families() {
        let (a, b) = pair(pod, peer);
        let mut rig = Rig::new();
        let table = [
            // (from the pod?, flags, payload, trigger)
            (true, SYN, 0, Some(trigger::NEW)),
            (false, SYN | ACK, 0, Some(trigger::FLAGS)),
            (true, ACK, 0, None),
            (true, ACK | PSH, 100, None),
            (false, ACK, 0, None),
            (false, ACK | PSH, 1000, None),
            (true, ACK, 0, None),
            (true, FIN | ACK, 0, Some(trigger::CLOSE)),
            (false, FIN | ACK, 0, Some(trigger::CLOSE)),
            (true, ACK, 0, None),
        ];
        let mut sent = [(0u64, 0u64); 2];
        let mut reported = [(0u64, 0u64); 2];
        for (number, (out, flags, payload, expected)) in table.into_iter().enumerate() {
            let (src, dst) = if out { (a, b) } else { (b, a) };
            let frame = Frame::tcp(src, dst, flags).payload(&vec![7; payload]);
            let outcome = if out { rig.pod_sends(&frame) } else { rig.pod_receives(&frame) };
            assert_eq!(outcome.fate, Fate::Passed, "packet {number}");
            assert_eq!(outcome.triggers(), Vec::from_iter(expected), "packet {number} of {pod}");
            let side = usize::from(!out);
            sent[side].0 += 1;
            sent[side].1 += frame.build().len() as u64 - 14;
            for event in outcome.records {
                assert_eq!(event.flags & flag::REPLY != 0, !out, "reply of packet {number}");
                assert_ne!(event.flags & flag::REPLY_KNOWN, 0);
                assert_eq!(event.handshake_us != 0, flags == SYN | ACK, "handshake of {number}");
                reported[side].0 += u64::from(event.packets);
                reported[side].1 += event.bytes;
            }
        }
        // The last ACK waits in conntrack for its report.
        let (_, entry) = rig.connections(if a.is_ipv4() { 4 } else { 6 })[0];
        reported[0].0 += u64::from(entry.packets[0]);
        reported[0].1 += entry.bytes[0];
        assert_eq!(entry.packets[1], 0);
        assert_eq!(reported, sent, "packets and bytes, by direction");
    }
}

#[test]
fn a_record_says_everything_about_its_packet() {
    for (pod, peer) in families() {
        let (a, b) = pair(pod, peer);
        let mut rig = Rig::new();
        let new = rig.pod_sends(&Frame::tcp(a, b, SYN)).record("SYN");
        assert_eq!((new.source(), new.destination()), (ip(pod), ip(peer)));
        assert_eq!((new.sport(), new.dport()), (40000, 80));
        assert_eq!((new.src_identity, new.dst_identity), (POD_IDENTITY, PEER_IDENTITY));
        assert_eq!((new.direction, new.obs_point), (direction::EGRESS, obs_point::TO_STACK));
        assert_eq!((new.ct_state, new.tcp_flags, new.proto), (ct_state::NEW, SYN, 6));
        assert_eq!(new.family, if a.is_ipv4() { 4 } else { 6 });
        assert_eq!(new.ifindex, 1);
        assert_eq!(new.packets, 1);
        assert_eq!(new.flags, flag::REPLY_KNOWN);
        assert_eq!((new.smac, new.dmac), ([2, 0, 0, 0, 0, 5], [2, 0, 0, 0, 0, 1]));
        assert_eq!(new.rule_id, 0);
        assert!(new.time_ns > 0 && new.seq > 0);

        let reply = rig.pod_receives(&Frame::tcp(b, a, SYN | ACK)).record("SYN-ACK");
        assert_eq!((reply.source(), reply.destination()), (ip(peer), ip(pod)));
        assert_eq!((reply.src_identity, reply.dst_identity), (PEER_IDENTITY, POD_IDENTITY));
        assert_eq!((reply.direction, reply.obs_point), (direction::INGRESS, obs_point::TO_ENDPOINT));
        assert_eq!(reply.ct_state, ct_state::REPLY);
        assert_eq!(reply.flags, flag::REPLY_KNOWN | flag::REPLY);
    }
}

#[test]
fn a_connection_opened_towards_the_pod_is_known_by_its_opener() {
    for (pod, peer) in families() {
        let (server, client) = (at(pod, 80), at(peer, 40000));
        let mut rig = Rig::new();
        let new = rig.pod_receives(&Frame::tcp(client, server, SYN)).record("SYN");
        assert_eq!((new.ct_state, new.flags & flag::REPLY), (ct_state::NEW, 0));
        let reply = rig.pod_sends(&Frame::tcp(server, client, SYN | ACK)).record("SYN-ACK");
        assert_eq!(reply.ct_state, ct_state::REPLY);
        assert!(reply.handshake_us > 0);
    }
}

#[test]
fn udp_echo_and_sctp_report_their_first_packet_each_way() {
    for (pod, peer) in families() {
        let (a, b) = pair(pod, peer);
        let table = [
            ("UDP", Frame::udp(a, b), Frame::udp(b, a)),
            ("echo", Frame::echo(ip(pod), ip(peer), false, 77), Frame::echo(ip(peer), ip(pod), true, 77)),
            ("SCTP", Frame::sctp(a, b, 1), Frame::sctp(b, a, 2)),
        ];
        let mut rig = Rig::new();
        for (what, question, answer) in table {
            let new = rig.pod_sends(&question).record(what);
            assert_eq!((new.trigger, new.ct_state), (trigger::NEW, ct_state::NEW), "{what}");
            let first = rig.pod_receives(&answer).record(what);
            assert_eq!(first.trigger, trigger::FLAGS, "{what}");
            assert_eq!(first.ct_state, ct_state::REPLY, "{what}");
            assert!(first.handshake_us > 0, "{what}");
            assert!(rig.pod_sends(&question).records.is_empty(), "{what}");
            assert!(rig.pod_receives(&answer).records.is_empty(), "{what}");
        }
    }
}

#[test]
fn an_echo_record_shows_its_type_and_no_ports() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        let event = rig.pod_sends(&Frame::echo(ip(pod), ip(peer), false, 77)).record("echo");
        assert_eq!((event.sport(), event.dport()), (0, 0));
        assert_eq!(event.icmp_type, if ip(pod).is_ipv4() { 8 } else { 128 });
        // Another identifier is another conversation.
        let other = rig.pod_sends(&Frame::echo(ip(pod), ip(peer), false, 78));
        assert_eq!(other.triggers(), [trigger::NEW]);
    }
}

#[test]
fn an_unasked_echo_reply_opens_nothing() {
    let mut rig = Rig::new();
    for (pod, peer) in families() {
        for _ in 0..2 {
            let outcome = rig.pod_receives(&Frame::echo(ip(peer), ip(pod), true, 77));
            assert_eq!(outcome.fate, Fate::Passed);
            assert_eq!(outcome.triggers(), [trigger::PACKET]);
            assert_eq!(outcome.ledger[LedgerStage::CtCreated], 0);
        }
    }
    assert!(rig.connections(4).is_empty());
}

#[test]
fn a_reset_closes_and_an_abort_closes() {
    for (pod, peer) in families() {
        let (a, b) = pair(pod, peer);
        let mut rig = Rig::new();
        rig.pod_sends(&Frame::tcp(a, b, SYN));
        let reset = rig.pod_receives(&Frame::tcp(b, a, RST | ACK)).record("RST");
        assert_eq!(reset.trigger, trigger::CLOSE);
        rig.pod_sends(&Frame::sctp(a, b, 1));
        let abort = rig.pod_receives(&Frame::sctp(b, a, 6)).record("ABORT");
        assert_eq!((abort.trigger, abort.icmp_type), (trigger::CLOSE, 6));
    }
}

#[test]
fn the_report_interval_brings_a_long_connection_back_with_its_deltas() {
    for (pod, peer) in families() {
        let (a, b) = pair(pod, peer);
        let family = if a.is_ipv4() { 4 } else { 6 };
        let mut rig = Rig::new();
        rig.pod_sends(&Frame::tcp(a, b, SYN));
        rig.pod_receives(&Frame::tcp(b, a, SYN | ACK));
        let data = Frame::tcp(a, b, ACK | PSH).payload(&[1; 50]);
        for _ in 0..9 {
            assert!(rig.pod_sends(&data).records.is_empty());
        }
        rig.age(family, |entry| entry.last_report[0] = entry.last_report[0].wrapping_sub(1 << 20));
        let interval = rig.pod_sends(&data).record("the tenth packet");
        assert_eq!(interval.trigger, trigger::INTERVAL);
        assert_eq!(interval.packets, 10);
        assert_eq!(interval.bytes, 10 * (data.build().len() as u64 - 14));
        assert!(rig.pod_sends(&data).records.is_empty(), "and is quiet again");
    }
}
