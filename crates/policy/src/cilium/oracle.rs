//! Cilium's policies read out loud: slow, naive, and sharing no code with the compiler.
//!
//! Works on the policies as written, on pods and on addresses. Where the documentation leaves a choice, the
//! choices documented in this crate: labels of `reserved:` select what has a fixed number, all others select
//! pods; what cannot be understood or enforced allows nothing, and denies all that it may have meant.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::object::{Object, Unread};
use super::written::{
    CidrRule, EgressRule, IcmpRule, IngressRule, LabelSelector, PortRule, ServiceRule, Spec,
};
use crate::oracle::{Cluster, Net, Pod, Remote, good_port_name};
use crate::table::Direction;

/// What all policies together say of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opinion {
    /// Some policy denies what no rule allows.
    pub restricts: bool,
    pub allows: bool,
    pub denies: bool,
}

/// A packet, seen from the pod whose policies are asked.
#[derive(Clone, Copy)]
pub(crate) struct Packet<'a> {
    pub cluster: &'a Cluster,
    pub pod: &'a Pod,
    pub direction: Direction,
    pub remote: Remote,
    pub proto: u8,
    pub port: Option<u16>,
}

/// A rule of either direction.
#[derive(Clone, Copy)]
struct AnyRule<'a> {
    endpoints: Option<&'a Vec<LabelSelector>>,
    requires: Option<&'a Vec<LabelSelector>>,
    cidr: Option<&'a Vec<String>>,
    cidr_set: Option<&'a Vec<CidrRule>>,
    entities: Option<&'a Vec<String>>,
    services: Option<&'a Vec<ServiceRule>>,
    out_of_reach: bool,
    ports: Option<&'a Vec<PortRule>>,
    icmps: Option<&'a Vec<IcmpRule>>,
}

pub(crate) fn judge(packet: Packet<'_>) -> Opinion {
    let mut opinion = Opinion::default();
    let mut selecting = Vec::new();
    for object in &packet.cluster.cilium {
        for one in &object.specs {
            let spec = &one.spec;
            let Some(sure) = is_subject(packet, object, spec) else { continue };
            let (allow, deny) = rules(spec, packet.direction);
            let switch = spec.enable_default_deny.as_ref().and_then(|switches| match packet.direction {
                Direction::Ingress => switches.ingress,
                Direction::Egress => switches.egress,
            });
            let closed = one.unread != Unread::Nothing;
            let concerned = !allow.is_empty() || !deny.is_empty() || switch == Some(true) || closed;
            opinion.restricts |= concerned && (closed || switch != Some(false));
            opinion.denies |= one.unread == Unread::DenyRules;
            selecting.push((object, allow, deny, sure && !closed));
        }
    }
    let required = |deny: bool| {
        selecting.iter().all(|(object, allowing, denying, _)| {
            let rules = if deny { denying } else { allowing };
            rules.iter().flat_map(|rule| rule.requires.into_iter().flatten()).all(|selector| {
                // One that cannot be understood is fulfilled by nobody, and does not narrow what is denied.
                is_endpoint(packet, object, selector).unwrap_or(deny)
            })
        })
    };
    let (fulfilled, fulfilled_for_denial) = (required(false), required(true));
    for (object, allow, deny, sure) in &selecting {
        for rule in allow {
            let Some(meant) = meant(packet, object, *rule, fulfilled) else { continue };
            let understood =
                rule.requires.into_iter().flatten().all(|s| is_endpoint(packet, object, s).is_some());
            opinion.allows |= *sure && understood && meant.peer == Some(true) && meant.packet == Some(true);
        }
        for rule in deny {
            let Some(meant) = meant(packet, object, *rule, fulfilled_for_denial) else { continue };
            opinion.denies |= meant.peer.unwrap_or(true) && meant.packet.unwrap_or(true);
        }
    }
    opinion
}

