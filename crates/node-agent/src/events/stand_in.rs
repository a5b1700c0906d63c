//! Endpoints made for what the snapshot does not know: made once, kept until the next snapshot.

use std::sync::Arc;

use bytes::Bytes;
use fathom_api::flow as wire;
use hashbrown::HashMap;
use prost::Message;

use crate::cluster::snapshot::{EndpointInfo, Snapshot};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// How many are kept of each kind. The network can make us meet many identities (a node-local
/// identity per CIDR), never more than this many at a time.
const LIMIT: usize = 4096;

/// Endpoints that exist only because a record names an identity.
#[derive(Default)]
pub(super) struct StandIns {
    nobody: Arc<EndpointInfo>,
    by_identity: Map<u32, Arc<EndpointInfo>>,
    /// By (address of the known endpoint, identity in the record); the known endpoint is kept beside,
    /// so that its address can't be used again.
    renumbered: Map<(usize, u32), (Arc<EndpointInfo>, Arc<EndpointInfo>)>,
}

impl StandIns {
    /// Nothing is known: no identity, no name.
    pub(super) fn nobody(&self) -> &Arc<EndpointInfo> {
        &self.nobody
    }

    /// Forgets everything: a new snapshot may know better.
    pub(super) fn clear(&mut self) {
        self.by_identity.clear();
        self.renumbered.clear();
    }

    /// An endpoint of which only the identity is known.
    pub(super) fn for_identity(&mut self, identity: u32) -> Arc<EndpointInfo> {
        if identity == 0 {
            return Arc::clone(&self.nobody);
        }
        if self.by_identity.len() >= LIMIT && !self.by_identity.contains_key(&identity) {
            self.by_identity.clear();
        }
        let made = || {
            let labels = reserved_name(identity).map(|name| format!("reserved:{name}").into());
            encoded(EndpointInfo { identity, labels: labels.into_iter().collect(), ..Default::default() })
        };
        Arc::clone(self.by_identity.entry(identity).or_insert_with(made))
    }

    /// `known`, with the identity the record was decided with when that is another one.
    pub(super) fn with_identity(
        &mut self,
        known: &Arc<EndpointInfo>,
        identity: u32,
        snapshot: &Snapshot,
    ) -> Arc<EndpointInfo> {
        if identity == 0 || identity == known.identity {
            return Arc::clone(known);
        }
        let key = (Arc::as_ptr(known).addr(), identity);
        if self.renumbered.len() >= LIMIT && !self.renumbered.contains_key(&key) {
            self.renumbered.clear();
        }
        let made = || {
            let labels = snapshot.by_identity.get(&identity).unwrap_or(known).labels.clone();
            let info = EndpointInfo {
                id: known.id,
                identity,
                namespace: Arc::clone(&known.namespace),
                pod_name: Arc::clone(&known.pod_name),
                labels,
                workload: known.workload.clone(),
                cluster_name: Arc::clone(&known.cluster_name),
                node_name: Arc::clone(&known.node_name),
                encoded: Bytes::new(),
            };
            (Arc::clone(known), encoded(info))
        };
        Arc::clone(&self.renumbered.entry(key).or_insert_with(made).1)
    }
}

/// Fills in the wire form.
fn encoded(mut info: EndpointInfo) -> Arc<EndpointInfo> {
    let message = wire::Endpoint {
        id: info.id,
        identity: info.identity,
        namespace: info.namespace.to_string(),
        labels: info.labels.iter().map(ToString::to_string).collect(),
        pod_name: info.pod_name.to_string(),
        workloads: (info.workload.iter())
            .map(|(name, kind)| wire::Workload { name: name.to_string(), kind: kind.to_string() })
            .collect(),
        cluster_name: info.cluster_name.to_string(),
    };
    info.encoded = message.encode_to_vec().into();
    Arc::new(info)
}

/// Reserved identities, as their labels name them.
fn reserved_name(identity: u32) -> Option<&'static str> {
    Some(match identity {
        1 => "host",
        2 => "world",
        3 => "unmanaged",
        4 => "health",
        5 => "init",
        6 => "remote-node",
        7 => "kube-apiserver",
        8 => "ingress",
        9 => "world-ipv4",
        10 => "world-ipv6",
        _ => return None,
    })
}
