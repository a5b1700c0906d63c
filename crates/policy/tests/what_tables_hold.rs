//! Keys, entries and rule ids of small policies, spelled out.

use std::collections::BTreeMap;

use fathom_identity::{LabelFilter, PodScope};
use fathom_policy::spec::{self, IpBlock, LabelSelector, NetworkPolicy, Peer, Port, PortValue, Rule};
use fathom_policy::{
    ANY_IDENTITY, Compiler, Direction, NamedPort, Notice, PodFacts, Policy, PolicyKey, Protocol,
    RuleRegistry, Table, World, asked_labels, audit, compile, required_prefixes,
};

const WEB: u32 = 1000;
const CHAT: u32 = 1001;
const OPS: u32 = 1002;
const TEN: u32 = 0x0100_0001;
const TEN_ONE: u32 = 0x0100_0002;

fn pod(namespace: &str, app: &str, named: &[(&str, Protocol, u16)]) -> PodFacts {
    let scope = PodScope {
        namespace: namespace.into(),
        labels: BTreeMap::from([("app".into(), app.into())]),
        namespace_labels: BTreeMap::from([("kubernetes.io/metadata.name".into(), namespace.into())]),
        ..PodScope::default()
    };
    let port = |(name, protocol, port): &(&str, Protocol, u16)| NamedPort {
        name: (*name).into(),
        protocol: *protocol,
        port: *port,
    };
    PodFacts { scope, named_ports: named.iter().map(port).collect() }
}

fn world() -> World {
    let pods = [
        (WEB, pod("live", "web", &[("http", Protocol::Tcp, 8080)])),
        (WEB, pod("live", "web", &[("http", Protocol::Tcp, 9090)])),
        (CHAT, pod("live", "chat", &[("http", Protocol::Tcp, 80), ("dns", Protocol::Udp, 53)])),
        (OPS, pod("ops", "web", &[])),
    ];
    World::new(pods, [("10.0.0.0/8".parse().unwrap(), TEN), ("10.1.0.0/16".parse().unwrap(), TEN_ONE)])
}

fn labels(pairs: &[(&str, &str)]) -> LabelSelector {
    let match_labels = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    LabelSelector { match_labels, ..LabelSelector::default() }
}

fn policy(name: &str, ingress: Vec<Rule>, egress: Vec<Rule>) -> Policy {
    let (namespace, name) = ("live".to_owned(), name.to_owned());
    let policy_types = vec!["Ingress".to_owned(), "Egress".to_owned()];
    Policy::parse(&NetworkPolicy {
        namespace,
        name,
        policy_types,
        ingress,
        egress,
        ..NetworkPolicy::default()
    })
}

fn tcp(port: i32, end_port: Option<i32>) -> Port {
    Port { port: Some(PortValue::Number(port)), end_port, ..Port::default() }
}

fn named(port: &str) -> Port {
    Port { port: Some(PortValue::Name(port.to_owned())), ..Port::default() }
}

fn web() -> Peer {
    Peer { pod_selector: Some(labels(&[("app", "web")])), ..Peer::default() }
}

fn key(identity: u32, direction: Direction, proto: u8, port: u16, port_plen: u8) -> PolicyKey {
    PolicyKey { identity, direction, proto, port, port_plen }
}

fn keys(table: &Table) -> Vec<PolicyKey> {
    table.entries.keys().copied().collect()
}

#[test]
fn a_pod_that_no_policy_selects_has_an_open_table() {
    let mut rules = RuleRegistry::default();
    let world = world();
    let policies = [policy("chat", vec![], vec![])];
    assert_eq!(compile(OPS, &policies, &world, &mut rules), Some(Table::default()));
    assert_eq!(compile(4711, &policies, &world, &mut rules), None, "unknown identities have no table");
}