fn rules(spec: &Spec, direction: Direction) -> (Vec<AnyRule<'_>>, Vec<AnyRule<'_>>) {
    match direction {
        Direction::Ingress => (
            spec.ingress.iter().flatten().map(ingress).collect(),
            spec.ingress_deny.iter().flatten().map(ingress).collect(),
        ),
        Direction::Egress => (
            spec.egress.iter().flatten().map(egress).collect(),
            spec.egress_deny.iter().flatten().map(egress).collect(),
        ),
    }
}

fn ingress(rule: &IngressRule) -> AnyRule<'_> {
    AnyRule {
        endpoints: rule.from_endpoints.as_ref(),
        requires: rule.from_requires.as_ref(),
        cidr: rule.from_cidr.as_ref(),
        cidr_set: rule.from_cidr_set.as_ref(),
        entities: rule.from_entities.as_ref(),
        services: None,
        out_of_reach: rule.from_groups.is_some()
            || rule.from_nodes.is_some()
            || rule.authentication.as_ref().is_some_and(|how| how["mode"] != "disabled"),
        ports: rule.to_ports.as_ref(),
        icmps: rule.icmps.as_ref(),
    }
}

fn egress(rule: &EgressRule) -> AnyRule<'_> {
    AnyRule {
        endpoints: rule.to_endpoints.as_ref(),
        requires: rule.to_requires.as_ref(),
        cidr: rule.to_cidr.as_ref(),
        cidr_set: rule.to_cidr_set.as_ref(),
        entities: rule.to_entities.as_ref(),
        services: rule.to_services.as_ref(),
        out_of_reach: rule.to_groups.is_some()
            || rule.to_nodes.is_some()
            || rule.to_fqdns.is_some()
            || rule.authentication.as_ref().is_some_and(|how| how["mode"] != "disabled"),
        ports: rule.to_ports.as_ref(),
        icmps: rule.icmps.as_ref(),
    }
}

/// Whether the policy is for the pod (else `None`), and whether that is beyond doubt.
fn is_subject(packet: Packet<'_>, object: &Object, spec: &Spec) -> Option<bool> {
    if spec.endpoint_selector.is_none() && spec.node_selector.is_some() {
        return None;
    }
    if !object.namespace.is_empty() && object.namespace != packet.pod.namespace {
        return None;
    }
    let mut sure = spec.endpoint_selector.is_some() && spec.node_selector.is_none();
    for (key, holds) in
        requirements(&spec.endpoint_selector.clone().unwrap_or_default(), &labels(packet, packet.pod))
    {
        if key == NAMESPACE && !object.namespace.is_empty() {
            // Which namespace it is, the policy's place says; another one is a contradiction.
            sure &= holds == Some(true) && only_own(spec, &object.namespace);
            continue;
        }
        match holds {
            Some(true) => {}
            Some(false) => return None,
            None => sure = false,
        }
    }
    Some(sure)
}

const NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// Whether the selector's word about the namespace is that it is the policy's.
fn only_own(spec: &Spec, namespace: &str) -> bool {
    let selector = spec.endpoint_selector.clone().unwrap_or_default();
    let plain = selector.match_labels.iter().flatten().filter(|(key, _)| normal(key) == NAMESPACE);
    let expressions = selector.match_expressions.iter().flatten().filter(|e| normal(&e.key) == NAMESPACE);
    plain.into_iter().all(|(_, value)| value == namespace)
        && expressions
            .into_iter()
            .all(|e| e.operator == "In" && e.values.iter().flatten().all(|value| value == namespace))
}

struct Meant {
    /// Whether the other end is a peer of the rule; `None`: not understood.
    peer: Option<bool>,
    packet: Option<bool>,
}

