//! A policy as it is meant: everything in it has been understood, and what could not be allows nothing.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fathom_identity::key::NAMESPACE_LABEL_PREFIX;
use ipnet::IpNet;

use crate::problem::Problem;
use crate::selector::Selector;
use crate::table::Direction;

/// Which object a policy is.
#[derive(Clone, Debug, Default)]
pub struct PolicyMeta {
    /// "NetworkPolicy".
    pub kind: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
    /// Labels of the policy object itself.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Who wrote it as it is; `None` when that is not known.
    pub edited: Option<Edited>,
}

/// The last edit of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// A field manager ("kubectl-edit") or a file ("policies/web.yaml").
    pub by: Arc<str>,
    /// Nanoseconds since the Unix epoch.
    pub unix_ns: i64,
}

impl PolicyMeta {
    fn names(&self) -> (&str, &str, &str) {
        (&self.kind, &self.namespace, &self.name)
    }

    /// Labels as `k8s:key=value`, sorted by key.
    pub fn label_texts(&self) -> Vec<Arc<str>> {
        let label =
            |(key, value): (&Arc<str>, &Arc<str>)| fathom_identity::Label::k8s(key.clone(), value.clone());
        self.labels.iter().map(|pair| label(pair).to_string().into()).collect()
    }
}

/// Two policies are the same object when kind, namespace and name are: an edit changes what a policy
/// says, not which one it is.
impl PartialEq for PolicyMeta {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for PolicyMeta {}

impl PartialOrd for PolicyMeta {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PolicyMeta {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names().cmp(&other.names())
    }
}

/// What a policy means. Made by [`Policy::parse`].
#[derive(Clone, Debug)]
pub struct Policy {
    pub meta: Arc<PolicyMeta>,
    /// Which pods of the policy's namespace it restricts.
    pub subject: Selector,
    /// `None`: ingress is not restricted by this policy. An empty list allows nothing.
    pub ingress: Option<Vec<Rule>>,
    pub egress: Option<Vec<Rule>>,
    /// What could not be understood. Not empty: the policy is stricter than written.
    pub problems: Vec<Problem>,
}

/// One rule, at its place in the policy's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    Allow {
        peers: Peers,
        ports: Ports,
    },
    /// Could not be understood: allows nothing.
    Broken,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Everybody, in the cluster or not.
    Any,
    /// Any of these; at least one.
    Of(Vec<Peer>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods matching both.
    Pods { namespaces: Namespaces, pods: Selector },
    /// Addresses, of pods too.
    Block(IpBlock),
}

/// In which namespaces peers are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// The policy's own.
    Own,
    Matching(Selector),
}

/// Addresses in a prefix but in none of the exceptions, which lie inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpBlock {
    pub cidr: IpNet,
    pub except: Vec<IpNet>,
}

impl IpBlock {
    /// Whether a whole prefix belongs to the block, given that the block's own prefixes are in the table
    /// that the prefix comes from: then a prefix that is not inside an exception touches none either.
    pub fn selects(&self, prefix: IpNet) -> bool {
        contains(self.cidr, prefix) && !self.except.iter().any(|except| contains(*except, prefix))
    }
}

fn contains(outer: IpNet, inner: IpNet) -> bool {
    match (outer, inner) {
        (IpNet::V4(outer), IpNet::V4(inner)) => outer.contains(&inner),
        (IpNet::V6(outer), IpNet::V6(inner)) => outer.contains(&inner),
        _ => false,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Every protocol (ICMP too) and port.
    Any,
    /// Any of these; at least one.
    Of(Vec<PortMatch>),
}

/// Ports of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortMatch {
    /// Every port of the protocol.
    All { protocol: Protocol },
    /// From first to last, both included; first ≥ 1.
    Range { protocol: Protocol, first: u16, last: u16 },
    /// A port by its name in the pod that the traffic goes to.
    Named { protocol: Protocol, name: Arc<str> },
}

impl PortMatch {
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::All { protocol } | Self::Range { protocol, .. } | Self::Named { protocol, .. } => *protocol,
        }
    }
}

/// Transport protocols that policies can name; the value is the IANA number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
    Sctp = 132,
}

impl Protocol {
    /// IANA number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// "TCP", "UDP" or "SCTP", as Kubernetes writes them.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl Policy {
    /// The rules of a direction; `None` when the policy does not restrict it.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// Every peer it names.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> + '_ {
        let rules = self.ingress.iter().chain(&self.egress).flatten();
        rules.flat_map(|rule| match rule {
            Rule::Allow { peers: Peers::Of(peers), .. } => peers.as_slice(),
            _ => &[],
        })
    }
}

/// The label keys (as they are called in identities) that policies select on. Give them to
/// `LabelFilter::set_asked_for`: a selector on a label that identities leave out would select nothing
/// (or, with NotIn and DoesNotExist, too much).
pub fn asked_labels<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> BTreeSet<Arc<str>> {
    let mut keys = BTreeSet::new();
    for policy in policies {
        keys.extend(policy.subject.keys().cloned());
        for peer in policy.peers() {
            let Peer::Pods { namespaces, pods } = peer else { continue };
            keys.extend(pods.keys().cloned());
            if let Namespaces::Matching(selector) = namespaces {
                keys.extend(selector.keys().map(|key| format!("{NAMESPACE_LABEL_PREFIX}{key}").into()));
            }
        }
    }
    keys
}

/// The prefixes that must have CIDR identities: every `cidr` and every `except`. All tables of a node must
/// be compiled against one set of them, and be in place before the ipcache has a new prefix.
pub fn required_prefixes<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> BTreeSet<IpNet> {
    let blocks = policies.into_iter().flat_map(Policy::peers).filter_map(|peer| match peer {
        Peer::Block(block) => Some(block),
        Peer::Pods { .. } => None,
    });
    blocks.flat_map(|block| std::iter::once(block.cidr).chain(block.except.iter().copied())).collect()
}
