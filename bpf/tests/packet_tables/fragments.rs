//! Packets in pieces: the first says the ports, the rest are known by it.

use fathom_bpf::abi::{FragPorts, drop_reason as reason, flag, trigger};
use libbpf_rs::{MapCore as _, MapFlags};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::packet::rig::dropped;
use crate::packet::table::{OUT, allow, enforced};
use crate::packet::{Fate, Frame, ICMP6, PEER_IDENTITY, Rig, SYN, TCP, UDP, at, families, ip};

/// The pieces of a UDP datagram: a first of 600 bytes and a rest.
fn pieces(pod: &str, peer: &str, port: u16, id: u16) -> (Frame, Frame) {
    let first = Frame::udp(at(pod, 5000), at(peer, port)).payload(&[1; 592]).fragment(id, 0, true);
    let rest = Frame::raw(ip(pod), ip(peer), UDP, &[2; 400]).fragment(id, 600, false);
    (first, rest)
}

#[test]
fn a_follower_belongs_to_the_connection_of_its_first_fragment() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&[enforced(OUT, &[16], false), allow(OUT, PEER_IDENTITY, UDP, 53, 1)]);
        let (first, rest) = pieces(pod, peer, 53, 9);
        let new = rig.pod_sends(&first).record("the first");
        assert_eq!((new.trigger, new.dport()), (trigger::NEW, 53));
        assert_ne!(new.flags & flag::FRAGMENT, 0);
        let outcome = rig.pod_sends(&rest);
        assert_eq!((outcome.fate, outcome.records.len()), (Fate::Passed, 0), "the rest of {pod}");
        let (_, entry) = rig.connections(if ip(pod).is_ipv4() { 4 } else { 6 })[0];
        assert_eq!(entry.packets[0], 1, "accounted to the connection");
    }
}

#[test]
fn a_denied_datagram_is_denied_in_all_its_pieces() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&[enforced(OUT, &[16], false), allow(OUT, PEER_IDENTITY, UDP, 53, 1)]);
        let (first, rest) = pieces(pod, peer, 54, 9);
        for (what, frame) in [("first", first), ("rest", rest)] {
            let outcome = rig.pod_sends(&frame);
            assert_eq!(outcome.fate, dropped(reason::POLICY_DENIED), "{what} of {pod}");
            assert_eq!(outcome.record(what).dport(), 54);
        }
    }
}

#[test]
fn a_follower_without_a_first_is_dropped_whoever_it_resembles() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        let (first, rest) = pieces(pod, peer, 53, 9);
        let early = rig.pod_sends(&rest);
        assert_eq!(early.fate, dropped(reason::FRAG_NOT_FOUND));
        let event = early.record("early");
        assert_eq!(event.flags & (flag::FRAGMENT | flag::NO_L4), flag::FRAGMENT | flag::NO_L4);
        assert_eq!((event.sport(), event.dport()), (0, 0));
        rig.pod_sends(&first);
        let (_, other) = pieces(pod, peer, 53, 10);
        assert_eq!(rig.pod_sends(&other).fate, dropped(reason::FRAG_NOT_FOUND), "another packet's");
        assert_eq!(rig.pod_sends(&rest).fate, Fate::Passed);
    }
}

#[test]
fn a_first_fragment_is_not_remembered_for_ever() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        let (first, rest) = pieces(pod, peer, 53, 9);
        rig.pod_sends(&first);
        let map = rig.pinned("fragments");
        for key in map.keys() {
            let value = map.lookup(&key, MapFlags::ANY).expect("look-up").expect("an entry");
            let mut ports = FragPorts::read_from_bytes(&value).expect("ports");
            ports.tick = ports.tick.wrapping_sub(1 << 20);
            map.update(&key, ports.as_bytes(), MapFlags::EXIST).expect("update");
        }
        assert_eq!(rig.pod_sends(&rest).fate, dropped(reason::FRAG_NOT_FOUND), "of {pod}");
        rig.pod_sends(&first);
        assert_eq!(rig.pod_sends(&rest).fate, Fate::Passed, "sent again, {pod}");
    }
}

#[test]
fn a_large_ping_passes_in_pieces() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        let first = Frame::echo(ip(pod), ip(peer), false, 5).payload(&[0; 592]).fragment(3, 0, true);
        let proto = if ip(pod).is_ipv4() { 1 } else { ICMP6 };
        let rest = Frame::raw(ip(pod), ip(peer), proto, &[0; 100]).fragment(3, 600, false);
        assert_eq!(rig.pod_sends(&first).triggers(), [trigger::NEW]);
        let outcome = rig.pod_sends(&rest);
        assert_eq!((outcome.fate, outcome.records.len()), (Fate::Passed, 0));
        // And back.
        let first = Frame::echo(ip(peer), ip(pod), true, 5).payload(&[0; 592]).fragment(4, 0, true);
        let rest = Frame::raw(ip(peer), ip(pod), proto, &[0; 100]).fragment(4, 600, false);
        assert_eq!(rig.pod_receives(&first).triggers(), [trigger::FLAGS]);
        assert_eq!(rig.pod_receives(&rest).fate, Fate::Passed);
    }
}

#[test]
fn pieces_that_cannot_be_honest_are_dropped_by_name() {
    for (pod, peer) in families() {
        let (a, b) = (at(pod, 5000), at(peer, 80));
        let piece = |proto, len: usize, offset| {
            Frame::raw(ip(pod), ip(peer), proto, &vec![0; len]).fragment(1, offset, true)
        };
        let table = [
            ("ping of death", piece(UDP, 600, 65528), reason::INVALID_PACKET),
            ("over the TCP flags", piece(TCP, 64, 8), reason::INVALID_PACKET),
            ("over the TCP window", piece(TCP, 64, 16), reason::INVALID_PACKET),
            ("a first too short for TCP", piece(TCP, 16, 0), reason::CT_TRUNCATED),
            ("a first too short for UDP", piece(UDP, 0, 0), reason::CT_TRUNCATED),
        ];
        let mut rig = Rig::new();
        for (what, frame, reason) in table {
            assert_eq!(rig.pod_sends(&frame).fate, dropped(reason), "{what}, {pod}");
        }
        let whole = rig.pod_sends(&Frame::tcp(a, b, SYN)).record("whole");
        assert_eq!(whole.flags & flag::FRAGMENT, 0);
    }
}

#[test]
fn an_ipv6_fragment_header_that_cuts_nothing_is_a_whole_packet() {
    let (pod, peer) = families()[1];
    let mut rig = Rig::new();
    let frame = Frame::udp(at(pod, 5000), at(peer, 53)).fragment(77, 0, false);
    let event = rig.pod_sends(&frame).record("atomic fragment");
    assert_eq!((event.trigger, event.flags & flag::FRAGMENT, event.dport()), (trigger::NEW, 0, 53));
}

#[test]
fn extension_headers_behind_a_fragment_header_are_not_followed() {
    let (pod, peer) = families()[1];
    let mut rig = Rig::new();
    // Fragment header (44) first, then destination options: the order Frame::fragment can't make.
    for offset in [0u8, 2] {
        let frame = Frame::udp(at(pod, 5000), at(peer, 53))
            .extension(44, &[0, 0, offset, 1, 0, 0, 0, 7])
            .extension(60, &[0, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(rig.pod_sends(&frame).fate, dropped(reason::FRAG_UNSUPPORTED), "offset {offset}");
    }
}
