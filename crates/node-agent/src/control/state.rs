//! What is in force, for those who ask about it: one value, made when somebody asks.
//!
//! Only the reconciler knows it all, and nobody asks most of the time. So a question goes to the reconciler,
//! which answers between two computations; the answer is kept until the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fathom_bpf::maps::Scope;
use fathom_identity::{PodScope, Registry, reserved};
use fathom_policy::{NamedPort, PolicyMeta, World};
use ipnet::IpNet;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::plan::Planner;
use super::transition::Applied;
use crate::cluster::index::Index;
use crate::cluster::model::{Labels, NetworkPolicy, Service, Written};
use crate::datapath::EndpointEntry;
use crate::observer::node::NodeIdentity;

/// Questions that may wait for the end of a computation.
const QUEUE: usize = 16;
/// Time a question waits: a computation takes less, however large the cluster.
const PATIENCE: Duration = Duration::from_secs(4);

/// Address, port and IANA protocol that clients inside of the cluster connect to.
pub type Frontend = (IpAddr, u16, u8);

/// A policy in force.
#[derive(Clone, Debug)]
pub struct Installed {
    pub policy: Arc<NetworkPolicy>,
    /// The computation since which it is in force as it is.
    pub revision: u64,
    pub since: SystemTime,
}

/// A pod wired here, as the tables know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEndpoint {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub entry: EndpointEntry,
}

/// A pod of the cluster.
#[derive(Clone, Debug)]
pub struct KnownPod {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Without the cluster; empty until it is scheduled.
    pub node: Arc<str>,
    pub identity: u32,
    /// Its own.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Those of its identity, `k8s:app=web`.
    pub identity_labels: Vec<Arc<str>>,
    pub addresses: Vec<IpAddr>,
    pub ports: BTreeSet<NamedPort>,
    /// It has its node's addresses, and no device of its own.
    pub host_network: bool,
}

/// Everything a question about policies needs, as of the end of one computation.
#[derive(Debug, Default)]
pub struct PolicyState {
    /// In order of kind, namespace and name.
    pub policies: Vec<Installed>,
    /// Who selectors can select.
    pub world: World,
    pub endpoints: Vec<LocalEndpoint>,
    /// In order of namespace and name.
    pub pods: Vec<KnownPod>,
    pub services: Vec<Arc<Service>>,
    /// What is behind each frontend for clients inside of the cluster, by the tables in force.
    pub frontends: BTreeMap<Frontend, Vec<(IpAddr, u16)>>,
    pub prefixes: Vec<(IpNet, u32)>,
    pub cluster: Arc<str>,
    /// This node, without the cluster.
    pub node: Arc<str>,
    /// Identities whose table in force is older than the policies.
    pub behind: BTreeSet<u32>,
}

impl PolicyState {
    /// A node's name as flows and answers tell it.
    pub fn node_as_told(&self, node: &str) -> String {
        match node {
            "" => String::new(),
            node => NodeIdentity::new(&self.cluster, node, "").name.to_string(),
        }
    }

    /// What is behind a frontend.
    pub fn backends(&self, address: IpAddr, port: u16, protocol: u8) -> &[(IpAddr, u16)] {
        self.frontends.get(&(address, port, protocol)).map_or(&[], Vec::as_slice)
    }

    /// The policies without what is known about them.
    pub fn meanings(&self) -> impl Iterator<Item = &fathom_policy::Policy> + '_ {
        self.policies.iter().map(|installed| &installed.policy.meaning)
    }
}

/// Remembers since when policies are as they are.
#[derive(Debug, Default)]
pub struct Since(BTreeMap<(Arc<PolicyMeta>, usize), Installed>);

impl Since {
    /// These are in force now.
    pub fn follow(&mut self, policies: &[Arc<NetworkPolicy>], revision: u64) {
        let now = SystemTime::now();
        let mut before = std::mem::take(&mut self.0);
        for policy in policies {
            // An object may be several policies.
            let number = match policy.written {
                Written::Kubernetes(_) => 0,
                Written::Cilium { number, .. } => number,
            };
            let key = (policy.meaning.meta.clone(), number);
            let installed = match before.remove(&key) {
                Some(known) if known.policy == *policy => known,
                _ => Installed { policy: policy.clone(), revision, since: now },
            };
            self.0.insert(key, installed);
        }
    }

