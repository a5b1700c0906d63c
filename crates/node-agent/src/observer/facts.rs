//! What the control side knows of this node, as `fathom.v1.Agent` tells it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fathom_api::fathom_v1::{Feature, LocalEndpoint, Rule, RuleRef};

use crate::cluster::snapshot::{RuleInfo, Snapshot};

/// Answers other than the ledger. `node_name` fields are filled in by the caller.
pub trait NodeFacts: Send + Sync {
    /// The installed rules, with what they denied.
    fn rules(&self) -> Vec<Rule>;

    /// The local endpoints and the state of their enforcement.
    fn endpoints(&self) -> Vec<LocalEndpoint>;

    /// What kernel and agent can and can't do here.
    fn features(&self) -> Vec<Feature>;
}

/// As much as the joiner's snapshot tells: until the control side gives better, and for tests.
pub struct SnapshotFacts {
    snapshot: Arc<ArcSwap<Snapshot>>,
}

impl SnapshotFacts {
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { snapshot }
    }
}

impl NodeFacts for SnapshotFacts {
    fn rules(&self) -> Vec<Rule> {
        let snapshot = self.snapshot.load();
        let sorted: BTreeMap<_, _> = snapshot.rules.iter().collect();
        sorted.into_values().map(|rule| wire_rule(rule)).collect()
    }

    fn endpoints(&self) -> Vec<LocalEndpoint> {
        let snapshot = self.snapshot.load();
        let sorted: BTreeMap<_, _> = snapshot.by_ifindex.iter().collect();
        let wire = |(ifindex, device): (&u32, &Arc<crate::cluster::snapshot::Device>)| {
            let endpoint = &device.endpoint;
            let same = snapshot.by_ip.iter().filter(|(_, other)| Arc::ptr_eq(other, endpoint));
            let mut addresses: Vec<_> = same.map(|(address, _)| *address).collect();
            addresses.sort_unstable();
            LocalEndpoint {
                id: endpoint.id,
                namespace: endpoint.namespace.to_string(),
                pod_name: endpoint.pod_name.to_string(),
                identity: endpoint.identity,
                labels: endpoint.labels.iter().map(ToString::to_string).collect(),
                addresses: addresses.iter().map(ToString::to_string).collect(),
                interface: device.name.to_string(),
                ifindex: *ifindex,
                ..Default::default()
            }
        };
        sorted.into_iter().map(wire).collect()
    }

    fn features(&self) -> Vec<Feature> {
        Vec::new()
    }
}

/// A rule as the API names it, nothing denied yet.
pub fn wire_rule(rule: &RuleInfo) -> Rule {
    let refs = rule.refs.iter().map(|rule| RuleRef {
        kind: rule.kind.to_string(),
        namespace: rule.namespace.to_string(),
        name: rule.name.to_string(),
        direction: rule.direction.into(),
        index: rule.index,
    });
    Rule { id: rule.id, refs: refs.collect(), default_deny: rule.default_deny, ..Default::default() }
}
