//! Cilium's policies made at random, as the oracle reads them and as people write them.

use fathom_policy::cilium::object::{Object, OneSpec};
use fathom_policy::cilium::written::{
    CidrRule, DefaultDeny, EgressRule, Expression, IcmpField, IcmpRule, IngressRule, LabelSelector,
    NamedService, PortProtocol, PortRule, ServiceRule, ServiceSelector, Spec, Text,
};
use serde_json::json;

use super::random::Random;

const NAMESPACES: [&str; 3] = ["red", "blue", "plain"];
const POD_LABELS: [(&str, &str); 6] = [
    ("app", "web"),
    ("k8s:app", "db"),
    ("any:tier", "front"),
    ("tier", "back"),
    ("app", "db"),
    ("k8s:app", "web"),
];
const PLACES: [(&str, &str); 5] = [
    ("io.kubernetes.pod.namespace", "red"),
    ("k8s:io.kubernetes.pod.namespace", "blue"),
    ("k8s:io.cilium.k8s.namespace.labels.env", "prod"),
    ("io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name", "plain"),
    ("reserved:world", ""),
];
const BLOCKS: [(&str, &[&str]); 8] = [
    ("198.51.100.0/24", &[]),
    ("198.51.100.0/24", &["198.51.100.128/25"]),
    ("198.51.100.10", &[]),
    ("2001:db8:100::/48", &["2001:db8:100::1:0/112"]),
    ("0.0.0.0/0", &["198.51.100.0/25"]),
    ("::/0", &[]),
    // Pods' own addresses, which no CIDR of these policies means.
    ("10.244.0.0/16", &[]),
    ("fd00:10:244::/56", &[]),
];
const ENTITIES: [&str; 9] =
    ["all", "world", "world-ipv4", "world-ipv6", "cluster", "host", "remote-node", "kube-apiserver", "none"];

/// A policy called `name`, of a namespace or of the whole cluster.
pub fn policy(random: &mut Random, name: String) -> Object {
    let clusterwide = random.one_in(4);
    let specs = if random.one_in(4) { 2 } else { 1 };
    let specs = (0..specs).map(|number| OneSpec {
        place: if specs == 1 { "spec".to_owned() } else { format!("specs[{number}]") },
        spec: spec(random),
        ..OneSpec::default()
    });
    Object {
        specs: specs.collect(),
        namespace: if clusterwide { String::new() } else { (*random.pick(&NAMESPACES)).to_owned() },
        name,
        ..Object::default()
    }
}

fn spec(random: &mut Random) -> Spec {
    let mut spec = Spec {
        endpoint_selector: Some(maybe(random, &POD_LABELS)),
        description: random.one_in(3).then(|| "made at random".to_owned()),
        ..Spec::default()
    };
    for at in 0..1 + random.below(3) {
        match random.below(6) {
            0 => spec.ingress_deny.get_or_insert_default().push(ingress(random)),
            1 => spec.egress_deny.get_or_insert_default().push(egress(random)),
            2 | 3 => spec.egress.get_or_insert_default().push(egress(random)),
            _ => spec.ingress.get_or_insert_default().push(ingress(random)),
        }
        if at == 0 && random.one_in(3) {
            let switch = |random: &mut Random| (!random.one_in(3)).then(|| random.one_in(2));
            spec.enable_default_deny = Some(DefaultDeny { ingress: switch(random), egress: switch(random) });
        }
    }
    spec
}

fn ingress(random: &mut Random) -> IngressRule {
    let (to_ports, icmps) = packets(random);
    let mut rule = IngressRule { to_ports, icmps, ..IngressRule::default() };
    match random.below(10) {
        0 => {}
        1 | 2 => rule.from_entities = Some(entities(random)),
        3 => rule.from_cidr = Some(vec![random.pick(&BLOCKS).0.to_owned()]),
        4 | 5 => rule.from_cidr_set = Some(blocks(random)),
        6 => rule.from_groups = Some(json!([{}])),
        7 => {
            rule.from_endpoints = Some(endpoints(random));
            rule.from_requires = Some(vec![selector(random, &POD_LABELS)]);
        }
        _ => rule.from_endpoints = Some(endpoints(random)),
    }
    rule
}

fn egress(random: &mut Random) -> EgressRule {
    let (to_ports, icmps) = packets(random);
    let mut rule = EgressRule { to_ports, icmps, ..EgressRule::default() };
    match random.below(11) {
        0 => {}
        1 | 2 => rule.to_entities = Some(entities(random)),
        3 => rule.to_cidr = Some(vec![random.pick(&BLOCKS).0.to_owned()]),
        4 | 5 => rule.to_cidr_set = Some(blocks(random)),
        6 => rule.to_fqdns = Some(json!([{ "matchName": "outside.example.net" }])),
        7 => {
            rule.to_endpoints = Some(endpoints(random));
            rule.to_requires = Some(vec![selector(random, &POD_LABELS)]);
        }
        8 => rule.to_services = Some(vec![service(random)]),
        _ => rule.to_endpoints = Some(endpoints(random)),
    }
    rule
}

