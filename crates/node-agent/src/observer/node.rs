//! This node as its flows and answers name it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use fathom_api::uuid::UuidSpace;
use fathom_api::write::NodeFields;

use crate::cluster::snapshot::Snapshot;

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    /// `cluster/node`, or `node` in the cluster named "default".
    pub name: Arc<str>,
    /// Semantic version of the agent.
    pub version: Arc<str>,
    pub uuids: UuidSpace,
}

/// Name of the cluster that is left out of node names.
const DEFAULT_CLUSTER: &str = "default";

impl NodeIdentity {
    pub fn new(cluster: &str, node: &str, version: &str) -> Self {
        let name = if cluster.is_empty() || cluster == DEFAULT_CLUSTER {
            node.into()
        } else {
            format!("{cluster}/{node}").into()
        };
        Self { name, version: version.into(), uuids: UuidSpace::random() }
    }
}

/// The node as of one snapshot: what one stream writes into every flow.
#[derive(Debug)]
pub struct Node {
    pub identity: NodeIdentity,
    pub labels: Vec<Arc<str>>,
    pub fields: NodeFields,
    revision: u64,
}

impl Node {
    pub fn new(identity: NodeIdentity, snapshot: &Snapshot) -> Self {
        let labels = snapshot.node_labels.clone();
        let fields = NodeFields::new(&identity.name, labels.iter().map(|label| &**label), &identity.version);
        Self { identity, labels, fields, revision: snapshot.revision }
    }

    /// Takes up labels that changed.
    pub fn refresh(&mut self, newest: &ArcSwap<Snapshot>) {
        let snapshot = newest.load();
        if snapshot.revision == self.revision {
            return;
        }
        self.revision = snapshot.revision;
        if snapshot.node_labels != self.labels {
            *self = Self::new(self.identity.clone(), &snapshot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_cluster_is_left_out_of_the_name() {
        assert_eq!(&*NodeIdentity::new("default", "node-a", "0.1.0").name, "node-a");
        assert_eq!(&*NodeIdentity::new("", "node-a", "0.1.0").name, "node-a");
        assert_eq!(&*NodeIdentity::new("east", "node-a", "0.1.0").name, "east/node-a");
    }
}
