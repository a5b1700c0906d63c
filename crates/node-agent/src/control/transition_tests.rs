//! No gap, judged after every single change to the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use fathom_identity::{LabelFilter, MemoryRegistry, reserved};
use fathom_policy::{Direction, Policy, Probe, RuleRegistry, lookup, spec};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::cluster::index::Index;
use crate::cluster::model::{Kind, Namespace, NetworkPolicy, Object, ObjectKey, Pod};
use crate::cluster::source::Delta;
use crate::control::plan::{LocalPod, Plan, Planner, ThisNode};
use crate::control::transition::{Applied, Outcome, Wanted};
use crate::datapath::fake::Fake;
use crate::datapath::{Contents, Datapath as _, Scope, ServiceSpec};

const PODS: usize = 5;
const LOCAL: usize = 3;

/// A small cluster; `None` = the object is not there.
#[derive(Clone, Debug)]
struct Cluster {
    pods: Vec<Option<PodState>>,
    policies: Vec<Option<spec::NetworkPolicy>>,
}

#[derive(Clone, Debug)]
struct PodState {
    app: &'static str,
    /// Counts only when a policy asks for it.
    tier: &'static str,
}

impl PodState {
    /// Pods of one identity call the same port "web", as pods of one template do. Where they disagree a
    /// table knows both numbers, and a pod that joins or leaves changes what its fellows' table knows.
    fn web_port(&self) -> u16 {
        if self.app == "y" { 81 } else { 80 }
    }
}

fn namespace_of(pod: usize) -> &'static str {
    if pod.is_multiple_of(2) { "a" } else { "b" }
}

fn ip_of(pod: usize) -> IpAddr {
    format!("10.244.0.{}", pod + 1).parse().unwrap()
}

impl Cluster {
    fn deltas(&self) -> Vec<Delta> {
        let mut deltas: Vec<Delta> = Kind::ALL.map(Delta::Listing).into();
        for name in ["a", "b"] {
            let labels = BTreeMap::from([("env".to_owned(), name.to_owned())]);
            let object = Object::Namespace(Arc::new(Namespace { name: name.into(), labels }));
            deltas.push(Delta::Upsert(ObjectKey::new(Kind::Namespace, "", name), object));
        }
        for (i, pod) in self.pods.iter().enumerate() {
            let Some(state) = pod else { continue };
            let (namespace, name) = (namespace_of(i), format!("p{i}"));
            let labels =
                [("app", state.app), ("tier", state.tier)].map(|(k, v)| (k.to_owned(), v.to_owned()));
            let port = crate::cluster::model::NamedPort {
                name: "web".into(),
                port: state.web_port().try_into().unwrap(),
                protocol: fathom_policy::Protocol::Tcp,
            };
            let object = Pod {
                namespace: namespace.into(),
                name: name.as_str().into(),
                uid: "".into(),
                labels: labels.into(),
                service_account: String::new(),
                node_name: "n".into(),
                host_network: false,
                finished: false,
                ready: true,
                ips: vec![ip_of(i)],
                host_ports: vec![],
                ports: vec![port],
                workload: None,
                l7_off: false,
            };
            let key = ObjectKey::new(Kind::Pod, namespace, &name);
            deltas.push(Delta::Upsert(key, Object::Pod(Arc::new(object))));
        }
        for written in self.policies.iter().flatten() {
            let policy = NetworkPolicy { written: written.clone(), meaning: Policy::parse(written) };
            let key = ObjectKey::new(Kind::NetworkPolicy, &written.namespace, &written.name);
            deltas.push(Delta::Upsert(key, Object::NetworkPolicy(Arc::new(policy))));
        }
        deltas.extend(Kind::ALL.map(Delta::Complete));
        deltas
    }

    fn locals(&self) -> Vec<LocalPod> {
        let local = |i: usize| LocalPod {
            id: i as u32 + 1,
            ifindex: i as u32 + 10,
            namespace: namespace_of(i).into(),
            name: format!("p{i}").as_str().into(),
            addresses: vec![ip_of(i)],
            netns_cookie: 0,
            last_known: None,
        };
        (0..LOCAL).filter(|i| self.pods[*i].is_some()).map(local).collect()
    }
}

