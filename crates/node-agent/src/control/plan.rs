//! What the tables should hold, computed whole from the objects and the local endpoints.
//!
//! The planner remembers only what must outlive a computation: who holds which identity, which numbers
//! prefixes and services have, who spoke last for an address.
//!
//! An address belongs to whoever can know: this node's own, then pods wired here, then Node objects, then
//! Pod objects, whose status any author may fill in. The last claim counts only among equals.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_identity::{
    AllocateError, CidrIdentities, Conflict, Identities, Ipcache, IpcacheEntry, LabelFilter, LabelSet,
    PodMeta, PodScope, Rank, Registry, reserved,
};
use fathom_policy::{NamedPort, PodFacts, asked_labels, required_prefixes};

use super::services::{Frontend, FrontendKey, Health, OwnNode, frontends};
use super::transition::{Applied, Facts, Wanted, WantedEndpoint};
use crate::cluster::index::Index;
use crate::cluster::model::{Namespace, NetworkPolicy, Pod};
use crate::datapath::{Contents, EndpointEntry, ServiceSpec};

/// How long an identity outlives its last pod: events and packets on their way still have a name.
pub const IDENTITY_GRACE: Duration = Duration::from_secs(30);

/// A pod wired to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPod {
    pub id: u32,
    pub ifindex: u32,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub addresses: Vec<IpAddr>,
    pub netns_cookie: u64,
    /// What it last was, for when its object is not there (yet, or any more).
    pub last_known: Option<LastKnown>,
}

/// Enough of a pod to go on enforcing what was in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastKnown {
    pub labels: LabelSet,
    pub named_ports: BTreeSet<NamedPort>,
    pub l7_off: bool,
}

/// Facts about this node.
#[derive(Clone, Debug)]
pub struct ThisNode {
    pub name: Arc<str>,
    pub cluster: Arc<str>,
    /// Application messages are looked at, but those of pods that opted out.
    pub l7: bool,
    /// Ports of the node that lead to pods are ours to keep.
    pub host_ports: bool,
}

/// What one computation yields.
#[derive(Debug, Default)]
pub struct Plan {
    pub wanted: Wanted,
    pub frontends: BTreeMap<FrontendKey, (u32, Frontend)>,
    /// What load balancers are told, by port.
    pub health: BTreeMap<u16, Health>,
    /// What could not be planned, in words.
    pub problems: Vec<String>,
    /// Pods that wait for the cluster's answer which identity they have.
    pub waiting: Vec<Arc<str>>,
    /// The label filter shrinks with the next computation: do one soon.
    pub again: bool,
}

/// See the module.
pub struct Planner<R> {
    node: ThisNode,
    filter: LabelFilter,
    filter_generation: u64,
    asked: BTreeSet<Arc<str>>,
    policies: Vec<Arc<NetworkPolicy>>,
    identities: Identities<R>,
    holders: BTreeMap<Arc<str>, Holder>,
    cidrs: CidrIdentities,
    ipcache: Ipcache,
    spoken_for: BTreeSet<(IpAddr, Arc<str>)>,
    service_ids: BTreeMap<FrontendKey, u32>,
    last_service_id: u32,
}

/// Somebody who has an identity: a pod, by "namespace/name".
#[derive(Debug)]
pub struct Holder {
    pub number: u32,
    pub labels: LabelSet,
    pub named_ports: BTreeSet<NamedPort>,
    /// Its application messages are not looked at.
    pub l7_off: bool,
    /// The object; `None` for a local endpoint whose object is gone.
    pub pod: Option<Arc<Pod>>,
    namespace: Option<Arc<Namespace>>,
    filter_generation: u64,
}

impl<R: Registry> Planner<R> {
    /// Begins with the numbers an earlier process gave out.
    pub fn new(node: ThisNode, filter: LabelFilter, registry: R, contents: &Contents) -> Self {
        let mut cidrs = CidrIdentities::new();
        cidrs.restore(contents.prefixes.iter().map(|(prefix, number)| (*prefix, *number)));
        let service_ids: BTreeMap<FrontendKey, u32> =
            contents.services.values().map(|spec| (key_of(spec), spec.id)).collect();
        Planner {
            node,
            filter,
            filter_generation: 0,
            asked: BTreeSet::new(),
            policies: Vec::new(),
            identities: Identities::new(registry, IDENTITY_GRACE),
            holders: BTreeMap::new(),
            cidrs,
            ipcache: Ipcache::new(),
            spoken_for: BTreeSet::new(),
            last_service_id: service_ids.values().copied().max().unwrap_or(0),
            service_ids,
        }
    }

    /// Pods with identities, by "namespace/name".
    pub fn holder(&self, namespace: &str, name: &str) -> Option<&Holder> {
        self.holders.get(&*owner(namespace, name))
    }

