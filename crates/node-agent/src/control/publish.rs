//! Snapshots for the joiner: the cluster as it is now, and for a while as it was.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use fathom_identity::{Registry, reserved};
use fathom_policy::{RuleRegistry, RuleSet};
use hashbrown::HashMap;

use super::describe;
use super::fading::Fading;
use super::plan::{LocalPod, Plan, Planner, ThisNode, owner};
use super::services::FrontendKey;
use crate::cluster::index::Index;
use crate::cluster::model::Pod;
use crate::cluster::snapshot::{Device, EndpointInfo, RuleInfo, ServiceInfo, Snapshot};

/// Builds and publishes snapshots.
pub struct Publisher {
    node: ThisNode,
    snapshot: Arc<ArcSwap<Snapshot>>,
    revision: u64,
    by_ip: Fading<IpAddr, EndpointInfo>,
    by_identity: Fading<u32, EndpointInfo>,
    devices: Fading<u32, Device>,
    services: Fading<FrontendKey, ServiceInfo>,
    node_labels: Vec<Arc<str>>,
    pods: BTreeMap<Arc<str>, Described>,
    rules: HashMap<u32, (Arc<RuleSet>, Arc<RuleInfo>), foldhash::fast::RandomState>,
}

/// A pod as it was last described, and from what.
struct Described {
    pod: Option<Arc<Pod>>,
    number: u32,
    id: u32,
    info: Arc<EndpointInfo>,
}

impl Publisher {
    pub fn new(node: ThisNode, snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Publisher {
            node,
            snapshot,
            revision: 0,
            by_ip: Fading::default(),
            by_identity: Fading::default(),
            devices: Fading::default(),
            services: Fading::default(),
            node_labels: Vec::new(),
            pods: BTreeMap::new(),
            rules: HashMap::default(),
        }
    }

    pub fn node(&self) -> &ThisNode {
        &self.node
    }

    /// Takes in a computation. [`Self::publish`] makes it visible.
    pub fn update<R: Registry>(
        &mut self,
        index: &Index,
        planner: &Planner<R>,
        plan: &Plan,
        locals: &[(LocalPod, Arc<str>)],
        host_addresses: impl IntoIterator<Item = IpAddr>,
        now: Instant,
    ) {
        let here = index.nodes.get("", &self.node.name);
        let labels = here.into_iter().flat_map(|node| &node.labels);
        self.node_labels = labels.map(|(key, value)| format!("{key}={value}").into()).collect();
        self.describe_pods(planner, locals);

        let mut by_ip: Vec<(IpAddr, Arc<EndpointInfo>)> = Vec::new();
        for node in index.nodes.iter() {
            let local = node.name == self.node.name;
            let identity = if local { reserved::HOST } else { reserved::REMOTE_NODE };
            let info = Arc::new(describe::node(&self.node, &node.name, identity));
            by_ip.extend(node.internal_ips.iter().map(|ip| (*ip, info.clone())));
        }
        for (owner, holder) in planner.holders() {
            let (Some(pod), Some(described)) = (&holder.pod, self.pods.get(owner)) else { continue };
            by_ip.extend(pod.ips.iter().map(|ip| (*ip, described.info.clone())));
        }
        let mut devices = Vec::new();
        for (local, device) in locals {
            let endpoint = match self.pods.get(&owner(&local.namespace, &local.name)) {
                Some(described) => described.info.clone(),
                None => Arc::new(describe::unknown_pod(&self.node, &local.namespace, &local.name, local.id)),
            };
            by_ip.extend(local.addresses.iter().map(|ip| (*ip, endpoint.clone())));
            devices.push((local.ifindex, Arc::new(Device { name: device.clone(), endpoint })));
        }
        let host = Arc::new(describe::node(&self.node, &self.node.name, reserved::HOST));
        by_ip.extend(host_addresses.into_iter().map(|ip| (ip, host.clone())));
        self.by_ip.update(by_ip, now);
        self.devices.update(devices, now);
        self.by_identity.update(self.identities(planner), now);
        let services = plan
            .frontends
            .iter()
            .map(|(key, (id, frontend))| (*key, Arc::new(describe::service(*id, frontend))));
        self.services.update(services, now);
    }

