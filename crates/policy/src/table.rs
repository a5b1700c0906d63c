//! The compiled form of all policies that select one local identity: the kernel's keys and entries.
//!
//! Fields and numbers are those of `struct policy_key` and `struct policy_entry` in `bpf/include/abi.h`,
//! except that ports are in host order here.

use std::collections::BTreeMap;

/// Remote identity that stands for every peer.
pub const ANY_IDENTITY: u32 = 0;

/// Relative to the local pod; the numbers of `enum direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    Ingress = 1,
    Egress = 2,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    pub fn number(self) -> u8 {
        self as u8
    }

    /// "ingress" or "egress".
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Which packets an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    /// Remote identity, or [`ANY_IDENTITY`].
    pub identity: u32,
    pub direction: Direction,
    /// IANA number; 0 = every protocol, then `port` and `port_plen` are 0.
    pub proto: u8,
    /// Destination port in host order, bits past `port_plen` zero.
    pub port: u16,
    /// 0..=16 leading bits of the port that count.
    pub port_plen: u8,
}

/// What an entry does; the numbers of `POLICY_VERDICT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Action {
    Allow = 1,
    Deny = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub action: Action,
    /// Never 0; see [`crate::RuleRegistry`].
    pub rule_id: u32,
}

/// The meta entry of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionState {
    /// False: every packet of this direction is allowed.
    pub enforced: bool,
    /// Rule id of the default deny; 0 when not enforced.
    pub default_deny: u32,
    /// Bit n: some key of this direction has `port_plen` n (n ≥ 1).
    pub plen_mask: u32,
    /// Some entry of this direction denies: every level must be looked at.
    pub has_deny: bool,
}

/// Everything the kernel needs to judge packets of one local identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub entries: BTreeMap<PolicyKey, Entry>,
    pub ingress: DirectionState,
    pub egress: DirectionState,
}

impl Table {
    pub fn direction(&self, direction: Direction) -> &DirectionState {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    pub(crate) fn direction_mut(&mut self, direction: Direction) -> &mut DirectionState {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// Adds an entry and keeps the direction's `plen_mask` and `has_deny` true to it. Over an entry
    /// with the same key the denial wins, else the newer one.
    pub fn insert(&mut self, key: PolicyKey, entry: Entry) {
        let state = self.direction_mut(key.direction);
        if key.port_plen > 0 {
            state.plen_mask |= 1 << key.port_plen;
        }
        state.has_deny |= entry.action == Action::Deny;
        let kept = self.entries.entry(key).or_insert(entry);
        if kept.action == Action::Allow || entry.action == Action::Deny {
            *kept = entry;
        }
    }

    /// Every rule id in the table, the default denials' included; for [`crate::RuleRegistry::retain`].
    pub fn rule_ids(&self) -> impl Iterator<Item = u32> + '_ {
        let defaults = [self.ingress, self.egress].map(|state| state.default_deny);
        self.entries.values().map(|entry| entry.rule_id).chain(defaults).filter(|id| *id != 0)
    }
}