/// An agent without a kernel.
struct Agent {
    planner: Planner<Arc<MemoryRegistry>>,
    index: Index,
    applied: Applied,
    rules: RuleRegistry,
    datapath: Fake,
}

impl Agent {
    fn over(datapath: Fake, registry: Arc<MemoryRegistry>) -> Self {
        let contents = datapath.contents().unwrap();
        let node = ThisNode { name: "n".into(), cluster: "c".into(), l7: true, host_ports: true };
        let filter = LabelFilter::with_user_rules("!tier").unwrap();
        Agent {
            planner: Planner::new(node, filter, registry, &contents),
            index: Index::default(),
            applied: Applied::new(contents),
            rules: RuleRegistry::default(),
            datapath,
        }
    }

    fn plan(&mut self, cluster: &Cluster) -> Plan {
        for delta in cluster.deltas() {
            self.index.apply(delta);
        }
        let registry = self.planner.identities().registry().clone();
        let labels_of =
            |number: u32| registry.list().into_iter().find(|(n, _)| u32::from(*n) == number).map(|(_, l)| l);
        let (locals, host) = (cluster.locals(), BTreeSet::new());
        let plan = self.planner.plan(&self.index, &locals, &host, &self.applied, &labels_of, Instant::now());
        assert_eq!(plan.problems, Vec::<String>::new());
        plan
    }

    fn apply(&mut self, wanted: &Wanted) -> Outcome {
        self.applied.transition(wanted, &mut self.datapath, &mut self.rules, &mut |_| ())
    }

    /// One computation, however it goes.
    fn step(&mut self, cluster: &Cluster) -> Outcome {
        let plan = self.plan(cluster);
        self.apply(&plan.wanted)
    }

    fn settle(&mut self, cluster: &Cluster) {
        loop {
            let plan = self.plan(cluster);
            let outcome = self.apply(&plan.wanted);
            assert_eq!((outcome.errors, outcome.tables), Default::default());
            if !plan.again {
                break;
            }
        }
    }
}

type Question = (u32, Direction, IpAddr, u16);

fn questions() -> Vec<Question> {
    let remotes =
        (0..PODS).map(ip_of).chain(["192.0.2.1", "192.0.2.200", "198.51.100.1"].map(|t| t.parse().unwrap()));
    let mut all = Vec::new();
    for remote in remotes {
        for local in 0..LOCAL {
            if ip_of(local) == remote {
                continue;
            }
            for direction in Direction::BOTH {
                all.extend([80, 81, 443].map(|port| (local as u32 + 10, direction, remote, port)));
            }
        }
    }
    all
}

/// What the kernel would decide; `None` when there is no such ready endpoint.
fn decide(contents: &Contents, (ifindex, direction, remote, port): Question) -> Option<bool> {
    let endpoint = contents.endpoints.get(&ifindex).filter(|endpoint| endpoint.ready)?;
    let Some(table) = contents.tables.get(&endpoint.identity) else { return Some(false) };
    let longest = contents.prefixes.iter().filter(|(prefix, _)| prefix.contains(&remote));
    let cidr = longest.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(reserved::WORLD, |(_, n)| *n);
    let identity = contents.addresses.get(&remote).copied().unwrap_or(cidr);
    let probe = Probe { remote: identity, cidr: Some(cidr), direction, proto: 6, port: Some(port) };
    Some(lookup(table, &probe).allowed())
}

fn no_gap(before: &Contents, steps: &[(String, Contents)], after: &Contents) -> Result<(), TestCaseError> {
    for question in questions() {
        let (old, new) = (decide(before, question), decide(after, question));
        if old.is_none() || new.is_none() || old != new {
            continue;
        }
        for (step, (what, contents)) in steps.iter().enumerate() {
            let now = decide(contents, question);
            prop_assert!(
                now == new,
                "{question:?} is {new:?} before and after, but {now:?} after step {step}, {what}; all: {:?}",
                steps.iter().map(|(what, _)| what).collect::<Vec<_>>()
            );
        }
    }
    Ok(())
}

