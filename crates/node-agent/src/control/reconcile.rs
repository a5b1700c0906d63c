//! The reconciler: waits for changes, computes, publishes, applies, says how far endpoints have come.
//!
//! One task owns all of it; nothing here is shared but through the handles in [`Outputs`]. Whatever waits in
//! the queues is taken at once, so a burst of changes is one computation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fathom_identity::{Registry as _, reserved};
use fathom_policy::RuleRegistry;
use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::devices::Devices;
use super::notices::Notices;
use super::plan::{LastKnown, LocalPod, Plan, Planner};
use super::publish::Publisher;
use super::registry::AgentRegistry;
use super::report::{self, Report};
use super::routes::{self, Routes};
use super::state::{self, LocalEndpoint, PolicyState, Question, Since};
use super::transition::{Applied, Outcome, WantedEndpoint};
use crate::attach::{self, WantedPod};
use crate::cluster::index::Index;
use crate::cluster::source::Delta;
use crate::cni::attachments::{Attachment, Attachments, EndpointState, LastKnownRecord};
use crate::datapath::Datapath;
use crate::events::agent_events::AgentEvents;
use crate::health_ports;
use crate::host_pods::{self, HostPod};
use crate::http::Readiness;
use crate::observer::peer::Peer;
use crate::uplinks::{self, Surroundings};

/// Time a change waits for the rest of its burst.
const COALESCE: Duration = Duration::from_millis(3);
/// Time between looks at what tells nobody when it changes: devices, host addresses, faded names.
const TICK: Duration = Duration::from_secs(1);

/// Time an answer of the identity registry may take before that is a problem: agents whose pods wait ask at
/// once, others leave them this head start.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where results go.
pub struct Outputs {
    /// The pods of this node, for whoever looks for those that another plugin wired.
    pub pods: watch::Sender<Option<Vec<WantedPod>>>,
    /// Those that have its network, for whoever looks for their cgroups.
    pub host_pods: watch::Sender<Vec<HostPod>>,
    pub routes: watch::Sender<Option<Routes>>,
    /// Who is inside the cluster, for the devices that lead off the node.
    pub surroundings: watch::Sender<Option<Surroundings>>,
    pub health: watch::Sender<health_ports::Ports>,
    pub peers: watch::Sender<Vec<Peer>>,
    pub events: AgentEvents,
    pub readiness: Readiness,
    pub report: Arc<ArcSwap<Report>>,
}

/// What peers are called.
#[derive(Clone, Debug)]
pub struct PeerNaming {
    pub cluster: String,
    pub node: String,
    pub port: u16,
    /// Peers are asked over TLS, under names derived from theirs.
    pub tls: bool,
}

/// See the module.
pub struct Reconciler {
    pub(super) index: Index,
    pub(super) planner: Planner<Arc<AgentRegistry>>,
    pub(super) applied: Applied,
    pub(super) rules: RuleRegistry,
    datapath: Box<dyn Datapath>,
    devices: Box<dyn Devices>,
    attachments: Arc<Attachments>,
    pub(super) publisher: Publisher,
    outputs: Outputs,
    peers: PeerNaming,
    notices: Notices,
    hosts: Hosts,
    /// Endpoints found in the tables whose attachment nobody remembers but whose device is there.
    orphans: BTreeMap<u32, WantedEndpoint>,
    said: BTreeSet<String>,
    waiting_since: Option<Instant>,
    installed: bool,
    computations: u64,
    since: Since,
    questions: Option<mpsc::Receiver<Question>>,
    /// The last answer, as long as it is true.
    answer: Option<Arc<PolicyState>>,
}

/// The parts a reconciler is made of.
pub struct Parts {
    pub planner: Planner<Arc<AgentRegistry>>,
    pub applied: Applied,
    pub datapath: Box<dyn Datapath>,
    pub devices: Box<dyn Devices>,
    pub attachments: Arc<Attachments>,
    pub publisher: Publisher,
    pub outputs: Outputs,
    pub peers: PeerNaming,
}

