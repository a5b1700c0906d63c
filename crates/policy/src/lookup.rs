//! The decision, in the same order as the kernel takes it; numbered as in its `policy.h`:
//!
//! ```text
//!  1  this node's host, ingress: it always reaches its pods
//!  2  the direction is not enforced: no policy selects the pod
//!  3  a key that denies, at whatever level below, beats every key that allows
//!  4  remote identity, protocol and port, the longest port prefix first
//!  5  remote identity and protocol
//!  6  remote identity
//!  7  any identity, protocol and port, the longest port prefix first
//!  8  any identity and protocol
//!  9  any identity
//! 10 to 12  the remote's CIDR identity, as in 4 to 6
//! 13  none of them: the direction's default deny
//! ```
//!
//! The identity is what the exact ipcache says of the remote address, else what its longest prefix says;
//! the CIDR identity is what the longest prefix says when the exact one answered too. A packet without
//! ports (ICMP, a later fragment) skips the steps that look at ports. Of several denials the first in
//! this order is named.

use fathom_identity::reserved;

use crate::table::{ANY_IDENTITY, Action, Direction, Entry, PolicyKey, Table};

/// A packet, as policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub remote: u32,
    /// CIDR identity of the remote address, when it also has an exact identity.
    pub cidr: Option<u32>,
    pub direction: Direction,
    /// IANA number.
    pub proto: u8,
    /// Destination port; `None` when the packet shows none.
    pub port: Option<u16>,
}

/// Which step decided; ordered as the steps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    LocalHost,
    NotEnforced,
    IdentityPort,
    IdentityProto,
    Identity,
    AnyPort,
    AnyProto,
    Any,
    CidrPort,
    CidrProto,
    Cidr,
    DefaultDeny,
}

/// How the deciding key matched: the public `policy_match_type` numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MatchType {
    None = 0,
    L3Only = 1,
    L3L4 = 2,
    L4Only = 3,
    All = 4,
    L3Proto = 5,
    ProtoOnly = 6,
}

impl Level {
    /// Number in the list of steps. A denial is step 3, found at one of the levels.
    pub fn number(self) -> u8 {
        match self {
            Self::LocalHost => 1,
            Self::NotEnforced => 2,
            Self::IdentityPort => 4,
            Self::IdentityProto => 5,
            Self::Identity => 6,
            Self::AnyPort => 7,
            Self::AnyProto => 8,
            Self::Any => 9,
            Self::CidrPort => 10,
            Self::CidrProto => 11,
            Self::Cidr => 12,
            Self::DefaultDeny => 13,
        }
    }

    pub fn match_type(self) -> MatchType {
        match self {
            Self::LocalHost | Self::NotEnforced | Self::DefaultDeny => MatchType::None,
            Self::IdentityPort | Self::CidrPort => MatchType::L3L4,
            Self::IdentityProto | Self::CidrProto => MatchType::L3Proto,
            Self::Identity | Self::Cidr => MatchType::L3Only,
            Self::AnyPort => MatchType::L4Only,
            Self::AnyProto => MatchType::ProtoOnly,
            Self::Any => MatchType::All,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Allow,
    Deny,
}

/// What happens to a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// 0 = no rule: the direction is not enforced or the host is always allowed.
    pub rule_id: u32,
    pub match_type: MatchType,
    pub level: Level,
}

impl Decision {
    fn new(verdict: Verdict, rule_id: u32, level: Level) -> Self {
        Self { verdict, rule_id, match_type: level.match_type(), level }
    }

    pub fn allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}

/// Judges a packet of the table's identity.
pub fn lookup(table: &Table, probe: &Probe) -> Decision {
    let state = table.direction(probe.direction);
    if probe.remote == reserved::HOST && probe.direction == Direction::Ingress {
        return Decision::new(Verdict::Allow, 0, Level::LocalHost);
    }
    if !state.enforced {
        return Decision::new(Verdict::Allow, 0, Level::NotEnforced);
    }
    let matches: Vec<(Level, Entry)> = matching(table, probe, state.plen_mask).collect();
    let denial = matches.iter().find(|(_, entry)| entry.action == Action::Deny);
    match denial.or(matches.first()) {
        Some((level, Entry { action: Action::Deny, rule_id })) => {
            Decision::new(Verdict::Deny, *rule_id, *level)
        }
        Some((level, Entry { action: Action::Allow, rule_id })) => {
            Decision::new(Verdict::Allow, *rule_id, *level)
        }
        None => Decision::new(Verdict::Deny, state.default_deny, Level::DefaultDeny),
    }
}

/// Every entry that matches, most specific first.
fn matching<'a>(
    table: &'a Table,
    probe: &'a Probe,
    plen_mask: u32,
) -> impl Iterator<Item = (Level, Entry)> + 'a {
    keys(probe, plen_mask).filter_map(|(level, key)| Some((level, *table.entries.get(&key)?)))
}

