//! What the joiner needs to know of the cluster at one moment: immutable, published whole.
//!
//! Written by `control/`, read by `events/enrich`. A stored flow keeps the `Arc`s it was joined
//! with, so a flow shows the names that were true when it happened.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// One side of a flow: a pod, a node, or what is known of an address outside.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EndpointInfo {
    /// Endpoint ID on this node, 0 when the endpoint is not local.
    pub id: u32,
    pub identity: u32,
    pub namespace: Arc<str>,
    pub pod_name: Arc<str>,
    /// Sorted, `source:key=value` ("k8s:app=web", "reserved:world", "cidr:10.0.0.0/8").
    pub labels: Vec<Arc<str>>,
    /// (name, kind): ("chat-relay", "Deployment").
    pub workload: Option<(Arc<str>, Arc<str>)>,
    pub cluster_name: Arc<str>,
    /// Name of the node the endpoint runs on, or of the node itself; empty outside the cluster.
    pub node_name: Arc<str>,
    /// The body of a `flow.Endpoint` message saying all this, encoded once.
    pub encoded: Bytes,
}

/// A Kubernetes Service behind a frontend address.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ServiceInfo {
    pub id: u32,
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    /// Body of a `flow.Service` message.
    pub encoded: Bytes,
}

/// A rule of a policy, as a flow names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// "NetworkPolicy".
    pub kind: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// `fathom_bpf::abi::direction`.
    pub direction: u8,
    /// Place in the policy's list; `None` for a default deny.
    pub index: Option<u32>,
    /// Labels of the policy object, `k8s:key=value`.
    pub labels: Vec<Arc<str>>,
}

/// What a rule id stands for: the rules that made the entry, or the policies behind a default deny.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RuleInfo {
    pub id: u32,
    pub default_deny: bool,
    pub refs: Vec<RuleRef>,
    /// Bodies of the `flow.Policy` messages for `refs`, one per distinct policy.
    pub encoded_policies: Vec<Bytes>,
    /// Bodies of the `fathom.v1.RuleRef` messages for `refs`, in their order.
    pub encoded_refs: Vec<Bytes>,
}

/// A device of a local endpoint.
#[derive(Debug, PartialEq, Eq)]
pub struct Device {
    pub name: Arc<str>,
    pub endpoint: Arc<EndpointInfo>,
}

/// The cluster as it was when this was published.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every publication.
    pub revision: u64,
    pub node_name: Arc<str>,
    pub cluster_name: Arc<str>,
    /// Labels of this node, `k=v`.
    pub node_labels: Vec<Arc<str>>,
    /// Pods and nodes by address.
    pub by_ip: Map<IpAddr, Arc<EndpointInfo>>,
    /// Reserved and CIDR identities, and cluster identities for peers whose address is not known.
    pub by_identity: Map<u32, Arc<EndpointInfo>>,
    /// Local endpoints by the ifindex of their host-side device.
    pub by_ifindex: Map<u32, Arc<Device>>,
    /// Services by frontend (address, port, IANA protocol).
    pub services: Map<(IpAddr, u16, u8), Arc<ServiceInfo>>,
    /// Services by the number the datapath knows them by.
    pub services_by_id: Map<u32, (Arc<ServiceInfo>, IpAddr)>,
    pub rules: Map<u32, Arc<RuleInfo>>,
}
