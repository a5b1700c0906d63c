//! The decision, in the same order as the kernel takes it.
//!
//! ```text
//! 1  from this node's host, ingress            allow
//! 2  the direction is not enforced             allow
//! 3  a denial at any of the levels below       deny (the first in their order)
//! 4  identity, protocol and port (longest port prefix first)
//! 5  identity and protocol
//! 6  identity
//! 7  any identity, protocol and port (longest port prefix first)
//! 8  any identity, protocol
//! 9  any identity
//! 10 CIDR identity, protocol and port (longest port prefix first)
//! 11 CIDR identity and protocol
//! 12 CIDR identity
//! 13 nothing matched                           default deny
//! ```
//!
//! The identity is what the exact ipcache says of the remote address, else what its longest prefix says;
//! the CIDR identity is what the longest prefix says when the exact one answered too. A packet without
//! ports (ICMP, a later fragment) skips levels 4, 7 and 10.

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

/// Which step decided; the numbers are those of the list above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    LocalHost = 1,
    NotEnforced = 2,
    IdentityPort = 4,
    IdentityProto = 5,
    Identity = 6,
    AnyPort = 7,
    AnyProto = 8,
    Any = 9,
    CidrPort = 10,
    CidrProto = 11,
    Cidr = 12,
    DefaultDeny = 13,
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
    let exact = [Level::IdentityPort, Level::IdentityProto, Level::Identity];
    let any = [Level::AnyPort, Level::AnyProto, Level::Any];
    let cidr = [Level::CidrPort, Level::CidrProto, Level::Cidr];
    // Identity 0 is "unknown" and must not be taken for the wildcard's number at levels 4 to 6.
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
            .filter_map(|(level, key)| Some((level, *table.entries.get(&key)?)))
    })
}
