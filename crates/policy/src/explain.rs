//! Why a packet is judged as it is: the rules that match it, and by what the others miss it.
//!
//! Reads policies as the compiler does, but rule by rule and for one packet. A test holds the two together:
//! the verdict here is always that of the look-up in the compiled table.
//!
//! How far a rule is from a packet is what would have to change for it to match: each field counts once, and
//! of a rule's peers and ports the nearest pair counts. What can never match counts for more: a podSelector
//! for an address without a pod, and a rule that could not be understood.

use std::sync::Arc;

use fathom_identity::{NumericIdentity, reserved};
use ipnet::IpNet;

use crate::lookup::{Probe, Verdict};
use crate::policy::{IpBlock, Namespaces, Peer, Peers, Policy, PolicyMeta, PortMatch, Ports, Protocol, Rule};
use crate::rules::RuleRef;
use crate::selector::{Labels, Requirement, Selector};
use crate::table::{ANY_IDENTITY, Direction};
use crate::world::{Member, World};

/// What policies say of a packet.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub verdict: Verdict,
    /// The node's own host, which always reaches its pods.
    pub local_host: bool,
    /// Policies that restrict the pod in this direction; none: the direction is open.
    pub selecting: Vec<Arc<PolicyMeta>>,
    /// Rules that allow it.
    pub matching: Vec<RuleRef>,
    /// Rules that miss it, nearest first.
    pub missed: Vec<Missed>,
}

/// A rule that does not match.
#[derive(Clone, Debug)]
pub struct Missed {
    pub rule: RuleRef,
    /// Every field by which it misses, at least one.
    pub fields: Vec<Miss>,
}

/// One field of a rule that does not fit the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// A label of the pod at the other end; `found` is its value.
    Label {
        wanted: Requirement,
        found: Option<Arc<str>>,
    },
    /// A label of that pod's namespace.
    NamespaceLabel {
        wanted: Requirement,
        found: Option<Arc<str>>,
    },
    /// A podSelector without namespaceSelector means the policy's own namespace.
    Namespace {
        wanted: Arc<str>,
        found: Arc<str>,
    },
    /// Pods are wanted, and at the other end is none that policies know.
    NoPod,
    /// `found` is the longest prefix known to policies that holds the address.
    Block {
        wanted: IpBlock,
        found: Option<IpNet>,
    },
    Protocol {
        wanted: Protocol,
        found: u8,
    },
    Port {
        wanted: PortMatch,
        found: Option<u16>,
    },
    /// A port's name that means another number, or none, in the pod that the traffic goes to.
    PortName {
        name: Arc<str>,
        means: Vec<u16>,
        found: Option<u16>,
    },
    /// The rule could not be understood and matches nothing.
    Broken,
}

impl Miss {
    /// How much would have to change.
    fn weight(&self) -> usize {
        match self {
            Self::NoPod | Self::Broken => 2,
            _ => 1,
        }
    }
}

impl Missed {
    /// How far the rule is from the packet.
    pub fn distance(&self) -> usize {
        self.fields.iter().map(Miss::weight).sum()
    }
}

/// Explains a packet of a local identity; `None` when the world does not know it.
pub fn explain<'a>(
    local: NumericIdentity,
    policies: impl IntoIterator<Item = &'a Policy>,
    world: &World,
    probe: &Probe,
) -> Option<Explanation> {
    let member = world.member(local)?;
    let mut policies: Vec<&Policy> = policies.into_iter().collect();
    policies.sort_by(|one, other| one.meta.cmp(&other.meta));
    let mut told = Explanation {
        verdict: Verdict::Allow,
        local_host: probe.remote == reserved::HOST && probe.direction == Direction::Ingress,
        selecting: Vec::new(),
        matching: Vec::new(),
        missed: Vec::new(),
    };
    for policy in policies {
        let Some(rules) = policy.rules(probe.direction) else { continue };
        if !world.is_subject(policy, member) {
            continue;
        }
        told.selecting.push(policy.meta.clone());
        let case = Case { world, policy, local: member, remote: world.member(probe.remote), probe };
        for (index, rule) in (0..).zip(rules) {
            let named =
                RuleRef { policy: policy.meta.clone(), direction: probe.direction, index: Some(index) };
            match case.misses(rule) {
                fields if fields.is_empty() => told.matching.push(named),
                fields => told.missed.push(Missed { rule: named, fields }),
            }
        }
    }
    // Rules of equal distance stay in the order of their policies.
    told.missed.sort_by_key(Missed::distance);
    if !told.local_host && !told.selecting.is_empty() && told.matching.is_empty() {
        told.verdict = Verdict::Deny;
    }
    Some(told)
}

struct Case<'a> {
    world: &'a World,
    policy: &'a Policy,
    local: &'a Member,
    /// The other end, when it is a pod.
    remote: Option<&'a Member>,
    probe: &'a Probe,
}

