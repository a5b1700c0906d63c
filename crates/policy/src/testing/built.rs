//! Parse, compile and the ipcache of one cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fathom_identity::{
    CidrIdentities, Identities, Ipcache, IpcacheEntry, LabelFilter, MemoryRegistry, PodMeta, PodScope, Rank,
    reserved,
};

use super::HOST;
use crate::oracle::{Cluster, Remote};
use crate::{
    Compiler, Direction, NamedPort, PodFacts, Policy, Probe, Protocol, RuleRegistry, Table, World,
    asked_labels, required_prefixes,
};

/// What an agent makes of a cluster.
pub struct Built {
    pub policies: Vec<Policy>,
    /// Identity by pod.
    pub identities: Vec<u32>,
    pub ipcache: Ipcache,
    /// Table by identity.
    pub tables: BTreeMap<u32, Table>,
    pub rules: RuleRegistry,
    pub world: World,
}

impl Built {
    /// From objects to tables.
    ///
    /// # Panics
    /// When the cluster is none that [`super::cluster`] makes.
    pub fn new(cluster: &Cluster) -> Self {
        let policies: Vec<Policy> = cluster.policies.iter().map(Policy::parse).collect();
        let mut filter = LabelFilter::default();
        filter.set_asked_for(asked_labels(&policies));
        let mut numbers = Identities::new(MemoryRegistry::default(), Duration::ZERO);
        let (mut identities, mut facts, mut ipcache) = (Vec::new(), Vec::new(), Ipcache::new());
        for (place, pod) in cluster.pods.iter().enumerate() {
            let meta = PodMeta {
                cluster: "default",
                namespace: &pod.namespace,
                service_account: "",
                labels: &pod.labels,
                namespace_labels: &cluster.namespaces[&pod.namespace],
            };
            let labels = meta.identity_labels(&filter);
            let identity = numbers.acquire(&labels).unwrap();
            let named_ports = pod.named_ports.iter().map(|(name, protocol, port)| NamedPort {
                name: name.as_str().into(),
                protocol: Protocol::from_name(protocol).unwrap(),
                port: *port,
            });
            facts.push((
                identity,
                PodFacts { scope: PodScope::of(&labels).unwrap(), named_ports: named_ports.collect() },
            ));
            identities.push(identity);
            let owner: Arc<str> = format!("pod-{place}").into();
            for address in &pod.addresses {
                ipcache.upsert(
                    *address,
                    &owner,
                    Rank::PodObject,
                    IpcacheEntry { identity, node: "node-a".into() },
                );
            }
        }
        ipcache.upsert(
            HOST,
            &"node-a".into(),
            Rank::Host,
            IpcacheEntry { identity: reserved::HOST, node: "node-a".into() },
        );
        let cidrs = CidrIdentities::new().set(&required_prefixes(&policies)).unwrap();
        ipcache.set_prefixes(cidrs.clone());
        let world = World::new(facts, cidrs);
        let mut rules = RuleRegistry::default();
        let mut compiler = Compiler::new(&policies, &world);
        let tables =
            world.identities().map(|local| (local, compiler.compile(local, &mut rules).unwrap())).collect();
        Self { policies, identities, ipcache, tables, rules, world }
    }

    /// The packet as the tables see it.
    pub fn probe(&self, direction: Direction, remote: Remote, proto: u8, port: Option<u16>) -> Probe {
        let (remote, cidr) = match remote {
            Remote::LocalHost(address) | Remote::Pod(_, address) => {
                (self.ipcache.identity(address), Some(self.ipcache.prefix(address)))
            }
            Remote::Address(address) => (self.ipcache.identity(address), None),
        };
        Probe { remote, cidr, direction, proto, port }
    }
}
