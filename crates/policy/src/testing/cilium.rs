//! Generated policies of Cilium's, with every feature, some of them broken or out of reach.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::clusters::{CIDRS, EXCEPTS, NAMESPACES, text, uniform};
use super::{HOST, OTHER_NODE};
use crate::cilium::object::{Object, OneSpec, Unread};
use crate::cilium::written::{
    CidrRule, DefaultDeny, EgressRule, Expression, IcmpField, IcmpRule, IngressRule, LabelSelector,
    NamedService, PortProtocol, PortRule, ServiceRule, ServiceSelector, Spec, Text,
};
use crate::oracle::{Cluster, Service};

/// How often something that cannot be understood or enforced is written: once in so many times.
const SELDOM: u32 = 40;

const POD_KEYS: [&str; 6] = ["app", "k8s:app", "any:tier", "tier", "pod-template-hash", "other:app"];
const PEER_KEYS: [&str; 11] = [
    "app",
    "k8s:app",
    "any:tier",
    "tier",
    "kubernetes.io/arch",
    "io.kubernetes.pod.namespace",
    "k8s:io.kubernetes.pod.namespace",
    "k8s:io.cilium.k8s.namespace.labels.team",
    "io.cilium.k8s.policy.serviceaccount",
    "reserved:host",
    "other:app",
];
const VALUES: [&str; 6] = ["a", "b", "live", "chat", "default", ""];

fn expression(keys: &'static [&'static str]) -> impl Strategy<Value = Expression> {
    let among = (text(keys), text(&["In", "NotIn"]), vec(text(&VALUES), 1..3).prop_map(Some));
    let bare = (text(keys), text(&["Exists", "DoesNotExist"]), Just(None));
    let broken =
        (text(&["app", "k8s:", ""]), text(&["In", "Is", "Exists"]), option::of(vec(text(&["a"]), 0..2)));
    prop_oneof![SELDOM => among, SELDOM / 2 => bare, 1 => broken]
        .prop_map(|(key, operator, values)| Expression { key, operator, values })
}

fn selector(keys: &'static [&'static str]) -> impl Strategy<Value = LabelSelector> {
    let some =
        (option::of(btree_map(text(keys), text(&VALUES), 0..2)), option::of(vec(expression(keys), 0..2)));
    let some =
        some.prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions });
    let fixed = select(vec!["reserved:host", "reserved:world", "reserved:remote-node", "reserved:init"]);
    let fixed = fixed.prop_map(|key| LabelSelector {
        match_labels: Some([(key.to_owned(), String::new())].into()),
        match_expressions: None,
    });
    prop_oneof![4 => Just(LabelSelector::default()), 12 => some, 1 => fixed]
}

/// Whom a rule is for, by one of the ways to say so.
#[derive(Clone, Debug)]
enum Who {
    Unsaid,
    Endpoints(Vec<LabelSelector>, Option<Vec<LabelSelector>>),
    Cidr(Vec<String>, Option<Vec<CidrRule>>),
    CidrSet(Vec<CidrRule>),
    Entities(Vec<String>),
    Services(Vec<ServiceRule>),
    Groups,
    Two(Vec<LabelSelector>, Vec<String>),
}

fn cidr() -> impl Strategy<Value = String> {
    prop_oneof![SELDOM => text(&CIDRS), 4 => Just("192.0.2.1".to_owned()), 1 => text(&["nonsense", "10.0.0.0/33"])]
}

fn cidr_rule() -> impl Strategy<Value = CidrRule> {
    (cidr(), vec(text(&EXCEPTS), 0..3), 0..10u8, 0..SELDOM).prop_map(|(cidr, except, careless, group)| {
        let within = |except: &String| match (cidr.parse::<ipnet::IpNet>(), except.parse::<ipnet::IpNet>()) {
            (Ok(cidr), Ok(except)) => cidr.contains(&except),
            _ => false,
        };
        let except: Vec<String> =
            except.into_iter().filter(|except| careless == 0 || within(except)).collect();
        CidrRule {
            except: (!except.is_empty()).then_some(except),
            cidr_group_ref: (group == 0).then(|| json!("a-group")),
            cidr: Some(cidr),
            ..CidrRule::default()
        }
    })
}

fn service_rule() -> impl Strategy<Value = ServiceRule> {
    let namespace = || option::of(text(&["live", "default", ""]));
    let named = (text(&["web", "db", "kubernetes", "nobody"]), namespace()).prop_map(|(name, namespace)| {
        ServiceRule {
            k8s_service: Some(NamedService { service_name: Some(name), namespace }),
            ..ServiceRule::default()
        }
    });
    let labelled = (selector(&["app", "tier"]), namespace()).prop_map(|(selector, namespace)| ServiceRule {
        k8s_service_selector: Some(ServiceSelector { selector, namespace }),
        ..ServiceRule::default()
    });
    prop_oneof![SELDOM => named, SELDOM => labelled, 1 => Just(ServiceRule::default())]
}

