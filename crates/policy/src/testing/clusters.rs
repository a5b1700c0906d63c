//! Generated clusters: namespaces, pods, policies with every feature, some of them broken.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::oracle::{Cluster, Pod};
use crate::spec::{Expression, IpBlock, LabelSelector, NetworkPolicy, Peer, Port, PortValue, Rule};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

type Labels = BTreeMap<String, String>;

const NAMESPACES: [&str; 3] = ["live", "chat", "ops"];
const CIDRS: [&str; 13] = [
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.1.0/24",
    "10.0.1.7/24",
    "10.0.0.0/30",
    "10.0.0.1/32",
    "0.0.0.0/0",
    "::/0",
    "::ffff:10.0.0.0/104",
    "fd00::/64",
    "fd00::/126",
    "2001:db8::/32",
    "192.0.2.0/24",
];
const EXCEPTS: [&str; 7] = [
    "10.0.1.0/24",
    "10.0.0.0/30",
    "10.0.0.2/32",
    "fd00::/126",
    "2001:db8:1::/48",
    "192.0.2.128/25",
    "10.0.0.0/9",
];

/// Addresses that are no pod's.
pub const OUTSIDE: [&str; 9] = [
    "10.0.0.200",
    "10.0.1.77",
    "10.200.0.1",
    "192.0.2.1",
    "192.0.2.200",
    "198.51.100.9",
    "2001:db8::1",
    "2001:db8:1::1",
    "fd00::ff",
];

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(choices).prop_map(str::to_owned)
}

fn labels() -> impl Strategy<Value = Labels> {
    let key = text(&["app", "tier", "pod-template-hash", "kubernetes.io/arch"]);
    btree_map(key, text(&["a", "b"]), 0..3)
}

fn namespace_labels() -> impl Strategy<Value = Labels> {
    btree_map(text(&["team", "env"]), text(&["a", "b"]), 0..3)
}

fn expression(keys: &'static [&'static str]) -> impl Strategy<Value = Expression> {
    let sound = (text(keys), text(&["In", "NotIn"]), vec(text(&["a", "b", "live", "chat"]), 1..3));
    let bare = (text(keys), text(&["Exists", "DoesNotExist"]), Just(vec![]));
    let broken = (text(&["app", ""]), text(&["In", "Is", "Exists"]), vec(text(&["a"]), 0..2));
    let parts = prop_oneof![20 => sound, 10 => bare, 2 => broken];
    parts.prop_map(|(key, operator, values)| Expression { key, operator, values })
}

fn selector(keys: &'static [&'static str]) -> impl Strategy<Value = LabelSelector> {
    let some = (btree_map(text(keys), text(&["a", "b", "live", "chat"]), 0..2), vec(expression(keys), 0..2));
    let some =
        some.prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions });
    prop_oneof![1 => Just(LabelSelector::default()), 2 => some]
}

fn pod_selector() -> impl Strategy<Value = LabelSelector> {
    selector(&["app", "tier", "pod-template-hash", "kubernetes.io/arch"])
}

fn namespace_selector() -> impl Strategy<Value = LabelSelector> {
    selector(&["team", "env", "kubernetes.io/metadata.name"])
}