impl Reconciler {
    pub fn new(parts: Parts) -> Self {
        let Parts { planner, applied, datapath, devices, attachments, publisher, outputs, peers } = parts;
        let known: BTreeSet<u32> = attachments
            .list()
            .iter()
            .filter_map(|a| a.device.as_ref())
            .map(|device| device.ifindex)
            .collect();
        let orphans = applied.contents.endpoints.iter().filter(|(ifindex, _)| !known.contains(*ifindex));
        let orphans = orphans.filter_map(|(ifindex, entry)| {
            let name = devices.name(*ifindex)?;
            tracing::warn!(device = name, "carries a pod this agent has no record of: it is left as it is");
            let cookie = applied.contents.netns.iter().find(|(_, device)| *device == ifindex);
            let netns_cookie = cookie.map_or(0, |(cookie, _)| *cookie);
            Some((*ifindex, WantedEndpoint { entry: *entry, netns_cookie }))
        });
        let hosts = Hosts::of_an_earlier_agent(&applied);
        outputs.readiness.wait_for("objects", "the first complete listing");
        outputs.readiness.wait_for("tables", "the first installation in the kernel");
        Reconciler {
            index: Index::default(),
            orphans: orphans.collect(),
            planner,
            applied,
            rules: RuleRegistry::default(),
            datapath,
            devices,
            attachments,
            publisher,
            outputs,
            peers,
            notices: Notices::default(),
            hosts,
            said: BTreeSet::new(),
            waiting_since: None,
            installed: false,
            computations: 0,
            since: Since::default(),
            questions: None,
            answer: None,
        }
    }

    /// Answers these between computations.
    #[must_use]
    pub fn answering(mut self, questions: mpsc::Receiver<Question>) -> Self {
        self.questions = Some(questions);
        self
    }

    /// Runs until `stop`. What is in the kernel then stays.
    pub async fn run(mut self, mut deltas: mpsc::Receiver<Vec<Delta>>, stop: CancellationToken) {
        let mut attached = self.attachments.watch();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut again = false;
        let mut sources = true;
        let mut seen = Seen::default();
        let mut registry = self.planner.identities().registry().news();
        let mut questions = self.questions.take();
        loop {
            let mut dirty = again;
            if !again {
                tokio::select! {
                    () = stop.cancelled() => return,
                    batch = deltas.recv(), if sources => match batch {
                        Some(batch) => dirty |= self.take(batch),
                        None => sources = false,
                    },
                    _ = attached.changed() => dirty = true,
                    _ = changed(&mut registry) => dirty = true,
                    _ = tick.tick() => dirty |= self.look_around(&mut seen),
                    question = state::next(&mut questions) => {
                        let _ = question.send(self.state());
                    }
                }
            }
            if !dirty {
                continue;
            }
            if !again {
                tokio::time::sleep(COALESCE).await;
            }
            while let Ok(batch) = deltas.try_recv() {
                self.take(batch);
            }
            attached.borrow_and_update();
            again = self.reconcile(Instant::now());
            // States that this computation set are no news to it.
            attached.borrow_and_update();
        }
    }

    fn take(&mut self, batch: Vec<Delta>) -> bool {
        // Not `any`: every delta counts.
        batch.into_iter().fold(false, |changed, delta| self.index.apply(delta) | changed)
    }

    /// Whether something changed that nobody announces.
    fn look_around(&mut self, seen: &mut Seen) -> bool {
        self.notices.tick(&self.index, &self.planner, &self.applied);
        let changed_hosts = self.hosts.ask(&*self.devices);
        let alive: BTreeSet<u32> = self.locals().iter().map(|(local, _)| local.ifindex).collect();
        let orphans_left = self.orphans.keys().any(|ifindex| self.devices.name(*ifindex).is_none());
        let changed = changed_hosts || seen.alive != alive || orphans_left;
        *seen = Seen { alive };
        let waiting = self.waiting_since.is_some();
        changed || waiting || self.publisher.is_fading() || !self.said.is_empty() || !self.installed
    }