/// `None` where the rule says nothing at all.
fn meant(packet: Packet<'_>, object: &Object, rule: AnyRule<'_>, fulfilled: bool) -> Option<Meant> {
    let has_packets =
        rule.ports.is_some_and(|list| !list.is_empty()) || rule.icmps.is_some_and(|l| !l.is_empty());
    let has_peers = rule.endpoints.is_some()
        || rule.requires.is_some()
        || rule.cidr.is_some()
        || rule.cidr_set.is_some()
        || rule.entities.is_some()
        || rule.services.is_some();
    let mut peers: Vec<Option<bool>> = Vec::new();
    for selector in rule.endpoints.into_iter().flatten() {
        peers.push(is_endpoint(packet, object, selector).map(|is| is && fulfilled));
    }
    for text in rule.cidr.into_iter().flatten() {
        peers.push(in_block(packet, text, &[]));
    }
    for block in rule.cidr_set.into_iter().flatten() {
        peers.push(match (&block.cidr, &block.cidr_group_ref, &block.cidr_group_selector) {
            (Some(cidr), None, None) => in_block(packet, cidr, &block.except.clone().unwrap_or_default()),
            _ => None,
        });
    }
    for name in rule.entities.into_iter().flatten() {
        peers.push(is_entity(packet, name));
    }
    for service in rule.services.into_iter().flatten() {
        peers.push(is_behind(packet, object, service));
    }
    let several = [
        rule.endpoints.is_some_and(|list| !list.is_empty()),
        rule.cidr.is_some_and(|list| !list.is_empty()) || rule.cidr_set.is_some_and(|list| !list.is_empty()),
        rule.entities.is_some_and(|list| !list.is_empty()),
        rule.services.is_some_and(|list| !list.is_empty()),
    ];
    let several = several.into_iter().filter(|filled| *filled).count() > 1;
    let peer = match () {
        () if several || rule.out_of_reach => None,
        () if peers.contains(&None) => None,
        () if !has_peers && has_packets => Some(true),
        () if !has_peers => Some(false),
        () => Some(peers.contains(&Some(true))),
    };
    Some(Meant { peer, packet: is_meant_packet(packet, rule) })
}

fn address(packet: Packet<'_>) -> IpAddr {
    match packet.remote {
        Remote::Pod(_, address)
        | Remote::Address(address)
        | Remote::LocalHost(address)
        | Remote::RemoteNode(address) => address,
    }
}

fn in_block(packet: Packet<'_>, cidr: &str, except: &[String]) -> Option<bool> {
    let read = |text: &str| {
        let bits = if text.contains(':') { 128 } else { 32 };
        Net::read(text).or_else(|| Net::read(&format!("{text}/{bits}")))
    };
    let cidr = read(cidr)?;
    let mut inside = cidr.has(address(packet));
    for part in except {
        let part = read(part)?;
        if part.length < cidr.length || !cidr.has_bits(part.bits) || part.is_v4() != cidr.is_v4() {
            return None;
        }
        inside &= !part.has(address(packet));
    }
    // Pods and nodes are no addresses outside of the cluster.
    Some(inside && matches!(packet.remote, Remote::Address(_)))
}

fn is_entity(packet: Packet<'_>, name: &str) -> Option<bool> {
    let outside = matches!(packet.remote, Remote::Address(_));
    let is = match name {
        "all" => true,
        "none" => false,
        "world" => outside,
        "world-ipv4" => outside && address(packet).is_ipv4(),
        "world-ipv6" => outside && address(packet).is_ipv6(),
        "cluster" => !outside,
        "host" => matches!(packet.remote, Remote::LocalHost(_)),
        "remote-node" => matches!(packet.remote, Remote::RemoteNode(_)),
        "kube-apiserver" => packet.cluster.services.iter().any(|service| {
            service.namespace == "default"
                && service.name == "kubernetes"
                && service.addresses.contains(&address(packet))
        }),
        "ingress" | "init" | "health" | "unmanaged" => false,
        _ => return None,
    };
    Some(is)
}

