//! The numbered list of policy.h, level by level, on real packets in both families and directions.

use fathom_bpf::abi::{PolicyEntry, PolicyKey, drop_reason as reason, flag, policy_verdict as pv};

use crate::packet::rig::dropped;
use crate::packet::table::{DEFAULT_DENY, IN, OUT, allow, enforced, entry};
use crate::packet::{
    Fate, Frame, HOST4, PEER_IDENTITY, PEER4, POD4, Rig, SCTP, SYN, TCP, UDP, WORLD4, at, families, ip,
};

const BLOCK: u32 = 0x0100_0001;

/// A new connection to or from the peer's port; a port of its own each time.
fn attempt(rig: &mut Rig, dir: u8, pod: &str, peer: &str, port: u16) -> crate::packet::Outcome {
    use std::sync::atomic::{AtomicU16, Ordering};
    static EPHEMERAL: AtomicU16 = AtomicU16::new(20000);
    let ephemeral = EPHEMERAL.fetch_add(1, Ordering::Relaxed);
    if dir == OUT {
        rig.pod_sends(&Frame::tcp(at(pod, ephemeral), at(peer, port), SYN))
    } else {
        rig.pod_receives(&Frame::tcp(at(peer, ephemeral), at(pod, port), SYN))
    }
}

/// One entry per level, as (identity, proto, port, plen, match type).
const LEVELS: [(u32, u8, u16, u8, u8); 10] = [
    (PEER_IDENTITY, TCP, 80, 16, 2),
    (PEER_IDENTITY, TCP, 80, 12, 2),
    (PEER_IDENTITY, TCP, 0, 0, 5),
    (PEER_IDENTITY, 0, 0, 0, 1),
    (0, TCP, 80, 16, 3),
    (0, TCP, 0, 0, 6),
    (0, 0, 0, 0, 4),
    (BLOCK, TCP, 80, 16, 2),
    (BLOCK, TCP, 0, 0, 5),
    (BLOCK, 0, 0, 0, 1),
];

fn level(dir: u8, index: usize, verdict: u8, rule: u32) -> (PolicyKey, PolicyEntry) {
    let (identity, proto, port, plen, _) = LEVELS[index];
    entry(dir, identity, proto, port, plen, verdict, rule)
}

fn rig_with_block() -> Rig {
    let rig = Rig::new();
    rig.prefix("10.1.0.0/16", BLOCK);
    rig.prefix("fd00:1::/64", BLOCK);
    rig
}

#[test]
fn each_level_gives_way_to_the_one_above() {
    let mut rig = rig_with_block();
    for dir in [IN, OUT] {
        for (first, (.., match_type)) in LEVELS.into_iter().enumerate() {
            let mut entries = vec![enforced(dir, &[16, 12], false)];
            entries.extend((first..LEVELS.len()).map(|at| level(dir, at, pv::ALLOW, at as u32 + 1)));
            rig.policy(&entries);
            for (pod, peer) in families() {
                let outcome = attempt(&mut rig, dir, pod, peer, 80);
                assert_eq!(outcome.fate, Fate::Passed, "levels from {first}, {pod}");
                let event = outcome.record("SYN");
                assert_eq!((event.rule_id, event.match_type), (first as u32 + 1, match_type));
                assert_ne!(event.flags & flag::POLICY, 0);
            }
        }
    }
}

#[test]
fn a_denial_beats_an_allowance_at_every_pair_of_levels() {
    let mut rig = rig_with_block();
    for allowed in 0..LEVELS.len() {
        for denied in (0..LEVELS.len()).filter(|denied| *denied != allowed) {
            rig.policy(&[
                enforced(OUT, &[16, 12], true),
                level(OUT, allowed, pv::ALLOW, 1),
                level(OUT, denied, pv::DENY, 2),
            ]);
            let outcome = attempt(&mut rig, OUT, POD4, PEER4, 80);
            assert_eq!(outcome.fate, dropped(reason::POLICY_DENY), "{allowed} against {denied}");
            assert_eq!(outcome.record("SYN").rule_id, 2);
        }
    }
}

#[test]
fn the_first_denial_in_the_order_of_levels_is_named() {
    let mut rig = rig_with_block();
    let mut entries = vec![enforced(IN, &[16, 12], true)];
    entries.extend((2..LEVELS.len()).map(|at| level(IN, at, pv::DENY, at as u32 + 1)));
    rig.policy(&entries);
    assert_eq!(attempt(&mut rig, IN, POD4, PEER4, 80).record("SYN").rule_id, 3);
}

#[test]
fn enforced_without_a_match_is_denied_by_default_and_counted_by_rule() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&[enforced(IN, &[16], false), allow(IN, PEER_IDENTITY, TCP, 80, 1)]);
        let denied = attempt(&mut rig, IN, pod, peer, 81);
        assert_eq!(denied.fate, dropped(reason::POLICY_DENIED));
        let event = denied.record("SYN");
        assert_eq!((event.rule_id, event.match_type), (DEFAULT_DENY, 0));
        assert_eq!(event.flags, flag::POLICY | flag::REPLY_KNOWN);
        assert_eq!(event.ct_state, fathom_bpf::abi::ct_state::NEW);
        attempt(&mut rig, IN, pod, peer, 82);
        let denials = rig.datapath.maps().counters.rule_denials().expect("denials");
        assert_eq!(denials.len(), 1);
        assert_eq!((denials[0].0, denials[0].1.packets), (DEFAULT_DENY, 2));
        assert!(rig.connections(if ip(pod).is_ipv4() { 4 } else { 6 }).is_empty(), "no entry");
        // The other direction is open.
        assert_eq!(attempt(&mut rig, OUT, pod, peer, 81).fate, Fate::Passed);
    }
}

