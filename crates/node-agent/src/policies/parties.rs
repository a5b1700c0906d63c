//! Who and what is meant: names, addresses, numbers and selectors of a question, looked up in what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use fathom_identity::reserved;
use fathom_policy::{NamedPort, Protocol, Selector};
use tonic::Status;

use crate::cluster::model::Service;
use crate::control::state::{KnownPod, PolicyState};

/// Identities one selector may stand for in a question.
const IDENTITIES: usize = 16;
/// ICMP and ICMPv6 by their names; they have no ports.
const WITHOUT_PORTS: [(&str, u8); 2] = [("icmp", 1), ("icmpv6", 58)];

/// What stands for the port of a protocol without ports: the type of its echo requests.
pub fn echo(protocol: u8) -> Option<u16> {
    match protocol {
        1 => Some(8),
        58 => Some(128),
        _ => None,
    }
}

/// One end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// "streaming/web-0", "192.0.2.7", "reserved:world".
    pub name: String,
    /// (namespace, name) of a pod with a device of its own.
    pub pod: Option<(Arc<str>, Arc<str>)>,
    /// The node it runs on; empty outside of the cluster.
    pub node: Arc<str>,
    /// 0 = what the node that is asked thinks of the address.
    pub identity: u32,
    pub labels: Vec<Arc<str>>,
    pub addresses: Vec<IpAddr>,
    pub ports: BTreeSet<NamedPort>,
}

/// What a text means.
#[derive(Debug)]
pub enum Meant {
    Parties(Vec<Party>),
    Service(Arc<Service>),
}

/// Finds who is meant by a text; names without a namespace are looked for in `namespace`.
///
/// # Errors
/// Nobody is, or the text says too little.
pub fn find(state: &PolicyState, text: &str, namespace: &str) -> Result<Meant, Status> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Status::invalid_argument("an end of the connection is not named: give both from and to"));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(at(state, address));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse().map_err(|_| Status::invalid_argument(format!("{text} is no identity")))?;
        return numbered(state, number).map(|party| Meant::Parties(vec![party]));
    }
    if let Some(name) = text.strip_prefix("reserved:") {
        let number = reserved::number(name)
            .ok_or_else(|| Status::invalid_argument(format!("{text}: there is no such reserved identity")))?;
        return numbered(state, number).map(|party| Meant::Parties(vec![party]));
    }
    if text.contains(['=', '!', '(']) {
        return selected(state, text).map(Meant::Parties);
    }
    named(state, text, namespace)
}

/// Who is at an address.
fn at(state: &PolicyState, address: IpAddr) -> Meant {
    if let Some(pod) = state.pods.iter().find(|pod| !pod.host_network && pod.addresses.contains(&address)) {
        let party = Party { addresses: vec![address], ..of_pod(pod) };
        return Meant::Parties(vec![party]);
    }
    if let Some(service) = state.services.iter().find(|service| service.cluster_ips.contains(&address)) {
        return Meant::Service(service.clone());
    }
    let party = Party { name: address.to_string(), addresses: vec![address], ..Party::default() };
    Meant::Parties(vec![party])
}

fn numbered(state: &PolicyState, number: u32) -> Result<Party, Status> {
    // Where several pods have it, they are alike to every policy.
    if let Some(pod) = state.pods.iter().find(|pod| !pod.host_network && pod.identity == number) {
        return Ok(of_pod(pod));
    }
    let prefix = state.prefixes.iter().find(|(_, known)| *known == number);
    let name = match (reserved::name(number), prefix) {
        (Some(name), _) if number != reserved::UNKNOWN => format!("reserved:{name}"),
        (_, Some((prefix, _))) => format!("cidr:{prefix}"),
        _ => {
            return Err(Status::not_found(format!(
                "nobody has identity {number}: see fathom list endpoints"
            )));
        }
    };
    Ok(Party { labels: vec![name.as_str().into()], name, identity: number, ..Party::default() })
}

/// A pod of each identity that a selector selects.
fn selected(state: &PolicyState, text: &str) -> Result<Vec<Party>, Status> {
    let selector: Selector = text.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
    let mut parties: BTreeMap<u32, Party> = BTreeMap::new();
    for pod in state.pods.iter().filter(|pod| !pod.host_network && selector.matches(&pod.labels)) {
        parties.entry(pod.identity).or_insert_with(|| of_pod(pod));
    }
    match parties.len() {
        0 => Err(Status::not_found(format!("no pod has labels {text}"))),
        count if count > IDENTITIES => Err(Status::invalid_argument(format!(
            "{text} stands for {count} identities: at most {IDENTITIES} are explained, say more of them"
        ))),
        _ => Ok(parties.into_values().collect()),
    }
}

fn named(state: &PolicyState, text: &str, namespace: &str) -> Result<Meant, Status> {
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let parts: Vec<&str> = text.split('/').collect();
    let (namespace, name, only_service) = match parts[..] {
        ["svc" | "service", name] => (namespace, name, true),
        [namespace, "svc" | "service", name] => (namespace, name, true),
        [name] => (namespace, name, false),
        [namespace, name] => (namespace, name, false),
        _ => {
            return Err(Status::invalid_argument(format!(
                "{text:?} names nobody: write POD, NAMESPACE/POD, svc/NAME, NAMESPACE/svc/NAME, an address, an \
                 identity's number, reserved:NAME or a label selector such as app=web"
            )));
        }
    };
    let pod = state.pods.iter().find(|pod| &*pod.namespace == namespace && &*pod.name == name);
    if let Some(pod) = pod.filter(|_| !only_service) {
        return Ok(Meant::Parties(vec![of_pod(pod)]));
    }
    let service = state.services.iter().find(|known| &*known.namespace == namespace && &*known.name == name);
    if let Some(service) = service {
        return Ok(Meant::Service(service.clone()));
    }
    let what = if only_service { "service" } else { "pod or service" };
    Err(Status::not_found(format!("there is no {what} {namespace}/{name}")))
}