impl Case<'_> {
    /// By which fields a rule misses; none: it matches.
    fn misses(&self, rule: &Rule) -> Vec<Miss> {
        let Rule::Allow { peers, ports } = rule else { return vec![Miss::Broken] };
        let anybody = [None];
        let peers: &mut dyn Iterator<Item = Option<&Peer>> = match peers {
            Peers::Any => &mut anybody.into_iter(),
            Peers::Of(peers) => &mut peers.iter().map(Some),
        };
        let of_peer = peers.map(|peer| {
            let mut fields = peer.map(|peer| self.peer(peer)).unwrap_or_default();
            fields.extend(self.ports(ports, peer));
            fields
        });
        of_peer.min_by_key(|fields| weight(fields)).unwrap_or_default()
    }

    fn peer(&self, peer: &Peer) -> Vec<Miss> {
        match peer {
            Peer::Block(block) => self.block(block),
            Peer::Pods { namespaces, pods } => {
                let Some(remote) = self.remote.filter(|_| self.probe.remote != ANY_IDENTITY) else {
                    return vec![Miss::NoPod];
                };
                let mut fields = Vec::new();
                let group = &self.world.groups[remote.group];
                match namespaces {
                    Namespaces::Own if group.namespace == self.policy.meta.namespace => {}
                    Namespaces::Own => fields.push(Miss::Namespace {
                        wanted: self.policy.meta.namespace.clone(),
                        found: group.namespace.clone(),
                    }),
                    Namespaces::Matching(selector) => {
                        fields.extend(
                            unmet(selector, &group.labels)
                                .map(|(wanted, found)| Miss::NamespaceLabel { wanted, found }),
                        );
                    }
                }
                fields
                    .extend(unmet(pods, &remote.labels).map(|(wanted, found)| Miss::Label { wanted, found }));
                fields
            }
        }
    }

    fn block(&self, block: &IpBlock) -> Vec<Miss> {
        let numbers = [Some(self.probe.remote), self.probe.cidr];
        let numbers: Vec<u32> = numbers.into_iter().flatten().filter(|n| *n != ANY_IDENTITY).collect();
        let mut prefixes = self.world.cidrs.iter().filter(|(_, number)| numbers.contains(number));
        if prefixes.clone().any(|(prefix, _)| block.selects(*prefix)) {
            return Vec::new();
        }
        vec![Miss::Block { wanted: block.clone(), found: prefixes.next().map(|(prefix, _)| *prefix) }]
    }

    /// By which fields the nearest of a rule's ports misses.
    fn ports(&self, ports: &Ports, peer: Option<&Peer>) -> Vec<Miss> {
        let Ports::Of(ports) = ports else { return Vec::new() };
        let of_port = ports.iter().map(|port| self.port(port, peer));
        of_port.min_by_key(|fields| weight(fields)).unwrap_or_default()
    }

    fn port(&self, wanted: &PortMatch, peer: Option<&Peer>) -> Vec<Miss> {
        let found = self.probe.port;
        let mut fields = Vec::new();
        let protocol = wanted.protocol();
        if protocol.number() != self.probe.proto {
            fields.push(Miss::Protocol { wanted: protocol, found: self.probe.proto });
        }
        match wanted {
            PortMatch::All { .. } => {}
            PortMatch::Range { first, last, .. } => {
                if !found.is_some_and(|port| (*first..=*last).contains(&port)) {
                    fields.push(Miss::Port { wanted: wanted.clone(), found });
                }
            }
            PortMatch::Named { name, .. } => {
                // A name is what the receiving pod calls a port; addresses call nothing by names.
                let receiver = match self.probe.direction {
                    Direction::Ingress => Some(self.local),
                    Direction::Egress => self.remote.filter(|_| !matches!(peer, Some(Peer::Block(_)))),
                };
                let named = receiver.into_iter().flat_map(|member| &member.named_ports);
                let named = named.filter(|port| port.name == *name && port.protocol == protocol);
                let means: Vec<u16> = named.map(|port| port.port).collect();
                if !found.is_some_and(|port| means.contains(&port)) {
                    fields.push(Miss::PortName { name: name.clone(), means, found });
                }
            }
        }
        fields
    }
}

fn weight(fields: &[Miss]) -> usize {
    fields.iter().map(Miss::weight).sum()
}

/// The requirements that labels do not meet, each with the value they have.
fn unmet<'a>(
    selector: &'a Selector,
    labels: &'a Labels,
) -> impl Iterator<Item = (Requirement, Option<Arc<str>>)> + 'a {
    let unmet = selector.requirements.iter().filter(|requirement| !requirement.holds(labels));
    unmet.map(|requirement| (requirement.clone(), labels.get(requirement.key()).cloned()))
}