/// Nothing is left behind: one agent that saw both states ends with the decisions of one that saw only the last.
fn as_if_fresh(agent: &Agent, cluster: &Cluster) -> Result<(), TestCaseError> {
    let mut fresh = Agent::over(Fake::default(), Arc::default());
    fresh.settle(cluster);
    for question in questions() {
        prop_assert_eq!(
            decide(&agent.datapath.contents, question),
            decide(&fresh.datapath.contents, question),
            "{:?}",
            question
        );
    }
    prop_assert_eq!(
        agent.datapath.contents.prefixes.keys().collect::<Vec<_>>(),
        fresh.datapath.contents.prefixes.keys().collect::<Vec<_>>()
    );
    prop_assert_eq!(agent.datapath.contents.addresses.len(), fresh.datapath.contents.addresses.len());
    Ok(())
}

fn labels(pairs: &[(&str, &str)]) -> spec::LabelSelector {
    let match_labels = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    spec::LabelSelector { match_labels, ..Default::default() }
}

fn selector() -> impl Strategy<Value = spec::LabelSelector> {
    prop_oneof![
        Just(labels(&[])),
        prop::sample::select(vec!["x", "y"]).prop_map(|app| labels(&[("app", app)])),
        prop::sample::select(vec!["1", "2"]).prop_map(|tier| labels(&[("tier", tier)])),
    ]
}

fn peer() -> impl Strategy<Value = spec::Peer> {
    let pods = (selector(), prop::bool::ANY).prop_map(|(pods, anywhere)| spec::Peer {
        pod_selector: Some(pods),
        namespace_selector: anywhere.then(spec::LabelSelector::default),
        ip_block: None,
    });
    let blocks = vec![
        ("0.0.0.0/0", vec![]),
        ("0.0.0.0/0", vec!["192.0.2.128/25"]),
        ("192.0.2.0/24", vec![]),
        ("192.0.2.0/24", vec!["192.0.2.192/26"]),
        ("10.244.0.0/30", vec![]),
        ("10.0.0.0/8", vec!["10.244.0.2/32"]),
    ];
    let block = prop::sample::select(blocks).prop_map(|(cidr, except)| spec::Peer {
        ip_block: Some(spec::IpBlock {
            cidr: cidr.into(),
            except: except.into_iter().map(str::to_owned).collect(),
        }),
        ..Default::default()
    });
    prop_oneof![pods, block]
}

fn rule() -> impl Strategy<Value = spec::Rule> {
    let port = |port| spec::Port { port: Some(port), ..Default::default() };
    let ports = prop_oneof![
        3 => Just(vec![]),
        2 => Just(vec![port(spec::PortValue::Number(80))]),
        1 => Just(vec![port(spec::PortValue::Name("web".into()))]),
    ];
    (prop::collection::vec(peer(), 0..3), ports).prop_map(|(peers, ports)| spec::Rule { peers, ports })
}

fn policy(number: usize) -> impl Strategy<Value = Option<spec::NetworkPolicy>> {
    let parts = (
        // An edit changes a policy in its place: another namespace would be another object.
        Just(if number == 1 { "b" } else { "a" }),
        selector(),
        prop::collection::vec(rule(), 0..3),
        prop::collection::vec(rule(), 0..2),
        prop::sample::select(vec![vec!["Ingress"], vec!["Egress"], vec!["Ingress", "Egress"]]),
    );
    prop::option::weighted(
        0.7,
        parts.prop_map(move |(namespace, pod_selector, ingress, egress, types)| spec::NetworkPolicy {
            namespace: namespace.into(),
            name: format!("policy-{number}"),
            pod_selector,
            policy_types: types.into_iter().map(str::to_owned).collect(),
            ingress,
            egress,
            ..Default::default()
        }),
    )
}

fn pod() -> impl Strategy<Value = Option<PodState>> {
    let parts = (prop::sample::select(vec!["x", "y", "z"]), prop::sample::select(vec!["1", "2"]));
    prop::option::weighted(0.9, parts.prop_map(|(app, tier)| PodState { app, tier }))
}

fn cluster() -> impl Strategy<Value = Cluster> {
    (prop::collection::vec(pod(), PODS), (policy(0), policy(1), policy(2)))
        .prop_map(|(pods, (one, two, three))| Cluster { pods, policies: vec![one, two, three] })
}