#[test]
fn an_empty_rule_list_isolates_and_the_default_deny_names_every_selecting_policy() {
    let mut rules = RuleRegistry::default();
    let world = world();
    let policies = [policy("b", vec![], vec![]), policy("a", vec![], vec![])];
    let table = compile(CHAT, &policies, &world, &mut rules).unwrap();
    assert!(table.entries.is_empty() && table.ingress.enforced && table.egress.enforced);
    assert_ne!(table.ingress.default_deny, table.egress.default_deny);
    let set = rules.resolve(table.ingress.default_deny).unwrap();
    assert!(set.default_deny());
    let names: Vec<&str> = set.refs.iter().map(|rule| &*rule.policy.name).collect();
    assert_eq!(names, ["a", "b"]);
    let again = compile(WEB, &policies, &world, &mut rules).unwrap();
    assert_eq!(again.ingress.default_deny, table.ingress.default_deny, "the same policies, the same id");
}

#[test]
fn an_empty_rule_is_one_key_for_everybody_and_everything() {
    let mut rules = RuleRegistry::default();
    let world = world();
    let table = compile(CHAT, &[policy("open", vec![Rule::default()], vec![])], &world, &mut rules).unwrap();
    assert_eq!(keys(&table), [key(ANY_IDENTITY, Direction::Ingress, 0, 0, 0)]);
    assert_eq!(table.ingress.plen_mask, 0);
}

#[test]
fn a_port_range_becomes_prefixes_and_the_mask_names_their_lengths() {
    let mut rules = RuleRegistry::default();
    let world = world();
    let rule = Rule { peers: vec![web()], ports: vec![tcp(8080, Some(8084))] };
    let table = compile(CHAT, &[policy("range", vec![rule], vec![])], &world, &mut rules).unwrap();
    let expected = [key(WEB, Direction::Ingress, 6, 8080, 14), key(WEB, Direction::Ingress, 6, 8084, 16)];
    assert_eq!(keys(&table), expected);
    assert_eq!(table.ingress.plen_mask, 1 << 14 | 1 << 16);
    assert_eq!(table.egress.plen_mask, 0);
}

#[test]
fn a_block_stands_for_the_prefixes_inside_it_but_not_for_its_exceptions() {
    let mut rules = RuleRegistry::default();
    let world = world();
    let block = |except: &[&str]| {
        let except = except.iter().map(|text| text.to_string()).collect();
        let peer =
            Peer { ip_block: Some(IpBlock { cidr: "10.0.0.0/8".to_owned(), except }), ..Peer::default() };
        policy("block", vec![Rule { peers: vec![peer], ports: vec![] }], vec![])
    };
    let identities = |policy: Policy, rules: &mut RuleRegistry| -> Vec<u32> {
        keys(&compile(CHAT, &[policy], &world, rules).unwrap()).iter().map(|key| key.identity).collect()
    };
    assert_eq!(identities(block(&[]), &mut rules), [TEN, TEN_ONE]);
    assert_eq!(identities(block(&["10.1.0.0/16"]), &mut rules), [TEN]);
    let prefixes = required_prefixes(&[block(&["10.1.0.0/16"])]);
    assert_eq!(
        prefixes.iter().map(|prefix| prefix.to_string()).collect::<Vec<_>>(),
        ["10.0.0.0/8", "10.1.0.0/16"]
    );
}

#[test]
fn a_port_name_belongs_to_the_receiving_pod() {
    let mut rules = RuleRegistry::default();
    let world = world();
    let ingress = policy("in", vec![Rule { peers: vec![], ports: vec![named("http")] }], vec![]);
    let table = compile(CHAT, std::slice::from_ref(&ingress), &world, &mut rules).unwrap();
    assert_eq!(keys(&table), [key(ANY_IDENTITY, Direction::Ingress, 6, 80, 16)]);
    let table = compile(WEB, &[ingress], &world, &mut rules).unwrap();
    let both = [
        key(ANY_IDENTITY, Direction::Ingress, 6, 8080, 16),
        key(ANY_IDENTITY, Direction::Ingress, 6, 9090, 16),
    ];
    assert_eq!(keys(&table), both, "pods of one identity that disagree share both numbers");

    let egress = policy("out", vec![], vec![Rule { peers: vec![], ports: vec![named("http")] }]);
    let table = compile(CHAT, &[egress], &world, &mut rules).unwrap();
    let expected = [
        key(WEB, Direction::Egress, 6, 8080, 16),
        key(WEB, Direction::Egress, 6, 9090, 16),
        key(CHAT, Direction::Egress, 6, 80, 16),
    ];
    assert_eq!(keys(&table), expected, "only pods that have the name, each with its number");
}