/// Every key that is looked for, most specific first.
fn keys(probe: &Probe, plen_mask: u32) -> impl Iterator<Item = (Level, PolicyKey)> + '_ {
    let exact = [Level::IdentityPort, Level::IdentityProto, Level::Identity];
    let any = [Level::AnyPort, Level::AnyProto, Level::Any];
    let cidr = [Level::CidrPort, Level::CidrProto, Level::Cidr];
    // Identity 0 is "unknown" and must not be taken for the wildcard's number at steps 4 to 6.
    let exact = (probe.remote != ANY_IDENTITY).then_some((probe.remote, exact));
    let cidr = probe.cidr.filter(|number| *number != ANY_IDENTITY).map(|number| (number, cidr));
    exact.into_iter().chain([(ANY_IDENTITY, any)]).chain(cidr).flat_map(move |(identity, levels)| {
        let key = move |proto, port, port_plen| PolicyKey {
            identity,
            direction: probe.direction,
            proto,
            port,
            port_plen,
        };
        let lengths = (1..=16u8).rev().filter(move |plen| plen_mask & (1 << plen) != 0);
        let ports = probe.port.into_iter().flat_map(move |port| {
            lengths.clone().map(move |plen| key(probe.proto, port & (u16::MAX << (16 - plen)), plen))
        });
        ports
            .map(move |key| (levels[0], key))
            .chain([(levels[1], key(probe.proto, 0, 0)), (levels[2], key(0, 0, 0))])
    })
}

/// One thing that is looked at on the way to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Whether the remote is this node's host, on ingress.
    LocalHost(bool),
    /// Whether the direction is enforced.
    Enforced(bool),
    /// A key, and the entry that was found there.
    Key { level: Level, key: PolicyKey, entry: Option<Entry> },
    /// Nothing matched: the default deny, with its rule id.
    DefaultDeny(u32),
}