    /// Computes and applies; true when another computation is due at once.
    pub fn reconcile(&mut self, now: Instant) -> bool {
        if !self.index.is_complete() {
            // Absence means nothing yet. What is in the kernel goes on; new pods wait.
            self.set_states(&BTreeMap::new(), "the objects are not listed yet");
            return false;
        }
        self.outputs.readiness.reached("objects");
        self.orphans.retain(|ifindex, _| self.devices.name(*ifindex).is_some());
        self.hosts.ask(&*self.devices);
        self.offer_prefixes();
        let hosts = self.hosts.addresses.clone();
        let locals = self.locals();
        let pods: Vec<LocalPod> = locals.iter().map(|(local, _)| local.clone()).collect();
        let registry = self.planner.identities().registry().clone();
        let labels_of = |number: u32| registry.labels(u16::try_from(number).ok()?).ok()?;
        let before = self.policies_in_force();
        let mut plan = self.planner.plan(&self.index, &pods, &hosts, &self.applied, &labels_of, now);
        for (ifindex, orphan) in &self.orphans {
            plan.wanted.endpoints.entry(*ifindex).or_insert(*orphan);
        }
        // Names come before what they name, and fade after it.
        self.publisher.update(&self.index, &self.planner, &plan, &locals, hosts, now);
        self.publisher.publish(&self.rules);
        let publisher = &mut self.publisher;
        let outcome =
            self.applied.transition(&plan.wanted, &mut *self.datapath, &mut self.rules, &mut |rules| {
                publisher.publish(rules);
            });
        self.rules.retain(&self.applied.rule_ids());
        self.computations += 1;
        self.since.follow(self.planner.policies(), self.computations);
        self.answer = None;
        if outcome.changes > 0 {
            tracing::info!(
                changes = outcome.changes,
                errors = outcome.errors.len() + outcome.tables.len(),
                micros = now.elapsed().as_micros(),
                "tables changed"
            );
        }
        self.after(&plan, &outcome, &before);
        plan.again
    }

    /// What is in force; `None` before the first computation.
    fn state(&mut self) -> Option<Arc<PolicyState>> {
        if self.computations == 0 {
            return None;
        }
        if self.answer.is_none() {
            let local = |attachment: Attachment| {
                let entry = self.applied.contents.endpoints.get(&attachment.device.as_ref()?.ifindex)?;
                let (namespace, name) = (attachment.namespace.into(), attachment.pod_name.into());
                Some(LocalEndpoint { namespace, name, entry: *entry })
            };
            self.answer = Some(Arc::new(PolicyState {
                policies: self.since.list(),
                world: state::world(&self.applied),
                endpoints: self.attachments.list().into_iter().filter_map(local).collect(),
                behind: self.applied.behind().clone(),
            }));
        }
        self.answer.clone()
    }

    fn policies_in_force(&self) -> BTreeMap<(String, String), report::PolicyText> {
        report::policy_texts(self.planner.policies())
    }

