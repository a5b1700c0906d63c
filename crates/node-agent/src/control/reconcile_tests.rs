//! The whole control side over a datapath of maps and devices of paper.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::cluster::model::Kind;
use crate::cluster::snapshot::Snapshot;
use crate::cluster::source::{Feed, Problem};
use crate::cluster::yaml;
use crate::cni::attachments::DeviceRecord;
use crate::control::plan::ThisNode;
use crate::control::registry::DirectoryRegistry;
use crate::control::state::Asker;
use crate::datapath::fake::Fake;
use crate::datapath::{Contents, EndpointEntry, ServiceSpec};
use crate::policies::PoliciesService;
use fathom_api::fathom_v1::ListPoliciesRequest;
use fathom_api::fathom_v1::policies_server::Policies as _;
use fathom_identity::LabelFilter;
use fathom_policy::Table;

/// Devices that exist because a test says so.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<BTreeMap<u32, String>>>, Arc<AtomicBool>);

impl Devices for Paper {
    fn is(&self, name: &str, ifindex: u32) -> bool {
        self.0.lock().unwrap().get(&ifindex).is_some_and(|known| known == name)
    }

    fn name(&self, ifindex: u32) -> Option<String> {
        self.0.lock().unwrap().get(&ifindex).cloned()
    }

    fn addresses(&self) -> std::io::Result<BTreeSet<IpAddr>> {
        if self.1.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        Ok(["192.168.0.9".parse().unwrap()].into())
    }
}

/// A fake datapath that tests look into while the reconciler owns it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Fake>>);

macro_rules! pass_on {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {
        $(fn $name(&mut self, $($arg: $ty),*) -> anyhow::Result<()> { self.0.lock().unwrap().$name($($arg),*) })*
    };
}

impl Datapath for Shared {
    fn contents(&self) -> anyhow::Result<Contents> {
        self.0.lock().unwrap().contents()
    }

    fn swap_tables(&mut self, tables: &[(u32, Table)]) -> Vec<anyhow::Result<()>> {
        self.0.lock().unwrap().swap_tables(tables)
    }

    pass_on! {
        set_address(address: IpAddr, identity: u32, l7_here: bool);
        remove_address(address: IpAddr);
        set_prefix(prefix: IpNet, identity: u32);
        remove_prefix(prefix: IpNet);
        remove_table(identity: u32);
        set_endpoint(ifindex: u32, entry: EndpointEntry);
        remove_endpoint(ifindex: u32);
        set_netns(cookie: u64, ifindex: u32);
        remove_netns(cookie: u64);
        replace_service(spec: &ServiceSpec);
        remove_service(id: u32);
        bump_revision();
        sweep();
        attach(ifindex: u32);
        detach(ifindex: u32);
    }
}

