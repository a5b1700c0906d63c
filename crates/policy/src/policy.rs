//! A policy as it is meant: everything in it has been understood, and what could not be allows nothing.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fathom_identity::key::NAMESPACE_LABEL_PREFIX;
use ipnet::IpNet;

use crate::problem::Problem;
use crate::selector::Selector;
use crate::table::{Action, Direction};

/// Which object a policy is.
#[derive(Clone, Debug, Default)]
pub struct PolicyMeta {
    /// "NetworkPolicy", "CiliumNetworkPolicy" or "CiliumClusterwideNetworkPolicy".
    pub kind: Arc<str>,
    /// Empty: of the whole cluster.
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

    /// "NetworkPolicy live/web"; without a slash where there is no namespace.
    pub fn title(&self) -> String {
        match &*self.namespace {
            "" => format!("{} {}", self.kind, self.name),
            namespace => format!("{} {namespace}/{}", self.kind, self.name),
        }
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

/// What a policy means. Made by [`Policy::parse`] and [`Policy::parse_cilium`].
#[derive(Clone, Debug)]
pub struct Policy {
    pub meta: Arc<PolicyMeta>,
    pub subject: Subject,
    /// `None`: ingress is none of this policy's business. An empty list allows nothing.
    pub ingress: Option<Vec<Rule>>,
    pub egress: Option<Vec<Rule>>,
    /// Directions in which the policy does not deny what no rule allows.
    pub open: Both<bool>,
    /// What endpoints must be besides, for every policy that selects the same pods.
    pub requires: Both<Requires>,
    /// Numbers of the first rules: an object may be several policies.
    pub first_rule: Both<u32>,
    /// What could not be understood. Not empty: the policy is stricter than written.
    pub problems: Vec<Problem>,
}

/// Whom a policy restricts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Pods of the policy's namespace, by labels of their own.
    Pods(Selector),
    /// Pods anywhere, by all labels of their identities; a namespace is one of them.
    Endpoints(Selector),
    /// Nobody whose traffic is seen here.
    Nobody,
}

impl Subject {
    /// What must hold of a pod's labels.
    pub fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Pods(selector) | Self::Endpoints(selector) => Some(selector),
            Self::Nobody => None,
        }
    }
}

/// Something for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T> {
    pub ingress: T,
    pub egress: T,
}

impl<T> Both<T> {
    pub fn of(&self, direction: Direction) -> &T {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    pub(crate) fn of_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

/// What endpoints must be besides what a rule says of them; all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requires {
    /// For rules that allow.
    pub allow: Vec<Selector>,
    /// For rules that deny.
    pub deny: Vec<Selector>,
}

/// One rule, at its place in the policy's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    Allow {
        peers: Peers,
        ports: Ports,
    },
    /// Beats every rule that allows.
    Deny {
        peers: Peers,
        ports: Ports,
    },
    /// Could not be understood: allows nothing.
    Broken,
}

impl Rule {
    /// What it does, to whom and with which of their packets; `None` for a broken one, which does nothing.
    pub fn parts(&self) -> Option<(Action, &Peers, &Ports)> {
        match self {
            Self::Allow { peers, ports } => Some((Action::Allow, peers, ports)),
            Self::Deny { peers, ports } => Some((Action::Deny, peers, ports)),
            Self::Broken => None,
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Everybody, in the cluster or not.
    Any,
    /// Any of these; nobody when there are none.
    Of(Vec<Peer>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods matching both.
    Pods {
        namespaces: Namespaces,
        pods: Selector,
    },
    /// Addresses, of pods too.
    Block(IpBlock),
    /// Pods anywhere, by all labels of their identities; or, where it asks for a label of `reserved:`,
    /// identities with fixed numbers.
    Endpoints(Selector),
    /// Addresses outside of the cluster: no pod's, no node's.
    Outside(IpBlock),
    Entity(Entity),
    /// Those behind services. Nobody until [`Policy::with_services`] says who that is.
    Services(ServicePick),
}

/// Who has a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entity {
    /// Every address outside of the cluster.
    World,
    /// Every pod, this node and the others, and what the cluster runs for itself.
    Cluster,
    /// This node.
    Host,
    RemoteNode,
    KubeApiserver,
    Ingress,
    Init,
    Health,
    Unmanaged,
}

impl Entity {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::World => "world",
            Self::Cluster => "cluster",
            Self::Host => "host",
            Self::RemoteNode => "remote-node",
            Self::KubeApiserver => "kube-apiserver",
            Self::Ingress => "ingress",
            Self::Init => "init",
            Self::Health => "health",
            Self::Unmanaged => "unmanaged",
        }
    }
}