    fn describe_pods<R: Registry>(&mut self, planner: &Planner<R>, locals: &[(LocalPod, Arc<str>)]) {
        let ids: BTreeMap<Arc<str>, u32> =
            locals.iter().map(|(local, _)| (owner(&local.namespace, &local.name), local.id)).collect();
        let mut pods = BTreeMap::new();
        for (owner, holder) in planner.holders() {
            let id = ids.get(owner).copied().unwrap_or(0);
            let same_object = |known: &Option<Arc<Pod>>| match (known, &holder.pod) {
                (Some(known), Some(pod)) => Arc::ptr_eq(known, pod),
                (None, None) => true,
                _ => false,
            };
            let described = match self.pods.remove(owner) {
                Some(known) if known.number == holder.number && known.id == id && same_object(&known.pod) => {
                    known
                }
                _ => {
                    let (namespace, name) = owner.split_once('/').unwrap_or_default();
                    let info = Arc::new(describe::pod(&self.node, namespace, name, id, holder));
                    Described { pod: holder.pod.clone(), number: holder.number, id, info }
                }
            };
            pods.insert(owner.clone(), described);
        }
        self.pods = pods;
    }

    fn identities<R: Registry>(&self, planner: &Planner<R>) -> Vec<(u32, Arc<EndpointInfo>)> {
        let fixed = reserved::all().filter_map(|(number, _)| Some((number, reserved::labels(number)?)));
        let fixed = fixed.map(|(number, labels)| (number, describe::identity(&self.node, number, &labels)));
        let pods = planner.identities().iter();
        let pods = pods.map(|(number, labels)| (number, describe::identity(&self.node, number, labels)));
        let cidrs = planner.cidrs().iter();
        let cidrs = cidrs.map(|(prefix, number)| (number, describe::cidr(&self.node, prefix, number)));
        fixed.chain(pods).chain(cidrs).map(|(number, info)| (number, Arc::new(info))).collect()
    }

    /// Makes everything taken in so far visible, with these rules.
    pub fn publish(&mut self, rules: &RuleRegistry) {
        self.revision += 1;
        self.take_rules(rules);
        let services = self.services.iter().map(|(key, info)| ((key.0, key.1, key.2), info.clone()));
        let by_id = self.services.iter().map(|(key, info)| (info.id, (info.clone(), key.0)));
        self.snapshot.store(Arc::new(Snapshot {
            revision: self.revision,
            node_name: self.node.name.clone(),
            cluster_name: self.node.cluster.clone(),
            node_labels: self.node_labels.clone(),
            by_ip: self.by_ip.iter().map(|(ip, info)| (*ip, info.clone())).collect(),
            by_identity: self.by_identity.iter().map(|(number, info)| (*number, info.clone())).collect(),
            by_ifindex: self.devices.iter().map(|(ifindex, device)| (*ifindex, device.clone())).collect(),
            services: services.collect(),
            services_by_id: by_id.collect(),
            rules: self.rules.iter().map(|(id, (_, info))| (*id, info.clone())).collect(),
        }));
    }

    fn take_rules(&mut self, rules: &RuleRegistry) {
        let mut known = std::mem::take(&mut self.rules);
        for (set, _) in rules.iter() {
            let info = match known.remove(&set.id) {
                Some((old, info)) if Arc::ptr_eq(&old, set) => info,
                _ => Arc::new(describe::rule(set)),
            };
            self.rules.insert(set.id, (set.clone(), info));
        }
    }

    /// Whether something published is on its way out, so that another update is due.
    pub fn is_fading(&self) -> bool {
        self.by_ip.is_fading()
            || self.by_identity.is_fading()
            || self.devices.is_fading()
            || self.services.is_fading()
    }

    /// The pod at a local endpoint, as last described.
    pub fn endpoint(&self, namespace: &str, name: &str) -> Option<&Arc<EndpointInfo>> {
        self.pods.get(&owner(namespace, name)).map(|described| &described.info)
    }
}