struct Agent {
    attachments: Arc<Attachments>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    report: Arc<ArcSwap<Report>>,
    routes: watch::Receiver<Option<Routes>>,
    peers: watch::Receiver<Vec<Peer>>,
    events: AgentEvents,
    readiness: Readiness,
    asker: Asker,
    feed: Feed,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Agent {
    fn start(dir: &Path, datapath: &Shared, devices: &Paper) -> Self {
        let attachments = Arc::new(Attachments::open(dir, Duration::from_secs(30)).unwrap());
        let registry = DirectoryRegistry::open(&dir.join("identities")).unwrap();
        let registry = Arc::new(AgentRegistry::Directory(registry));
        let node = ThisNode { name: "n1".into(), cluster: "lab".into(), l7: true, host_ports: true };
        let contents = datapath.contents().unwrap();
        let snapshot = Arc::new(ArcSwap::default());
        let report = Arc::new(ArcSwap::default());
        let (routes_tx, routes) = watch::channel(None);
        let (peers_tx, peers) = watch::channel(Vec::new());
        let (events, readiness) = (AgentEvents::default(), Readiness::default());
        let reconciler = Reconciler::new(Parts {
            planner: Planner::new(node.clone(), LabelFilter::default(), registry, &contents),
            applied: Applied::new(contents),
            datapath: Box::new(datapath.clone()),
            devices: Box::new(devices.clone()),
            attachments: attachments.clone(),
            publisher: Publisher::new(node, Arc::clone(&snapshot)),
            outputs: Outputs {
                pods: watch::Sender::new(None),
                surroundings: watch::Sender::new(None),
                health: watch::Sender::default(),
                host_pods: watch::Sender::new(Vec::new()),
                routes: routes_tx,
                peers: peers_tx,
                events: events.clone(),
                readiness: readiness.clone(),
                report: Arc::clone(&report),
            },
            peers: PeerNaming { cluster: "lab".into(), node: "n1".into(), port: 4244, tls: false },
        });
        let (asker, questions) = Asker::new();
        let reconciler = reconciler.answering(questions);
        let (feed, deltas) = Feed::new();
        let stop = CancellationToken::new();
        let task = Some(tokio::spawn(reconciler.run(deltas, stop.clone())));
        Agent { attachments, snapshot, report, routes, peers, events, readiness, asker, feed, stop, task }
    }

    /// Says that these are all objects there are.
    async fn list(&self, text: &str) {
        let content = yaml::read(text);
        assert_eq!(content.faults, []);
        let mut batch: Vec<Delta> = Kind::ALL.map(Delta::Listing).into();
        batch.extend(content.objects.into_iter().map(|entry| Delta::Upsert(entry.key, entry.object)));
        batch.extend(Kind::ALL.map(Delta::Complete));
        self.feed.send(batch).await;
    }

    fn wire(&self, devices: &Paper, pod: &str, ifindex: u32) -> Attachment {
        let key =
            crate::cni::attachments::AttachmentKey { container_id: pod.into(), interface: "eth0".into() };
        let given = self.attachments.allocate(&key, "default", pod, "", &[], "n1").unwrap();
        devices.0.lock().unwrap().insert(ifindex, given.host_interface.clone());
        let device =
            DeviceRecord { ifindex, pod_mac: String::new(), host_mac: String::new(), netns_cookie: 900 };
        self.attachments.wire(&key, &given.host_interface, device).unwrap()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !holds(self) {
            assert!(tokio::time::Instant::now() < deadline, "never: {what}; {:?}", self.report.load());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn identity(&self, attachment: &Attachment) -> Option<u32> {
        match self.attachments.state(attachment.id) {
            Some(EndpointState::Ready { identity }) => Some(identity),
            _ => None,
        }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const NODES: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: [10.244.2.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
";

fn pod(name: &str, app: &str, ip: &str) -> String {
    let ips = if ip.is_empty() { String::new() } else { format!("status: {{podIPs: [{{ip: {ip}}}]}}\n") };
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}}}}}\n\
         spec: {{nodeName: n1, containers: []}}\n{ips}"
    )
}

const DENY: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
";

#[tokio::test]
async fn a_pod_that_nobody_attached_is_told() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    let agent = Agent::start(dir.path(), &datapath, &devices);
    let host =
        pod("on-the-host", "web", "192.168.0.1").replace("containers", "hostNetwork: true, containers");
    agent
        .list(&format!("{NODES}{}{}{host}", pod("web", "web", "10.244.1.2"), pod("pending", "web", "")))
        .await;
    agent.until("the report", |a| !a.report.load().unattached.is_empty()).await;
    let report = agent.report.load();
    let told: Vec<&str> = report.unattached.iter().map(|e| e.pod_name.as_str()).collect();
    assert_eq!(told, ["web"], "neither one without addresses nor one in the node's own namespace");
    assert!(report.unattached[0].state.contains("neither observed nor enforced"));

    agent.wire(&devices, "web", 12);
    agent.until("attached", |a| a.report.load().unattached.is_empty()).await;
}

