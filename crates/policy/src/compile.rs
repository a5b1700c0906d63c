//! From policies and the world to the table of one local identity.

use std::collections::HashMap;

use fathom_identity::NumericIdentity;

use crate::policy::{ICMP4, ICMP6, Peer, Peers, Policy, PortMatch, Ports, Rule};
use crate::ports::port_prefixes;
use crate::rules::{RuleRef, RuleRegistry};
use crate::selector::Selector;
use crate::table::{ANY_IDENTITY, Action, Direction, DirectionState, Entry, PolicyKey, Table};
use crate::world::{Member, World};

/// Compiles tables against one state of policies and world; what peers select is looked up once for
/// all of them.
pub struct Compiler<'a> {
    world: &'a World,
    /// Sorted, so that the result does not depend on the order in which policies came.
    policies: Vec<&'a Policy>,
    /// (policy, direction, rule) → who it names.
    peers: HashMap<(usize, Direction, usize), Selected>,
}

/// Who is at the other end of a rule, as numbers.
enum Selected {
    /// Key with the wildcard identity.
    Any,
    Some(Remotes),
}

#[derive(Default)]
struct Remotes {
    /// Selected by labels with sources, so that requirements hold for them.
    endpoints: Vec<NumericIdentity>,
    /// The others; true: of addresses in a prefix that are somebody's.
    others: Vec<(NumericIdentity, bool)>,
}

/// What endpoints must be besides, by all policies that select a pod.
#[derive(Default)]
struct Required<'p> {
    allow: Vec<&'p Selector>,
    deny: Vec<&'p Selector>,
}

/// Whom a rule's keys are for: numbers, and whether they are of addresses that are somebody's.
fn remotes(world: &World, remotes: &Remotes, required: &[&Selector]) -> Vec<(NumericIdentity, bool)> {
    let fulfils = |number: &&NumericIdentity| required.iter().all(|all| world.has_labels(all, **number));
    let endpoints = remotes.endpoints.iter().filter(fulfils).map(|number| (*number, false));
    let mut numbers: Vec<(NumericIdentity, bool)> = endpoints.chain(remotes.others.iter().copied()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Table of one identity; see [`Compiler::compile`].
pub fn compile<'a>(
    local: NumericIdentity,
    policies: impl IntoIterator<Item = &'a Policy>,
    world: &'a World,
    rules: &mut RuleRegistry,
) -> Option<Table> {
    Compiler::new(policies, world).compile(local, rules)
}

impl<'a> Compiler<'a> {
    pub fn new(policies: impl IntoIterator<Item = &'a Policy>, world: &'a World) -> Self {
        let mut policies: Vec<&Policy> = policies.into_iter().collect();
        policies.sort_by(|one, other| one.meta.cmp(&other.meta));
        Self { world, policies, peers: HashMap::new() }
    }

    /// The policies that restrict an identity in a direction.
    pub fn selecting(
        &self,
        local: NumericIdentity,
        direction: Direction,
    ) -> impl Iterator<Item = &'a Policy> {
        let member = self.world.member(local);
        let world = self.world;
        let policies = self.policies.iter().copied().filter(move |policy| policy.rules(direction).is_some());
        policies.filter(move |policy| member.is_some_and(|member| world.is_subject(policy, member)))
    }

    /// The table of a local identity; `None` when the world does not know it, so that nothing can be
    /// said about its pods (they must not be made ready).
    ///
    /// A named port stands for the number that the pod at the receiving end gives it: on ingress the
    /// local pod, on egress the remote one. Tables are per identity, so a name means what any pod of that
    /// identity calls so; pods of one template agree. A name that no such pod has allows nothing; addresses
    /// outside the cluster, and ipBlock peers, have no names.
    pub fn compile(&mut self, local: NumericIdentity, rules: &mut RuleRegistry) -> Option<Table> {
        let member = self.world.member(local)?;
        let mut table = Table::default();
        let mut refs: Vec<RuleRef> = Vec::new();
        let mut found: Vec<(PolicyKey, Action, u32)> = Vec::new();
        for direction in Direction::BOTH {
            let selecting = |place: &usize| {
                let policy = self.policies[*place];
                policy.rules(direction).is_some() && self.world.is_subject(policy, member)
            };
            let selecting: Vec<usize> = (0..self.policies.len()).filter(selecting).collect();
            let mut required = Required::default();
            for place in &selecting {
                let requires = self.policies[*place].requires.of(direction);
                required.allow.extend(&requires.allow);
                required.deny.extend(&requires.deny);
            }
            let mut denying = Vec::new();
            for place in &selecting {
                let policy = self.policies[*place];
                let reference = |index| RuleRef { policy: policy.meta.clone(), direction, index };
                if !policy.open.of(direction) {
                    denying.push(reference(None));
                }
                let first = *policy.first_rule.of(direction);
                for (index, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
                    let number = refs.len() as u32;
                    refs.push(reference(Some(first + index as u32)));
                    let at = (*place, direction, index);
                    self.keys(member, at, rule, &required, &mut |key, action| {
                        found.push((key, action, number));
                    });
                }
            }
            if selecting.is_empty() {
                continue;
            }
            let default_allow = denying.is_empty();
            let default_deny = if default_allow { 0 } else { rules.intern(denying) };
            *table.direction_mut(direction) =
                DirectionState { enforced: true, default_deny, default_allow, ..DirectionState::default() };
        }
        merge(found, &refs, rules, &mut table);
        Some(table)
    }

    /// The keys of one rule.
    fn keys(
        &mut self,
        local: &Member,
        at: (usize, Direction, usize),
        rule: &Rule,
        required: &Required<'_>,
        push: &mut impl FnMut(PolicyKey, Action),
    ) {
        let Some((action, peers, ports)) = rule.parts() else { return };
        let (world, policy, direction) = (self.world, self.policies[at.0], at.1);
        let required = if action == Action::Allow { &required.allow } else { &required.deny };
        let selected = &*self.peers.entry(at).or_insert_with(|| select(world, policy, peers));
        let selected = match selected {
            Selected::Any => None,
            Selected::Some(some) => Some(remotes(world, some, required)),
        };
        let key = |(identity, owned), proto, (port, port_plen)| PolicyKey {
            identity,
            direction,
            proto,
            port,
            port_plen,
            owned,
        };
        let mut everyone = |proto, port| match &selected {
            None => push(key((ANY_IDENTITY, false), proto, port), action),
            Some(numbers) => numbers.iter().for_each(|number| push(key(*number, proto, port), action)),
        };
        let Ports::Of(ports) = ports else { return everyone(0, (0, 0)) };
        let mut remote_names = Vec::new();
        for port in ports {
            match port {
                PortMatch::All { protocol } => everyone(protocol.number(), (0, 0)),
                PortMatch::Range { protocol, first, last } => {
                    for prefix in port_prefixes(*first, *last) {
                        everyone(protocol.number(), prefix);
                    }
                }
                PortMatch::Icmp { v6, kind } => {
                    everyone(if *v6 { ICMP6 } else { ICMP4 }, ((*kind).into(), 16))
                }
                PortMatch::Named { .. } if direction == Direction::Egress => remote_names.push(port),
                PortMatch::Named { .. } => {
                    for (proto, number) in named(local, port) {
                        everyone(proto, (number, 16));
                    }
                }
            }
        }
        if remote_names.is_empty() {
            return;
        }
        // Each remote identity has numbers of its own, so even "everybody" becomes a list.
        let remotes: &mut dyn Iterator<Item = &Member> = match &selected {
            None => &mut world.members.iter(),
            Some(numbers) => &mut numbers.iter().filter_map(|(number, _)| world.member(*number)),
        };
        for remote in remotes {
            for port in &remote_names {
                for (proto, number) in named(remote, port) {
                    push(key((remote.number, false), proto, (number, 16)), action);
                }
            }
        }
    }
}