fn of_pod(pod: &KnownPod) -> Party {
    Party {
        name: format!("{}/{}", pod.namespace, pod.name),
        pod: (!pod.host_network).then(|| (pod.namespace.clone(), pod.name.clone())),
        node: pod.node.clone(),
        identity: pod.identity,
        labels: pod.identity_labels.clone(),
        addresses: pod.addresses.clone(),
        ports: pod.ports.clone(),
    }
}

/// A backend of a service.
pub fn backend(state: &PolicyState, address: IpAddr) -> Party {
    match at(state, address) {
        Meant::Parties(mut parties) => parties.remove(0),
        Meant::Service(_) => {
            Party { name: address.to_string(), addresses: vec![address], ..Party::default() }
        }
    }
}

/// One address of each of two parties, of the same family; IPv4 where both have it. A party of which no
/// address is known goes by its identity.
pub fn addresses(from: &Party, to: &Party) -> Result<(Option<IpAddr>, Option<IpAddr>), Status> {
    let first = |party: &Party, v4: bool| party.addresses.iter().copied().find(|ip| ip.is_ipv4() == v4);
    if from.addresses.is_empty() || to.addresses.is_empty() {
        let any = |party: &Party| first(party, true).or_else(|| first(party, false));
        return Ok((any(from), any(to)));
    }
    let pair = |v4| first(from, v4).zip(first(to, v4));
    match pair(true).or_else(|| pair(false)) {
        Some((from, to)) => Ok((Some(from), Some(to))),
        None => Err(Status::invalid_argument(format!(
            "{} and {} have no addresses of the same family, so they cannot talk",
            from.name, to.name
        ))),
    }
}

/// What a text says of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortText {
    Missing,
    Number(u16, Option<Protocol>),
    Name(String, Option<Protocol>),
    /// A protocol without ports, by its number.
    None(u8),
}

/// Reads "80", "80/udp", "http", "http/tcp", "icmp".
///
/// # Errors
/// It is none of these.
pub fn port(text: &str) -> Result<PortText, Status> {
    let text = text.trim();
    let wrong = || {
        Status::invalid_argument(format!(
            "{text:?} is no port: write for example 80, 80/udp, http, http/tcp, icmp or icmpv6"
        ))
    };
    if text.is_empty() {
        return Ok(PortText::Missing);
    }
    if let Some((_, number)) = WITHOUT_PORTS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(PortText::None(number));
    }
    let (port, protocol) = match text.split_once('/') {
        None => (text, None),
        Some((port, protocol)) => {
            let protocol = Protocol::from_name(&protocol.to_ascii_uppercase());
            (port, Some(protocol.ok_or_else(wrong)?))
        }
    };
    if port.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = port.parse::<u16>().ok().filter(|number| *number > 0);
        return number.map(|number| PortText::Number(number, protocol)).ok_or_else(wrong);
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if port.len() > 63 || !port.bytes().all(allowed) {
        return Err(wrong());
    }
    Ok(PortText::Name(port.to_owned(), protocol))
}

/// Protocol and destination port of packets to a party.
///
/// # Errors
/// The text does not say which, or the party has no port of that name.
pub fn port_of(text: &PortText, to: &Party) -> Result<(u8, Option<u16>), Status> {
    match text {
        PortText::None(protocol) => Ok((*protocol, None)),
        PortText::Number(number, protocol) => Ok((protocol.unwrap_or(Protocol::Tcp).number(), Some(*number))),
        PortText::Name(name, protocol) => {
            let wanted = protocol.unwrap_or(Protocol::Tcp);
            let named = to.ports.iter().find(|port| *port.name == **name && port.protocol == wanted);
            named.map(|port| (wanted.number(), Some(port.port))).ok_or_else(|| {
                let known = to.ports.iter().map(|p| format!("{} ({}/{})", p.name, p.port, p.protocol));
                let known = known.collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "none".to_owned() } else { known };
                Status::invalid_argument(format!(
                    "{} calls no {wanted} port {name:?}; those with a name: {known}",
                    to.name
                ))
            })
        }
        PortText::Missing => Err(Status::invalid_argument("port is missing: write for example 80 or 53/udp")),
    }
}

/// The port of a service that is meant, with its protocol.
///
/// # Errors
/// There is none, or it does not say which.
pub fn service_port(text: &PortText, service: &Service) -> Result<(u16, Protocol), Status> {
    let fits = |wanted: Option<Protocol>, protocol| wanted.is_none_or(|wanted| wanted == protocol);
    let mut ports = service.ports.iter().filter(|port| match text {
        PortText::Missing => true,
        PortText::None(_) => false,
        PortText::Number(number, wanted) => port.port.get() == *number && fits(*wanted, port.protocol),
        PortText::Name(name, wanted) => port.name == *name && fits(*wanted, port.protocol),
    });
    match (ports.next(), ports.next()) {
        (Some(port), None) => Ok((port.port.get(), port.protocol)),
        _ => {
            let known = service.ports.iter().map(|port| match &*port.name {
                "" => format!("{}/{}", port.port, port.protocol),
                name => format!("{}/{} ({name})", port.port, port.protocol),
            });
            let known = known.collect::<Vec<_>>().join(", ");
            Err(Status::invalid_argument(format!(
                "port does not say which port of service {}/{}: it has {known}",
                service.namespace, service.name
            )))
        }
    }
}
