//! The kernel's judgement against `fathom_policy::lookup`, over random tables: the numbered list of
//! policy.h is the numbered list of crates/policy, level by level, in verdict, rule and match type.

mod packet;

use std::collections::BTreeMap;

use fathom_bpf::abi::{
    POLICY_F_HAS_DENY, POLICY_META_IDENTITY, PolicyEntry, PolicyKey, drop_reason, flag, policy_verdict,
};
use fathom_policy::{
    ANY_IDENTITY, Action, Decision, Direction, DirectionState, Entry, Level, Probe, Table, Verdict, lookup,
};

use packet::random::Random;
use packet::{
    Fate, Frame, HOST_IDENTITY, HOST4, PEER_IDENTITY, PEER4, PEER6, POD4, POD6, Rig, SCTP, SYN, TCP, UDP,
    WORLD_IDENTITY, WORLD4, WORLD6, at, ip,
};

const BLOCK: u32 = 0x0100_0001;
const OUTSIDE: u32 = 0x0100_0002;

/// Addresses with what the ipcache says of them: (address, identity, CIDR identity beside it).
const REMOTES: [(&str, u32, Option<u32>); 7] = [
    (PEER4, PEER_IDENTITY, Some(BLOCK)),
    (PEER6, PEER_IDENTITY, Some(BLOCK)),
    (HOST4, HOST_IDENTITY, Some(BLOCK)),
    (WORLD4, OUTSIDE, None),
    (WORLD6, OUTSIDE, None),
    ("203.0.113.9", WORLD_IDENTITY, None),
    ("10.1.77.77", BLOCK, None),
];

/// Ports around the edges of the prefixes that tables have.
const PORTS: [u16; 8] = [0, 53, 80, 81, 4096, 8191, 8192, 65535];

fn rig() -> Rig {
    let rig = Rig::new();
    for (prefix, identity) in [
        ("10.1.0.0/16", BLOCK),
        ("fd00:1::/64", BLOCK),
        ("198.51.100.0/24", OUTSIDE),
        ("2001:db8::/32", OUTSIDE),
    ] {
        rig.prefix(prefix, identity);
    }
    rig
}

/// A table with a few entries at random levels; either direction may be open.
fn random_table(random: &mut Random) -> Table {
    let mut table = Table::default();
    for state in [&mut table.ingress, &mut table.egress] {
        if !random.one_in(5) {
            *state = DirectionState { enforced: true, default_deny: 9000, ..DirectionState::default() };
        }
    }
    for rule_id in 1..=random.below(14) as u32 {
        let direction = *random.pick(&Direction::BOTH);
        if !table.direction(direction).enforced {
            continue;
        }
        let proto = *random.pick(&[0, 1, 58, TCP, TCP, TCP, UDP, SCTP]);
        let plen =
            if [TCP, UDP, SCTP].contains(&proto) { *random.pick(&[0, 1, 3, 4, 12, 16, 16]) } else { 0 };
        let port = if plen == 0 { 0 } else { *random.pick(&PORTS) & (u16::MAX << (16 - plen)) };
        let identity =
            *random.pick(&[ANY_IDENTITY, PEER_IDENTITY, HOST_IDENTITY, WORLD_IDENTITY, BLOCK, OUTSIDE]);
        let key = fathom_policy::PolicyKey { identity, direction, proto, port, port_plen: plen };
        let action = if random.one_in(5) { Action::Deny } else { Action::Allow };
        table.insert(key, Entry { action, rule_id });
    }
    table
}

