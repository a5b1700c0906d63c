//! One rule: who is meant, and which of their packets.

use std::net::IpAddr;

use serde_json::Value;

use super::labels::Scope;
use super::object::List;
use super::ports;
use super::written::{
    CidrRule, EgressRule, IcmpRule, IngressRule, LabelSelector, PortRule, ServiceRule, Spec,
};
use crate::policy::{Entity, IpBlock, Peer, Peers, Ports, ServicePick, Services};
use crate::problem::Fault;
use crate::selector::Selector;
use fathom_identity::canonical_prefix;
use ipnet::IpNet;

/// A fault and its place below the part being read.
pub(super) type Faults = Vec<(String, Fault)>;

/// Ingress and egress rules alike: fields with the names they have there.
pub(super) struct Sides<'a> {
    endpoints: (&'static str, &'a Option<Vec<LabelSelector>>),
    requires: (&'static str, &'a Option<Vec<LabelSelector>>),
    cidr: (&'static str, &'a Option<Vec<String>>),
    cidr_set: (&'static str, &'a Option<Vec<CidrRule>>),
    entities: (&'static str, &'a Option<Vec<String>>),
    services: &'a Option<Vec<ServiceRule>>,
    /// What is read only to be refused.
    refused: Vec<(&'static str, &'a Option<Value>)>,
    authentication: &'a Option<Value>,
    to_ports: &'a Option<Vec<PortRule>>,
    icmps: &'a Option<Vec<IcmpRule>>,
}

impl<'a> From<&'a IngressRule> for Sides<'a> {
    fn from(rule: &'a IngressRule) -> Self {
        Self {
            endpoints: ("fromEndpoints", &rule.from_endpoints),
            requires: ("fromRequires", &rule.from_requires),
            cidr: ("fromCIDR", &rule.from_cidr),
            cidr_set: ("fromCIDRSet", &rule.from_cidr_set),
            entities: ("fromEntities", &rule.from_entities),
            services: &None,
            refused: vec![("fromGroups", &rule.from_groups), ("fromNodes", &rule.from_nodes)],
            authentication: &rule.authentication,
            to_ports: &rule.to_ports,
            icmps: &rule.icmps,
        }
    }
}

impl<'a> From<&'a EgressRule> for Sides<'a> {
    fn from(rule: &'a EgressRule) -> Self {
        Self {
            endpoints: ("toEndpoints", &rule.to_endpoints),
            requires: ("toRequires", &rule.to_requires),
            cidr: ("toCIDR", &rule.to_cidr),
            cidr_set: ("toCIDRSet", &rule.to_cidr_set),
            entities: ("toEntities", &rule.to_entities),
            services: &rule.to_services,
            refused: vec![
                ("toFQDNs", &rule.to_fqdns),
                ("toGroups", &rule.to_groups),
                ("toNodes", &rule.to_nodes),
            ],
            authentication: &rule.authentication,
            to_ports: &rule.to_ports,
            icmps: &rule.icmps,
        }
    }
}

/// The rules of one list; none when it is missing.
pub(super) fn rules_of(spec: &Spec, list: List) -> Vec<Sides<'_>> {
    match list {
        List::Ingress => spec.ingress.iter().flatten().map(Sides::from).collect(),
        List::IngressDeny => spec.ingress_deny.iter().flatten().map(Sides::from).collect(),
        List::Egress => spec.egress.iter().flatten().map(Sides::from).collect(),
        List::EgressDeny => spec.egress_deny.iter().flatten().map(Sides::from).collect(),
    }
}

/// What could be understood of a rule. `None`: not that part.
pub(super) struct Read {
    pub peers: Option<Peers>,
    pub ports: Option<Ports>,
    /// What endpoints must be besides; `None` when one of them could not be understood.
    pub requires: Option<Vec<Selector>>,
    pub faults: Faults,
}

/// Reads a rule. `scope` is the policy's namespace.
pub(super) fn read(sides: &Sides<'_>, scope: &Scope) -> Read {
    let mut faults = Faults::new();
    let requires = requires(sides, scope, &mut faults);
    let before = faults.len();
    let peers = peers(sides, scope, &mut faults);
    let peers = (faults.len() == before).then_some(peers);
    let before = faults.len();
    let ports = ports::read(sides.to_ports.as_deref(), sides.icmps.as_deref(), &mut faults);
    let ports = (faults.len() == before).then_some(ports);
    Read { peers, ports, requires, faults }
}

