//! How long one node's tables take to compile from nothing.
//!
//! `cargo run --release -p fathom-policy --example full_compile [policies] [pods] [local identities]`

use std::collections::BTreeMap;
use std::time::Instant;

use fathom_identity::{CidrIdentities, PodScope};
use fathom_policy::spec::{Expression, IpBlock, LabelSelector, NetworkPolicy, Peer, Port, PortValue, Rule};
use fathom_policy::{
    Compiler, NamedPort, PodFacts, Policy, Protocol, RuleRegistry, World, required_prefixes,
};

const NAMESPACES: usize = 50;
const APPS: usize = 20;

fn selector(key: &str, value: String) -> LabelSelector {
    LabelSelector { match_labels: BTreeMap::from([(key.to_owned(), value)]), ..LabelSelector::default() }
}

/// Policies as people write them: some pods of the namespace, all of another team's, a block with an exception.
fn policy(number: usize) -> NetworkPolicy {
    let own =
        Peer { pod_selector: Some(selector("app", format!("app-{}", number % APPS))), ..Peer::default() };
    let team = Expression {
        key: "team".to_owned(),
        operator: "In".to_owned(),
        values: vec![format!("team-{}", number % 5)],
    };
    let teams = LabelSelector { match_expressions: vec![team], ..LabelSelector::default() };
    let others = Peer { namespace_selector: Some(teams), pod_selector: None, ip_block: None };
    let cidr = format!("10.{}.0.0/16", number % 200);
    let except = vec![format!("10.{}.{}.0/24", number % 200, number % 250)];
    let block = Peer { ip_block: Some(IpBlock { cidr, except }), ..Peer::default() };
    let port = |port| Port { port: Some(PortValue::Number(port)), ..Port::default() };
    let range = Port { end_port: Some(8099), ..port(8080) };
    let named = Port { port: Some(PortValue::Name("http".to_owned())), ..Port::default() };
    NetworkPolicy {
        namespace: format!("ns-{}", number % NAMESPACES),
        name: format!("policy-{number}"),
        pod_selector: if number.is_multiple_of(3) {
            LabelSelector::default()
        } else {
            selector("app", format!("app-{}", number % APPS))
        },
        ingress: vec![
            Rule { peers: vec![own], ports: vec![port(80), range] },
            Rule { peers: vec![others], ports: vec![named] },
        ],
        egress: vec![Rule { peers: vec![block], ports: vec![port(443)] }],
        ..NetworkPolicy::default()
    }
}

fn pod(number: usize) -> PodFacts {
    let namespace = number % NAMESPACES;
    let label = |key: &str, value: String| (key.into(), value.into());
    let scope = PodScope {
        namespace: format!("ns-{namespace}").into(),
        // The last label makes every pod an identity of its own: the worst case.
        labels: BTreeMap::from([
            label("app", format!("app-{}", number / NAMESPACES % APPS)),
            label("instance", number.to_string()),
        ]),
        namespace_labels: BTreeMap::from([label("team", format!("team-{}", namespace % 10))]),
        ..PodScope::default()
    };
    let http = NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 };
    PodFacts { scope, named_ports: [http].into() }
}

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let size = |place: usize, default| arguments.get(place).copied().unwrap_or(default);
    let (policies, pods, local) = (size(0, 500), size(1, 5_000), size(2, 110));
    let written: Vec<NetworkPolicy> = (0..policies).map(policy).collect();
    let facts: Vec<(u32, PodFacts)> = (0..pods).map(|number| (256 + number as u32, pod(number))).collect();
    let mut rules = RuleRegistry::default();
    for round in 0..5 {
        let start = Instant::now();
        let policies: Vec<Policy> = written.iter().map(Policy::parse).collect();
        let parsed = start.elapsed();
        let cidrs = CidrIdentities::new().set(&required_prefixes(&policies)).expect("few prefixes");
        let world = World::new(facts.iter().cloned(), cidrs);
        let indexed = start.elapsed();
        let mut compiler = Compiler::new(&policies, &world);
        let entries: usize = (256..256 + local as u32)
            .filter_map(|number| compiler.compile(number, &mut rules))
            .map(|t| t.entries.len())
            .sum();
        let compiled = start.elapsed();
        println!(
            "round {round}: parse {:.1} ms, index world {:.1} ms, compile {local} tables with {entries} entries {:.1} ms, in all {:.1} ms",
            parsed.as_secs_f64() * 1e3,
            (indexed - parsed).as_secs_f64() * 1e3,
            (compiled - indexed).as_secs_f64() * 1e3,
            compiled.as_secs_f64() * 1e3,
        );
    }
}
