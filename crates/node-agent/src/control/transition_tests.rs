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
use crate::control::plan::{LocalPod, Planner, ThisNode};
use crate::control::transition::Applied;
use crate::datapath::fake::Fake;
use crate::datapath::{Contents, Datapath as _};

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
                labels: labels.into(),
                service_account: String::new(),
                node_name: "n".into(),
                host_network: false,
                finished: false,
                ready: true,
                ips: vec![ip_of(i)],
                ports: vec![port],
                workload: None,
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
        let node = ThisNode { name: "n".into(), cluster: "c".into() };
        let filter = LabelFilter::with_user_rules("!tier").unwrap();
        Agent {
            planner: Planner::new(node, filter, registry, &contents),
            index: Index::default(),
            applied: Applied::new(contents),
            rules: RuleRegistry::default(),
            datapath,
        }
    }

    fn settle(&mut self, cluster: &Cluster) {
        for delta in cluster.deltas() {
            self.index.apply(delta);
        }
        let registry = self.planner.identities().registry().clone();
        let labels_of =
            |number: u32| registry.list().into_iter().find(|(n, _)| u32::from(*n) == number).map(|(_, l)| l);
        loop {
            let host = BTreeSet::new();
            let plan = self.planner.plan(
                &self.index,
                &cluster.locals(),
                &host,
                &self.applied,
                &labels_of,
                Instant::now(),
            );
            assert_eq!(plan.problems, Vec::<String>::new());
            let outcome =
                self.applied.transition(&plan.wanted, &mut self.datapath, &mut self.rules, &mut |_| ());
            assert_eq!(outcome.errors, Vec::<String>::new());
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
            let changes: Vec<_> = steps.iter().map(|(what, _)| what).filter(|what| !what.starts_with("attach")).collect();
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
    for delta in one_pod().deltas() {
        agent.index.apply(delta);
    }
    let plan = agent.planner.plan(
        &agent.index,
        &one_pod().locals(),
        &BTreeSet::new(),
        &agent.applied,
        &|_| None,
        Instant::now(),
    );
    let outcome = agent.applied.transition(&plan.wanted, &mut agent.datapath, &mut agent.rules, &mut |_| ());
    assert_eq!(outcome.errors.len(), 1, "{:?}", outcome.errors);
    assert!(outcome.failed[&10].contains("no policy table"), "{:?}", outcome.failed);
    assert!(!agent.datapath.contents.endpoints.contains_key(&10));
    agent.datapath.refuse = None;
    let outcome = agent.applied.transition(&plan.wanted, &mut agent.datapath, &mut agent.rules, &mut |_| ());
    assert!(
        outcome.errors.is_empty() && agent.datapath.contents.endpoints[&10].ready,
        "the next attempt mends it"
    );
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