/// What is looked at for a packet, up to where the kernel stops: at a denial, and at the first key that allows
/// unless some key of the direction denies.
pub fn steps(table: &Table, probe: &Probe) -> Vec<Step> {
    let state = table.direction(probe.direction);
    let mut steps = Vec::new();
    if probe.direction == Direction::Ingress {
        let host = probe.remote == reserved::HOST;
        steps.push(Step::LocalHost(host));
        if host {
            return steps;
        }
    }
    steps.push(Step::Enforced(state.enforced));
    if !state.enforced {
        return steps;
    }
    let mut allowed = false;
    for (level, key) in keys(probe, state.plen_mask) {
        let entry = table.entries.get(&key).copied();
        steps.push(Step::Key { level, key, entry });
        let action = entry.map(|entry| entry.action);
        allowed |= action == Some(Action::Allow);
        if action == Some(Action::Deny) || (allowed && !state.has_deny) {
            return steps;
        }
    }
    if !allowed {
        steps.push(Step::DefaultDeny(state.default_deny));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::DirectionState;

    const POD: u32 = 300;
    const BLOCK: u32 = 0x0100_0001;
    const TCP: u8 = 6;
    const DEFAULT_DENY: u32 = 99;

    /// Entries by (identity, proto, port, plen, action), numbered from 1 in their order.
    fn table(entries: &[(u32, u8, u16, u8, Action)]) -> Table {
        let enforced =
            DirectionState { enforced: true, default_deny: DEFAULT_DENY, ..DirectionState::default() };
        let mut table = Table { ingress: enforced, ..Table::default() };
        for ((identity, proto, port, port_plen, action), rule_id) in entries.iter().copied().zip(1..) {
            let key = PolicyKey { identity, direction: Direction::Ingress, proto, port, port_plen };
            table.insert(key, Entry { action, rule_id });
        }
        table
    }

    fn probe(port: Option<u16>) -> Probe {
        Probe { remote: POD, cidr: Some(BLOCK), direction: Direction::Ingress, proto: TCP, port }
    }

    #[test]
    fn each_level_gives_way_to_the_one_above_and_reports_its_match_type() {
        use Action::Allow;
        let levels = [
            ((POD, TCP, 80, 16, Allow), Level::IdentityPort, MatchType::L3L4),
            ((POD, TCP, 80, 12, Allow), Level::IdentityPort, MatchType::L3L4),
            ((POD, TCP, 0, 0, Allow), Level::IdentityProto, MatchType::L3Proto),
            ((POD, 0, 0, 0, Allow), Level::Identity, MatchType::L3Only),
            ((0, TCP, 80, 16, Allow), Level::AnyPort, MatchType::L4Only),
            ((0, TCP, 0, 0, Allow), Level::AnyProto, MatchType::ProtoOnly),
            ((0, 0, 0, 0, Allow), Level::Any, MatchType::All),
            ((BLOCK, TCP, 80, 16, Allow), Level::CidrPort, MatchType::L3L4),
            ((BLOCK, TCP, 0, 0, Allow), Level::CidrProto, MatchType::L3Proto),
            ((BLOCK, 0, 0, 0, Allow), Level::Cidr, MatchType::L3Only),
        ];
        for first in 0..levels.len() {
            let entries: Vec<_> = levels[first..].iter().map(|(entry, ..)| *entry).collect();
            let decision = lookup(&table(&entries), &probe(Some(80)));
            let (_, level, match_type) = levels[first];
            let expected = Decision { verdict: Verdict::Allow, rule_id: 1, match_type, level };
            assert_eq!(decision, expected, "with levels from {level:?} down");
        }
    }

    #[test]
    fn a_denial_beats_an_allowance_at_every_pair_of_levels() {
        let at = [
            (POD, TCP, 80, 16),
            (POD, TCP, 80, 12),
            (POD, TCP, 0, 0),
            (POD, 0, 0, 0),
            (0, TCP, 80, 16),
            (0, TCP, 0, 0),
            (0, 0, 0, 0),
            (BLOCK, TCP, 80, 16),
            (BLOCK, TCP, 0, 0),
            (BLOCK, 0, 0, 0),
        ];
        for allow in at {
            for deny in at {
                let entries = [
                    (allow.0, allow.1, allow.2, allow.3, Action::Allow),
                    (deny.0, deny.1, deny.2, deny.3, Action::Deny),
                ];
                let table = table(&entries);
                assert!(table.ingress.has_deny);
                let decision = lookup(&table, &probe(Some(80)));
                assert_eq!(
                    (decision.verdict, decision.rule_id),
                    (Verdict::Deny, 2),
                    "{allow:?} against {deny:?}"
                );
            }
        }
    }

    #[test]
    fn the_first_denial_in_the_order_of_levels_is_named() {
        let table = table(&[(0, 0, 0, 0, Action::Deny), (POD, TCP, 80, 16, Action::Deny)]);
        let decision = lookup(&table, &probe(Some(80)));
        assert_eq!((decision.rule_id, decision.level), (2, Level::IdentityPort));
    }

    #[test]
    fn an_unenforced_direction_allows_and_an_enforced_one_without_a_match_denies_by_default() {
        let table = table(&[(POD, TCP, 80, 16, Action::Allow)]);
        let denied = lookup(&table, &probe(Some(81)));
        let expected = Decision {
            verdict: Verdict::Deny,
            rule_id: DEFAULT_DENY,
            match_type: MatchType::None,
            level: Level::DefaultDeny,
        };
        assert_eq!(denied, expected);
        let egress = lookup(&table, &Probe { direction: Direction::Egress, ..probe(Some(81)) });
        assert_eq!((egress.verdict, egress.level, egress.rule_id), (Verdict::Allow, Level::NotEnforced, 0));
    }

    #[test]
    fn the_nodes_own_host_reaches_its_pods_but_is_no_exception_on_egress() {
        let mut table = table(&[(0, 0, 0, 0, Action::Deny)]);
        let host = Probe { remote: reserved::HOST, cidr: None, ..probe(Some(80)) };
        assert_eq!(lookup(&table, &host).level, Level::LocalHost);
        table.egress = DirectionState { enforced: true, default_deny: 7, ..DirectionState::default() };
        let egress = lookup(&table, &Probe { direction: Direction::Egress, ..host });
        assert_eq!((egress.verdict, egress.rule_id), (Verdict::Deny, 7));
    }

    #[test]
    fn a_packet_without_ports_is_judged_by_protocol_and_peer_only() {
        let table = table(&[(POD, TCP, 80, 16, Action::Allow), (BLOCK, TCP, 0, 0, Action::Allow)]);
        assert_eq!(lookup(&table, &probe(None)).level, Level::CidrProto);
        let icmp = Probe { proto: 1, ..probe(None) };
        assert_eq!(lookup(&table, &icmp).level, Level::DefaultDeny);
    }

    #[test]
    fn an_unknown_remote_matches_only_what_is_for_everybody() {
        let table = table(&[(POD, 0, 0, 0, Action::Allow), (0, TCP, 80, 16, Action::Allow)]);
        let unknown = Probe { remote: reserved::UNKNOWN, cidr: Some(0), ..probe(Some(80)) };
        assert_eq!(lookup(&table, &unknown).level, Level::AnyPort);
    }
}