/// Which services are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePick {
    /// `None`: of every namespace.
    pub namespace: Option<Arc<str>>,
    pub services: Services,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Services {
    Named(Arc<str>),
    /// By the labels of the services themselves.
    Labelled(Selector),
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
    /// Messages of ICMP, or of ICMPv6, of one type.
    Icmp { v6: bool, kind: u8 },
}

impl PortMatch {
    /// `None` for messages of ICMP.
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::All { protocol } | Self::Range { protocol, .. } | Self::Named { protocol, .. } => {
                Some(*protocol)
            }
            Self::Icmp { .. } => None,
        }
    }

    /// Whether it is this type of this protocol's messages.
    pub(crate) fn is_icmp(&self, proto: u8, found: Option<u16>) -> bool {
        let Self::Icmp { v6, kind } = self else { return false };
        proto == if *v6 { ICMP6 } else { ICMP4 } && found == Some((*kind).into())
    }
}

/// IANA numbers of protocols whose messages have types.
pub(crate) const ICMP4: u8 = 1;
pub(crate) const ICMP6: u8 = 58;

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

    pub(crate) fn rules_mut(&mut self, direction: Direction) -> &mut Option<Vec<Rule>> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// One that restricts nobody.
    pub(crate) fn empty(meta: Arc<PolicyMeta>) -> Self {
        Self {
            meta,
            subject: Subject::Nobody,
            ingress: None,
            egress: None,
            open: Both::default(),
            requires: Both::default(),
            first_rule: Both::default(),
            problems: Vec::new(),
        }
    }

    /// Every peer it names.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> + '_ {
        let rules = self.ingress.iter().chain(&self.egress).flatten();
        rules.flat_map(|rule| match rule.parts() {
            Some((_, Peers::Of(peers), _)) => peers.as_slice(),
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
        keys.extend(policy.subject.selector().into_iter().flat_map(Selector::keys).cloned());
        let requires = [&policy.requires.ingress, &policy.requires.egress];
        let requires = requires.into_iter().flat_map(|both| both.allow.iter().chain(&both.deny));
        keys.extend(requires.flat_map(Selector::keys).cloned());
        for peer in policy.peers() {
            match peer {
                Peer::Endpoints(selector) => keys.extend(selector.keys().cloned()),
                Peer::Pods { namespaces, pods } => {
                    keys.extend(pods.keys().cloned());
                    if let Namespaces::Matching(selector) = namespaces {
                        let names =
                            selector.keys().map(|key| format!("{NAMESPACE_LABEL_PREFIX}{key}").into());
                        keys.extend(names);
                    }
                }
                Peer::Block(_) | Peer::Outside(_) | Peer::Entity(_) | Peer::Services(_) => {}
            }
        }
    }
    // Labels of other sources than Kubernetes are no pod's.
    keys.retain(|key: &Arc<str>| !key.contains(':') && !key.is_empty());
    keys
}

/// The prefixes that must have CIDR identities: every `cidr` and every `except`. All tables of a node must
/// be compiled against one set of them, and be in place before the ipcache has a new prefix.
pub fn required_prefixes<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> BTreeSet<IpNet> {
    let blocks = policies.into_iter().flat_map(Policy::peers).filter_map(|peer| match peer {
        Peer::Block(block) | Peer::Outside(block) => Some(block),
        Peer::Pods { .. } | Peer::Endpoints(_) | Peer::Entity(_) | Peer::Services(_) => None,
    });
    blocks.flat_map(|block| std::iter::once(block.cidr).chain(block.except.iter().copied())).collect()
}