fn select(world: &World, policy: &Policy, peers: &Peers) -> Selected {
    match peers {
        Peers::Any => Selected::Any,
        Peers::Of(peers) => {
            let mut remotes = Remotes::default();
            for peer in peers {
                let numbers = world.select(policy, peer);
                match peer {
                    Peer::Endpoints(_) => remotes.endpoints.extend(numbers),
                    Peer::Block(_) => {
                        remotes
                            .others
                            .extend(numbers.iter().flat_map(|number| [(*number, false), (*number, true)]));
                    }
                    Peer::Pods { .. } | Peer::Outside(_) | Peer::Entity(_) | Peer::Services(_) => {
                        remotes.others.extend(numbers.into_iter().map(|number| (number, false)));
                    }
                }
            }
            Selected::Some(remotes)
        }
    }
}

/// (protocol, port) pairs that an identity's pods call so.
fn named<'m>(member: &'m Member, wanted: &'m PortMatch) -> impl Iterator<Item = (u8, u16)> + 'm {
    member.named_ports.iter().filter_map(move |port| match wanted {
        PortMatch::Named { protocol, name } if port.name == *name && port.protocol == *protocol => {
            Some((protocol.number(), port.port))
        }
        _ => None,
    })
}

/// One entry for each key, with the id of the set of rules that made it: where one denies, those that deny.
fn merge(
    mut found: Vec<(PolicyKey, Action, u32)>,
    refs: &[RuleRef],
    rules: &mut RuleRegistry,
    table: &mut Table,
) {
    found.sort_unstable();
    found.dedup();
    let mut ids: HashMap<Vec<u32>, u32> = HashMap::new();
    for makers in found.chunk_by(|one, other| one.0 == other.0) {
        // Denials come last.
        let Some((key, action, _)) = makers.last().copied() else { continue };
        let numbers: Vec<u32> =
            makers.iter().filter(|maker| maker.1 == action).map(|maker| maker.2).collect();
        let rule_id = *ids.entry(numbers).or_insert_with_key(|numbers| {
            rules.intern(numbers.iter().map(|number| refs[*number as usize].clone()).collect())
        });
        table.insert(key, Entry { action, rule_id });
    }
}
