//! Packets no sane stack sends: each has a name, none is let through, none leaves state behind.
//! (Those that test_run refuses to carry are in `wire.rs`.)

use fathom_bpf::abi::{drop_reason as reason, flag};
use fathom_bpf::load::Program;

use crate::packet::rig::dropped;
use crate::packet::{ACK, FIN, Frame, PEER4, PEER6, POD4, POD6, RST, Rig, SYN, URG, at, families, ip};

/// A frame with bytes replaced.
fn patched(frame: &Frame, patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = frame.build();
    for (offset, patch) in patches {
        bytes[*offset..offset + patch.len()].copy_from_slice(patch);
    }
    bytes
}

fn tcp4() -> Frame {
    Frame::tcp(at(POD4, 40000), at(PEER4, 80), SYN)
}

fn tcp6() -> Frame {
    Frame::tcp(at(POD6, 40000), at(PEER6, 80), SYN)
}

fn udp4() -> Frame {
    Frame::udp(at(POD4, 40000), at(PEER4, 53))
}

#[test]
fn every_absurd_packet_is_dropped_by_name() {
    let with_ethertype = |proto: [u8; 2]| patched(&tcp4(), &[(12, &proto)]);
    let raw6 = |proto| Frame::raw(ip(POD6), ip(PEER6), proto, &[0; 24]);
    // Ethernet header 14, IPv4 header 20, IPv6 header 40.
    let table: Vec<(&str, Vec<u8>, u8)> = vec![
        ("802.3 with a length", with_ethertype([0, 46]), reason::UNSUPPORTED_L2),
        ("IPX", with_ethertype([0x81, 0x37]), reason::UNSUPPORTED_L3),
        ("MPLS", with_ethertype([0x88, 0x47]), reason::UNSUPPORTED_L3),
        ("802.1Q", with_ethertype([0x81, 0]), reason::VLAN_FILTERED),
        ("802.1ad", with_ethertype([0x88, 0xa8]), reason::VLAN_FILTERED),
        ("IPv6 in an IPv4 frame", patched(&tcp4(), &[(14, &[0x65])]), reason::INVALID_PACKET),
        ("IPv4 in an IPv6 frame", patched(&tcp6(), &[(14, &[0x45])]), reason::INVALID_PACKET),
        ("IPv4 header of 16 bytes", patched(&tcp4(), &[(14, &[0x44])]), reason::INVALID_PACKET),
        ("IPv4 options beyond the end", patched(&tcp4(), &[(14, &[0x4f])]), reason::CT_TRUNCATED),
        ("IPv4 total length too long", patched(&tcp4(), &[(16, &[1, 0])]), reason::INVALID_PACKET),
        ("IPv4 total length within its header", patched(&tcp4(), &[(16, &[0, 19])]), reason::INVALID_PACKET),
        ("IPv4 total length 0", patched(&tcp4(), &[(16, &[0, 0])]), reason::INVALID_PACKET),
        ("IPv6 payload length too long", patched(&tcp6(), &[(18, &[1, 0])]), reason::INVALID_PACKET),
        (
            "IPv6 from a v4-mapped address",
            patched(&tcp6(), &[(22, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 5])]),
            reason::INVALID_PACKET,
        ),
        ("TCP cut by the IP length", patched(&tcp4(), &[(16, &[0, 39])]), reason::CT_TRUNCATED),
        ("TCP header of 16 bytes", patched(&tcp4(), &[(46, &[4 << 4])]), reason::INVALID_PACKET),
        ("TCP options beyond the end", patched(&tcp4(), &[(46, &[0xf0])]), reason::CT_TRUNCATED),
        ("TCP without a flag", patched(&tcp4(), &[(47, &[0])]), reason::INVALID_PACKET),
        ("TCP SYN and FIN", patched(&tcp4(), &[(47, &[SYN | FIN])]), reason::INVALID_PACKET),
        ("TCP SYN and RST", patched(&tcp4(), &[(47, &[SYN | RST])]), reason::INVALID_PACKET),
        ("TCP FIN and RST", patched(&tcp4(), &[(47, &[FIN | RST | ACK])]), reason::INVALID_PACKET),
        ("TCP FIN alone", patched(&tcp4(), &[(47, &[FIN])]), reason::INVALID_PACKET),
        ("TCP of a Christmas tree", patched(&tcp4(), &[(47, &[FIN | URG | 8])]), reason::INVALID_PACKET),
        ("TCP over IPv6 with all flags", patched(&tcp6(), &[(67, &[0x3f])]), reason::INVALID_PACKET),
        ("UDP cut by the IP length", patched(&udp4(), &[(16, &[0, 27])]), reason::CT_TRUNCATED),
        ("UDP length below its header", patched(&udp4(), &[(38, &[0, 7])]), reason::INVALID_PACKET),
        ("UDP length beyond the packet", patched(&udp4(), &[(38, &[0, 9])]), reason::INVALID_PACKET),
        (
            "SCTP without a chunk",
            Frame::raw(ip(POD4), ip(PEER4), 132, &[0; 12]).build(),
            reason::CT_TRUNCATED,
        ),
        (
            "SCTP with a chunk of no length",
            Frame::raw(ip(POD4), ip(PEER4), 132, &[0; 16]).build(),
            reason::INVALID_PACKET,
        ),
        ("ICMP of 4 bytes", Frame::raw(ip(POD4), ip(PEER4), 1, &[8, 0, 0, 0]).build(), reason::CT_TRUNCATED),
        ("ICMP redirect", Frame::icmp(ip(POD4), ip(PEER4), 5, 1, [0; 4]).build(), reason::UNKNOWN_ICMP4_TYPE),
        (
            "ICMP timestamp",
            Frame::icmp(ip(POD4), ip(PEER4), 13, 0, [0; 4]).build(),
            reason::UNKNOWN_ICMP4_TYPE,
        ),
        (
            "ICMP echo with a code",
            Frame::icmp(ip(POD4), ip(PEER4), 8, 1, [0; 4]).build(),
            reason::UNKNOWN_ICMP4_CODE,
        ),
        (
            "ICMP unreachable, code 16",
            Frame::icmp(ip(POD4), ip(PEER4), 3, 16, [0; 4]).build(),
            reason::UNKNOWN_ICMP4_CODE,
        ),
        (
            "ICMPv6 node information",
            Frame::icmp(ip(POD6), ip(PEER6), 139, 0, [0; 4]).build(),
            reason::UNKNOWN_ICMP6_TYPE,
        ),
        (
            "ICMPv6 too big with a code",
            Frame::icmp(ip(POD6), ip(PEER6), 2, 1, [0; 4]).build(),
            reason::UNKNOWN_ICMP6_CODE,
        ),
        (
            "ICMPv6 over IPv4",
            Frame::raw(ip(POD4), ip(PEER4), 58, &[128, 0, 0, 0, 0, 0, 0, 0]).build(),
            reason::CT_UNKNOWN_L4,
        ),
        ("GRE", Frame::raw(ip(POD4), ip(PEER4), 47, &[0; 24]).build(), reason::CT_UNKNOWN_L4),
        ("ESP over IPv6", raw6(50).build(), reason::CT_UNKNOWN_L4),
        ("IPv6 without a next header", raw6(59).build(), reason::CT_UNKNOWN_L4),
    ];
    let mut rig = Rig::new();
    for (what, bytes, reason) in table {
        let outcome = rig.run(Program::FromPod, &bytes);
        assert_eq!(outcome.fate, dropped(reason), "{what}");
        let event = outcome.record(what);
        let family = if bytes[12..14] == [0x86, 0xdd] { 6 } else { 4 };
        if event.flags & flag::NO_IP == 0 {
            assert_eq!(event.family, family, "family of {what}");
            assert_eq!(event.src_identity, crate::packet::POD_IDENTITY, "source of {what}");
        }
    }
    assert!(rig.connections(4).is_empty() && rig.connections(6).is_empty(), "no state");
}