#[derive(Clone, Debug)]
enum Edit {
    Pod(usize, Option<PodState>),
    Policy(usize, Option<spec::NetworkPolicy>),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (0..PODS, pod()).prop_map(|(place, pod)| Edit::Pod(place, pod)),
        (0..3usize).prop_flat_map(|place| policy(place).prop_map(move |policy| Edit::Policy(place, policy))),
    ]
}

impl Edit {
    fn apply(self, cluster: &mut Cluster) {
        match self {
            Edit::Pod(place, state) => cluster.pods[place] = state,
            Edit::Policy(place, policy) => cluster.policies[place] = policy,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn one_saved_object_after_the_other_leaves_no_gap(
        mut cluster in cluster(),
        edits in prop::collection::vec(edit(), 1..6),
    ) {
        let mut agent = Agent::over(Fake::default(), Arc::default());
        agent.settle(&cluster);
        for edit in edits {
            let before = agent.datapath.contents.clone();
            agent.datapath.take_steps();
            edit.apply(&mut cluster);
            agent.settle(&cluster);
            let steps = agent.datapath.take_steps();
            no_gap(&before, &steps, &agent.datapath.contents)?;
            as_if_fresh(&agent, &cluster)?;
        }
    }

    #[test]
    fn an_agent_that_comes_back_leaves_no_gap_either(mut cluster in cluster(), edit in prop::option::of(edit())) {
        let registry: Arc<MemoryRegistry> = Arc::default();
        let mut agent = Agent::over(Fake::default(), registry.clone());
        agent.settle(&cluster);
        let before = agent.datapath.contents.clone();
        agent.datapath.take_steps();
        if let Some(edit) = edit.clone() {
            edit.apply(&mut cluster);
        }
        let mut next = Agent::over(agent.datapath, registry);
        next.settle(&cluster);
        let steps = next.datapath.take_steps();
        no_gap(&before, &steps, &next.datapath.contents)?;
        as_if_fresh(&next, &cluster)?;
        if edit.is_none() {
            let changes = steps.iter().map(|(what, _)| what);
            let changes: Vec<_> = changes.filter(|what| !what.starts_with("attach") && *what != "revision").collect();
            prop_assert!(changes.is_empty(), "nothing changed while it was away: {changes:?}");
        }
    }
}

fn one_pod() -> Cluster {
    let mut pods = vec![None; PODS];
    pods[0] = Some(PodState { app: "x", tier: "1" });
    Cluster { pods, policies: vec![] }
}

#[test]
fn a_pods_tables_are_in_place_before_its_programs_and_the_revision_moves_once_at_the_end() {
    let mut agent = Agent::over(Fake::default(), Arc::default());
    agent.settle(&one_pod());
    let steps: Vec<String> = agent.datapath.take_steps().into_iter().map(|(what, _)| what).collect();
    let at = |text: &str| {
        steps.iter().position(|step| step.starts_with(text)).unwrap_or_else(|| panic!("{text}: {steps:?}"))
    };
    assert!(at("table") < at("endpoint 10") && at("address") < at("endpoint 10"));
    assert!(at("endpoint 10") < at("attach 10"));
    assert_eq!(agent.datapath.revision, 1);
    assert_eq!(at("revision"), steps.len() - 1);
}

#[test]
fn a_table_that_cannot_be_installed_keeps_the_pod_closed_and_names_the_reason() {
    let mut agent = Agent::over(Fake { refuse: Some("table".into()), ..Fake::default() }, Arc::default());
    let outcome = agent.step(&one_pod());
    assert_eq!((outcome.errors.len(), outcome.tables.len()), (0, 1), "{outcome:?}");
    assert!(outcome.failed[&10].contains("no policy table"), "{:?}", outcome.failed);
    assert!(!agent.datapath.contents.endpoints.contains_key(&10));
    agent.datapath.refuse = None;
    let outcome = agent.step(&one_pod());
    assert!(
        outcome.tables.is_empty() && agent.datapath.contents.endpoints[&10].ready,
        "the next attempt mends it"
    );
}

/// A policy for the pods of namespace "a" with this label.
fn from_blocks(app: &str, kind: &str, blocks: &[&str]) -> spec::NetworkPolicy {
    let peer = |block: &&str| spec::Peer {
        ip_block: Some(spec::IpBlock { cidr: (*block).into(), except: vec![] }),
        ..Default::default()
    };
    let rules: Vec<spec::Rule> =
        blocks.iter().map(|block| spec::Rule { peers: vec![peer(block)], ports: vec![] }).collect();
    let (ingress, egress) = if kind == "Ingress" { (rules, vec![]) } else { (vec![], rules) };
    spec::NetworkPolicy {
        namespace: "a".into(),
        name: format!("{app}-{kind}"),
        pod_selector: labels(&[("app", app)]),
        policy_types: vec![kind.into()],
        ingress,
        egress,
        ..Default::default()
    }
}

const SMALL: [&str; 1] = ["192.0.2.0/24"];
const LARGE: [&str; 3] = ["192.0.2.0/25", "198.51.100.0/24", "203.0.113.0/24"];

/// Pods 0 ("x") and 2 ("y") of namespace "a", with these policies.
fn two_pods(policies: Vec<spec::NetworkPolicy>) -> Cluster {
    let mut cluster = one_pod();
    cluster.pods[2] = Some(PodState { app: "y", tier: "1" });
    cluster.policies = policies.into_iter().map(Some).collect();
    cluster
}

fn asked(agent: &Agent, ifindex: u32, direction: Direction, remote: &str) -> Option<bool> {
    decide(&agent.datapath.contents, (ifindex, direction, remote.parse().unwrap(), 80))
}

#[test]
fn a_table_that_does_not_fit_leaves_the_older_one_and_its_endpoints_say_so() {
    let fake = Fake { table_limit: Some(2), ..Fake::default() };
    let mut agent = Agent::over(fake, Arc::default());
    agent.settle(&two_pods(vec![from_blocks("x", "Ingress", &SMALL)]));
    let large = two_pods(vec![from_blocks("x", "Ingress", &LARGE)]);
    for round in 0..2 {
        let outcome = agent.step(&large);
        let said = &outcome.failed[&10];
        assert!(said.contains("enforcing an older policy") && said.contains("3 entries"), "{round}: {said}");
        assert!(said.contains("the limit is 2") && !said.contains("closed"), "{round}: {said}");
        assert_eq!((outcome.failed.len(), outcome.errors.len()), (1, 0), "{round}: its own endpoints only");
        assert_eq!(asked(&agent, 10, Direction::Ingress, "192.0.2.200"), Some(true), "{round}: as before");
        assert_eq!(asked(&agent, 10, Direction::Ingress, "203.0.113.1"), Some(false), "{round}");
    }
    agent.datapath.table_limit = None;
    agent.settle(&large);
    assert_eq!(asked(&agent, 10, Direction::Ingress, "192.0.2.200"), Some(false));
    as_if_fresh(&agent, &large).unwrap();
}

#[test]
fn what_the_new_policies_restrict_is_closed_when_their_table_does_not_fit() {
    let fake = Fake { table_limit: Some(2), ..Fake::default() };
    let mut agent = Agent::over(fake, Arc::default());
    agent.settle(&two_pods(vec![from_blocks("x", "Ingress", &SMALL)]));
    let both = vec![from_blocks("x", "Ingress", &SMALL), from_blocks("x", "Egress", &LARGE)];
    let both = two_pods(both);
    let outcome = agent.step(&both);
    assert!(outcome.failed[&10].contains("older policy") && outcome.failed[&10].contains("egress closed"));
    assert_eq!(asked(&agent, 10, Direction::Egress, "203.0.113.1"), Some(false), "restricted: closed");
    assert_eq!(asked(&agent, 10, Direction::Ingress, "192.0.2.1"), Some(true), "the other one as before");
    assert_eq!(asked(&agent, 12, Direction::Egress, "203.0.113.1"), Some(true), "nobody else is concerned");
    agent.datapath.take_steps();
    let again = agent.step(&both);
    assert_eq!(again.failed, outcome.failed, "said until it fits");
    assert!(agent.datapath.take_steps().is_empty(), "and closed once");
}

#[test]
fn a_pod_that_moves_to_an_identity_without_room_for_a_table_is_not_left_open() {
    for (room, ready) in [(Some(3), true), (Some(2), false)] {
        let mut agent = Agent::over(Fake::default(), Arc::default());
        let policies = vec![from_blocks("z", "Ingress", &LARGE)];
        agent.settle(&two_pods(policies.clone()));
        assert_eq!(asked(&agent, 10, Direction::Ingress, "198.51.100.1"), Some(true), "not selected");
        (agent.datapath.table_limit, agent.datapath.tables_limit) = (Some(2), room);
        let mut moved = two_pods(policies);
        moved.pods[0] = Some(PodState { app: "z", tier: "1" });
        let outcome = agent.step(&moved);
        assert!(outcome.failed.contains_key(&10), "{outcome:?}");
        assert_eq!(agent.datapath.contents.endpoints[&10].ready, ready, "{room:?}");
        assert_ne!(asked(&agent, 10, Direction::Ingress, "198.51.100.1"), Some(true), "{room:?}");
        (agent.datapath.table_limit, agent.datapath.tables_limit) = (None, None);
        agent.settle(&moved);
        as_if_fresh(&agent, &moved).unwrap();
    }
}

#[test]
fn one_table_that_does_not_fit_keeps_only_the_prefixes_it_needs() {
    let mut agent = Agent::over(Fake::default(), Arc::default());
    let outer = from_blocks("y", "Egress", &["203.0.0.0/16"]);
    agent.settle(&two_pods(vec![
        from_blocks("x", "Ingress", &["192.0.2.0/24"]),
        from_blocks("y", "Ingress", &["203.0.113.0/24"]),
        outer.clone(),
    ]));
    let before = agent.datapath.contents.clone();
    agent.datapath.table_limit = Some(2);
    let mut large =
        two_pods(vec![from_blocks("x", "Ingress", &["192.0.0.0/23", "192.0.4.0/24", "192.0.6.0/24"]), outer]);
    large.pods[4] = None;
    let outcome = agent.step(&large);
    assert_eq!(outcome.tables.len(), 1, "{outcome:?}");
    let now = &agent.datapath.contents;
    let has = |prefix: &str| now.prefixes.contains_key(&prefix.parse().unwrap());
    assert!(has("192.0.2.0/24"), "the older table allows it and nothing around it");
    assert!(!has("203.0.113.0/24"), "no table in force tells it from what is around it");
    assert_eq!(before.prefixes.len(), 5);
    let mut gone = large.clone();
    gone.pods[2] = None;
    agent.step(&gone);
    assert_eq!(agent.datapath.contents.tables.len(), 1, "the table of a pod that left went");
}

#[test]
fn a_revision_that_could_not_be_moved_is_moved_by_the_next_attempt() {
    let mut agent = Agent::over(Fake { refuse: Some("revision".into()), ..Fake::default() }, Arc::default());
    let outcome = agent.step(&one_pod());
    assert_eq!((outcome.errors.len(), agent.datapath.revision), (1, 0));
    agent.datapath.refuse = None;
    assert_eq!(agent.step(&one_pod()).errors.len(), 0);
    assert_eq!(agent.datapath.revision, 1, "nothing changed since, and still it is due");
    agent.step(&one_pod());
    assert_eq!(agent.datapath.revision, 1, "once");
}

#[test]
fn an_agent_that_was_killed_before_the_revision_moved_is_made_good_by_the_next() {
    let registry: Arc<MemoryRegistry> = Arc::default();
    let mut agent =
        Agent::over(Fake { refuse: Some("revision".into()), ..Fake::default() }, registry.clone());
    agent.step(&one_pod());
    let tables = agent.datapath.contents.clone();
    let mut next = Agent::over(Fake { contents: tables, ..Fake::default() }, registry);
    next.settle(&one_pod());
    let steps: Vec<String> = next.datapath.take_steps().into_iter().map(|(what, _)| what).collect();
    assert_eq!(steps, ["attach 10", "revision"]);
}

#[test]
fn a_new_service_moves_the_revision_and_a_new_backend_does_not() {
    let mut agent = Agent::over(Fake::default(), Arc::default());
    agent.settle(&one_pod());
    let mut wanted = agent.plan(&one_pod()).wanted;
    let mut service = ServiceSpec {
        id: 1,
        address: "10.96.0.10".parse().unwrap(),
        port: 53,
        proto: 17,
        scope: Scope::Inside,
        local: false,
        backends: vec![],
        affinity: None,
    };
    wanted.services.insert(1, service.clone());
    agent.apply(&wanted);
    assert_eq!(agent.datapath.revision, 2, "what went to its address untranslated is looked at again");
    service.backends.push((ip_of(1), 53));
    wanted.services.insert(1, service);
    agent.apply(&wanted);
    assert_eq!(agent.datapath.revision, 2);
}

#[test]
fn a_backend_for_datagrams_that_leaves_moves_the_revision_and_one_for_connections_does_not() {
    for (proto, moved) in [(17, 1), (6, 0)] {
        let mut agent = Agent::over(Fake::default(), Arc::default());
        agent.settle(&one_pod());
        let mut wanted = agent.plan(&one_pod()).wanted;
        let mut service = ServiceSpec {
            id: 1,
            address: "10.96.0.10".parse().unwrap(),
            port: 53,
            proto,
            scope: Scope::Inside,
            local: false,
            backends: vec![(ip_of(1), 53), (ip_of(2), 53)],
            affinity: None,
        };
        wanted.services.insert(1, service.clone());
        agent.apply(&wanted);
        let before = agent.datapath.revision;
        service.backends.pop();
        wanted.services.insert(1, service);
        agent.apply(&wanted);
        assert_eq!(agent.datapath.revision, before + moved, "protocol {proto}");
    }
}

#[test]
fn programs_that_could_not_be_attached_are_attached_by_the_next_attempt() {
    let mut agent = Agent::over(Fake { refuse: Some("attach 10".into()), ..Fake::default() }, Arc::default());
    let outcome = agent.step(&one_pod());
    assert!(outcome.failed[&10].contains("attach 10: refused"), "{outcome:?}");
    agent.datapath.refuse = None;
    assert!(agent.step(&one_pod()).failed.is_empty());
    assert!(agent.datapath.attached.contains(&10));
}

#[test]
fn a_new_prefix_that_is_the_whole_family_takes_over_from_the_world_and_gives_back() {
    let mut cluster = one_pod();
    let any: IpNet = "0.0.0.0/0".parse().unwrap();
    let block = spec::IpBlock { cidr: any.to_string(), except: vec![] };
    let peer = spec::Peer { ip_block: Some(block), ..Default::default() };
    cluster.policies.push(Some(spec::NetworkPolicy {
        namespace: "a".into(),
        name: "p".into(),
        ingress: vec![spec::Rule { peers: vec![peer], ports: vec![] }],
        ..Default::default()
    }));
    let mut agent = Agent::over(Fake::default(), Arc::default());
    agent.settle(&cluster);
    assert_ne!(agent.datapath.contents.prefixes[&any], reserved::WORLD);
    cluster.policies.clear();
    agent.settle(&cluster);
    assert_eq!(agent.datapath.contents.prefixes[&any], reserved::WORLD);
}

#[test]
fn marks_that_could_not_be_read_are_written_again_once() {
    let registry: Arc<MemoryRegistry> = Arc::default();
    let mut agent = Agent::over(Fake::default(), registry.clone());
    agent.settle(&one_pod());
    let mut tables = agent.datapath.contents.clone();
    // An address that was a local pod's, whose mark nobody can see.
    let stale: IpAddr = "10.9.9.9".parse().unwrap();
    (tables.l7_unread, tables.l7_here) = (true, BTreeSet::new());
    tables.addresses.insert(stale, 1);
    let mut next = Agent::over(Fake { contents: tables, ..Fake::default() }, registry);
    let mut plan = next.plan(&one_pod());
    plan.wanted.addresses.insert(stale, 1);
    let written = |next: &mut Agent| {
        assert_eq!(next.apply(&plan.wanted).errors, Vec::<String>::new());
        let steps = next.datapath.take_steps().into_iter().map(|(what, _)| what);
        steps.filter(|what| what.starts_with("address")).collect::<Vec<_>>()
    };
    let first = written(&mut next);
    assert!(first.len() == 2 && first.iter().any(|step| step == "address 10.9.9.9 = 1"), "{first:?}");
    assert!(first.iter().any(|step| step.ends_with(" l7")), "{first:?}");
    assert_eq!(written(&mut next), Vec::<String>::new());
}