#[tokio::test]
async fn a_pod_becomes_ready_when_its_object_is_known_and_everything_follows() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.until("it says what it waits for", |a| a.readiness.missing().len() == 2).await;
    agent.list(NODES).await;
    agent.until("prefixes for pods", |a| !a.attachments.prefixes().is_empty()).await;
    let web = agent.wire(&devices, "web", 12);
    agent.until("it waits for the object", |a| {
        matches!(a.attachments.state(web.id), Some(EndpointState::Waiting(why)) if why.contains("Pod default/web"))
    }).await;
    assert!(!datapath.0.lock().unwrap().contents.endpoints[&12].ready, "closed from the start");
    assert!(datapath.0.lock().unwrap().attached.contains(&12));

    agent.list(&format!("{NODES}{}{DENY}", pod("web", "web", ""))).await;
    agent.until("the pod is ready", |a| a.identity(&web).is_some()).await;
    let identity = agent.identity(&web).unwrap();
    let contents = datapath.0.lock().unwrap().contents.clone();
    assert_eq!(contents.addresses[&web.addresses[0]], identity, "known by IPAM before any podIPs");
    assert!(contents.tables[&identity].ingress.enforced && !contents.tables[&identity].egress.enforced);
    assert_eq!(contents.netns[&900], 12);
    assert_eq!(contents.addresses[&"192.168.0.2".parse().unwrap()], 6);
    assert_eq!(contents.addresses[&"192.168.0.1".parse().unwrap()], 1);

    agent.until("the report", |a| a.report.load().endpoints.iter().any(|e| e.state == "ready")).await;
    let report = agent.report.load();
    assert!(report.endpoints[0].ingress_enforced && !report.endpoints[0].egress_enforced);
    assert!(agent.readiness.missing().is_empty());
    assert_eq!(agent.peers.borrow()[1].address, "192.168.0.2:4244");
    assert_eq!(agent.peers.borrow()[1].name, "lab/n2");
    let routes = agent.routes.borrow().clone().unwrap();
    assert_eq!(routes[&"10.244.2.0/24".parse().unwrap()], routes::Hop::Via("192.168.0.2".parse().unwrap()));
    assert_eq!(routes[&"10.244.1.0/24".parse().unwrap()], routes::Hop::Nowhere);

    let snapshot = agent.snapshot.load();
    let known = &snapshot.by_ip[&web.addresses[0]];
    assert_eq!((&*known.pod_name, known.identity, known.id), ("web", identity, u32::from(web.id)));
    assert_eq!(snapshot.by_ifindex[&12].endpoint.pod_name, known.pod_name);
    assert_eq!(&*snapshot.node_labels[0], "zone=a");
    let default_deny = contents.tables[&identity].ingress.default_deny;
    assert!(snapshot.rules[&default_deny].default_deny);
    assert_eq!(&*snapshot.rules[&default_deny].refs[0].name, "deny");
    let message: fathom_api::flow::Endpoint = prost::Message::decode(known.encoded.clone()).unwrap();
    assert_eq!((message.pod_name.as_str(), message.cluster_name.as_str()), ("web", "lab"));
    assert!(agent.events.range().1 > 0);
}

/// A pod with an answer to `fathom.dev/l7`.
fn annotated(name: &str, l7: &str) -> String {
    let metadata =
        format!("{{name: {name}, labels: {{app: {name}}}, annotations: {{fathom.dev/l7: \"{l7}\"}}}}");
    format!("---\napiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {{nodeName: n1, containers: []}}\n")
}