fn requires(sides: &Sides<'_>, scope: &Scope, faults: &mut Faults) -> Option<Vec<Selector>> {
    let (name, list) = sides.requires;
    let mut understood = true;
    let mut selectors = Vec::new();
    for (index, written) in list.iter().flatten().enumerate() {
        let (selector, found) = scope.peer(written);
        understood &= found.is_empty();
        faults.extend(found.into_iter().map(|(place, fault)| (format!(".{name}[{index}]{place}"), fault)));
        selectors.push(selector);
    }
    understood.then_some(selectors)
}

fn peers(sides: &Sides<'_>, scope: &Scope, faults: &mut Faults) -> Peers {
    for (name, value) in &sides.refused {
        if value.is_some() {
            faults.push((format!(".{name}"), Fault::NotEnforced(name)));
        }
    }
    if let Some(value) = sides.authentication
        && value.get("mode").and_then(Value::as_str) != Some("disabled")
    {
        faults.push((".authentication".to_owned(), Fault::NotEnforced("authentication")));
    }
    let filled = [
        (sides.endpoints.0, sides.endpoints.1.as_ref().is_some_and(|list| !list.is_empty())),
        (sides.cidr.0, sides.cidr.1.as_ref().is_some_and(|list| !list.is_empty())),
        (sides.cidr_set.0, sides.cidr_set.1.as_ref().is_some_and(|list| !list.is_empty())),
        (sides.entities.0, sides.entities.1.as_ref().is_some_and(|list| !list.is_empty())),
        ("toServices", sides.services.as_ref().is_some_and(|list| !list.is_empty())),
    ];
    let filled: Vec<&str> = filled.into_iter().filter(|(_, filled)| *filled).map(|(name, _)| name).collect();
    if let [one, .., other] = filled[..]
        && !(filled.len() == 2 && one == sides.cidr.0 && other == sides.cidr_set.0)
    {
        faults
            .push((format!(".{other}"), Fault::PeersOfSeveralKinds { one: one.into(), other: other.into() }));
    }
    let mut peers = Vec::new();
    let mut everybody = false;
    endpoints(sides, scope, &mut peers, faults);
    blocks(sides, &mut peers, faults);
    for (index, name) in sides.entities.1.iter().flatten().enumerate() {
        match entity(name) {
            Some(Meant::Everybody) => everybody = true,
            Some(Meant::Nobody) => {}
            Some(Meant::Peer(peer)) => peers.push(peer),
            None => {
                let place = format!(".{}[{index}]", sides.entities.0);
                faults.push((place, Fault::UnknownEntity(name.clone())));
            }
        }
    }
    services(sides, scope, &mut peers, faults);
    let named = sides.endpoints.1.is_some()
        || sides.requires.1.is_some()
        || sides.cidr.1.is_some()
        || sides.cidr_set.1.is_some()
        || sides.entities.1.is_some()
        || sides.services.is_some();
    let some_packets = |list: Option<usize>| list.is_some_and(|length| length > 0);
    let packets = some_packets(sides.to_ports.as_ref().map(Vec::len))
        || some_packets(sides.icmps.as_ref().map(Vec::len));
    // Ports alone are for everybody; a rule that says nothing at all is for nobody.
    if everybody || (!named && packets) { Peers::Any } else { Peers::Of(peers) }
}

fn endpoints(sides: &Sides<'_>, scope: &Scope, peers: &mut Vec<Peer>, faults: &mut Faults) {
    let (name, list) = sides.endpoints;
    for (index, written) in list.iter().flatten().enumerate() {
        let (selector, found) = scope.peer(written);
        faults.extend(found.into_iter().map(|(place, fault)| (format!(".{name}[{index}]{place}"), fault)));
        peers.push(Peer::Endpoints(selector));
    }
}

