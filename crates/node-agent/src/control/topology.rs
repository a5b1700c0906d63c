//! Which of a service's endpoints a node sends new connections to: the rules of Kubernetes.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/>,
//! <https://kubernetes.io/docs/concepts/services-networking/service-traffic-policy/>,
//! <https://kubernetes.io/docs/tutorials/services/pods-and-endpoint-termination-flow/>

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::model::TrafficDistribution;

/// Label of a node that names its zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// One address and port of an endpoint, with what decides whether it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub address: (IpAddr, u16),
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub node: Option<Arc<str>>,
    /// Zones and nodes that it is meant for; empty = not said.
    pub for_zones: BTreeSet<Arc<str>>,
    pub for_nodes: BTreeSet<Arc<str>>,
}

/// Where the node is.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    pub node: &'a str,
    pub zone: Option<&'a str>,
}

/// Endpoints anywhere: ready ones, near ones alone where hints say so; when there is none, those that still
/// serve while they terminate, so that a rollout's last pods finish what they have.
///
/// `candidates` are of one service port and one address family.
pub fn anywhere(candidates: &[Candidate], here: Here<'_>) -> BTreeSet<(IpAddr, u16)> {
    let near = nearness(candidates, here);
    ready_or_terminating(candidates, |candidate| near.holds(candidate, here), |_| true)
}

/// Endpoints on this node: the same, without hints.
pub fn on_this_node(candidates: &[Candidate], here: Here<'_>) -> BTreeSet<(IpAddr, u16)> {
    let local = |candidate: &Candidate| candidate.node.as_deref() == Some(here.node);
    ready_or_terminating(candidates, local, local)
}

/// The hints that the controller of EndpointSlices would write, where nobody runs it.
pub fn hint(candidate: &mut Candidate, distribution: Option<TrafficDistribution>, zone: Option<&Arc<str>>) {
    let Some(distribution) = distribution else { return };
    candidate.for_zones.extend(zone.cloned());
    if distribution == TrafficDistribution::SameNode {
        candidate.for_nodes.extend(candidate.node.clone());
    }
}

fn ready_or_terminating(
    candidates: &[Candidate],
    ready: impl Fn(&Candidate) -> bool,
    terminating: impl Fn(&Candidate) -> bool,
) -> BTreeSet<(IpAddr, u16)> {
    let addresses = |wanted: &dyn Fn(&Candidate) -> bool| -> BTreeSet<(IpAddr, u16)> {
        candidates.iter().filter(|candidate| wanted(candidate)).map(|candidate| candidate.address).collect()
    };
    let found = addresses(&|candidate| candidate.ready && ready(candidate));
    if !found.is_empty() {
        return found;
    }
    addresses(&|candidate| candidate.serving && candidate.terminating && terminating(candidate))
}

/// How far hints narrow the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nearness {
    Any,
    Zone,
    Node,
}

impl Nearness {
    fn holds(self, candidate: &Candidate, here: Here<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Zone => here.zone.is_some_and(|zone| candidate.for_zones.contains(zone)),
            Self::Node => candidate.for_nodes.contains(here.node),
        }
    }
}

