//! What the reconciler tells others: endpoints and rules for the API, events, peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use fathom_api::fathom_v1::{Feature, LocalEndpoint, Rule};
use fathom_bpf::abi::TrafficCounter;
use fathom_identity::Registry;
use fathom_policy::spec;

use super::plan::Planner;
use super::publish::Publisher;
use super::reconcile::PeerNaming;
use super::transition::{Applied, Renamed};
use crate::attach::WantedPod;
use crate::cluster::index::Index;
use crate::cluster::model::NetworkPolicy;
use crate::cluster::snapshot::Snapshot;
use crate::cni::attachments::{Attachment, Attachments, EndpointState};
use crate::events::agent_events::AgentEvents;
use crate::observer::facts::{NodeFacts, wire_rule};
use crate::observer::node::NodeIdentity;
use crate::observer::peer::Peer;

/// The state after the last computation.
#[derive(Debug, Default)]
pub struct Report {
    pub endpoints: Vec<LocalEndpoint>,
    /// Pods of this node that have addresses and no endpoint: nobody attached them, so nothing is enforced.
    pub unattached: Vec<LocalEndpoint>,
    /// Rules that tables cite.
    pub rules: BTreeSet<u32>,
    /// What could not be done, in words; tried again every second.
    pub problems: Vec<String>,
    /// Identities whose table could not be installed, so that an older one is in force or none.
    pub tables_behind: usize,
}