#[test]
fn replies_need_no_rule_of_their_own() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&[
            enforced(IN, &[], false),
            enforced(OUT, &[16], false),
            allow(OUT, PEER_IDENTITY, UDP, 53, 1),
        ]);
        let (a, b) = (at(pod, 5000), at(peer, 53));
        assert_eq!(rig.pod_sends(&Frame::udp(a, b)).fate, Fate::Passed);
        assert_eq!(rig.pod_receives(&Frame::udp(b, a)).fate, Fate::Passed);
        let other = at(peer, 54);
        assert_eq!(rig.pod_receives(&Frame::udp(other, a)).fate, dropped(reason::POLICY_DENIED));
    }
}

#[test]
fn a_port_range_is_its_prefixes() {
    // 1000 to 1999 as prefixes; see fathom_policy::port_prefixes.
    let prefixes = [(1000, 13), (1008, 12), (1024, 7), (1536, 8), (1792, 9), (1920, 10), (1984, 12)];
    let mut rig = Rig::new();
    let plens: Vec<u8> = prefixes.iter().map(|(_, plen)| *plen).collect();
    let mut entries = vec![enforced(OUT, &plens, false)];
    for (rule, (port, plen)) in (1..).zip(prefixes) {
        entries.push(entry(OUT, PEER_IDENTITY, TCP, port, plen, pv::ALLOW, rule));
    }
    rig.policy(&entries);
    for (port, fate) in [
        (999, dropped(reason::POLICY_DENIED)),
        (1000, Fate::Passed),
        (1023, Fate::Passed),
        (1500, Fate::Passed),
        (1791, Fate::Passed),
        (1999, Fate::Passed),
        (2000, dropped(reason::POLICY_DENIED)),
        (65535, dropped(reason::POLICY_DENIED)),
        (0, dropped(reason::POLICY_DENIED)),
    ] {
        assert_eq!(attempt(&mut rig, OUT, POD4, PEER4, port).fate, fate, "port {port}");
    }
}

#[test]
fn protocols_are_told_apart() {
    let mut rig = Rig::new();
    for (pod, peer) in families() {
        let (a, b) = (at(pod, 6000), at(peer, 80));
        let frames = [
            (TCP, Frame::tcp(a, b, SYN)),
            (UDP, Frame::udp(a, b)),
            (SCTP, Frame::sctp(a, b, 1)),
            (if a.is_ipv4() { 1 } else { 58 }, Frame::echo(ip(pod), ip(peer), false, 9)),
        ];
        for (allowed, _) in &frames {
            let ports = if [TCP, UDP, SCTP].contains(allowed) { 16 } else { 0 };
            let port = if ports == 0 { 0 } else { 80 };
            rig.policy(&[
                enforced(OUT, &[16], false),
                entry(OUT, PEER_IDENTITY, *allowed, port, ports, pv::ALLOW, 1),
            ]);
            for (proto, frame) in &frames {
                let expected = if proto == allowed { Fate::Passed } else { dropped(reason::POLICY_DENIED) };
                assert_eq!(rig.pod_sends(frame).fate, expected, "{proto} where {allowed} is allowed");
            }
        }
    }
}

#[test]
fn the_node_reaches_its_pods_whatever_policy_says_but_is_no_exception_on_egress() {
    let mut rig = Rig::new();
    rig.policy(&[enforced(IN, &[], true), entry(IN, 0, 0, 0, 0, pv::DENY, 5), enforced(OUT, &[], false)]);
    let event = attempt(&mut rig, IN, POD4, HOST4, 80).record("a probe");
    assert_eq!((event.rule_id, event.flags & flag::LOCAL_HOST), (0, flag::LOCAL_HOST));
    assert_eq!(attempt(&mut rig, OUT, POD4, HOST4, 80).fate, dropped(reason::POLICY_DENIED));
}

#[test]
fn the_longest_prefix_names_an_address_that_is_no_pod() {
    let mut rig = Rig::new();
    rig.prefix("198.51.100.0/24", BLOCK);
    rig.prefix("198.51.100.7/32", BLOCK + 1);
    rig.policy(&[enforced(OUT, &[16], false), allow(OUT, BLOCK, TCP, 80, 1)]);
    assert_eq!(attempt(&mut rig, OUT, POD4, "198.51.100.8", 80).fate, Fate::Passed);
    let except = attempt(&mut rig, OUT, POD4, WORLD4, 80);
    assert_eq!(except.fate, dropped(reason::POLICY_DENIED));
    assert_eq!(except.record("SYN").dst_identity, BLOCK + 1);
    let world = attempt(&mut rig, OUT, POD4, "203.0.113.1", 80).record("SYN");
    assert_eq!(world.dst_identity, crate::packet::WORLD_IDENTITY);
}