#[test]
fn several_rules_behind_one_key_are_one_id_that_names_them_all() {
    let mut rules = RuleRegistry::default();
    let world = world();
    let rule = || Rule { peers: vec![web()], ports: vec![tcp(80, None)] };
    let other = Rule { peers: vec![], ports: vec![tcp(443, None)] };
    let policies = [policy("b", vec![rule()], vec![]), policy("a", vec![other, rule()], vec![])];
    let table = compile(CHAT, &policies, &world, &mut rules).unwrap();
    let id = table.entries[&key(WEB, Direction::Ingress, 6, 80, 16)].rule_id;
    let named: Vec<_> = rules
        .resolve(id)
        .unwrap()
        .refs
        .iter()
        .map(|rule| (rule.policy.name.to_string(), rule.index))
        .collect();
    assert_eq!(named, [("a".to_owned(), Some(1)), ("b".to_owned(), Some(0))]);

    let mut restarted = RuleRegistry::default();
    let mut turned = policies.clone();
    turned.reverse();
    assert_eq!(
        compile(CHAT, &turned, &world, &mut restarted),
        Some(table.clone()),
        "ids outlive the process"
    );

    rules.retain(&table.rule_ids().collect());
    assert!(rules.iter().all(|(_, live)| live));
}

#[test]
fn selecting_lists_the_policies_that_restrict_a_pod() {
    let world = world();
    let policies = [policy("b", vec![], vec![]), policy("a", vec![], vec![])];
    let compiler = Compiler::new(&policies, &world);
    assert_eq!(compiler.selecting(CHAT, Direction::Ingress).count(), 2);
    assert_eq!(compiler.selecting(OPS, Direction::Ingress).count(), 0);
}

#[test]
fn labels_that_policies_ask_for_are_named_as_identities_call_them() {
    let peer = Peer {
        pod_selector: Some(labels(&[("pod-template-hash", "1")])),
        namespace_selector: Some(labels(&[("team", "a")])),
        ip_block: None,
    };
    let policy = policy("ask", vec![Rule { peers: vec![peer], ports: vec![] }], vec![]);
    let asked = asked_labels([&policy]);
    let names: Vec<&str> = asked.iter().map(|key| &**key).collect();
    assert_eq!(names, ["io.cilium.k8s.namespace.labels.team", "pod-template-hash"]);

    let mut filter = LabelFilter::default();
    let left_out = audit(&policy, &world(), &filter);
    assert!(
        left_out.iter().any(|n| n.to_string().contains("pod-template-hash, which identities leave out")),
        "{left_out:?}"
    );
    filter.set_asked_for(asked);
    let kept = audit(&policy, &world(), &filter);
    assert!(
        matches!(&kept[0], Notice::AsksForFilteredLabel { key, .. } if &**key == "pod-template-hash"),
        "{kept:?}"
    );
}

#[test]
fn what_matches_nothing_is_remarked_on() {
    let nobody = Peer { pod_selector: Some(labels(&[("app", "gone")])), ..Peer::default() };
    let block =
        Peer { ip_block: Some(IpBlock { cidr: "10.0.0.0/8".to_owned(), except: vec![] }), ..Peer::default() };
    let written = NetworkPolicy {
        namespace: "live".to_owned(),
        name: "odd".to_owned(),
        pod_selector: labels(&[("app", "missing")]),
        ingress: vec![Rule { peers: vec![nobody], ports: vec![named("nobody")] }],
        egress: vec![Rule { peers: vec![block], ports: vec![named("http")] }],
        ..spec::NetworkPolicy::default()
    };
    let texts: Vec<String> = audit(&Policy::parse(&written), &world(), &LabelFilter::default())
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "NetworkPolicy live/odd: spec.podSelector selects no pod of namespace live",
        "NetworkPolicy live/odd: spec.ingress[0].from[0] matches no pod",
        "NetworkPolicy live/odd: spec.ingress[0].ports[0]: no pod has a \"nobody\" port, so it allows nothing",
        "NetworkPolicy live/odd: spec.egress[0].ports[0]: addresses have no port names, so \"http\" allows nothing to an \
         ipBlock: write the number",
    ];
    assert_eq!(texts, expected);
}
