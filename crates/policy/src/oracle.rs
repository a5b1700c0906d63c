//! NetworkPolicy semantics read out loud: slow, naive, and sharing no code with the compiler.
//!
//! Works on the policies as written, on pods and on addresses; knows no identities, tables or
//! prefixes. Tests compare everything else with it.
//!
//! Source: <https://kubernetes.io/docs/concepts/services-networking/network-policies/> and the field
//! descriptions of the API; where the API leaves a choice, the choices documented in this crate: an
//! ipBlock also means pods with such an address; a named port belongs to the receiving pod and an
//! address without a pod, or a pod meant by an ipBlock, has none; what cannot be understood allows
//! nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::spec::{LabelSelector, NetworkPolicy, Peer, Port, PortValue, Rule};
use crate::table::Direction;

/// A cluster as its objects describe it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Labels by namespace; `kubernetes.io/metadata.name` need not be among them.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub pods: Vec<Pod>,
    pub policies: Vec<NetworkPolicy>,
}

#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub addresses: Vec<IpAddr>,
    /// (name, "TCP" | "UDP" | "SCTP", number).
    pub named_ports: Vec<(String, String, u16)>,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Remote {
    /// A pod (by its place in the cluster), seen under one of its addresses.
    Pod(usize, IpAddr),
    /// An address that is no pod's.
    Address(IpAddr),
    /// The local pod's own node, under one of its addresses: to it as to any other address, from it always.
    LocalHost(IpAddr),
}

/// Whether a connection of a pod is allowed in one direction by that pod's policies.
///
/// `proto` is the IANA number, `port` the destination port, `None` when the packet shows none.
pub fn allows(
    cluster: &Cluster,
    local: usize,
    direction: Direction,
    remote: Remote,
    proto: u8,
    port: Option<u16>,
) -> bool {
    let pod = &cluster.pods[local];
    if let (Remote::LocalHost(_), Direction::Ingress) = (remote, direction) {
        return true;
    }
    let mut restricted = false;
    for policy in &cluster.policies {
        if policy.namespace != pod.namespace || !restricts(policy, direction) {
            continue;
        }
        let selected = each_requirement(&policy.pod_selector, &pod.labels);
        if selected.contains(&Some(false)) {
            continue;
        }
        restricted = true;
        if selected.contains(&None) {
            continue;
        }
        let rules = match direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        let case = Case { cluster, policy, pod, direction, remote, proto, port };
        if rules.iter().any(|rule| case.rule_allows(rule)) {
            return true;
        }
    }
    !restricted
}

fn restricts(policy: &NetworkPolicy, direction: Direction) -> bool {
    if policy.policy_types.is_empty() {
        return direction == Direction::Ingress || !policy.egress.is_empty();
    }
    let name = if direction == Direction::Ingress { "Ingress" } else { "Egress" };
    policy.policy_types.iter().any(|written| written == name || (written != "Ingress" && written != "Egress"))
}

struct Case<'a> {
    cluster: &'a Cluster,
    policy: &'a NetworkPolicy,
    pod: &'a Pod,
    direction: Direction,
    remote: Remote,
    proto: u8,
    port: Option<u16>,
}

