//! What keeps a link going passes without a record; what would subvert it doesn't.

use std::net::Ipv6Addr;

use fathom_bpf::abi::{LedgerStage, drop_reason as reason};
use fathom_bpf::load::Program;

use crate::packet::rig::dropped;
use crate::packet::{Fate, Frame, HOST_IDENTITY, PEER4, PEER6, POD4, POD6, Rig, SYN, WORLD6, at, ip};

const LINK_LOCAL: &str = "fe80::5";
const ALL_NODES: &str = "ff02::1";

fn assert_untracked(rig: &mut Rig, program: Program, bytes: &[u8], what: &str) {
    let outcome = rig.run(program, bytes);
    assert_eq!(outcome.fate, Fate::Passed, "{what}");
    assert!(outcome.records.is_empty(), "{what}: {:?}", outcome.records);
    assert_eq!(outcome.ledger[LedgerStage::PacketsPassedUntracked], 1, "{what}");
}

fn discovery(src: &str, kind: u8, hops: u8) -> Frame {
    Frame::icmp(ip(src), ip(ALL_NODES), kind, 0, [0; 4]).payload(&[0; 16]).hop_limit(hops)
}

#[test]
fn arp_and_neighbour_discovery_pass_untracked_in_both_directions() {
    let mut rig = Rig::new();
    let mut arp = Frame::tcp(at(POD4, 1), at(PEER4, 2), SYN).build();
    arp[12..14].copy_from_slice(&[8, 6]);
    let unspecified = Ipv6Addr::UNSPECIFIED.to_string();
    for program in [Program::FromPod, Program::ToPod] {
        assert_untracked(&mut rig, program, &arp, "ARP");
        for src in [LINK_LOCAL, POD6, unspecified.as_str()] {
            for (what, kind) in [("RS", 133), ("NS", 135), ("NA", 136)] {
                assert_untracked(&mut rig, program, &discovery(src, kind, 255).build(), what);
            }
        }
        for kind in [130, 131, 132, 143] {
            let report = discovery(LINK_LOCAL, kind, 1).extension(0, &[0, 0, 5, 2, 0, 0, 1, 0]);
            assert_untracked(&mut rig, program, &report.build(), "MLD");
        }
    }
    assert_untracked(&mut rig, Program::ToPod, &discovery(LINK_LOCAL, 134, 255).build(), "RA to the pod");
    assert_untracked(
        &mut rig,
        Program::ToPod,
        &discovery(LINK_LOCAL, 137, 255).build(),
        "redirect to the pod",
    );
}

#[test]
fn a_pod_is_nobodys_router() {
    let mut rig = Rig::new();
    for kind in [134, 137] {
        let outcome = rig.pod_sends(&discovery(LINK_LOCAL, kind, 255));
        assert_eq!(outcome.fate, dropped(reason::FORBIDDEN_ICMP6), "type {kind}");
        assert_eq!(outcome.record("a router's message").icmp_type, kind);
    }
}

#[test]
fn discovery_from_afar_or_in_anothers_name_is_dropped() {
    let mut rig = Rig::new();
    let table = [
        ("routed NS", discovery(LINK_LOCAL, 135, 254), reason::INVALID_PACKET),
        ("routed MLD", discovery(LINK_LOCAL, 143, 64), reason::INVALID_PACKET),
        ("NS as somebody else", discovery(PEER6, 135, 255), reason::INVALID_SOURCE_IP),
        ("NA as somebody else", discovery(PEER6, 136, 255), reason::INVALID_SOURCE_IP),
    ];
    for (what, frame, reason) in table {
        assert_eq!(rig.pod_sends(&frame).fate, dropped(reason), "{what}");
    }
}

#[test]
fn discovery_works_before_the_endpoint_is_known() {
    let mut rig = Rig::new();
    rig.datapath.maps().endpoints.remove(&1).expect("remove");
    assert_untracked(&mut rig, Program::FromPod, &discovery(POD6, 135, 255).build(), "NS");
}

#[test]
fn discovery_stays_on_the_link() {
    let mut rig = Rig::new();
    let to = |dst: &str| Frame::icmp(ip(POD6), ip(dst), 135, 0, [0; 4]).payload(&[0; 64]).hop_limit(255);
    for dst in [WORLD6, PEER6] {
        let outcome = rig.pod_sends(&to(dst));
        assert_eq!(outcome.fate, dropped(reason::FORBIDDEN_ICMP6), "{dst}");
        assert_eq!(outcome.record("a solicitation").destination(), ip(dst));
    }
    for dst in ["fe80::1", "ff02::1:ff00:1"] {
        assert_untracked(&mut rig, Program::FromPod, &to(dst).build(), dst);
    }
    rig.identity("fd77::1", HOST_IDENTITY);
    assert_untracked(&mut rig, Program::FromPod, &to("fd77::1").build(), "the node");
}

#[test]
fn on_a_shared_link_a_pod_meets_who_is_known_there_and_nobody_else() {
    let mut rig = Rig::with(|config| config.shared_links = true);
    for kind in [135, 136] {
        let to = |dst: &str| Frame::icmp(ip(POD6), ip(dst), kind, 0, [0; 4]).payload(&[0; 16]).hop_limit(255);
        assert_untracked(&mut rig, Program::FromPod, &to(PEER6).build(), "a peer");
        assert_eq!(rig.pod_sends(&to(WORLD6)).fate, dropped(reason::FORBIDDEN_ICMP6), "the world");
        let as_peer = Frame::icmp(ip(PEER6), ip(POD6), kind, 0, [0; 4]).payload(&[0; 16]).hop_limit(255);
        assert_eq!(rig.pod_sends(&as_peer).fate, dropped(reason::INVALID_SOURCE_IP), "as somebody else");
    }
}