fn ip_block() -> impl Strategy<Value = IpBlock> {
    let cidr = prop_oneof![40 => text(&CIDRS), 1 => text(&["nonsense", "10.0.0.0/33", "10.0.0.1"])];
    (cidr, subsequence(&EXCEPTS, 0..3), 0..10u8).prop_map(|(cidr, except, careless)| {
        let within = |except: &&&str| match (cidr.parse::<ipnet::IpNet>(), except.parse::<ipnet::IpNet>()) {
            (Ok(cidr), Ok(except)) => cidr.contains(&except) && cidr.prefix_len() < except.prefix_len(),
            _ => false,
        };
        // Mostly sound blocks; a tenth of the time whatever came.
        let except = except.iter().filter(|except| careless == 0 || within(except));
        IpBlock { except: except.map(|except| except.to_string()).collect(), cidr }
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    let pods = pod_selector().prop_map(|pods| Peer { pod_selector: Some(pods), ..Peer::default() });
    let namespaces =
        namespace_selector().prop_map(|all| Peer { namespace_selector: Some(all), ..Peer::default() });
    let both = (pod_selector(), namespace_selector()).prop_map(|(pods, namespaces)| Peer {
        pod_selector: Some(pods),
        namespace_selector: Some(namespaces),
        ..Peer::default()
    });
    let block = ip_block().prop_map(|block| Peer { ip_block: Some(block), ..Peer::default() });
    let broken = option::of(ip_block()).prop_map(|ip_block| Peer {
        pod_selector: ip_block.is_some().then(LabelSelector::default),
        ip_block,
        ..Peer::default()
    });
    prop_oneof![10 => pods, 10 => namespaces, 10 => both, 20 => block, 1 => broken]
}

fn port() -> impl Strategy<Value = Port> {
    let protocol = || option::of(text(&["TCP", "UDP", "SCTP"]));
    let all = (protocol(), Just(None), Just(None));
    let one = (protocol(), select(vec![80, 443, 8080]).prop_map(|n| Some(PortValue::Number(n))), Just(None));
    let range = (
        protocol(),
        select(vec![1, 79, 8000]).prop_map(|n| Some(PortValue::Number(n))),
        select(vec![100, 8081, 65_535]).prop_map(Some),
    );
    let named =
        (protocol(), text(&["http", "dns", "nobody-has"]).prop_map(|n| Some(PortValue::Name(n))), Just(None));
    let broken = (
        option::of(text(&["TCP", "QUIC"])),
        select(vec![
            None,
            Some(PortValue::Number(0)),
            Some(PortValue::Number(80)),
            Some(PortValue::Name("HTTP".into())),
            Some(PortValue::Name("http".into())),
        ]),
        option::of(select(vec![79, 70_000])),
    );
    let parts = prop_oneof![5 => all, 10 => one, 10 => range, 10 => named, 1 => broken];
    parts.prop_map(|(protocol, port, end_port)| Port { protocol, port, end_port })
}

fn rule() -> impl Strategy<Value = Rule> {
    (vec(peer(), 0..3), vec(port(), 0..3)).prop_map(|(peers, ports)| Rule { peers, ports })
}

fn policy() -> impl Strategy<Value = NetworkPolicy> {
    let types = prop_oneof![
        20 => subsequence(vec!["Ingress", "Egress"], 0..=2),
        1 => Just(vec!["Ingress", "Sideways"]),
    ];
    let parts = (text(&NAMESPACES), pod_selector(), types, vec(rule(), 0..3), vec(rule(), 0..3));
    parts.prop_map(|(namespace, pod_selector, types, ingress, egress)| NetworkPolicy {
        namespace,
        pod_selector,
        policy_types: types.into_iter().map(str::to_owned).collect(),
        ingress,
        egress,
        ..NetworkPolicy::default()
    })
}

fn named_ports() -> impl Strategy<Value = Vec<(String, String, u16)>> {
    let port = (text(&["http", "dns"]), text(&["TCP", "UDP"]), select(vec![53u16, 80, 8080]));
    vec(port, 0..3)
}

/// A cluster in which pods of one namespace with the same identity come from one template, hence have
/// the same named ports.
pub fn uniform() -> impl Strategy<Value = Cluster> {
    cluster().prop_map(|mut cluster| {
        let mut templates = BTreeMap::new();
        for pod in &mut cluster.pods {
            // Labels that identities leave out make no difference.
            let mut labels = pod.labels.clone();
            labels.retain(|key, _| key == "app" || key == "tier");
            let template = (pod.namespace.clone(), labels);
            pod.named_ports = templates.entry(template).or_insert(pod.named_ports.clone()).clone();
        }
        cluster
    })
}

/// A cluster in which pods with the same labels may have different named ports.
pub fn cluster() -> impl Strategy<Value = Cluster> {
    let namespaces = vec(namespace_labels(), NAMESPACES.len());
    let pod = (text(&NAMESPACES), labels(), named_ports(), any::<bool>());
    (namespaces, vec(pod, 1..7), vec(policy(), 0..6)).prop_map(|(namespaces, pods, mut policies)| {
        for (number, policy) in policies.iter_mut().enumerate() {
            policy.name = format!("policy-{number}");
        }
        let pods = pods.into_iter().zip(1u8..).map(|((namespace, labels, named_ports, dual), n)| {
            let mut addresses = vec![IpAddr::from([10, 0, n % 2, n])];
            if dual {
                addresses.push(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)]));
            }
            Pod { namespace, labels, addresses, named_ports }
        });
        let names = NAMESPACES.map(str::to_owned);
        Cluster { namespaces: names.into_iter().zip(namespaces).collect(), pods: pods.collect(), policies }
    })
}