impl Case<'_> {
    fn rule_allows(&self, rule: &Rule) -> bool {
        // All peers and ports are looked at, so that a broken one breaks the rule wherever it stands.
        let Some(peers) = rule.peers.iter().map(|peer| self.peer(peer)).collect::<Option<Vec<bool>>>() else {
            return false;
        };
        let judged = rule.ports.iter().map(|port| Some((self.port(port, false)?, self.port(port, true)?)));
        let Some(ports) = judged.collect::<Option<Vec<(bool, bool)>>>() else { return false };
        let port_fits = |by_block: bool| {
            ports.is_empty() || ports.iter().any(|(plain, block)| if by_block { *block } else { *plain })
        };
        if peers.is_empty() {
            return port_fits(false);
        }
        rule.peers.iter().zip(peers).any(|(peer, fits)| fits && port_fits(peer.ip_block.is_some()))
    }

    /// Whether the remote end is this peer; `None` when the peer cannot be understood.
    fn peer(&self, peer: &Peer) -> Option<bool> {
        match (&peer.ip_block, &peer.pod_selector, &peer.namespace_selector) {
            (Some(block), None, None) => {
                let cidr = Net::read(&block.cidr)?;
                let mut inside = cidr.has(self.address());
                for except in &block.except {
                    let except = Net::read(except)?;
                    let strictly_within = except.length > cidr.length && cidr.has_bits(except.bits);
                    if !strictly_within || except.is_v4() != cidr.is_v4() {
                        return None;
                    }
                    inside &= !except.has(self.address());
                }
                Some(inside)
            }
            (Some(_), _, _) | (None, None, None) => None,
            (None, pods, namespaces) => {
                let remote = match self.remote {
                    Remote::Pod(place, _) => Some(&self.cluster.pods[place]),
                    _ => None,
                };
                let nobody = BTreeMap::new();
                let (pod_labels, namespace) =
                    remote.map_or((&nobody, ""), |pod| (&pod.labels, &*pod.namespace));
                let mut namespace_labels =
                    self.cluster.namespaces.get(namespace).cloned().unwrap_or_default();
                namespace_labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
                let pod_fits = pods.as_ref().map_or(Some(true), |selector| selects(selector, pod_labels))?;
                let namespace_fits = match namespaces {
                    Some(selector) => selects(selector, &namespace_labels)?,
                    None => namespace == self.policy.namespace,
                };
                Some(remote.is_some() && pod_fits && namespace_fits)
            }
        }
    }

    fn address(&self) -> IpAddr {
        match self.remote {
            Remote::Pod(_, address) | Remote::Address(address) | Remote::LocalHost(address) => address,
        }
    }

    /// Whether the packet's port is this one; `None` when the port cannot be understood.
    fn port(&self, written: &Port, peer_is_block: bool) -> Option<bool> {
        let protocol = written.protocol.as_deref().unwrap_or("TCP");
        let number = match protocol {
            "TCP" => 6,
            "UDP" => 17,
            "SCTP" => 132,
            _ => return None,
        };
        let numbers: Vec<i32> = match (&written.port, written.end_port) {
            (None, None) => return Some(self.proto == number),
            (Some(PortValue::Number(first)), end) => {
                let end = end.unwrap_or(*first);
                if *first < 1 || end < *first || end > 65_535 {
                    return None;
                }
                let port = self.port.map(i32::from);
                port.filter(|port| *first <= *port && *port <= end).into_iter().collect()
            }
            (Some(PortValue::Name(name)), None) => {
                if !good_port_name(name) {
                    return None;
                }
                let receiver = match (self.direction, self.remote) {
                    (Direction::Ingress, _) => Some(self.pod),
                    (Direction::Egress, Remote::Pod(place, _)) if !peer_is_block => {
                        Some(&self.cluster.pods[place])
                    }
                    (Direction::Egress, _) => None,
                };
                let ports = receiver.map(|pod| pod.named_ports.as_slice()).unwrap_or_default();
                let called_so = ports.iter().filter(|(known, of, _)| known == name && of == protocol);
                called_so.map(|(_, _, port)| i32::from(*port)).collect()
            }
            (None, Some(_)) | (Some(PortValue::Name(_)), Some(_)) => return None,
        };
        Some(self.proto == number && self.port.is_some_and(|port| numbers.contains(&i32::from(port))))
    }
}

fn good_port_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    name.len() <= 15
        && name.chars().any(|c| c.is_ascii_lowercase())
        && parts.iter().all(|part| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        })
}

/// Whether labels are selected; `None` when any of the selector cannot be understood.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Option<bool> {
    let held = each_requirement(selector, labels).into_iter().collect::<Option<Vec<bool>>>()?;
    Some(held.into_iter().all(|holds| holds))
}

/// For each requirement whether it holds; `None` for one that cannot be understood.
fn each_requirement(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Vec<Option<bool>> {
    let plain = selector.match_labels.iter().map(|(key, value)| match key.as_str() {
        "" => None,
        _ => Some(labels.get(key) == Some(value)),
    });
    let expressions = selector.match_expressions.iter().map(|expression| {
        if expression.key.is_empty() {
            return None;
        }
        let value = labels.get(&expression.key);
        let among = value.is_some_and(|value| expression.values.contains(value));
        match (expression.operator.as_str(), expression.values.is_empty()) {
            ("In", false) => Some(among),
            ("NotIn", false) => Some(!among),
            ("Exists", true) => Some(value.is_some()),
            ("DoesNotExist", true) => Some(value.is_none()),
            _ => None,
        }
    });
    plain.chain(expressions).collect()
}

/// A prefix in the 128-bit space in which IPv4 is `::ffff:0:0/96`.
struct Net {
    bits: u128,
    length: u32,
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Net {
    fn read(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let length: u32 = length.parse().ok()?;
        let (most, above) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        (length <= most).then_some(Self { bits: bits(address), length: length + above })
    }

    fn is_v4(&self) -> bool {
        self.length >= 96 && self.bits >> 32 == 0xffff
    }

    fn has_bits(&self, other: u128) -> bool {
        (self.bits ^ other).checked_shr(128 - self.length).unwrap_or(0) == 0
    }

    fn has(&self, address: IpAddr) -> bool {
        let v4 = bits(address) >> 32 == 0xffff;
        v4 == self.is_v4() && self.has_bits(bits(address))
    }
}