fn is_behind(packet: Packet<'_>, object: &Object, written: &ServiceRule) -> Option<bool> {
    let (namespace, name, selector) = match (&written.k8s_service, &written.k8s_service_selector) {
        (Some(named), None) => {
            let name = named.service_name.clone().filter(|name| !name.is_empty())?;
            (named.namespace.clone(), Some(name), None)
        }
        (None, Some(labelled)) => (labelled.namespace.clone(), None, Some(&labelled.selector)),
        _ => return None,
    };
    let namespace =
        namespace.filter(|n| !n.is_empty()).or(Some(object.namespace.clone()).filter(|n| !n.is_empty()));
    let mut behind = false;
    for service in &packet.cluster.services {
        let mut picked = namespace.as_ref().is_none_or(|namespace| *namespace == service.namespace);
        picked &= name.as_ref().is_none_or(|name| *name == service.name);
        for (_, holds) in selector.into_iter().flat_map(|selector| requirements(selector, &service.labels)) {
            picked &= holds?;
        }
        let is_its = match packet.remote {
            Remote::Pod(place, _) => {
                let pod = &packet.cluster.pods[place];
                !service.selector.is_empty()
                    && pod.namespace == service.namespace
                    && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
            }
            Remote::Address(address) => service.selector.is_empty() && service.addresses.contains(&address),
            _ => false,
        };
        behind |= picked && is_its;
    }
    Some(behind)
}

/// Every label of a pod, as selectors call them when they leave the source out.
fn labels(packet: Packet<'_>, pod: &Pod) -> BTreeMap<String, String> {
    let mut all = pod.labels.clone();
    let account = if pod.service_account.is_empty() { "default" } else { &pod.service_account };
    all.insert(NAMESPACE.to_owned(), pod.namespace.clone());
    all.insert("io.cilium.k8s.policy.serviceaccount".to_owned(), account.to_owned());
    all.insert("io.cilium.k8s.policy.cluster".to_owned(), "default".to_owned());
    let mut of_namespace = packet.cluster.namespaces.get(&pod.namespace).cloned().unwrap_or_default();
    of_namespace.insert("kubernetes.io/metadata.name".to_owned(), pod.namespace.clone());
    for (key, value) in of_namespace {
        all.insert(format!("io.cilium.k8s.namespace.labels.{key}"), value);
    }
    all
}

/// Whether the other end has these labels; `None` when the selector cannot be understood.
fn is_endpoint(packet: Packet<'_>, object: &Object, selector: &LabelSelector) -> Option<bool> {
    let fixed = match packet.remote {
        Remote::Pod(..) => None,
        Remote::Address(_) => Some("reserved:world"),
        Remote::LocalHost(_) => Some("reserved:host"),
        Remote::RemoteNode(_) => Some("reserved:remote-node"),
    };
    let of = match (packet.remote, fixed) {
        (Remote::Pod(place, _), _) => labels(packet, &packet.cluster.pods[place]),
        (_, Some(label)) => [(label.to_owned(), String::new())].into(),
        _ => BTreeMap::new(),
    };
    let judged = requirements(selector, &of);
    if judged.iter().any(|(_, holds)| holds.is_none()) {
        return None;
    }
    let plain = selector.match_labels.iter().flatten().map(|(key, _)| (normal(key), true));
    let expressions = selector.match_expressions.iter().flatten();
    let expressions = expressions.map(|e| (normal(&e.key), e.operator == "In" || e.operator == "Exists"));
    let keys: Vec<(String, bool)> = plain.chain(expressions).collect();
    let of_fixed = keys.iter().any(|(key, positive)| *positive && key.starts_with("reserved:"));
    let names_namespace =
        keys.iter().any(|(key, _)| key == NAMESPACE || key.starts_with("io.cilium.k8s.namespace.labels."));
    let scoped = !object.namespace.is_empty() && !names_namespace && !of_fixed;
    let in_scope = !scoped || of.get(NAMESPACE) == Some(&object.namespace);
    let right_sort = of_fixed != matches!(packet.remote, Remote::Pod(..));
    Some(right_sort && in_scope && judged.iter().all(|(_, holds)| *holds == Some(true)))
}

/// A key without the sources that all labels of pods are from.
fn normal(key: &str) -> String {
    key.strip_prefix("k8s:").or_else(|| key.strip_prefix("any:")).unwrap_or(key).to_owned()
}

