//! The agent's own form of the objects it follows: parsed, typed, free of Kubernetes optionality.
//!
//! Made by `convert/` at the edge; everything inward reads only these.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use fathom_policy::{Policy, spec};
use ipnet::IpNet;

/// Labels of an object, in order.
pub type Labels = BTreeMap<String, String>;

/// Kinds of objects the agent follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    NetworkPolicy,
}

impl Kind {
    /// Every kind, in the order a source should deliver them.
    pub const ALL: [Kind; 6] =
        [Kind::Namespace, Kind::Node, Kind::Pod, Kind::Service, Kind::EndpointSlice, Kind::NetworkPolicy];

    /// The `apiVersion` the agent reads this kind in.
    pub fn api_version(self) -> &'static str {
        match self {
            Kind::Namespace | Kind::Node | Kind::Pod | Kind::Service => "v1",
            Kind::EndpointSlice => "discovery.k8s.io/v1",
            Kind::NetworkPolicy => "networking.k8s.io/v1",
        }
    }

    /// The `kind` as manifests spell it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::Node => "Node",
            Kind::Pod => "Pod",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::NetworkPolicy => "NetworkPolicy",
        }
    }

    /// Its name in the API's paths.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Namespace => "namespaces",
            Kind::Node => "nodes",
            Kind::Pod => "pods",
            Kind::Service => "services",
            Kind::EndpointSlice => "endpointslices",
            Kind::NetworkPolicy => "networkpolicies",
        }
    }

    /// "networking.k8s.io"; empty for the core group.
    pub fn group(self) -> &'static str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// The CustomResourceDefinition without which there are no objects of this kind; `None` for kinds that
    /// every API server has.
    pub fn definition(self) -> Option<String> {
        let custom = self.group() == "cilium.io";
        custom.then(|| format!("{}.{}", self.plural(), self.group()))
    }

    /// The kind for an `apiVersion` and `kind`; `None` for what the agent does not follow.
    pub fn parse(api_version: &str, kind: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.name() == kind && k.api_version() == api_version)
    }

    /// Whether objects of this kind live in no namespace.
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Kind::Namespace | Kind::Node)
    }
}

/// What names an object; prints as `Pod default/web-0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub kind: Kind,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectKey {
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.is_cluster_scoped() { "" } else { namespace };
        ObjectKey { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind.name(), self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind.name(), self.name),
        }
    }
}

/// One object of any kind; clones share it.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Namespace(Arc<Namespace>),
    Node(Arc<Node>),
    Pod(Arc<Pod>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    NetworkPolicy(Arc<NetworkPolicy>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub name: Arc<str>,
    pub labels: Labels,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: Arc<str>,
    pub labels: Labels,
    /// InternalIPs, in the object's order; both families on a dual-stack node.
    pub internal_ips: Vec<IpAddr>,
    /// What its pods get their addresses from.
    pub pod_cidrs: Vec<IpNet>,
}

pub use fathom_policy::Protocol;

/// A port a container gives a name to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    pub name: String,
    pub port: NonZeroU16,
    pub protocol: Protocol,
}

/// A port of the node that leads to a container's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The node's address; `None` = any.
    pub ip: Option<IpAddr>,
    pub number: NonZeroU16,
    pub port: NonZeroU16,
    pub protocol: Protocol,
}

/// What runs a pod: ("chat-relay", "Deployment").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub name: Arc<str>,
    pub kind: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// As the kubelet names its cgroup: of a static pod, the hash of its manifest.
    pub uid: Arc<str>,
    pub labels: Labels,
    pub service_account: String,
    /// Empty until it is scheduled.
    pub node_name: Arc<str>,
    /// It has its node's addresses and is no endpoint of its own.
    pub host_network: bool,
    /// Succeeded or Failed: its addresses may already be somebody else's.
    pub finished: bool,
    pub ready: bool,
    /// `status.podIPs`; empty once it is finished.
    pub ips: Vec<IpAddr>,
    pub ports: Vec<NamedPort>,
    pub host_ports: Vec<HostPort>,
    pub workload: Option<Workload>,
    /// Its application messages are not looked at.
    pub l7_off: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Empty for headless and ExternalName services, which have no frontend.
    pub cluster_ips: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
    /// Empty when its endpoints are kept by somebody else.
    pub selector: Labels,
    /// Seconds a client stays with its backend; `None` without session affinity.
    pub affinity_seconds: Option<u32>,
    /// `internalTrafficPolicy: Local`: only backends on the client's node.
    pub local_only: bool,
    /// Addresses at which clients outside reach it besides node ports: `externalIPs`, and those of its load
    /// balancer that leave it to nodes to take them.
    pub external_ips: Vec<IpAddr>,
    /// `externalTrafficPolicy: Local`: clients outside reach only backends on the node they come to.
    pub external_local: bool,
    /// Where load balancers ask whether this node has a backend.
    pub health_check_port: Option<NonZeroU16>,
    /// Which endpoints are meant for whom; counts where nobody writes hints.
    pub distribution: Option<TrafficDistribution>,
    pub publish_not_ready: bool,
}

/// `trafficDistribution`: clients prefer endpoints that are near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficDistribution {
    /// PreferClose and PreferSameZone.
    SameZone,
    /// PreferSameNode: else of the zone.
    SameNode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty when the service has one unnamed port.
    pub name: String,
    pub port: NonZeroU16,
    pub protocol: Protocol,
    pub target: TargetPort,
    /// The port of every node at which it is reached.
    pub node_port: Option<NonZeroU16>,
}

/// Where a service port leads inside the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    Number(NonZeroU16),
    /// Looked up among the pod's container ports.
    Named(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// From the `kubernetes.io/service-name` label; slices without it serve no Service.
    pub service: Option<Arc<str>>,
    pub ports: Vec<SlicePort>,
    pub endpoints: Vec<SliceEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    pub name: String,
    pub port: NonZeroU16,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub addresses: Vec<IpAddr>,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub node_name: Option<Arc<str>>,
    /// Hints: zones and nodes whose clients it is meant for; empty = not said.
    pub for_zones: BTreeSet<Arc<str>>,
    pub for_nodes: BTreeSet<Arc<str>>,
}

/// A NetworkPolicy: what was written, and what it means.
#[derive(Clone, Debug)]
pub struct NetworkPolicy {
    pub written: spec::NetworkPolicy,
    /// Follows from `written` alone.
    pub meaning: Policy,
}

/// Who edited it last is no part of what it says: a file that is touched changes nothing.
impl PartialEq for NetworkPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}
