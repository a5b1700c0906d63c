//! What is understood but probably not meant: selectors that select nobody, names nobody has.

use std::sync::Arc;

use fathom_identity::key::NAMESPACE_LABEL_PREFIX;
use fathom_identity::{Label, LabelFilter};
use thiserror::Error;

use crate::policy::{Namespaces, Peer, Peers, Policy, PolicyMeta, PortMatch, Ports, Rule};
use crate::table::Direction;
use crate::world::World;

/// A remark about a policy that works as written. Never an error: pods may still come.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Notice {
    #[error("{} {}/{}: spec.podSelector selects no pod of namespace {}", policy.kind, policy.namespace, policy.name, policy.namespace)]
    SelectsNoPod { policy: Arc<PolicyMeta> },
    #[error("{} {}/{}: {place} matches no pod", policy.kind, policy.namespace, policy.name)]
    PeerMatchesNoPod { policy: Arc<PolicyMeta>, place: String },
    #[error("{} {}/{}: {place}: no pod has a {name:?} port, so it allows nothing", policy.kind, policy.namespace, policy.name)]
    NobodyHasPort { policy: Arc<PolicyMeta>, place: String, name: Arc<str> },
    #[error("{} {}/{}: {place}: addresses have no port names, so {name:?} allows nothing to an ipBlock: write the number", policy.kind, policy.namespace, policy.name)]
    NamedPortOfAddresses { policy: Arc<PolicyMeta>, place: String, name: Arc<str> },
    #[error("{} {}/{}: selects on label {key}, which differs from pod to pod and is kept only for this: expect an identity per value", policy.kind, policy.namespace, policy.name)]
    AsksForFilteredLabel { policy: Arc<PolicyMeta>, key: Arc<str> },
    #[error("{} {}/{}: selects on label {key}, which identities leave out: add it with --labels", policy.kind, policy.namespace, policy.name)]
    LabelLeftOut { policy: Arc<PolicyMeta>, key: Arc<str> },
}

/// Remarks about one policy.
pub fn audit(policy: &Policy, world: &World, filter: &LabelFilter) -> Vec<Notice> {
    let mut notices = Vec::new();
    for key in crate::asked_labels([policy]) {
        let label = Label::k8s(key.clone(), "");
        let shown = key.strip_prefix(NAMESPACE_LABEL_PREFIX).map_or(key.clone(), Arc::from);
        if !filter.takes(&label) {
            notices.push(Notice::LabelLeftOut { policy: policy.meta.clone(), key: shown });
        } else if !filter.takes_by_rules(&label) {
            notices.push(Notice::AsksForFilteredLabel { policy: policy.meta.clone(), key: shown });
        }
    }
    if !world.members.iter().any(|member| world.is_subject(policy, member)) {
        notices.push(Notice::SelectsNoPod { policy: policy.meta.clone() });
    }
    for direction in Direction::BOTH {
        for (index, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
            audit_rule(policy, world, direction, index, rule, &mut notices);
        }
    }
    notices
}

fn audit_rule(
    policy: &Policy,
    world: &World,
    direction: Direction,
    index: usize,
    rule: &Rule,
    notices: &mut Vec<Notice>,
) {
    let Rule::Allow { peers, ports } = rule else { return };
    let (name, list) = match direction {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    };
    let peers: &[Peer] = if let Peers::Of(peers) = peers { peers } else { &[] };
    for (at, peer) in peers.iter().enumerate() {
        if matches!(peer, Peer::Pods { .. }) && world.select(policy, peer).is_empty() {
            let place = format!("spec.{name}[{index}].{list}[{at}]{}", selectors(peer));
            notices.push(Notice::PeerMatchesNoPod { policy: policy.meta.clone(), place });
        }
    }
    let Ports::Of(ports) = ports else { return };
    for (at, port) in ports.iter().enumerate() {
        let PortMatch::Named { protocol, name: port } = port else { continue };
        let place = format!("spec.{name}[{index}].ports[{at}]");
        let (policy, port) = (policy.meta.clone(), port.clone());
        let blocks = peers.iter().any(|peer| matches!(peer, Peer::Block(_)));
        let known = world.members.iter().flat_map(|member| &member.named_ports);
        if direction == Direction::Egress && blocks {
            notices.push(Notice::NamedPortOfAddresses { policy, place, name: port });
        } else if !known.clone().any(|known| known.name == port && known.protocol == *protocol) {
            notices.push(Notice::NobodyHasPort { policy, place, name: port });
        }
    }
}

/// Which selectors a peer is made of.
fn selectors(peer: &Peer) -> &'static str {
    match peer {
        Peer::Pods { namespaces: Namespaces::Matching(_), pods } if !pods.requirements.is_empty() => {
            " (namespaceSelector and podSelector)"
        }
        Peer::Pods { namespaces: Namespaces::Matching(_), .. } => " (namespaceSelector)",
        _ => "",
    }
}