/// Hints count when every ready endpoint has one and some endpoint is meant for this place: else the
/// controller is between two states, or the place has none, and all are used.
fn nearness(candidates: &[Candidate], here: Here<'_>) -> Nearness {
    let ready = || candidates.iter().filter(|candidate| candidate.ready);
    for (nearness, hints) in [
        (Nearness::Node, (|c| &c.for_nodes) as fn(&Candidate) -> &BTreeSet<Arc<str>>),
        (Nearness::Zone, |c| &c.for_zones),
    ] {
        if ready().all(|candidate| !hints(candidate).is_empty())
            && ready().any(|candidate| nearness.holds(candidate, here))
        {
            return nearness;
        }
    }
    Nearness::Any
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Here<'static> = Here { node: "n1", zone: Some("z1") };

    /// Endpoint 10.0.0.`last` on a node, for zones and nodes ("z1 z2", "n1"); "r" ready, "t" terminating.
    fn candidate(last: u8, state: &str, node: &str, zones: &str, nodes: &str) -> Candidate {
        let words = |text: &str| text.split_whitespace().map(Arc::from).collect();
        Candidate {
            address: (IpAddr::from([10, 0, 0, last]), 80),
            ready: state == "r",
            serving: state != "-",
            terminating: state == "t",
            node: Some(node.into()),
            for_zones: words(zones),
            for_nodes: words(nodes),
        }
    }

    fn last_bytes(set: BTreeSet<(IpAddr, u16)>) -> Vec<u8> {
        let last = |ip| if let IpAddr::V4(ip) = ip { ip.octets()[3] } else { 0 };
        set.into_iter().map(|(ip, _)| last(ip)).collect()
    }

    #[test]
    fn a_zones_own_endpoints_are_used_alone() {
        let all = [candidate(1, "r", "n2", "z1", ""), candidate(2, "r", "n3", "z2", "")];
        assert_eq!(last_bytes(anywhere(&all, HERE)), [1]);
        assert_eq!(last_bytes(anywhere(&all, Here { zone: Some("z2"), ..HERE })), [2]);
    }

    #[test]
    fn a_zone_without_hints_and_a_node_without_zone_use_all() {
        let all = [candidate(1, "r", "n2", "z1", ""), candidate(2, "r", "n3", "z2", "")];
        assert_eq!(last_bytes(anywhere(&all, Here { zone: Some("z3"), ..HERE })), [1, 2]);
        assert_eq!(last_bytes(anywhere(&all, Here { zone: None, ..HERE })), [1, 2]);
    }

    #[test]
    fn one_ready_endpoint_without_hint_makes_all_be_used_and_one_that_is_not_ready_does_not() {
        let mut all = vec![candidate(1, "r", "n2", "z1", ""), candidate(2, "r", "n3", "", "")];
        assert_eq!(last_bytes(anywhere(&all, HERE)), [1, 2]);
        all[1] = candidate(2, "t", "n3", "", "");
        assert_eq!(last_bytes(anywhere(&all, HERE)), [1]);
    }

    #[test]
    fn hints_for_nodes_go_before_hints_for_zones_and_fall_back_to_them() {
        let all = [
            candidate(1, "r", "n1", "z1", "n1"),
            candidate(2, "r", "n2", "z1", "n2"),
            candidate(3, "r", "n3", "z2", "n3"),
        ];
        assert_eq!(last_bytes(anywhere(&all, HERE)), [1]);
        assert_eq!(last_bytes(anywhere(&all, Here { node: "n9", ..HERE })), [1, 2], "the zone's");
        let nowhere = Here { node: "n9", zone: Some("z9") };
        assert_eq!(last_bytes(anywhere(&all, nowhere)), [1, 2, 3]);
    }

    #[test]
    fn terminating_endpoints_serve_when_none_is_ready_wherever_they_are_meant_for() {
        let all = [
            candidate(1, "t", "n1", "z1", ""),
            candidate(2, "t", "n2", "z2", ""),
            candidate(3, "-", "n1", "z1", ""),
        ];
        assert_eq!(last_bytes(anywhere(&all, HERE)), [1, 2]);
        assert_eq!(last_bytes(on_this_node(&all, HERE)), [1]);
    }

    #[test]
    fn a_local_policy_knows_this_nodes_endpoints_alone_and_no_hints() {
        let all = [candidate(1, "r", "n1", "z2", "n2"), candidate(2, "r", "n2", "z1", "n1")];
        assert_eq!(last_bytes(on_this_node(&all, HERE)), [1]);
        assert_eq!(last_bytes(on_this_node(&all, Here { node: "n9", ..HERE })), [0u8; 0]);
        // A ready endpoint elsewhere doesn't keep a terminating one here from finishing.
        let all = [candidate(1, "t", "n1", "", ""), candidate(2, "r", "n2", "", "")];
        assert_eq!(last_bytes(on_this_node(&all, HERE)), [1]);
    }

    #[test]
    fn hints_are_made_up_as_the_controller_would() {
        let (zone, mut near, mut same) =
            (Arc::from("z1"), candidate(1, "r", "n1", "", ""), candidate(1, "r", "n1", "", ""));
        hint(&mut near, Some(TrafficDistribution::SameZone), Some(&zone));
        assert_eq!(near, candidate(1, "r", "n1", "z1", ""));
        hint(&mut same, Some(TrafficDistribution::SameNode), Some(&zone));
        assert_eq!(same, candidate(1, "r", "n1", "z1", "n1"));
        let mut none = candidate(1, "r", "n1", "", "");
        hint(&mut none, None, Some(&zone));
        assert_eq!(none, candidate(1, "r", "n1", "", ""));
    }
}