#[tokio::test]
async fn a_pod_opts_out_of_l7_and_in_again_and_is_never_looked_at_by_nobody() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    // A mark that an earlier agent left on what is another node's pod now.
    let stale: IpAddr = "10.244.2.7".parse().unwrap();
    {
        let mut fake = datapath.0.lock().unwrap();
        fake.contents.addresses.insert(stale, 1);
        fake.contents.l7_here.insert(stale);
    }
    let agent = Agent::start(dir.path(), &datapath, &devices);
    let elsewhere = pod("far", "far", "10.244.2.7").replace("n1", "n2");
    let list = |l7: &str| format!("{NODES}{elsewhere}{}", annotated("web", l7));
    agent.list(&list("on")).await;
    agent.until("prefixes", |a| !a.attachments.prefixes().is_empty()).await;
    let web = agent.wire(&devices, "web", 12);
    agent.until("ready", |a| a.identity(&web).is_some()).await;
    let address = web.addresses[0];
    let is_off = || datapath.0.lock().unwrap().contents.endpoints[&12].l7_off;
    let marked = || datapath.0.lock().unwrap().contents.l7_here.clone();
    agent.until("marked", |_| marked() == BTreeSet::from([address])).await;
    assert!(!is_off());
    let never_unwatched = |steps: &[(String, Contents)]| {
        for (what, contents) in steps {
            assert!(!contents.endpoints[&12].l7_off || !contents.l7_here.contains(&address), "{what}");
        }
    };

    datapath.0.lock().unwrap().take_steps();
    agent.list(&list("off")).await;
    agent.until("opted out", |_| is_off() && marked().is_empty()).await;
    let steps = datapath.0.lock().unwrap().take_steps();
    never_unwatched(&steps);
    agent.list(&list("on")).await;
    agent.until("opted in", |_| !is_off() && marked().contains(&address)).await;
    let steps = datapath.0.lock().unwrap().take_steps();
    never_unwatched(&steps);

    // The object goes while the pod is still wired, and the agent starts anew.
    agent.list(&list("off")).await;
    agent.until("opted out", |_| is_off()).await;
    agent.stop().await;
    let again = Agent::start(dir.path(), &datapath, &devices);
    again.list(NODES).await;
    again.until("ready", |a| a.identity(&web).is_some()).await;
    assert!(is_off(), "what it said last stands");
}

#[tokio::test]
async fn a_label_change_moves_the_pod_and_a_release_removes_it() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(&format!("{NODES}{}", pod("web", "web", ""))).await;
    agent.until("prefixes", |a| !a.attachments.prefixes().is_empty()).await;
    let web = agent.wire(&devices, "web", 12);
    agent.until("ready", |a| a.identity(&web).is_some()).await;
    let first = agent.identity(&web).unwrap();
    agent.list(&format!("{NODES}{}", pod("web", "api", ""))).await;
    agent.until("moved", |a| a.identity(&web).is_some_and(|now| now != first)).await;
    devices.0.lock().unwrap().clear();
    agent.attachments.release(&web.key).unwrap();
    agent.until("gone", |_| datapath.0.lock().unwrap().contents.endpoints.is_empty()).await;
    let contents = datapath.0.lock().unwrap().contents.clone();
    assert!(contents.tables.is_empty() && contents.netns.is_empty());
    assert!(!contents.addresses.contains_key(&web.addresses[0]));
    let snapshot = agent.snapshot.load();
    assert_eq!(&*snapshot.by_ip[&web.addresses[0]].pod_name, "web", "late events still have its name");
}

#[tokio::test]
async fn a_restart_changes_nothing_and_forgets_nothing_before_the_listing() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    let objects = format!("{NODES}{}{}{DENY}", pod("web", "web", ""), pod("far", "web", "10.244.2.9"));
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(&objects).await;
    agent.until("prefixes", |a| !a.attachments.prefixes().is_empty()).await;
    let web = agent.wire(&devices, "web", 12);
    agent.until("ready", |a| a.identity(&web).is_some()).await;
    let identity = agent.identity(&web);
    agent.stop().await;
    datapath.0.lock().unwrap().take_steps();

    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.feed.send(vec![Delta::Listing(Kind::Pod), Delta::Complete(Kind::Pod)]).await;
    agent.until("it waits", |a| matches!(a.attachments.state(web.id), Some(EndpointState::Waiting(_)))).await;
    assert!(datapath.0.lock().unwrap().take_steps().is_empty(), "half a listing is no listing");
    agent.list(&objects).await;
    agent.until("ready again", |a| a.identity(&web).is_some()).await;
    assert_eq!(agent.identity(&web), identity);
    let steps: Vec<String> =
        datapath.0.lock().unwrap().take_steps().into_iter().map(|(what, _)| what).collect();
    assert_eq!(steps, ["attach 12", "revision"], "only the programs are new, and nobody's verdict is older");
}