fn blocks(sides: &Sides<'_>, peers: &mut Vec<Peer>, faults: &mut Faults) {
    let (name, list) = sides.cidr;
    for (index, text) in list.iter().flatten().enumerate() {
        match prefix(text) {
            Some(cidr) => peers.push(Peer::Outside(IpBlock { cidr, except: Vec::new() })),
            None => faults.push((format!(".{name}[{index}]"), Fault::InvalidCidr(text.clone()))),
        }
    }
    let (name, list) = sides.cidr_set;
    for (index, written) in list.iter().flatten().enumerate() {
        match block(written) {
            Ok(block) => peers.push(Peer::Outside(block)),
            Err((place, fault)) => faults.push((format!(".{name}[{index}]{place}"), fault)),
        }
    }
}

fn block(written: &CidrRule) -> Result<IpBlock, (String, Fault)> {
    if written.cidr_group_ref.is_some() {
        return Err((".cidrGroupRef".to_owned(), Fault::NotEnforced("cidrGroupRef")));
    }
    if written.cidr_group_selector.is_some() {
        return Err((".cidrGroupSelector".to_owned(), Fault::NotEnforced("cidrGroupSelector")));
    }
    let text = written.cidr.clone().unwrap_or_default();
    let cidr = prefix(&text).ok_or_else(|| (".cidr".to_owned(), Fault::InvalidCidr(text.clone())))?;
    let mut except = Vec::new();
    for (index, part) in written.except.iter().flatten().enumerate() {
        let place = format!(".except[{index}]");
        let inner = prefix(part).ok_or_else(|| (place.clone(), Fault::InvalidCidr(part.clone())))?;
        if !cidr.contains(&inner) {
            return Err((place, Fault::ExceptOutside { except: part.clone(), cidr: text }));
        }
        except.push(inner);
    }
    Ok(IpBlock { cidr, except })
}

/// A prefix, or one address.
fn prefix(text: &str) -> Option<IpNet> {
    let prefix = text.parse::<IpNet>().ok();
    prefix.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(canonical_prefix)
}

enum Meant {
    Everybody,
    Nobody,
    Peer(Peer),
}

fn entity(name: &str) -> Option<Meant> {
    let all_of = |text: &str| {
        let cidr = text.parse().ok()?;
        Some(Meant::Peer(Peer::Outside(IpBlock { cidr, except: Vec::new() })))
    };
    let entity = match name {
        "all" => return Some(Meant::Everybody),
        "none" => return Some(Meant::Nobody),
        "world-ipv4" => return all_of("0.0.0.0/0"),
        "world-ipv6" => return all_of("::/0"),
        "world" => Entity::World,
        "cluster" => Entity::Cluster,
        "host" => Entity::Host,
        "remote-node" => Entity::RemoteNode,
        "kube-apiserver" => Entity::KubeApiserver,
        "ingress" => Entity::Ingress,
        "init" => Entity::Init,
        "health" => Entity::Health,
        "unmanaged" => Entity::Unmanaged,
        _ => return None,
    };
    Some(Meant::Peer(Peer::Entity(entity)))
}

fn services(sides: &Sides<'_>, scope: &Scope, peers: &mut Vec<Peer>, faults: &mut Faults) {
    for (index, written) in sides.services.iter().flatten().enumerate() {
        let place = format!(".toServices[{index}]");
        let namespace = |written: &Option<String>| match written.as_deref() {
            None | Some("") => scope.namespace().cloned(),
            Some(namespace) => Some(namespace.into()),
        };
        match (&written.k8s_service, &written.k8s_service_selector) {
            (Some(named), None) if named.service_name.as_deref().is_some_and(|name| !name.is_empty()) => {
                let name = named.service_name.as_deref().unwrap_or_default().into();
                let services = Services::Named(name);
                peers.push(Peer::Services(ServicePick { namespace: namespace(&named.namespace), services }));
            }
            (None, Some(labelled)) => {
                let (selector, found) = super::labels::plain(&labelled.selector);
                let found = found.into_iter();
                faults
                    .extend(found.map(|(inner, fault)| {
                        (format!("{place}.k8sServiceSelector.selector{inner}"), fault)
                    }));
                let services = Services::Labelled(selector);
                peers.push(Peer::Services(ServicePick {
                    namespace: namespace(&labelled.namespace),
                    services,
                }));
            }
            _ => faults.push((place, Fault::ServiceUnnamed)),
        }
    }
}
