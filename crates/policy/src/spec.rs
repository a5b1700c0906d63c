//! A NetworkPolicy as somebody wrote it: the fields of `networking.k8s.io/v1`, nothing checked.
//!
//! Field by field what <https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/>
//! describes; only `from`/`to` are both called `peers` here. A missing list and an empty one mean the
//! same in this API, so both are an empty `Vec`.

use std::collections::BTreeMap;

/// `NetworkPolicy`: metadata and spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub pod_selector: LabelSelector,
    /// "Ingress", "Egress"; empty: Ingress, and Egress if there are egress rules.
    pub policy_types: Vec<String>,
    pub ingress: Vec<Rule>,
    pub egress: Vec<Rule>,
    /// Fields that this API does not have: most likely misspelt ones that it does have.
    pub unknown_fields: Box<[UnknownField]>,
}

/// A field that says nothing as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// Path in the object: `spec.ingress[0].form`.
    pub place: String,
    pub within: Part,
}

/// Which part of a policy a field may have been meant to narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The spec itself: it could be any of its fields.
    Spec,
    PodSelector,
    /// The rule at this place in `ingress`.
    Ingress(usize),
    /// The rule at this place in `egress`.
    Egress(usize),
}

/// `LabelSelector`: everything in it must hold; nothing in it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub match_labels: BTreeMap<String, String>,
    pub match_expressions: Vec<Expression>,
}

/// `LabelSelectorRequirement`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expression {
    pub key: String,
    /// "In", "NotIn", "Exists", "DoesNotExist".
    pub operator: String,
    pub values: Vec<String>,
}

/// `NetworkPolicyIngressRule`, `NetworkPolicyEgressRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Any of; empty: every peer.
    pub peers: Vec<Peer>,
    /// Any of; empty: every protocol and port.
    pub ports: Vec<Port>,
}

/// `NetworkPolicyPeer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub pod_selector: Option<LabelSelector>,
    pub namespace_selector: Option<LabelSelector>,
    pub ip_block: Option<IpBlock>,
}

/// `IPBlock`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpBlock {
    pub cidr: String,
    pub except: Vec<String>,
}

/// `NetworkPolicyPort`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// "TCP" when missing.
    pub protocol: Option<String>,
    pub port: Option<PortValue>,
    pub end_port: Option<i32>,
}

/// `IntOrString` of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortValue {
    Number(i32),
    Name(String),
}