#[tokio::test]
async fn a_pod_whose_object_vanishes_goes_on_as_it_was_even_over_a_restart() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(&format!("{NODES}{}", pod("web", "web", ""))).await;
    agent.until("prefixes", |a| !a.attachments.prefixes().is_empty()).await;
    let web = agent.wire(&devices, "web", 12);
    agent.until("ready", |a| a.identity(&web).is_some()).await;
    let identity = agent.identity(&web);
    agent.until("it is written down", |a| a.attachments.get(&web.key).unwrap().last_known.is_some()).await;
    agent.list(NODES).await;
    agent.stop().await;
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(NODES).await;
    agent.until("ready", |a| a.identity(&web).is_some()).await;
    assert_eq!(agent.identity(&web), identity);
    assert_eq!(&*agent.snapshot.load().by_ip[&web.addresses[0]].pod_name, "web");
}

#[tokio::test]
async fn what_the_kernel_refuses_is_said_and_tried_again() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    datapath.0.lock().unwrap().refuse = Some("table".into());
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(&format!("{NODES}{}", pod("web", "web", ""))).await;
    agent.until("prefixes", |a| !a.attachments.prefixes().is_empty()).await;
    let web = agent.wire(&devices, "web", 12);
    agent.until("it is said", |a| {
        matches!(a.attachments.state(web.id), Some(EndpointState::Waiting(why)) if why.contains("no policy table"))
    }).await;
    agent.until("in the report", |a| a.report.load().problems.iter().any(|p| p.contains("refused"))).await;
    datapath.0.lock().unwrap().refuse = None;
    agent.until("ready", |a| a.identity(&web).is_some()).await;
    agent.until("no problem is left", |a| a.report.load().problems.is_empty()).await;
}

#[tokio::test]
async fn a_policy_too_large_for_the_kernel_is_its_pods_trouble_and_not_the_nodes() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    let objects = format!("{NODES}{}", pod("web", "web", ""));
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(&objects).await;
    agent.until("prefixes", |a| !a.attachments.prefixes().is_empty()).await;
    let web = agent.wire(&devices, "web", 12);
    agent.until("ready", |a| a.identity(&web).is_some()).await;
    agent.stop().await;

    datapath.0.lock().unwrap().table_limit = Some(0);
    let allow = DENY.replace("Ingress]}", "Ingress], ingress: [{}]}");
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(&format!("{objects}{allow}")).await;
    agent
        .until("the endpoint says so", |a| {
            a.report.load().endpoints.iter().any(|e| {
                e.state.contains("enforcing an older policy")
                    && e.state.contains("the limit is 0")
                    && e.ingress_enforced
            })
        })
        .await;
    assert_eq!(agent.report.load().tables_behind, 1);
    assert_eq!(agent.readiness.missing(), Vec::<String>::new(), "the node is ready");
    agent.list(&objects).await;
    agent.until("ready again", |a| a.identity(&web).is_some() && a.report.load().tables_behind == 0).await;
}

#[tokio::test]
async fn programs_that_could_not_be_attached_are_reported_and_tried_again() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    datapath.0.lock().unwrap().refuse = Some("attach".into());
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(&format!("{NODES}{}", pod("web", "web", ""))).await;
    agent.until("prefixes", |a| !a.attachments.prefixes().is_empty()).await;
    let web = agent.wire(&devices, "web", 12);
    agent.until("reported", |a| a.report.load().problems.iter().any(|p| p.contains("attach 12"))).await;
    assert_eq!(agent.identity(&web), None);
    datapath.0.lock().unwrap().refuse = None;
    agent.until("ready", |a| a.identity(&web).is_some()).await;
    assert!(datapath.0.lock().unwrap().attached.contains(&12));
}