    pub fn holders(&self) -> impl Iterator<Item = (&Arc<str>, &Holder)> + '_ {
        self.holders.iter()
    }

    pub fn identities(&self) -> &Identities<R> {
        &self.identities
    }

    pub fn cidrs(&self) -> &CidrIdentities {
        &self.cidrs
    }

    /// The policies of the last computation.
    pub fn policies(&self) -> &[Arc<NetworkPolicy>] {
        &self.policies
    }

    pub fn filter(&self) -> &LabelFilter {
        &self.filter
    }

    pub fn ipcache(&self) -> &Ipcache {
        &self.ipcache
    }

    /// Computes everything. `host_addresses` are this node's own; `applied` says which numbers are still
    /// in tables, and `labels_of` what a number that only tables know stands for.
    pub fn plan(
        &mut self,
        index: &Index,
        locals: &[LocalPod],
        host_addresses: &BTreeSet<IpAddr>,
        applied: &Applied,
        labels_of: &dyn Fn(u32) -> Option<LabelSet>,
        now: Instant,
    ) -> Plan {
        let mut plan = Plan::default();
        self.take_policies(index, &mut plan);
        self.hold_all(index, locals, now, &mut plan);
        self.prefixes(&mut plan);
        self.addresses(index, locals, host_addresses, &mut plan);
        plan.problems.extend(super::routes::refused(index));
        plan.wanted.addresses = self.ipcache.addresses().map(|(ip, entry)| (ip, entry.identity)).collect();
        plan.wanted.l7_here = self.l7_here(locals, host_addresses);
        plan.wanted.facts = self.facts(applied, labels_of);
        self.tell_what_is_in_use(locals);
        plan.wanted.endpoints = locals.iter().map(|local| (local.ifindex, self.endpoint(local))).collect();
        self.services(index, locals, host_addresses, &mut plan);
        plan
    }

    /// Numbers of pods wired here are not given up.
    fn tell_what_is_in_use(&self, locals: &[LocalPod]) {
        let holders = locals.iter().filter_map(|local| self.holder(&local.namespace, &local.name));
        let numbers = holders.filter_map(|holder| u16::try_from(holder.number).ok()).collect();
        self.identities.registry().in_use(&numbers);
    }

    /// Labels that new policies ask for count at once; those that no policy asks for any more count until
    /// the next computation, so that no pod changes its identity while the policies that saw the
    /// difference are still in force.
    fn take_policies(&mut self, index: &Index, plan: &mut Plan) {
        let policies: Vec<Arc<NetworkPolicy>> = index.policies.iter().cloned().collect();
        let asked = asked_labels(policies.iter().map(|policy| &policy.meaning));
        let in_force: BTreeSet<Arc<str>> = if policies == self.policies {
            asked.clone()
        } else {
            self.asked.union(&asked).cloned().collect()
        };
        plan.again = in_force != asked;
        self.asked.clone_from(&in_force);
        if self.filter.set_asked_for(in_force) {
            self.filter_generation += 1;
        }
        self.policies = policies;
        plan.wanted.policies.clone_from(&self.policies);
    }

    fn hold_all(&mut self, index: &Index, locals: &[LocalPod], now: Instant, plan: &mut Plan) {
        for number in self.identities.registry().take_disowned() {
            self.identities.revoke(number.into());
        }
        let mut present: BTreeSet<Arc<str>> = BTreeSet::new();
        for pod in index.pods.iter().filter(|pod| !pod.finished && !pod.host_network) {
            let owner = owner(&pod.namespace, &pod.name);
            let namespace = index.namespaces.get("", &pod.namespace);
            if !self.is_current(&owner, pod, namespace) {
                let none = BTreeMap::new();
                let labels = PodMeta {
                    cluster: &self.node.cluster,
                    namespace: &pod.namespace,
                    service_account: &pod.service_account,
                    labels: &pod.labels,
                    namespace_labels: namespace.map_or(&none, |namespace| &namespace.labels),
                }
                .identity_labels(&self.filter);
                let ports = pod.ports.iter().map(named_port).collect();
                let known = LastKnown { labels, named_ports: ports, l7_off: pod.l7_off };
                self.hold(&owner, known, Some(pod.clone()), namespace.cloned(), now, plan);
            }
            present.insert(owner);
        }
        for local in locals {
            let owner = owner(&local.namespace, &local.name);
            if present.contains(&owner) {
                continue;
            }
            if let Some(known) = &local.last_known {
                self.hold(&owner, known.clone(), None, None, now, plan);
                present.insert(owner);
            }
        }
        let gone: Vec<Arc<str>> =
            self.holders.keys().filter(|owner| !present.contains(*owner)).cloned().collect();
        for owner in gone {
            if let Some(holder) = self.holders.remove(&owner) {
                self.identities.release(holder.number, now);
            }
        }
        self.identities.sweep(now);
    }

    fn is_current(&self, owner: &str, pod: &Arc<Pod>, namespace: Option<&Arc<Namespace>>) -> bool {
        self.holders.get(owner).is_some_and(|holder| {
            holder.filter_generation == self.filter_generation
                && self.identities.labels(holder.number) == Some(&holder.labels)
                && holder.pod.as_ref().is_some_and(|known| Arc::ptr_eq(known, pod))
                && match (&holder.namespace, namespace) {
                    (Some(known), Some(namespace)) => Arc::ptr_eq(known, namespace),
                    (None, None) => true,
                    _ => false,
                }
        })
    }

    fn hold(
        &mut self,
        owner: &Arc<str>,
        LastKnown { labels, named_ports, l7_off }: LastKnown,
        pod: Option<Arc<Pod>>,
        namespace: Option<Arc<Namespace>>,
        now: Instant,
        plan: &mut Plan,
    ) {
        // The number is still its own: nobody has taken it back meanwhile.
        let holds = |holder: &&Holder| {
            holder.labels == labels && self.identities.labels(holder.number) == Some(&labels)
        };
        let before = self.holders.get(owner).filter(holds).map(|holder| holder.number);
        let number = match before {
            Some(number) => number,
            None => match self.identities.acquire(&labels) {
                Ok(number) => {
                    if let Some(old) = self.holders.get(owner) {
                        self.identities.release(old.number, now);
                    }
                    number
                }
                // Who had an identity keeps it; who had none is nobody, which policies do not allow.
                Err(AllocateError::Pending) => {
                    if pod.is_none_or(|pod| pod.node_name == self.node.name) {
                        self.identities.registry().hurry(&labels);
                    }
                    plan.waiting.push(owner.clone());
                    return;
                }
                Err(error) => {
                    plan.problems
                        .push(format!("no identity for pod {owner}: {:#}", anyhow::Error::from(error)));
                    return;
                }
            },
        };
        let filter_generation = self.filter_generation;
        let holder = Holder { number, labels, named_ports, l7_off, pod, namespace, filter_generation };
        self.holders.insert(owner.clone(), holder);
    }

    fn prefixes(&mut self, plan: &mut Plan) {
        let required = required_prefixes(self.policies.iter().map(|policy| &policy.meaning));
        match self.cidrs.set(&required) {
            Ok(prefixes) => self.ipcache.set_prefixes(prefixes),
            Err(error) => plan.problems.push(error.to_string()),
        }
        plan.wanted.prefixes = self.ipcache.prefixes().collect();
    }

    fn addresses(
        &mut self,
        index: &Index,
        locals: &[LocalPod],
        host_addresses: &BTreeSet<IpAddr>,
        plan: &mut Plan,
    ) {
        // One claim per owner and address. A local pod has an object as well: what is wired here counts.
        let mut claims: BTreeMap<(IpAddr, Arc<str>), (Rank, IpcacheEntry)> = BTreeMap::new();
        for (owner, holder) in &self.holders {
            let Some(pod) = &holder.pod else { continue };
            for ip in &pod.ips {
                let entry = IpcacheEntry { identity: holder.number, node: pod.node_name.clone() };
                claims.insert((*ip, owner.clone()), (Rank::PodObject, entry));
            }
        }
        for node in index.nodes.iter() {
            let here = node.name == self.node.name;
            let identity = if here { reserved::HOST } else { reserved::REMOTE_NODE };
            let owner: Arc<str> = format!("node {}", node.name).into();
            for ip in &node.internal_ips {
                let entry = IpcacheEntry { identity, node: node.name.clone() };
                claims.insert((*ip, owner.clone()), (Rank::NodeObject, entry));
            }
        }
        for local in locals {
            let owner = owner(&local.namespace, &local.name);
            let identity = self.holders.get(&owner).map_or(reserved::INIT, |holder| holder.number);
            for ip in &local.addresses {
                let entry = IpcacheEntry { identity, node: self.node.name.clone() };
                claims.insert((*ip, owner.clone()), (Rank::Local, entry));
            }
        }
        let host: Arc<str> = "this node".into();
        for ip in host_addresses {
            let entry = IpcacheEntry { identity: reserved::HOST, node: self.node.name.clone() };
            claims.insert((*ip, host.clone()), (Rank::Host, entry));
        }
        let spoken_for: BTreeSet<(IpAddr, Arc<str>)> = claims.keys().cloned().collect();
        for (ip, owner) in self.spoken_for.difference(&spoken_for) {
            self.ipcache.remove(*ip, owner);
        }
        for ((ip, owner), (rank, entry)) in claims {
            self.ipcache.upsert(ip, &owner, rank, entry);
        }
        self.spoken_for = spoken_for;
        plan.problems.extend(self.ipcache.conflicts().map(|Conflict { address, counts, passed_over }| {
            format!("address {address} is claimed by {passed_over} and by {counts}, which counts")
        }));
    }

    /// Addresses of local pods whose messages are reported at their own device.
    fn l7_here(&self, locals: &[LocalPod], host_addresses: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let observed = |local: &&LocalPod| {
            self.node.l7 && self.holder(&local.namespace, &local.name).is_some_and(|holder| !holder.l7_off)
        };
        let addresses = locals.iter().filter(observed).flat_map(|local| local.addresses.iter().copied());
        addresses.filter(|ip| !host_addresses.contains(ip)).collect()
    }

    fn facts(&self, applied: &Applied, labels_of: &dyn Fn(u32) -> Option<LabelSet>) -> Facts {
        let mut facts = Facts::new();
        for (number, labels) in self.identities.iter() {
            if let Some(scope) = PodScope::of(labels) {
                facts.insert(number, PodFacts { scope, named_ports: BTreeSet::new() });
            }
        }
        for holder in self.holders.values() {
            if let Some(facts) = facts.get_mut(&holder.number) {
                facts.named_ports.extend(holder.named_ports.iter().cloned());
            }
        }
        // Numbers that only the tables still know: from before a restart, or not removed yet. What their
        // ports are called was never written down; who is at their addresses now calls them so.
        for (number, addresses) in in_tables(applied) {
            if let std::collections::btree_map::Entry::Vacant(free) = facts.entry(number)
                && let Some(scope) = labels_of(number).and_then(|labels| PodScope::of(&labels))
            {
                let holders = self.spoken_for.iter().filter(|(ip, _)| addresses.contains(ip));
                let holders = holders.filter_map(|(_, owner)| self.holders.get(owner));
                let named_ports = holders.flat_map(|holder| holder.named_ports.iter().cloned()).collect();
                free.insert(PodFacts { scope, named_ports });
            }
        }
        facts
    }

    fn endpoint(&self, local: &LocalPod) -> WantedEndpoint {
        let holder = self.holder(&local.namespace, &local.name);
        let v4 = |ip: &IpAddr| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None };
        let v6 = |ip: &IpAddr| if let IpAddr::V6(ip) = ip { Some(*ip) } else { None };
        WantedEndpoint {
            entry: EndpointEntry {
                identity: holder.map_or(reserved::INIT, |holder| holder.number),
                id: local.id,
                ready: holder.is_some(),
                l7_off: holder.is_some_and(|holder| holder.l7_off),
                ipv4: local.addresses.iter().find_map(v4),
                ipv6: local.addresses.iter().find_map(v6),
            },
            netns_cookie: local.netns_cookie,
        }
    }

    fn services(
        &mut self,
        index: &Index,
        locals: &[LocalPod],
        host_addresses: &BTreeSet<IpAddr>,
        plan: &mut Plan,
    ) {
        let pods = if self.node.host_ports { locals } else { &[] };
        let node = OwnNode { name: &self.node.name, addresses: host_addresses, pods };
        let frontends = frontends(index, node);
        plan.health = frontends.health;
        for (key, frontend) in frontends.by_key {
            let last = &mut self.last_service_id;
            let id = *self.service_ids.entry(key).or_insert_with(|| {
                *last = last.checked_add(1).unwrap_or(1);
                *last
            });
            let (address, port, proto, scope) = key;
            let backends = frontend.backends.iter().copied().collect();
            let (affinity, local) = (frontend.affinity, frontend.local);
            let spec = ServiceSpec { id, address, port, proto, scope, local, backends, affinity };
            plan.wanted.services.insert(id, spec);
            if frontend.service {
                plan.frontends.insert(key, (id, frontend));
            }
        }
    }
}

fn key_of(spec: &ServiceSpec) -> FrontendKey {
    (spec.address, spec.port, spec.proto, spec.scope)
}

/// Every identity in the tables with its addresses.
fn in_tables(applied: &Applied) -> BTreeMap<u32, BTreeSet<IpAddr>> {
    let mut found: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
    for (ip, number) in &applied.contents.addresses {
        found.entry(*number).or_default().insert(*ip);
    }
    for endpoint in applied.contents.endpoints.values() {
        found.entry(endpoint.identity).or_default();
    }
    found
}

/// "namespace/name".
pub fn owner(namespace: &str, name: &str) -> Arc<str> {
    format!("{namespace}/{name}").into()
}

fn named_port(port: &crate::cluster::model::NamedPort) -> NamedPort {
    NamedPort { name: port.name.as_str().into(), protocol: port.protocol, port: port.port.get() }
}