/// Builds the report.
pub fn build(
    attachments: &Attachments,
    pods: &[WantedPod],
    publisher: &Publisher,
    applied: &Applied,
    problems: &BTreeSet<String>,
) -> Report {
    let endpoint = |attachment: &Attachment| {
        let ifindex = attachment.device.as_ref().map_or(0, |device| device.ifindex);
        let info = publisher.endpoint(&attachment.namespace, &attachment.pod_name);
        let identity = applied.contents.endpoints.get(&ifindex).map_or(0, |entry| entry.identity);
        let table = applied.contents.tables.get(&identity);
        LocalEndpoint {
            id: attachment.id.into(),
            namespace: attachment.namespace.clone(),
            pod_name: attachment.pod_name.clone(),
            identity,
            labels: info
                .map(|info| info.labels.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            addresses: attachment.addresses.iter().map(ToString::to_string).collect(),
            interface: attachment.host_interface.clone(),
            ifindex,
            ingress_enforced: table.is_some_and(|table| table.ingress.enforced),
            egress_enforced: table.is_some_and(|table| table.egress.enforced),
            state: match attachments.state(attachment.id) {
                Some(EndpointState::Ready { .. }) => "ready".to_owned(),
                Some(EndpointState::Waiting(why)) => why,
                None => "not installed yet".to_owned(),
            },
            ..Default::default()
        }
    };
    let attachments = attachments.list();
    let mut endpoints: Vec<LocalEndpoint> = attachments.iter().map(endpoint).collect();
    endpoints.sort_by_key(|endpoint| endpoint.id);
    Report {
        endpoints,
        unattached: unattached(&attachments, pods),
        rules: applied.rule_ids(),
        problems: problems.iter().cloned().collect(),
        tables_behind: 0,
    }
}

/// What a pod that nobody attached says as its state.
const UNATTACHED: &str = "not attached: neither observed nor enforced";

fn unattached(attachments: &[Attachment], pods: &[WantedPod]) -> Vec<LocalEndpoint> {
    let attached: BTreeSet<(&str, &str)> =
        attachments.iter().map(|a| (a.namespace.as_str(), a.pod_name.as_str())).collect();
    let without = pods
        .iter()
        .filter(|pod| !pod.ips.is_empty() && !attached.contains(&(&*pod.namespace, &*pod.name)))
        .map(|pod| LocalEndpoint {
            namespace: pod.namespace.to_string(),
            pod_name: pod.name.to_string(),
            addresses: pod.ips.iter().map(ToString::to_string).collect(),
            state: UNATTACHED.to_owned(),
            ..Default::default()
        });
    without.collect()
}

/// Reads what rules denied: packets and bytes by rule id.
pub type Denials = dyn Fn() -> Vec<(u32, TrafficCounter)> + Send + Sync;

/// Answers for `fathom.v1.Agent`.
pub struct ControlFacts {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub report: Arc<ArcSwap<Report>>,
    pub denials: Box<Denials>,
    pub features: Vec<Feature>,
}

impl NodeFacts for ControlFacts {
    fn rules(&self) -> Vec<Rule> {
        let (snapshot, report) = (self.snapshot.load(), self.report.load());
        let denials: BTreeMap<u32, TrafficCounter> = (self.denials)().into_iter().collect();
        // A rule that is gone is told as long as it denied something that can still be asked about.
        let ids: BTreeSet<u32> = report.rules.iter().chain(denials.keys()).copied().collect();
        let rules = ids.iter().filter_map(|id| snapshot.rules.get(id));
        rules
            .map(|rule| {
                let denied = denials.get(&rule.id).copied().unwrap_or_default();
                Rule { denied_packets: denied.packets, denied_bytes: denied.bytes, ..wire_rule(rule) }
            })
            .collect()
    }

    fn endpoints(&self) -> Vec<LocalEndpoint> {
        let report = self.report.load();
        report.endpoints.iter().chain(&report.unattached).cloned().collect()
    }

    fn features(&self) -> Vec<Feature> {
        self.features.clone()
    }
}

/// A policy's labels and text, for telling what changed.
pub type PolicyText = (Vec<Arc<str>>, spec::NetworkPolicy);

/// Policies by (namespace, name).
pub fn policy_texts(policies: &[Arc<NetworkPolicy>]) -> BTreeMap<(String, String), PolicyText> {
    let text = |policy: &Arc<NetworkPolicy>| {
        let key = (policy.written.namespace.clone(), policy.written.name.clone());
        let name = format!("k8s:io.kubernetes.policy.name={}", key.1).into();
        let namespace = format!("k8s:io.kubernetes.policy.namespace={}", key.0).into();
        let mut labels = policy.meaning.meta.label_texts();
        labels.extend([name, namespace]);
        (key, (labels, policy.written.clone()))
    };
    policies.iter().map(text).collect()
}

/// Tells which policies came, changed and went.
pub fn policy_events(
    events: &AgentEvents,
    before: &BTreeMap<(String, String), PolicyText>,
    after: &BTreeMap<(String, String), PolicyText>,
    revision: u64,
    rules: usize,
) {
    for (key, (labels, text)) in after {
        if before.get(key).map(|(_, old)| old) != Some(text) {
            events.policy_updated(labels, revision, rules);
        }
    }
    for (key, (labels, _)) in before {
        if !after.contains_key(key) {
            events.policy_deleted(labels, revision, rules);
        }
    }
}

/// Tells which endpoints came, got ready or stuck, and went.
pub fn endpoint_events(events: &AgentEvents, before: &Report, after: &Report, publisher: &Publisher) {
    let by_id = |report: &Report| -> BTreeMap<u32, LocalEndpoint> {
        report.endpoints.iter().map(|endpoint| (endpoint.id, endpoint.clone())).collect()
    };
    let (before, after) = (by_id(before), by_id(after));
    let info =
        |endpoint: &LocalEndpoint| publisher.endpoint(&endpoint.namespace, &endpoint.pod_name).cloned();
    for (id, endpoint) in &after {
        let Some(info) = info(endpoint) else { continue };
        let old = before.get(id);
        let is_ready = endpoint.state == "ready";
        let was_ready = old.is_some_and(|old| old.state == "ready");
        if is_ready && !was_ready {
            events.endpoint_created(&info);
        }
        if is_ready && (!was_ready || old.is_some_and(|old| old.identity != endpoint.identity)) {
            events.endpoint_regenerated(&info, Ok(()));
        } else if was_ready && !is_ready {
            events.endpoint_regenerated(&info, Err(&endpoint.state));
        }
    }
    for (_, endpoint) in before.iter().filter(|(id, _)| !after.contains_key(*id)) {
        let gone = crate::cluster::snapshot::EndpointInfo {
            id: endpoint.id,
            namespace: endpoint.namespace.as_str().into(),
            pod_name: endpoint.pod_name.as_str().into(),
            labels: endpoint.labels.iter().map(|label| label.as_str().into()).collect(),
            ..Default::default()
        };
        events.endpoint_deleted(&gone);
    }
}

/// Changes of addresses and prefixes that one computation tells one by one. A listing at the start or a
/// node that comes with all its pods would push everything else out of the history, which holds 1,024: such
/// a computation is one event that says how many. Who wants to know who is at an address asks for flows.
pub const TOLD_SINGLY: usize = 64;

/// Tells which addresses and prefixes stand for somebody else now.
pub fn ipcache_events<R: Registry>(
    events: &AgentEvents,
    renamed: &[Renamed],
    planner: &Planner<R>,
    publisher: &Publisher,
) {
    if renamed.len() > TOLD_SINGLY {
        let upserted = renamed.iter().filter(|change| change.now.is_some()).count();
        return events.ipcache_changed(upserted, renamed.len() - upserted);
    }
    if renamed.is_empty() {
        return;
    }
    let told: BTreeSet<IpAddr> = renamed.iter().map(|change| change.prefix.addr()).collect();
    let pods = planner.holders().filter_map(|(_, holder)| holder.pod.as_ref());
    let at = pods.flat_map(|pod| pod.ips.iter().filter(|ip| told.contains(ip)).map(move |ip| (*ip, pod)));
    let at: BTreeMap<IpAddr, _> = at.collect();
    for Renamed { prefix, before, now } in renamed {
        let Some(identity) = now else {
            events.ipcache_deleted(&prefix.to_string(), before.unwrap_or_default());
            continue;
        };
        let pod = at.get(&prefix.addr()).filter(|_| prefix.prefix_len() == prefix.max_prefix_len());
        let endpoint = pod.and_then(|pod| publisher.endpoint(&pod.namespace, &pod.name));
        events.ipcache_upserted(&prefix.to_string(), *identity, *before, endpoint.map(|info| &**info));
    }
}

/// Every node's agent, this one's too. IPv4 is preferred where a node has both.
pub fn peers(index: &Index, naming: &PeerNaming) -> Vec<Peer> {
    let peer = |node: &Arc<crate::cluster::model::Node>| {
        let v4 = node.internal_ips.iter().find(|ip| ip.is_ipv4());
        let ip: IpAddr = *v4.or_else(|| node.internal_ips.first())?;
        Some(Peer {
            name: NodeIdentity::new(&naming.cluster, &node.name, "").name.to_string(),
            address: SocketAddr::new(ip, naming.port).to_string(),
            tls_server_name: naming.tls.then(|| tls_server_name(&naming.cluster, &node.name)),
        })
    };
    index.nodes.iter().filter_map(peer).collect()
}

/// The name a node's certificate is expected to carry: dots are dashes, so that one wildcard per cluster
/// covers all nodes.
pub fn tls_server_name(cluster: &str, node: &str) -> String {
    format!("{}.{}.fathom-grpc.fathom.dev", node.replace('.', "-"), cluster.replace('.', "-"))
}