#[tokio::test]
async fn addresses_of_the_node_that_cannot_be_read_stay_as_they_were() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    let own: IpAddr = "192.168.0.9".parse().unwrap();
    for round in ["while it runs", "and at its start"] {
        let agent = Agent::start(dir.path(), &datapath, &devices);
        agent.list(NODES).await;
        agent.until("installed", |a| a.readiness.missing().is_empty()).await;
        devices.1.store(true, Ordering::Relaxed);
        agent
            .until("reported", |a| a.report.load().problems.iter().any(|p| p.contains("can't be read")))
            .await;
        assert_eq!(datapath.0.lock().unwrap().contents.addresses.get(&own), Some(&1), "{round}");
        agent.stop().await;
    }
    devices.1.store(false, Ordering::Relaxed);
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(NODES).await;
    agent.until("installed", |a| a.readiness.missing().is_empty()).await;
    agent.until("nothing to report", |a| a.report.load().problems.is_empty()).await;
}

#[tokio::test]
async fn who_is_at_an_address_is_told_one_by_one_and_a_flood_as_one_event() {
    use fathom_api::flow::{AgentEventType, agent_event::Notification};
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    let agent = Agent::start(dir.path(), &datapath, &devices);
    let far = |n: usize| pod(&format!("far{n}"), "far", &format!("10.244.2.{n}"));
    let events = |a: &Agent| a.events.read(0).1.into_iter().map(|(_, event)| event).collect::<Vec<_>>();
    let told = |a: &Agent, kind: AgentEventType, cidr: &str| {
        events(a).into_iter().any(|event| match &event.notification {
            Some(Notification::IpcacheUpdate(update)) => {
                event.r#type == i32::from(kind) && update.cidr == cidr
            }
            _ => false,
        })
    };
    agent.list(&format!("{NODES}{}", far(9))).await;
    agent.until("told", |a| told(a, AgentEventType::IpcacheUpserted, "10.244.2.9/32")).await;
    let name = events(&agent).iter().find_map(|event| match &event.notification {
        Some(Notification::IpcacheUpdate(u)) if u.cidr == "10.244.2.9/32" => {
            Some((u.namespace.clone(), u.pod_name.clone()))
        }
        _ => None,
    });
    assert_eq!(name, Some(("default".into(), "far9".into())));
    agent.list(NODES).await;
    agent.until("gone", |a| told(a, AgentEventType::IpcacheDeleted, "10.244.2.9/32")).await;
    let before = agent.events.range().1;
    let many: String = (1..=report::TOLD_SINGLY + 1).map(far).collect();
    agent.list(&format!("{NODES}{many}")).await;
    agent.until("told at once", |a| a.events.range().1 > before).await;
    let new = agent.events.read(before).1;
    assert!(
        matches!(&new[..], [(_, event)] if matches!(&event.notification,
        Some(Notification::Unknown(u)) if u.notification.starts_with("65 addresses"))),
        "{new:?}"
    );
}

#[tokio::test]
async fn a_pod_nobody_remembers_keeps_its_entry_as_long_as_its_device_exists() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    {
        let mut fake = datapath.0.lock().unwrap();
        let entry = EndpointEntry {
            identity: 300,
            id: 1,
            ready: true,
            l7_off: false,
            ipv4: Some("10.244.1.2".parse().unwrap()),
            ipv6: None,
        };
        fake.contents.endpoints.insert(44, entry);
        fake.contents.tables.insert(300, Table::default());
    }
    devices.0.lock().unwrap().insert(44, "podsomething".into());
    let agent = Agent::start(dir.path(), &datapath, &devices);
    agent.list(NODES).await;
    agent.until("installed", |a| a.readiness.missing().is_empty()).await;
    assert!(datapath.0.lock().unwrap().contents.endpoints.contains_key(&44));
    let other = agent.wire(&devices, "other", 45);
    assert_ne!(other.addresses[0], "10.244.1.2".parse::<IpAddr>().unwrap(), "its address is not given out");
    devices.0.lock().unwrap().remove(&44);
    agent
        .until("gone with its device", |_| !datapath.0.lock().unwrap().contents.endpoints.contains_key(&44))
        .await;
}