    pub fn list(&self) -> Vec<Installed> {
        self.0.values().cloned().collect()
    }
}

/// Who there is for the policies in force: what tables were last compiled from.
pub fn world(applied: &Applied) -> World {
    let facts = applied.facts().iter().map(|(number, facts)| (*number, facts.clone()));
    let prefixes = applied.contents.prefixes.iter().map(|(prefix, number)| (*prefix, *number));
    World::new(facts, prefixes.filter(|(_, number)| *number != reserved::WORLD))
}

/// The backends of every frontend in force, as clients inside of the cluster meet them.
pub fn frontends(applied: &Applied) -> BTreeMap<Frontend, Vec<(IpAddr, u16)>> {
    let inside = applied.contents.services.values().filter(|spec| spec.scope == Scope::Inside);
    inside.map(|spec| ((spec.address, spec.port, spec.proto), spec.backends.clone())).collect()
}

/// Every pod there is.
pub fn pods<R: Registry>(index: &Index, planner: &Planner<R>, node: &str) -> Vec<KnownPod> {
    let mut pods: BTreeMap<(Arc<str>, Arc<str>), KnownPod> = BTreeMap::new();
    for (owner, holder) in planner.holders() {
        let Some((namespace, name)) = owner.split_once('/') else { continue };
        let scope = PodScope::of(&holder.labels).unwrap_or_default();
        let pod = holder.pod.as_ref();
        let known = KnownPod {
            namespace: namespace.into(),
            name: name.into(),
            node: pod.map_or_else(|| node.into(), |pod| pod.node_name.clone()),
            identity: holder.number,
            labels: pod.map_or(scope.labels, |pod| shared(&pod.labels)),
            identity_labels: holder.labels.rendered(),
            addresses: pod.map(|pod| pod.ips.clone()).unwrap_or_default(),
            ports: holder.named_ports.clone(),
            host_network: false,
        };
        pods.insert((known.namespace.clone(), known.name.clone()), known);
    }
    for pod in index.pods.iter().filter(|pod| pod.host_network && !pod.finished) {
        let identity = if *pod.node_name == *node { reserved::HOST } else { reserved::REMOTE_NODE };
        let known = KnownPod {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            node: pod.node_name.clone(),
            identity,
            labels: shared(&pod.labels),
            identity_labels: reserved::labels(identity).map(|labels| labels.rendered()).unwrap_or_default(),
            addresses: pod.ips.clone(),
            ports: BTreeSet::new(),
            host_network: true,
        };
        pods.insert((known.namespace.clone(), known.name.clone()), known);
    }
    pods.into_values().collect()
}

fn shared(labels: &Labels) -> BTreeMap<Arc<str>, Arc<str>> {
    labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

/// A question on its way to the reconciler.
pub type Question = oneshot::Sender<Option<Arc<PolicyState>>>;

/// Asks the reconciler.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Question>);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unanswered {
    #[error("the objects are not listed yet: ask again in a moment")]
    NotYet,
    #[error("a computation of the tables has not ended within {} s: see the agent's log", PATIENCE.as_secs())]
    Busy,
    #[error("the agent is shutting down")]
    Ending,
}

impl Asker {
    /// An asker, and where its questions arrive.
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (questions, receiver) = mpsc::channel(QUEUE);
        (Self(questions), receiver)
    }

    /// What is in force now.
    ///
    /// # Errors
    /// The reconciler cannot tell.
    pub async fn state(&self) -> Result<Arc<PolicyState>, Unanswered> {
        let ask = async {
            let (question, answer) = oneshot::channel();
            self.0.send(question).await.map_err(|_| Unanswered::Ending)?;
            answer.await.map_err(|_| Unanswered::Ending)?.ok_or(Unanswered::NotYet)
        };
        tokio::time::timeout(PATIENCE, ask).await.unwrap_or(Err(Unanswered::Busy))
    }
}

/// The next question; never, when nobody can ask.
pub async fn next(questions: &mut Option<mpsc::Receiver<Question>>) -> Question {
    match questions {
        Some(receiver) => match receiver.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
