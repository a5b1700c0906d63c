//! Whose packet it is: the source check, and pods that aren't there or aren't ready.

use fathom_bpf::abi::{self, LedgerStage, drop_reason as reason};

use crate::packet::rig::dropped;
use crate::packet::{ACK, Fate, Frame, PEER4, PEER6, POD_IDENTITY, POD4, POD6, Rig, SYN, at, families, ip};

#[test]
fn a_pod_sends_from_its_own_address_only() {
    let mut rig = Rig::new();
    let table = [
        ("its own, v4", Frame::udp(at(POD4, 1), at(PEER4, 2)), Fate::Passed),
        ("its own, v6", Frame::udp(at(POD6, 1), at(PEER6, 2)), Fate::Passed),
        ("a neighbour's", Frame::udp(at("10.1.0.6", 1), at(PEER4, 2)), dropped(reason::INVALID_SOURCE_IP)),
        ("its peer's", Frame::tcp(at(PEER4, 1), at(POD4, 2), SYN), dropped(reason::INVALID_SOURCE_IP)),
        ("loopback", Frame::udp(at("127.0.0.1", 1), at(PEER4, 2)), dropped(reason::INVALID_SOURCE_IP)),
        (
            "none",
            Frame::udp(at("0.0.0.0", 68), at("255.255.255.255", 67)),
            dropped(reason::INVALID_SOURCE_IP),
        ),
        (
            "a neighbour's, v6",
            Frame::udp(at("fd00:1::6", 1), at(PEER6, 2)),
            dropped(reason::INVALID_SOURCE_IP),
        ),
        ("link-local", Frame::udp(at("fe80::5", 1), at(PEER6, 2)), dropped(reason::INVALID_SOURCE_IP)),
        (
            "link-local echo",
            Frame::echo(ip("fe80::5"), ip(PEER6), false, 1),
            dropped(reason::INVALID_SOURCE_IP),
        ),
        ("none, v6", Frame::udp(at("::", 1), at(PEER6, 2)), dropped(reason::INVALID_SOURCE_IP)),
        (
            "a false echo",
            Frame::echo(ip("10.1.0.6"), ip(PEER4), false, 1),
            dropped(reason::INVALID_SOURCE_IP),
        ),
    ];
    for (what, frame, fate) in table {
        let outcome = rig.pod_sends(&frame);
        assert_eq!(outcome.fate, fate, "{what}");
        assert_eq!(outcome.record(what).src_identity, POD_IDENTITY, "{what}: told by the device");
    }
}

#[test]
fn an_address_that_the_pod_lacks_is_no_wildcard() {
    let mut rig = Rig::new();
    let bare =
        abi::Endpoint { identity: POD_IDENTITY, id: 7, flags: abi::ENDPOINT_READY, ..Default::default() };
    rig.datapath.maps().endpoints.upsert(&1, &bare).expect("endpoint");
    for (src, dst) in [("0.0.0.0", PEER4), ("::", PEER6), (POD4, PEER4), (POD6, PEER6)] {
        let outcome = rig.pod_sends(&Frame::udp(at(src, 1), at(dst, 2)));
        assert_eq!(outcome.fate, dropped(reason::INVALID_SOURCE_IP), "from {src}");
    }
}

#[test]
fn an_open_connection_does_not_lend_its_entry_to_a_liar() {
    let mut rig = Rig::new();
    for (pod, peer) in families() {
        rig.pod_sends(&Frame::tcp(at(pod, 40000), at(peer, 80), SYN));
        rig.pod_receives(&Frame::tcp(at(peer, 80), at(pod, 40000), SYN | ACK));
        // The pod claims to be its own peer, so that the tuple reads backwards.
        let outcome = rig.pod_sends(&Frame::tcp(at(peer, 80), at(pod, 40000), ACK));
        assert_eq!(outcome.fate, dropped(reason::INVALID_SOURCE_IP));
    }
}

#[test]
fn nothing_passes_before_the_endpoint_is_ready() {
    let mut rig = Rig::new();
    for ready in [Some(0), None] {
        match ready {
            Some(flags) => rig.endpoint(1, flags),
            None => drop(rig.datapath.maps().endpoints.remove(&1).expect("remove")),
        }
        for (pod, peer) in families() {
            let out = rig.pod_sends(&Frame::tcp(at(pod, 1), at(peer, 2), SYN));
            assert_eq!(out.fate, dropped(reason::EP_NOT_READY), "from {pod}, {ready:?}");
            let back = rig.pod_receives(&Frame::tcp(at(peer, 2), at(pod, 1), SYN));
            assert_eq!(back.fate, dropped(reason::EP_NOT_READY), "to {pod}, {ready:?}");
            assert_eq!(back.ledger[LedgerStage::CtCreated], 0);
        }
    }
}

#[test]
fn a_pod_without_a_policy_table_is_closed() {
    let mut rig = Rig::new();
    let maps = rig.datapath.maps();
    maps.policy.remove(POD_IDENTITY).expect("remove");
    maps.runtime.bump_revision().expect("revision");
    for (pod, peer) in families() {
        let out = rig.pod_sends(&Frame::tcp(at(pod, 1), at(peer, 2), SYN));
        assert_eq!(out.fate, dropped(reason::NO_POLICY_CONFIG), "from {pod}");
        let back = rig.pod_receives(&Frame::udp(at(peer, 2), at(pod, 1)));
        assert_eq!(back.fate, dropped(reason::NO_POLICY_CONFIG), "to {pod}");
    }
}