    fn after(
        &mut self,
        plan: &Plan,
        outcome: &Outcome,
        before: &BTreeMap<(String, String), report::PolicyText>,
    ) {
        self.remember_locals();
        self.set_states(&outcome.failed, "");
        // Everything that is listed here is tried again with the next tick.
        let problems = plan.problems.iter().chain(&outcome.errors).chain(outcome.tables.values());
        let problems = problems.chain(outcome.failed.values()).chain(&self.hosts.problem);
        let mut problems: BTreeSet<String> = problems.cloned().collect();
        problems.extend(self.wait_for_identities(&plan.waiting));
        for problem in problems.difference(&self.said) {
            tracing::warn!("{problem}; trying again every second");
        }
        for problem in self.said.difference(&problems) {
            tracing::info!("no longer: {problem}");
        }
        self.said = problems;
        // A table that does not fit is the trouble of its endpoints, who say so, and not of the node: whoever
        // waits for the node would wait for somebody to change a policy.
        if !self.installed && outcome.errors.is_empty() {
            self.installed = true;
            self.outputs.readiness.reached("tables");
            tracing::info!(
                pods = self.index.pods.len(),
                policies = self.index.policies.len(),
                services = self.index.services.len(),
                "tables are in the kernel"
            );
        }
        let after = self.policies_in_force();
        report::policy_events(
            &self.outputs.events,
            before,
            &after,
            self.computations,
            self.applied.rule_ids().len(),
        );
        if before.keys().ne(after.keys()) || before != &after {
            self.notices.policies_changed();
        }
        let pods = attach::wanted(&self.index, &self.peers.node);
        self.outputs.routes.send_if_modified(|current| {
            let wanted = Some(routes::wanted(&self.index, &self.peers.node));
            let changed = *current != wanted;
            *current = wanted;
            changed
        });
        self.outputs.surroundings.send_if_modified(|current| {
            let wanted = Some(uplinks::surroundings(&self.index, &self.peers.node));
            let changed = *current != wanted;
            *current = wanted;
            changed
        });
        self.outputs.health.send_if_modified(|current| {
            let changed = *current != plan.health;
            current.clone_from(&plan.health);
            changed
        });
        self.outputs.peers.send_if_modified(|current| {
            let peers = report::peers(&self.index, &self.peers);
            let changed = *current != peers;
            *current = peers;
            changed
        });
        let report = Report {
            tables_behind: outcome.tables.len(),
            ..report::build(&self.attachments, &pods, &self.publisher, &self.applied, &self.said)
        };
        self.outputs.pods.send_if_modified(|current| {
            let changed = current.as_ref() != Some(&pods);
            *current = Some(pods);
            changed
        });
        self.outputs.host_pods.send_if_modified(|current| {
            let pods = host_pods::wanted(&self.index, self.publisher.node());
            let changed = *current != pods;
            *current = pods;
            changed
        });
        report::ipcache_events(&self.outputs.events, &outcome.renamed, &self.planner, &self.publisher);
        let known = self.outputs.report.swap(Arc::new(report));
        report::endpoint_events(&self.outputs.events, &known, &self.outputs.report.load(), &self.publisher);
    }