fn who() -> impl Strategy<Value = Who> {
    let endpoints = (vec(selector(&PEER_KEYS), 0..3), option::weighted(0.1, vec(selector(&PEER_KEYS), 0..2)));
    let entity = prop_oneof![SELDOM => select(crate::cilium::ENTITIES.to_vec()), 1 => Just("everybody")];
    prop_oneof![
        8 => Just(Who::Unsaid),
        20 => endpoints.prop_map(|(endpoints, requires)| Who::Endpoints(endpoints, requires)),
        8 => (vec(cidr(), 0..3), option::weighted(0.2, vec(cidr_rule(), 0..2)))
            .prop_map(|(cidr, set)| Who::Cidr(cidr, set)),
        8 => vec(cidr_rule(), 0..3).prop_map(Who::CidrSet),
        16 => vec(entity.prop_map(str::to_owned), 0..3).prop_map(Who::Entities),
        8 => vec(service_rule(), 0..3).prop_map(Who::Services),
        1 => Just(Who::Groups),
        1 => (vec(selector(&POD_KEYS), 1..2), vec(cidr(), 1..2)).prop_map(|(one, two)| Who::Two(one, two)),
    ]
}

fn port() -> impl Strategy<Value = PortProtocol> {
    let protocol = || option::of(text(&["TCP", "UDP", "SCTP", "ANY"]));
    let number = (protocol(), text(&["80", "443", "8080", "0"]), Just(None));
    let range =
        (protocol(), text(&["1", "79", "8000"]), select(vec![Some(100), Some(8081), Some(65_535), Some(0)]));
    let range = range.prop_map(|(protocol, port, end)| {
        // Mostly sound ranges.
        let first: i64 = port.parse().unwrap_or_default();
        (protocol, port, end.filter(|end| *end == 0 || *end >= first))
    });
    let named = (protocol(), text(&["http", "dns", "nobody-has"]), Just(None));
    let broken = (
        option::of(text(&["TCP", "ICMP"])),
        text(&["", "70000", "0", "-x", "80", "http"]),
        option::of(Just(79)),
    );
    prop_oneof![SELDOM => number, SELDOM => range, SELDOM / 2 => named, 2 => broken].prop_map(
        |(protocol, port, end_port)| PortProtocol {
            port: (!port.is_empty()).then_some(Text(port)),
            end_port,
            protocol,
        },
    )
}

fn ports() -> impl Strategy<Value = Option<Vec<PortRule>>> {
    let rule = (vec(port(), 1..3), 0..SELDOM).prop_map(|(ports, odd)| PortRule {
        ports: (odd != 1).then_some(ports),
        rules: match odd {
            0 => Some(json!({ "http": [{ "method": "GET" }] })),
            2 => Some(json!({})),
            _ => None,
        },
        listener: (odd == 3).then(|| json!({ "name": "proxy" })),
        ..PortRule::default()
    });
    prop_oneof![2 => Just(None), 3 => vec(rule, 0..3).prop_map(Some)]
}

fn icmps() -> impl Strategy<Value = Option<Vec<IcmpRule>>> {
    let field = (
        option::of(text(&["IPv4", "IPv6"])),
        prop_oneof![SELDOM => text(&["8", "128", "3", "EchoRequest"]), 1 => text(&["256", "Nonsense"])],
    );
    let field = field.prop_map(|(family, kind)| IcmpField { family, kind: Text(kind) });
    let rule = vec(field, 1..3).prop_map(|fields| IcmpRule { fields: Some(fields) });
    vec(rule, 1..2).prop_map(Some)
}

/// Ports, types of ICMP or neither, and seldom both.
fn packets() -> impl Strategy<Value = (Option<Vec<PortRule>>, Option<Vec<IcmpRule>>)> {
    prop_oneof![
        SELDOM => (ports(), Just(None)),
        SELDOM / 4 => (Just(None), icmps()),
        1 => (ports(), icmps()),
    ]
}

fn ingress() -> impl Strategy<Value = IngressRule> {
    (who(), packets()).prop_map(|(who, (to_ports, icmps))| {
        let mut rule = IngressRule { to_ports, icmps, ..IngressRule::default() };
        match who {
            Who::Unsaid | Who::Services(_) => {}
            Who::Endpoints(endpoints, requires) => {
                (rule.from_endpoints, rule.from_requires) = (Some(endpoints), requires);
            }
            Who::Cidr(cidr, set) => (rule.from_cidr, rule.from_cidr_set) = (Some(cidr), set),
            Who::CidrSet(set) => rule.from_cidr_set = Some(set),
            Who::Entities(entities) => rule.from_entities = Some(entities),
            Who::Groups => rule.from_groups = Some(json!([{}])),
            Who::Two(endpoints, cidr) => {
                (rule.from_endpoints, rule.from_cidr) = (Some(endpoints), Some(cidr))
            }
        }
        rule
    })
}