#[test]
fn a_broken_packet_is_reported_with_what_it_shows_and_no_more() {
    let mut rig = Rig::new();
    let cases = [
        (patched(&tcp4(), &[(12, &[0x81, 0])]), flag::NO_IP | flag::NO_L4),
        (patched(&tcp4(), &[(16, &[1, 0])]), flag::NO_L4),
        (patched(&tcp4(), &[(47, &[SYN | FIN])]), 0),
    ];
    for (bytes, unknown) in cases {
        let event = rig.run(Program::FromPod, &bytes).record("a broken packet");
        assert_eq!(event.flags & (flag::NO_IP | flag::NO_L4), unknown, "{event:?}");
        if unknown & flag::NO_IP == 0 {
            assert_eq!(event.source(), ip(POD4));
            assert_eq!(event.dst_identity, crate::packet::PEER_IDENTITY);
        }
        if unknown == 0 {
            assert_eq!((event.sport(), event.dport()), (40000, 80));
        }
        assert_eq!((event.smac[5], event.dmac[5]), (5, 1), "hardware addresses");
    }
}

#[test]
fn extension_headers_are_walked_to_the_ports_behind_them() {
    let options = |frame: Frame| frame.extension(0, &[0, 0, 1, 4, 0, 0, 0, 0]);
    let destination = |frame: Frame| frame.extension(60, &[0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let routing = |frame: Frame, left| frame.extension(43, &[0, 0, 4, left, 0, 0, 0, 0]);
    let authentication = |frame: Frame| {
        frame.extension(51, &[0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    };
    let mut rig = Rig::new();
    let passed = [
        ("hop-by-hop", options(tcp6())),
        ("destination options", destination(tcp6())),
        ("a routing header that was used up", routing(tcp6(), 0)),
        ("authentication", authentication(tcp6())),
        ("all of them", authentication(routing(destination(options(tcp6())), 0))),
    ];
    for (number, (what, frame)) in passed.into_iter().enumerate() {
        let outcome = rig.run(Program::FromPod, &frame.build());
        assert_eq!(outcome.fate, crate::packet::Fate::Passed, "{what}");
        // The same connection each time: only the first is new.
        if number == 0 {
            assert_eq!(outcome.record(what).dport(), 80, "{what}");
        }
    }
    let mut seven = tcp6();
    for _ in 0..7 {
        seven = destination(seven);
    }
    let mut truncated = destination(tcp6()).build();
    truncated[55] = 200;
    let denied = [
        ("segments left", routing(tcp6(), 1).build(), reason::INVALID_EXT_HEADER),
        ("hop-by-hop in second place", options(destination(tcp6())).build(), reason::INVALID_EXT_HEADER),
        ("seven headers", seven.build(), reason::INVALID_EXT_HEADER),
        ("a header longer than the packet", truncated, reason::CT_TRUNCATED),
    ];
    for (what, bytes, reason) in denied {
        assert_eq!(rig.run(Program::FromPod, &bytes).fate, dropped(reason), "{what}");
    }
}

#[test]
fn absurd_packets_towards_the_pod_are_dropped_too() {
    let mut rig = Rig::new();
    for (pod, peer) in families() {
        let frame = Frame::tcp(at(peer, 80), at(pod, 40000), SYN | FIN);
        let outcome = rig.pod_receives(&frame);
        assert_eq!(outcome.fate, dropped(reason::INVALID_PACKET), "to {pod}");
        let event = outcome.record("SYN and FIN");
        assert_eq!(event.direction, fathom_bpf::abi::direction::INGRESS);
        assert_eq!(event.dst_identity, crate::packet::POD_IDENTITY);
        assert_eq!(event.src_identity, crate::packet::PEER_IDENTITY);
    }
}