/// The table as the kernel takes it.
fn encode(table: &Table) -> Vec<(PolicyKey, PolicyEntry)> {
    let metas = Direction::BOTH.into_iter().filter(|direction| table.direction(*direction).enforced);
    let metas = metas.map(|direction| {
        let state = table.direction(direction);
        let key = PolicyKey {
            identity: POLICY_META_IDENTITY,
            direction: direction.number(),
            ..PolicyKey::default()
        };
        let flags = if state.has_deny { POLICY_F_HAS_DENY } else { 0 };
        let (rule_id, plen_mask) = (state.default_deny, state.plen_mask);
        (key, PolicyEntry { rule_id, plen_mask, verdict: policy_verdict::ENFORCED, flags, pad: 0 })
    });
    let entries = table.entries.iter().map(|(key, entry)| {
        let encoded = PolicyKey {
            identity: key.identity,
            direction: key.direction.number(),
            proto: key.proto,
            port_plen: key.port_plen,
            port_be: key.port.to_be_bytes(),
            ..PolicyKey::default()
        };
        (
            encoded,
            PolicyEntry { rule_id: entry.rule_id, verdict: entry.action as u8, ..PolicyEntry::default() },
        )
    });
    metas.chain(entries).collect()
}

/// The first packet of a connection, and what policy sees of it. Ephemeral ports don't repeat.
fn question(random: &mut Random, number: u16) -> (Direction, Frame, Probe) {
    let (remote, identity, cidr) = *random.pick(&REMOTES);
    let direction = *random.pick(&Direction::BOTH);
    let port = *random.pick(&PORTS);
    let pod = if ip(remote).is_ipv4() { POD4 } else { POD6 };
    let (src, dst) = match direction {
        Direction::Egress => (at(pod, 1000 + number), at(remote, port)),
        Direction::Ingress => (at(remote, 1000 + number), at(pod, port)),
    };
    let icmp = if ip(pod).is_ipv4() { packet::ICMP4 } else { packet::ICMP6 };
    let (proto, frame) = match random.below(4) {
        0 => (TCP, Frame::tcp(src, dst, SYN)),
        1 => (UDP, Frame::udp(src, dst)),
        2 => (SCTP, Frame::sctp(src, dst, 1)),
        _ => (icmp, Frame::echo(src.ip(), dst.ip(), false, 1000 + number)),
    };
    let port = (proto != icmp).then_some(port);
    (direction, frame, Probe { remote: identity, cidr, direction, proto, port })
}

fn expected_fate(decision: &Decision) -> Fate {
    match (decision.verdict, decision.level) {
        (Verdict::Allow, _) => Fate::Passed,
        (Verdict::Deny, Level::DefaultDeny) => Fate::Dropped(drop_reason::POLICY_DENIED),
        (Verdict::Deny, _) => Fate::Dropped(drop_reason::POLICY_DENY),
    }
}

#[test]
fn kernel_and_look_up_agree_on_verdict_rule_and_match() {
    let mut random = Random::new(2026);
    let mut rig = rig();
    let mut levels = BTreeMap::<Level, u32>::new();
    let mut number = 0;
    for _ in 0..100 {
        let table = random_table(&mut random);
        rig.policy(&encode(&table));
        // Several questions per table: swapping one costs a grace period.
        for _ in 0..15 {
            number += 1;
            let (direction, frame, probe) = question(&mut random, number);
            let decision = lookup(&table, &probe);
            let outcome = match direction {
                Direction::Egress => rig.pod_sends(&frame),
                Direction::Ingress => rig.pod_receives(&frame),
            };
            let what = format!("{probe:?} in {table:#?}: {decision:?}");
            assert_eq!(outcome.fate, expected_fate(&decision), "{what}");
            let event = outcome.record(&what);
            assert_eq!(
                (event.rule_id, event.match_type),
                (decision.rule_id, decision.match_type as u8),
                "{what}"
            );
            assert_eq!(event.flags & flag::POLICY != 0, decision.level > Level::NotEnforced, "{what}");
            assert_eq!(event.flags & flag::LOCAL_HOST != 0, decision.level == Level::LocalHost, "{what}");
            *levels.entry(decision.level).or_default() += 1;
        }
    }
    assert_eq!(levels.len(), 12, "every level decided at least once: {levels:?}");
}