/// Each requirement's key, and whether it holds; `None` for one that cannot be understood.
fn requirements(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Vec<(String, Option<bool>)> {
    let mut judged = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        let key = normal(key);
        let holds = (!key.is_empty()).then(|| labels.get(&key) == Some(value));
        judged.push((key, holds));
    }
    for expression in selector.match_expressions.iter().flatten() {
        let key = normal(&expression.key);
        let values = expression.values.clone().unwrap_or_default();
        let value = labels.get(&key);
        let among = value.is_some_and(|value| values.contains(value));
        let holds = match (expression.operator.as_str(), values.is_empty()) {
            _ if key.is_empty() => None,
            ("In", false) => Some(among),
            ("NotIn", false) => Some(!among),
            ("Exists", true) => Some(value.is_some()),
            ("DoesNotExist", true) => Some(value.is_none()),
            _ => None,
        };
        judged.push((key, holds));
    }
    judged
}

/// Whether the rule means such packets; `None` when that part cannot be understood.
fn is_meant_packet(packet: Packet<'_>, rule: AnyRule<'_>) -> Option<bool> {
    let ports = rule.ports.filter(|list| !list.is_empty());
    let icmps = rule.icmps.filter(|list| !list.is_empty());
    match (ports, icmps) {
        (None, None) => return Some(true),
        (Some(_), Some(_)) => return None,
        _ => {}
    }
    let mut any = false;
    for rule in ports.into_iter().flatten() {
        let asks = rule.rules.as_ref().is_some_and(|rules| *rules != serde_json::json!({}));
        let proxied = rule.terminating_tls.is_some()
            || rule.originating_tls.is_some()
            || rule.server_names.is_some()
            || rule.listener.is_some();
        let list = rule.ports.as_ref().filter(|list| !list.is_empty())?;
        if asks || proxied {
            return None;
        }
        for port in list {
            any |= is_port(packet, port)?;
        }
    }
    for rule in icmps.into_iter().flatten() {
        for field in rule.fields.as_ref().filter(|list| !list.is_empty())? {
            let proto = match field.family.as_deref() {
                None | Some("IPv4") => 1,
                Some("IPv6") => 58,
                Some(_) => return None,
            };
            let kind: u16 = match (field.kind.0.as_str(), proto) {
                ("EchoRequest", 1) => 8,
                ("EchoRequest", 58) => 128,
                (number, _) => number.parse::<u8>().ok()?.into(),
            };
            any |= packet.proto == proto && packet.port == Some(kind);
        }
    }
    Some(any)
}

fn is_port(packet: Packet<'_>, written: &super::written::PortProtocol) -> Option<bool> {
    let names = match written.protocol.as_deref() {
        None | Some("ANY") => vec![("TCP", 6), ("UDP", 17), ("SCTP", 132)],
        Some("TCP") => vec![("TCP", 6)],
        Some("UDP") => vec![("UDP", 17)],
        Some("SCTP") => vec![("SCTP", 132)],
        Some(_) => return None,
    };
    let of_protocol = names.iter().find(|(_, number)| *number == packet.proto);
    let text = written.port.as_ref()?.0.clone();
    let end = written.end_port.filter(|end| *end != 0);
    match text.parse::<i64>() {
        Ok(0) if end.is_none() => Some(of_protocol.is_some() || names.len() == 3),
        Ok(first) => {
            let last = end.unwrap_or(first);
            if first < 1 || last < first || last > 65_535 {
                return None;
            }
            let inside = packet.port.is_some_and(|port| (first..=last).contains(&i64::from(port)));
            Some(of_protocol.is_some() && inside)
        }
        Err(_) => {
            if end.is_some() || !good_port_name(&text) {
                return None;
            }
            let receiver = match (packet.direction, packet.remote) {
                (Direction::Ingress, _) => Some(packet.pod),
                (Direction::Egress, Remote::Pod(place, _)) => Some(&packet.cluster.pods[place]),
                (Direction::Egress, _) => None,
            };
            let called_so = receiver.into_iter().flat_map(|pod| &pod.named_ports);
            let called_so = called_so.filter(|(name, protocol, _)| {
                *name == text && of_protocol.is_some_and(|(wanted, _)| wanted == protocol)
            });
            Some(called_so.into_iter().any(|(_, _, port)| Some(*port) == packet.port))
        }
    }
}