    /// An answer takes milliseconds; only a long wait is worth a word.
    fn wait_for_identities(&mut self, waiting: &[Arc<str>]) -> Option<String> {
        if waiting.is_empty() {
            self.waiting_since = None;
            return None;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        (since.elapsed() > PATIENCE).then(|| {
            let (first, more) = (&waiting[0], waiting.len() - 1);
            format!(
                "pod {first} and {more} more wait for the identity registry, which has not answered for {} s",
                PATIENCE.as_secs()
            )
        })
    }

    fn offer_prefixes(&self) {
        let node = self.index.nodes.get("", &self.peers.node);
        let prefixes: Vec<IpNet> = node.map(|node| node.pod_cidrs.clone()).unwrap_or_default();
        let ours: BTreeSet<(String, String)> =
            self.attachments.list().into_iter().map(|a| (a.namespace, a.pod_name)).collect();
        let pods = self.index.pods.iter().filter(|pod| {
            !pod.host_network && !ours.contains(&(pod.namespace.to_string(), pod.name.to_string()))
        });
        let mut elsewhere: BTreeSet<IpAddr> = pods.flat_map(|pod| pod.ips.iter().copied()).collect();
        elsewhere.extend(self.hosts.addresses.iter().copied());
        elsewhere.extend(node.into_iter().flat_map(|node| node.internal_ips.iter().copied()));
        for orphan in self.orphans.values() {
            elsewhere.extend(orphan.entry.ipv4.map(IpAddr::V4));
            elsewhere.extend(orphan.entry.ipv6.map(IpAddr::V6));
        }
        self.attachments.set_prefixes(&prefixes, elsewhere);
    }

    /// Attachments whose device is there, with its name.
    fn locals(&self) -> Vec<(LocalPod, Arc<str>)> {
        let local = |attachment: Attachment| {
            let device = attachment.device.as_ref()?;
            self.devices.is(&attachment.host_interface, device.ifindex).then(|| {
                let local = LocalPod {
                    id: attachment.id.into(),
                    ifindex: device.ifindex,
                    namespace: attachment.namespace.as_str().into(),
                    name: attachment.pod_name.as_str().into(),
                    addresses: attachment.addresses.clone(),
                    netns_cookie: device.netns_cookie,
                    last_known: attachment.last_known.as_ref().and_then(last_known),
                };
                (local, attachment.host_interface.as_str().into())
            })
        };
        self.attachments.list().into_iter().filter_map(local).collect()
    }

    fn remember_locals(&self) {
        for attachment in self.attachments.list() {
            let holder = self.planner.holder(&attachment.namespace, &attachment.pod_name);
            if let Some(holder) = holder.filter(|holder| holder.pod.is_some()) {
                let labels = holder.labels.rendered().iter().map(ToString::to_string).collect();
                let (ports, l7_off) = (holder.named_ports.iter(), holder.l7_off);
                let named_ports = ports.map(|p| (p.name.to_string(), p.protocol.number(), p.port)).collect();
                self.attachments.remember(&attachment.key, LastKnownRecord { labels, named_ports, l7_off });
            }
        }
    }

    fn set_states(&self, failed: &BTreeMap<u32, String>, everybody_waits_for: &str) {
        let state = |attachment: &Attachment| {
            let Some(device) = &attachment.device else {
                return EndpointState::Waiting("the plugin has not wired it yet".into());
            };
            if !everybody_waits_for.is_empty() {
                return EndpointState::Waiting(everybody_waits_for.into());
            }
            if let Some(why) = failed.get(&device.ifindex) {
                return EndpointState::Waiting(why.clone());
            }
            match self.applied.contents.endpoints.get(&device.ifindex) {
                Some(entry) if entry.ready => EndpointState::Ready { identity: entry.identity },
                Some(_) => EndpointState::Waiting(format!(
                    "its object Pod {}/{} is not known: is it among the objects, and does it have an identity?",
                    attachment.namespace, attachment.pod_name
                )),
                None => EndpointState::Waiting(format!("device {} is gone", attachment.host_interface)),
            }
        };
        self.attachments.set_states(self.attachments.list().iter().map(|a| (a.id, state(a))).collect());
    }
}

/// Ends when somebody who waits for an identity should look again.
async fn changed(registry: &mut Option<watch::Receiver<u64>>) {
    let changed = match registry {
        Some(news) => news.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending().await
    }
}

#[derive(Debug, Default)]
struct Seen {
    alive: BTreeSet<u32>,
}

/// This node's own addresses as they were last read: a failure to read them is not their absence.
#[derive(Debug, Default)]
struct Hosts {
    addresses: BTreeSet<IpAddr>,
    problem: Option<String>,
}

impl Hosts {
    fn of_an_earlier_agent(applied: &Applied) -> Self {
        let known = applied.contents.addresses.iter().filter(|(_, identity)| **identity == reserved::HOST);
        Hosts { addresses: known.map(|(address, _)| *address).collect(), problem: None }
    }

    /// Whether the answer is another than before.
    fn ask(&mut self, devices: &dyn Devices) -> bool {
        let (addresses, problem) = match devices.addresses() {
            Ok(addresses) => (addresses, None),
            Err(error) => {
                let problem = format!("the node's addresses can't be read, those known stay: {error}");
                (self.addresses.clone(), Some(problem))
            }
        };
        let changed = self.addresses != addresses || self.problem != problem;
        *self = Hosts { addresses, problem };
        changed
    }
}

fn last_known(record: &LastKnownRecord) -> Option<LastKnown> {
    let labels = fathom_kubernetes::identity::parse_labels(&record.labels).ok()?;
    let protocol = |number| {
        [fathom_policy::Protocol::Tcp, fathom_policy::Protocol::Udp, fathom_policy::Protocol::Sctp]
            .into_iter()
            .find(|protocol| protocol.number() == number)
    };
    let port = |(name, number, port): &(String, u8, u16)| {
        Some(fathom_policy::NamedPort {
            name: name.as_str().into(),
            protocol: protocol(*number)?,
            port: *port,
        })
    };
    let named_ports = record.named_ports.iter().filter_map(port).collect();
    Some(LastKnown { labels, named_ports, l7_off: record.l7_off })
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