#[tokio::test]
async fn policies_are_listed_with_whom_they_select_what_is_wrong_and_since_when() {
    let (dir, datapath, devices) = (tempfile::tempdir().unwrap(), Shared::default(), Paper::default());
    let agent = Agent::start(dir.path(), &datapath, &devices);
    let service = PoliciesService {
        asker: agent.asker.clone(),
        source: agent.feed.status.clone(),
        node_name: "lab/n1".into(),
    };
    let ask = async |namespace: &str| {
        let request = ListPoliciesRequest { namespace: namespace.into(), ..Default::default() };
        service.list_policies(tonic::Request::new(request)).await.map(tonic::Response::into_inner)
    };
    let not_yet = ask("").await.unwrap_err();
    assert_eq!(
        (not_yet.code(), not_yet.message().contains("not listed yet")),
        (tonic::Code::Unavailable, true)
    );

    agent.list(&format!("{NODES}{}{DENY}", pod("web", "web", ""))).await;
    agent.until("prefixes for pods", |a| !a.attachments.prefixes().is_empty()).await;
    let web = agent.wire(&devices, "web", 12);
    agent.until("the pod is ready", |a| a.identity(&web).is_some()).await;
    let first = ask("").await.unwrap().policies.remove(0);
    assert_eq!((&*first.kind, &*first.namespace, &*first.name), ("NetworkPolicy", "default", "deny"));
    assert_eq!((&*first.selector, first.ingress_rules, first.egress_rules), ("app=web", Some(0), None));
    assert_eq!((first.nodes[0].endpoints, &*first.nodes[0].node_name), (1, "lab/n1"));
    assert!(first.problems.is_empty() && first.edited.is_none(), "{first:?}");
    assert_eq!(ask("elsewhere").await.unwrap().policies, []);

    // Something else changes, then the policy, which is faulty now; and another one is refused as a whole.
    agent.list(&format!("{NODES}{}{}{DENY}", pod("web", "web", ""), pod("db", "db", "10.244.2.9"))).await;
    let known = |a: &Agent| a.snapshot.load().by_ip.contains_key(&"10.244.2.9".parse::<IpAddr>().unwrap());
    agent.until("the other pod", known).await;
    assert_eq!(ask("").await.unwrap().policies[0].nodes, first.nodes, "as it was, since when it was");
    let refused = Problem {
        origin: "p.yaml".into(),
        line: 3,
        object: "NetworkPolicy default/gone".into(),
        message: "no such thing; skipped".into(),
    };
    agent.feed.status.problems.store(vec![refused].into());
    let faulty = DENY.replace("[Ingress]", "[Sideways]");
    let content = yaml::read(&faulty);
    let deltas = content.objects.into_iter().map(|entry| Delta::Upsert(entry.key, entry.object));
    agent.feed.send(deltas.collect()).await;
    agent.until("egress is enforced, too", |a| a.report.load().endpoints[0].egress_enforced).await;
    let policies = ask("default").await.unwrap().policies;
    assert_eq!(policies.iter().map(|policy| &*policy.name).collect::<Vec<_>>(), ["deny", "gone"]);
    assert!(policies[0].problems[0].contains("unknown policy type \"Sideways\""), "{policies:?}");
    assert!(policies[0].nodes[0].revision > first.nodes[0].revision);
    assert_eq!(policies[1].problems, ["p.yaml:3: no such thing; skipped"]);

    let long = ask(&"x".repeat(2_000)).await.unwrap_err();
    assert_eq!(long.message(), "namespace has 2000 bytes: at most 1024 are read");
}