/// None selects nobody.
fn endpoints(random: &mut Random) -> Vec<LabelSelector> {
    let one = |random: &mut Random| {
        let mut one = maybe(random, &POD_LABELS);
        if random.one_in(2) {
            let (key, value) = *random.pick(&PLACES);
            one.match_labels.get_or_insert_default().insert(key.into(), value.into());
        }
        one
    };
    (0..random.below(3)).map(|_| one(random)).collect()
}

fn entities(random: &mut Random) -> Vec<String> {
    (0..random.below(3)).map(|_| (*random.pick(&ENTITIES)).to_owned()).collect()
}

fn blocks(random: &mut Random) -> Vec<CidrRule> {
    let one = |random: &mut Random| {
        let (cidr, except) = random.pick(&BLOCKS);
        let except: Vec<String> = except.iter().map(|text| (*text).to_owned()).collect();
        let except = (!except.is_empty()).then_some(except);
        CidrRule { cidr: Some((*cidr).to_owned()), except, ..CidrRule::default() }
    };
    (0..1 + random.below(2)).map(|_| one(random)).collect()
}

/// The services are those of the test.
fn service(random: &mut Random) -> ServiceRule {
    let namespace = (!random.one_in(3)).then(|| (*random.pick(&["red", "blue"])).to_owned());
    if random.one_in(2) {
        let name = (*random.pick(&["web", "db", "nobody"])).to_owned();
        let named = NamedService { service_name: Some(name), namespace };
        return ServiceRule { k8s_service: Some(named), ..ServiceRule::default() };
    }
    let all = ServiceSelector { selector: LabelSelector::default(), namespace };
    ServiceRule { k8s_service_selector: Some(all), ..ServiceRule::default() }
}

fn packets(random: &mut Random) -> (Option<Vec<PortRule>>, Option<Vec<IcmpRule>>) {
    match random.below(8) {
        0 | 1 => (None, None),
        2 => {
            let field =
                |family: &str, kind: &str| IcmpField { family: Some(family.into()), kind: Text(kind.into()) };
            let fields = match random.below(4) {
                0 => vec![field("IPv4", "8")],
                1 => vec![field("IPv6", "EchoRequest")],
                2 => vec![field("IPv4", "EchoReply")],
                _ => vec![field("IPv4", "EchoRequest"), field("IPv6", "128")],
            };
            (None, Some(vec![IcmpRule { fields: Some(fields) }]))
        }
        _ => {
            let ports = (0..1 + random.below(2)).map(|_| port(random)).collect();
            let rules = random.one_in(12).then(|| json!({ "http": [{ "method": "GET" }] }));
            (Some(vec![PortRule { ports: Some(ports), rules, ..PortRule::default() }]), None)
        }
    }
}

fn port(random: &mut Random) -> PortProtocol {
    let protocol = random.pick(&[None, Some("TCP"), Some("UDP"), Some("ANY")]).map(str::to_owned);
    let (port, end_port) = match random.below(6) {
        0 => ("0", None),
        1 => (*random.pick(&["web", "dns", "unknown"]), None),
        2 => ("7001", Some(*random.pick(&[7002, 7005, 7010]))),
        _ => (*random.pick(&["7001", "7002", "7005", "7010"]), None),
    };
    PortProtocol { port: Some(Text(port.to_owned())), end_port, protocol }
}

/// An empty selector selects everything.
fn maybe(random: &mut Random, labels: &[(&str, &str)]) -> LabelSelector {
    if random.one_in(3) { LabelSelector::default() } else { selector(random, labels) }
}

fn selector(random: &mut Random, labels: &[(&str, &str)]) -> LabelSelector {
    let (key, value) = *random.pick(labels);
    if random.one_in(2) {
        let labels = [(key.to_owned(), value.to_owned())];
        return LabelSelector { match_labels: Some(labels.into()), match_expressions: None };
    }
    let operator = *random.pick(&["In", "NotIn", "Exists", "DoesNotExist"]);
    let values = match operator {
        "Exists" | "DoesNotExist" => None,
        _ if random.one_in(3) => Some(vec![value.to_owned(), "other".to_owned()]),
        _ => Some(vec![value.to_owned()]),
    };
    let expression = Expression { key: key.into(), operator: operator.into(), values };
    LabelSelector { match_labels: None, match_expressions: Some(vec![expression]) }
}

/// As one writes it.
pub fn yaml(policy: &Object) -> String {
    let mut object = json!({
        "apiVersion": "cilium.io/v2",
        "kind": policy.kind(),
        "metadata": { "name": policy.name },
    });
    if !policy.namespace.is_empty() {
        object["metadata"]["namespace"] = json!(policy.namespace);
    }
    let specs: Vec<&Spec> = policy.specs.iter().map(|one| &one.spec).collect();
    match specs[..] {
        [one] => object["spec"] = json!(one),
        _ => object["specs"] = json!(specs),
    }
    serde_saphyr::to_string(&object).unwrap()
}
