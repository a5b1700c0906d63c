//! From policies and the world to the table of one local identity.

use std::collections::HashMap;

use fathom_identity::NumericIdentity;

use crate::policy::{Peers, Policy, PortMatch, Ports, Rule};
use crate::ports::port_prefixes;
use crate::rules::{RuleRef, RuleRegistry};
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
    Identities(Vec<NumericIdentity>),
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
        let mut found: Vec<(PolicyKey, u32)> = Vec::new();
        for direction in Direction::BOTH {
            let mut selecting = Vec::new();
            for place in 0..self.policies.len() {
                let policy = self.policies[place];
                let Some(list) = policy.rules(direction) else { continue };
                if !self.world.is_subject(policy, member) {
                    continue;
                }
                selecting.push(RuleRef { policy: policy.meta.clone(), direction, index: None });
                for (index, rule) in list.iter().enumerate() {
                    let number = refs.len() as u32;
                    refs.push(RuleRef { policy: policy.meta.clone(), direction, index: Some(index as u32) });
                    self.keys(member, (place, direction, index), rule, &mut |key| found.push((key, number)));
                }
            }
            if !selecting.is_empty() {
                let default_deny = rules.intern(selecting);
                let state = DirectionState { enforced: true, default_deny, ..DirectionState::default() };
                *table.direction_mut(direction) = state;
            }
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
        push: &mut impl FnMut(PolicyKey),
    ) {
        let Rule::Allow { peers, ports } = rule else { return };
        let (world, policy, direction) = (self.world, self.policies[at.0], at.1);
        let selected = &*self.peers.entry(at).or_insert_with(|| select(world, policy, peers));
        let key =
            |identity, proto, (port, port_plen)| PolicyKey { identity, direction, proto, port, port_plen };
        let mut everyone = |proto, port| match selected {
            Selected::Any => push(key(ANY_IDENTITY, proto, port)),
            Selected::Identities(numbers) => {
                numbers.iter().for_each(|number| push(key(*number, proto, port)))
            }
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
        let remotes: &mut dyn Iterator<Item = &Member> = match selected {
            Selected::Any => &mut world.members.iter(),
            Selected::Identities(numbers) => &mut numbers.iter().filter_map(|number| world.member(*number)),
        };
        for remote in remotes {
            for port in &remote_names {
                for (proto, number) in named(remote, port) {
                    push(key(remote.number, proto, (number, 16)));
                }
            }
        }
    }
}

fn select(world: &World, policy: &Policy, peers: &Peers) -> Selected {
    match peers {
        Peers::Any => Selected::Any,
        Peers::Of(peers) => {
            let mut numbers: Vec<NumericIdentity> =
                peers.iter().flat_map(|peer| world.select(policy, peer)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            Selected::Identities(numbers)
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

/// One entry for each key, with the id of the set of rules that made it.
fn merge(mut found: Vec<(PolicyKey, u32)>, refs: &[RuleRef], rules: &mut RuleRegistry, table: &mut Table) {
    found.sort_unstable();
    found.dedup();
    let mut ids: HashMap<Vec<u32>, u32> = HashMap::new();
    for makers in found.chunk_by(|one, other| one.0 == other.0) {
        let numbers: Vec<u32> = makers.iter().map(|(_, number)| *number).collect();
        let rule_id = *ids.entry(numbers).or_insert_with_key(|numbers| {
            rules.intern(numbers.iter().map(|number| refs[*number as usize].clone()).collect())
        });
        table.insert(makers[0].0, Entry { action: Action::Allow, rule_id });
    }
}