fn egress() -> impl Strategy<Value = EgressRule> {
    (who(), packets()).prop_map(|(who, (to_ports, icmps))| {
        let mut rule = EgressRule { to_ports, icmps, ..EgressRule::default() };
        match who {
            Who::Unsaid => {}
            Who::Services(services) => rule.to_services = Some(services),
            Who::Endpoints(endpoints, requires) => {
                (rule.to_endpoints, rule.to_requires) = (Some(endpoints), requires);
            }
            Who::Cidr(cidr, set) => (rule.to_cidr, rule.to_cidr_set) = (Some(cidr), set),
            Who::CidrSet(set) => rule.to_cidr_set = Some(set),
            Who::Entities(entities) => rule.to_entities = Some(entities),
            Who::Groups => rule.to_fqdns = Some(json!([{ "matchName": "example.org" }])),
            Who::Two(endpoints, cidr) => (rule.to_endpoints, rule.to_cidr) = (Some(endpoints), Some(cidr)),
        }
        rule
    })
}

fn spec() -> impl Strategy<Value = Spec> {
    let switch = || option::weighted(0.3, any::<bool>());
    let switches = option::weighted(0.4, (switch(), switch()));
    let subject = prop_oneof![SELDOM => selector(&POD_KEYS).prop_map(Some), 1 => Just(None)];
    let denials = (option::weighted(0.4, vec(ingress(), 0..2)), option::weighted(0.4, vec(egress(), 0..2)));
    let lists = (option::of(vec(ingress(), 0..3)), option::of(vec(egress(), 0..3)), denials);
    (subject, lists, switches, 0..SELDOM).prop_map(|(subject, (ingress, egress, denials), switches, node)| {
        Spec {
            endpoint_selector: subject,
            node_selector: (node == 0).then(LabelSelector::default),
            ingress,
            ingress_deny: denials.0,
            egress,
            egress_deny: denials.1,
            enable_default_deny: switches.map(|(ingress, egress)| DefaultDeny { ingress, egress }),
            ..Spec::default()
        }
    })
}

fn object() -> impl Strategy<Value = Object> {
    let namespace = prop_oneof![3 => text(&NAMESPACES), 1 => Just(String::new())];
    let unread = prop_oneof![
        SELDOM => Just(Unread::Nothing),
        1 => Just(Unread::Something),
        1 => Just(Unread::DenyRules),
    ];
    (namespace, vec((spec(), unread), 1..3)).prop_map(|(namespace, specs)| Object {
        namespace,
        specs: specs
            .into_iter()
            .map(|(spec, unread)| OneSpec { place: "spec".into(), spec, unread })
            .collect(),
        ..Object::default()
    })
}

fn services() -> Vec<Service> {
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let service =
        |namespace: &str, name: &str, own: &[(&str, &str)], of: &[(&str, &str)], at: &[&str]| Service {
            namespace: namespace.into(),
            name: name.into(),
            labels: labels(own),
            selector: labels(of),
            addresses: at.iter().map(|text| text.parse().expect("an address")).collect(),
        };
    let (host, other) = (HOST.to_string(), OTHER_NODE.to_string());
    vec![
        service("live", "web", &[("app", "a")], &[("app", "a")], &[]),
        service("chat", "db", &[("app", "b"), ("tier", "a")], &[("tier", "b")], &[]),
        service("live", "db", &[("app", "b")], &[], &["192.0.2.1", "2001:db8::1", "10.0.0.1"]),
        service("default", "kubernetes", &[], &[], &[&host, &other, "198.51.100.9"]),
    ]
}

/// Objects of both kinds.
pub fn cilium() -> impl Strategy<Value = Vec<Object>> {
    vec(object(), 0..5).prop_map(|mut objects| {
        for (number, object) in objects.iter_mut().enumerate() {
            object.name = format!("cilium-{number}");
        }
        objects
    })
}

/// A cluster of [`uniform`] with services and Cilium's policies, with and without those of Kubernetes.
pub fn uniform_with_cilium() -> impl Strategy<Value = Cluster> {
    (uniform(), cilium(), any::<bool>()).prop_map(|(mut cluster, cilium, mixed)| {
        if !mixed {
            cluster.policies.clear();
        }
        cluster.cilium = cilium;
        cluster.services = services();
        cluster
    })
}
