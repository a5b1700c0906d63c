//! Objects, identities and rules in the words of a flow, with their encoded bodies.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use fathom_api::{fathom_v1, flow};
use fathom_identity::{CidrIdentities, LabelSet, PodScope, reserved};
use fathom_policy::{PolicyMeta, RuleSet};
use ipnet::IpNet;
use prost::Message;

use super::plan::{Holder, ThisNode};
use super::services::Frontend;
use crate::cluster::model::Pod;
use crate::cluster::snapshot::{EndpointInfo, RuleInfo, RuleRef, ServiceInfo};

/// Writes the body of the `flow.Endpoint` message that says the same.
fn encoded(info: EndpointInfo) -> EndpointInfo {
    let texts = |labels: &[Arc<str>]| labels.iter().map(ToString::to_string).collect();
    let message = flow::Endpoint {
        id: info.id,
        identity: info.identity,
        cluster_name: info.cluster_name.to_string(),
        namespace: info.namespace.to_string(),
        labels: texts(&info.labels),
        pod_name: info.pod_name.to_string(),
        workloads: info
            .workload
            .iter()
            .map(|(name, kind)| flow::Workload { name: name.to_string(), kind: kind.to_string() })
            .collect(),
    };
    EndpointInfo { encoded: Bytes::from(message.encode_to_vec()), ..info }
}

/// A pod; `id` is its endpoint number here, 0 elsewhere.
pub fn pod(node: &ThisNode, namespace: &str, name: &str, id: u32, holder: &Holder) -> EndpointInfo {
    let pod = holder.pod.as_ref();
    let here = if id > 0 { node.name.clone() } else { Arc::default() };
    encoded(EndpointInfo {
        id,
        identity: holder.number,
        namespace: namespace.into(),
        pod_name: name.into(),
        labels: holder.labels.rendered(),
        workload: pod.and_then(|pod| pod.workload.as_ref()).map(|w| (w.name.clone(), w.kind.clone())),
        cluster_name: node.cluster.clone(),
        node_name: pod.map(|pod| pod.node_name.clone()).filter(|name| !name.is_empty()).unwrap_or(here),
        encoded: Bytes::new(),
    })
}

/// A local endpoint of which no object is known.
pub fn unknown_pod(node: &ThisNode, namespace: &str, name: &str, id: u32) -> EndpointInfo {
    encoded(EndpointInfo {
        id,
        identity: reserved::INIT,
        namespace: namespace.into(),
        pod_name: name.into(),
        labels: reserved_labels(reserved::INIT),
        cluster_name: node.cluster.clone(),
        node_name: node.name.clone(),
        ..EndpointInfo::default()
    })
}

/// A pod that has this node's network, and so its identity.
pub fn host_pod(node: &ThisNode, pod: &Pod) -> EndpointInfo {
    encoded(EndpointInfo {
        identity: reserved::HOST,
        namespace: pod.namespace.clone(),
        pod_name: pod.name.clone(),
        labels: reserved_labels(reserved::HOST),
        workload: pod.workload.as_ref().map(|w| (w.name.clone(), w.kind.clone())),
        cluster_name: node.cluster.clone(),
        node_name: node.name.clone(),
        ..EndpointInfo::default()
    })
}

/// This node, or another one.
pub fn node(node: &ThisNode, name: &Arc<str>, identity: u32) -> EndpointInfo {
    encoded(EndpointInfo {
        identity,
        labels: reserved_labels(identity),
        cluster_name: node.cluster.clone(),
        node_name: name.clone(),
        ..EndpointInfo::default()
    })
}

fn reserved_labels(identity: u32) -> Vec<Arc<str>> {
    reserved::labels(identity).map(|labels| labels.rendered()).unwrap_or_default()
}

/// Whoever has this number, where only the number is known.
pub fn identity(node: &ThisNode, number: u32, labels: &LabelSet) -> EndpointInfo {
    let in_cluster = PodScope::of(labels);
    let cluster_name = if in_cluster.is_some() { node.cluster.clone() } else { Arc::default() };
    encoded(EndpointInfo {
        identity: number,
        namespace: in_cluster.map(|scope| scope.namespace).unwrap_or_default(),
        labels: labels.rendered(),
        cluster_name,
        ..EndpointInfo::default()
    })
}

/// An address in a prefix that a policy names.
pub fn cidr(node: &ThisNode, prefix: IpNet, number: u32) -> EndpointInfo {
    identity(node, number, &CidrIdentities::labels(prefix))
}

/// The Service behind a frontend.
pub fn service(id: u32, frontend: &Frontend) -> ServiceInfo {
    let message =
        flow::Service { name: frontend.name.to_string(), namespace: frontend.namespace.to_string() };
    ServiceInfo {
        id,
        name: frontend.name.clone(),
        namespace: frontend.namespace.clone(),
        encoded: Bytes::from(message.encode_to_vec()),
    }
}

/// Key of a service's number in a snapshot: the number and its frontend's address.
pub type ServiceById = (Arc<ServiceInfo>, IpAddr);

/// What a rule id stands for.
pub fn rule(set: &RuleSet) -> RuleInfo {
    let refs: Vec<RuleRef> = set
        .refs
        .iter()
        .map(|rule| RuleRef {
            kind: rule.policy.kind.clone(),
            namespace: rule.policy.namespace.clone(),
            name: rule.policy.name.clone(),
            direction: rule.direction.number(),
            index: rule.index,
            labels: rule.policy.label_texts(),
        })
        .collect();
    let mut policies: Vec<&Arc<PolicyMeta>> = set.refs.iter().map(|rule| &rule.policy).collect();
    policies.dedup();
    let encoded_refs = refs.iter().map(|rule| {
        let message = fathom_v1::RuleRef {
            kind: rule.kind.to_string(),
            namespace: rule.namespace.to_string(),
            name: rule.name.to_string(),
            direction: rule.direction.into(),
            index: rule.index,
        };
        Bytes::from(message.encode_to_vec())
    });
    RuleInfo {
        id: set.id,
        default_deny: set.default_deny(),
        encoded_policies: policies.into_iter().map(|policy| encoded_policy(policy)).collect(),
        encoded_refs: encoded_refs.collect(),
        refs,
    }
}

fn encoded_policy(policy: &PolicyMeta) -> Bytes {
    let message = flow::Policy {
        name: policy.name.to_string(),
        namespace: policy.namespace.to_string(),
        labels: policy.label_texts().iter().map(ToString::to_string).collect(),
        revision: 0,
        kind: policy.kind.to_string(),
    };
    Bytes::from(message.encode_to_vec())
}
