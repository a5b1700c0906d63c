//! NetworkPolicies made at random, as the oracle reads them and as people write them.

use std::collections::BTreeMap;

use fathom_policy::spec::{Expression, IpBlock, LabelSelector, NetworkPolicy, Peer, Port, PortValue, Rule};
use serde_json::{Map, Value, json};

use super::random::Random;

const NAMESPACES: [&str; 3] = ["red", "blue", "plain"];
const POD_LABELS: [(&str, &str); 4] = [("app", "web"), ("app", "db"), ("tier", "front"), ("tier", "back")];
const NAMESPACE_LABELS: [(&str, &str); 4] =
    [("team", "red"), ("team", "blue"), ("env", "prod"), ("kubernetes.io/metadata.name", "plain")];
/// Around the hosts outside, the pods and the nodes.
const BLOCKS: [(&str, &[&str]); 9] = [
    ("198.51.100.0/24", &[]),
    ("198.51.100.0/24", &["198.51.100.128/25"]),
    ("198.51.100.10/32", &[]),
    ("2001:db8:100::/48", &["2001:db8:100::1:0/112"]),
    ("0.0.0.0/0", &["198.51.100.0/25", "10.244.2.0/24"]),
    ("::/0", &[]),
    ("10.244.1.0/24", &[]),
    ("fd00:10:244:2::/64", &[]),
    ("10.244.0.0/16", &["10.244.1.0/24"]),
];

/// A policy called `name`.
pub fn policy(random: &mut Random, name: String) -> NetworkPolicy {
    let rules = |random: &mut Random| (0..random.below(3)).map(|_| rule(random)).collect();
    NetworkPolicy {
        namespace: (*random.pick(&NAMESPACES)).to_owned(),
        name,
        pod_selector: if random.one_in(3) { LabelSelector::default() } else { selector(random, &POD_LABELS) },
        policy_types: match random.below(5) {
            0 => vec![],
            1 => vec!["Ingress".to_owned(), "Egress".to_owned()],
            2 => vec!["Egress".to_owned()],
            _ => vec!["Ingress".to_owned()],
        },
        ingress: rules(random),
        egress: rules(random),
        ..NetworkPolicy::default()
    }
}

fn rule(random: &mut Random) -> Rule {
    Rule {
        peers: (0..random.below(3)).map(|_| peer(random)).collect(),
        ports: (0..random.below(3)).map(|_| port(random)).collect(),
    }
}

fn peer(random: &mut Random) -> Peer {
    if random.one_in(3) {
        let (cidr, except) = random.pick(&BLOCKS);
        let except = except.iter().map(|text| (*text).to_owned()).collect();
        return Peer { ip_block: Some(IpBlock { cidr: (*cidr).to_owned(), except }), ..Peer::default() };
    }
    let which = random.below(3);
    Peer {
        pod_selector: (which != 0).then(|| maybe(random, &POD_LABELS)),
        namespace_selector: (which != 1).then(|| maybe(random, &NAMESPACE_LABELS)),
        ip_block: None,
    }
}

/// An empty selector selects everything.
fn maybe(random: &mut Random, labels: &[(&str, &str)]) -> LabelSelector {
    if random.one_in(3) { LabelSelector::default() } else { selector(random, labels) }
}

fn selector(random: &mut Random, labels: &[(&str, &str)]) -> LabelSelector {
    let (key, value) = *random.pick(labels);
    if random.one_in(2) {
        return LabelSelector {
            match_labels: BTreeMap::from([(key.into(), value.into())]),
            ..Default::default()
        };
    }
    let operator = *random.pick(&["In", "NotIn", "Exists", "DoesNotExist"]);
    let values = match operator {
        "Exists" | "DoesNotExist" => vec![],
        _ if random.one_in(3) => vec![value.to_owned(), "other".to_owned()],
        _ => vec![value.to_owned()],
    };
    let expression = Expression { key: key.into(), operator: operator.into(), values };
    LabelSelector { match_expressions: vec![expression], ..Default::default() }
}

fn port(random: &mut Random) -> Port {
    let protocol = random.pick(&[None, Some("TCP"), Some("UDP")]).map(str::to_owned);
    let (port, end_port) = match random.below(6) {
        0 => (None, None),
        1 => (Some(PortValue::Name((*random.pick(&["web", "dns", "unknown"])).to_owned())), None),
        2 => (Some(PortValue::Number(7001)), Some(*random.pick(&[7002, 7005, 7010]))),
        _ => (Some(PortValue::Number(*random.pick(&[7001, 7002, 7005, 7010]))), None),
    };
    Port { protocol, port, end_port }
}

/// As one writes it.
pub fn yaml(policy: &NetworkPolicy) -> String {
    let mut spec = Map::new();
    spec.insert("podSelector".into(), written(&policy.pod_selector));
    if !policy.policy_types.is_empty() {
        spec.insert("policyTypes".into(), json!(policy.policy_types));
    }
    for (list, peers, rules) in [("ingress", "from", &policy.ingress), ("egress", "to", &policy.egress)] {
        if !rules.is_empty() {
            let rules: Vec<Value> = rules.iter().map(|rule| written_rule(rule, peers)).collect();
            spec.insert(list.into(), json!(rules));
        }
    }
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": policy.name, "namespace": policy.namespace },
        "spec": spec,
    });
    serde_saphyr::to_string(&object).unwrap()
}

fn written_rule(rule: &Rule, peers: &str) -> Value {
    let mut object = Map::new();
    if !rule.peers.is_empty() {
        let list: Vec<Value> = rule.peers.iter().map(written_peer).collect();
        object.insert(peers.into(), json!(list));
    }
    if !rule.ports.is_empty() {
        let list: Vec<Value> = rule.ports.iter().map(written_port).collect();
        object.insert("ports".into(), json!(list));
    }
    Value::Object(object)
}

fn written_peer(peer: &Peer) -> Value {
    let mut object = Map::new();
    if let Some(selector) = &peer.pod_selector {
        object.insert("podSelector".into(), written(selector));
    }
    if let Some(selector) = &peer.namespace_selector {
        object.insert("namespaceSelector".into(), written(selector));
    }
    if let Some(block) = &peer.ip_block {
        object.insert("ipBlock".into(), json!({ "cidr": block.cidr, "except": block.except }));
    }
    Value::Object(object)
}

fn written_port(port: &Port) -> Value {
    let mut object = Map::new();
    if let Some(protocol) = &port.protocol {
        object.insert("protocol".into(), json!(protocol));
    }
    match &port.port {
        Some(PortValue::Number(number)) => _ = object.insert("port".into(), json!(number)),
        Some(PortValue::Name(name)) => _ = object.insert("port".into(), json!(name)),
        None => {}
    }
    if let Some(end) = port.end_port {
        object.insert("endPort".into(), json!(end));
    }
    Value::Object(object)
}

fn written(selector: &LabelSelector) -> Value {
    let mut object = Map::new();
    if !selector.match_labels.is_empty() {
        object.insert("matchLabels".into(), json!(selector.match_labels));
    }
    if !selector.match_expressions.is_empty() {
        let expressions: Vec<Value> = selector
            .match_expressions
            .iter()
            .map(|e| {
                let mut object = json!({ "key": e.key, "operator": e.operator });
                if !e.values.is_empty() {
                    object["values"] = json!(e.values);
                }
                object
            })
            .collect();
        object.insert("matchExpressions".into(), json!(expressions));
    }
    Value::Object(object)
}
