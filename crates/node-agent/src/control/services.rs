//! Services to frontends with backends.
//!
//! Backends come from EndpointSlices, which say named target ports as numbers. A Service that has no
//! slice at all but a selector falls back to the pods it selects: in a directory of YAML nobody runs the
//! controller that would write the slices.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::plan::LocalPod;
use super::topology::{self, Candidate, Here};
use crate::cluster::index::{Index, Name};
use crate::cluster::model::{EndpointSlice, Node, Pod, Service, ServicePort, TargetPort};
use crate::datapath::Scope;

/// Address, port and IANA protocol that clients connect to, and which clients.
pub type FrontendKey = (IpAddr, u16, u8, Scope);

/// What is behind a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// It is a Service's; else a pod's own.
    pub service: bool,
    pub backends: BTreeSet<(IpAddr, u16)>,
    /// The backends are this node's alone, by the policy for clients outside.
    pub local: bool,
    pub affinity: Option<Duration>,
}

/// What a load balancer is told at a service's health check port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Ready endpoints on this node.
    pub local_endpoints: usize,
}

/// What this node does for services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontends {
    pub by_key: BTreeMap<FrontendKey, Frontend>,
    pub health: BTreeMap<u16, Health>,
}

/// This node, as far as services ask.
#[derive(Clone, Copy, Debug)]
pub struct OwnNode<'a> {
    pub name: &'a str,
    /// Its addresses, at which it has node ports.
    pub addresses: &'a BTreeSet<IpAddr>,
    /// Its pods, where host ports are ours to keep.
    pub pods: &'a [LocalPod],
}

/// Every frontend of the cluster. Of two services with one address and port the first by name counts.
pub fn frontends(index: &Index, node: OwnNode<'_>) -> Frontends {
    let mut slices: BTreeMap<Name, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in index.slices.iter() {
        if let Some(service) = &slice.service {
            slices.entry((slice.namespace.clone(), service.clone())).or_default().push(slice);
        }
    }
    let by_label = pods_by_label(index);
    let zones = zones(index);
    let here = Here { node: node.name, zone: zones.get(node.name).map(|zone| &**zone) };
    let node_addresses: Vec<IpAddr> = node.addresses.iter().copied().filter(is_global).collect();
    let mut found = Frontends::default();
    for service in index.services.iter().filter(|service| !service.cluster_ips.is_empty()) {
        let slices = slices.get(&(service.namespace.clone(), service.name.clone()));
        let mut local_ready = BTreeSet::new();
        for port in &service.ports {
            let candidates = match slices {
                Some(slices) => from_slices(slices, port),
                None => from_pods(&by_label, &zones, service, port),
            };
            let here_and_ready = |c: &&Candidate| c.ready && c.node.as_deref() == Some(node.name);
            local_ready.extend(candidates.iter().filter(here_and_ready).map(|c| c.address.0));
            for v4 in [true, false] {
                // Each family for itself, as clients see it: hints of the other say nothing here.
                let of_family = |candidate: &&Candidate| candidate.address.0.is_ipv4() == v4;
                let candidates: Vec<Candidate> = candidates.iter().filter(of_family).cloned().collect();
                let choice = Choice { service, port, anywhere: topology::anywhere(&candidates, here), v4 };
                let on_this_node = || topology::on_this_node(&candidates, here);
                let inside = if service.local_only { on_this_node() } else { choice.anywhere.clone() };
                let outside = if service.external_local { on_this_node() } else { choice.anywhere.clone() };
                choice.add(&mut found, &service.cluster_ips, port.port, &inside, None);
                choice.add(&mut found, &service.external_ips, port.port, &choice.anywhere, Some(&outside));
                if let Some(node_port) = port.node_port {
                    choice.add(&mut found, &node_addresses, node_port, &choice.anywhere, Some(&outside));
                }
            }
        }
        if let Some(port) = service.health_check_port {
            let (namespace, name) = (service.namespace.clone(), service.name.clone());
            // A pod of both families is one endpoint: the slices' first family counts.
            let of = |v4| local_ready.iter().filter(|ip: &&IpAddr| ip.is_ipv4() == v4).count();
            let local_endpoints = of(true).max(of(false));
            found.health.insert(port.get(), Health { namespace, name, local_endpoints });
        }
    }
    host_ports(index, node, &node_addresses, &mut found);
    found
}

/// Backends of one port of a service, in one family.
struct Choice<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    anywhere: BTreeSet<(IpAddr, u16)>,
    v4: bool,
}

impl Choice<'_> {
    /// Adds frontends at `addresses`: for clients inside, and outside if there is an answer for them. Who is
    /// inside and asks an address for clients outside is served by every backend: its own address is kept anyway.
    fn add(
        &self,
        found: &mut Frontends,
        addresses: &[IpAddr],
        port: NonZeroU16,
        inside: &BTreeSet<(IpAddr, u16)>,
        outside: Option<&BTreeSet<(IpAddr, u16)>>,
    ) {
        let service = self.service;
        for ip in addresses.iter().filter(|ip| ip.is_ipv4() == self.v4) {
            for (scope, backends) in [(Scope::Inside, Some(inside)), (Scope::Outside, outside)] {
                let Some(backends) = backends else { continue };
                let frontend = Frontend {
                    namespace: service.namespace.clone(),
                    name: service.name.clone(),
                    service: true,
                    backends: backends.clone(),
                    local: scope == Scope::Outside && service.external_local,
                    affinity: service.affinity_seconds.map(|s| Duration::from_secs(s.into())),
                };
                let key = (*ip, port.get(), self.port.protocol.number(), scope);
                if found.by_key.contains_key(&key) {
                    tracing::debug!(service = %service.name, %ip, "another service has this address and port");
                }
                found.by_key.entry(key).or_insert(frontend);
            }
        }
    }
}

/// Not of a link alone: who is on the node's links isn't outside, and every link has the same prefix.
fn is_global(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback(),
    }
}

/// Ports of the node that lead to one of its pods. What a service has, it keeps.
fn host_ports(index: &Index, node: OwnNode<'_>, addresses: &[IpAddr], found: &mut Frontends) {
    for local in node.pods {
        let Some(pod) = index.pods.get(&local.namespace, &local.name) else { continue };
        for port in &pod.host_ports {
            for address in addresses.iter().filter(|ip| port.ip.is_none_or(|wanted| wanted == **ip)) {
                let backend = local.addresses.iter().find(|ip| ip.is_ipv4() == address.is_ipv4());
                let Some(backend) = backend else { continue };
                let frontend = Frontend {
                    namespace: pod.namespace.clone(),
                    name: pod.name.clone(),
                    service: false,
                    backends: [(*backend, port.port.get())].into(),
                    local: false,
                    affinity: None,
                };
                for scope in [Scope::Inside, Scope::Outside] {
                    let key = (*address, port.number.get(), port.protocol.number(), scope);
                    found.by_key.entry(key).or_insert_with(|| frontend.clone());
                }
            }
        }
    }
}

/// Node → its zone.
type Zones = HashMap<Arc<str>, Arc<str>>;

fn zones(index: &Index) -> Zones {
    let zone = |node: &Arc<Node>| Some((node.name.clone(), node.labels.get(topology::ZONE)?.as_str().into()));
    index.nodes.iter().filter_map(zone).collect()
}

fn from_slices(slices: &[&EndpointSlice], port: &ServicePort) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for slice in slices {
        let ports = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
        for number in ports.map(|p| p.port.get()) {
            for endpoint in &slice.endpoints {
                candidates.extend(endpoint.addresses.iter().map(|ip| Candidate {
                    address: (*ip, number),
                    ready: endpoint.ready,
                    serving: endpoint.serving,
                    terminating: endpoint.terminating,
                    node: endpoint.node_name.clone(),
                    for_zones: endpoint.for_zones.clone(),
                    for_nodes: endpoint.for_nodes.clone(),
                }));
            }
        }
    }
    candidates
}

/// Pods by (namespace, label key, label value): thousands of services each look at a few pods.
type ByLabel<'a> = HashMap<(&'a str, &'a str, &'a str), Vec<&'a Pod>>;

fn pods_by_label(index: &Index) -> ByLabel<'_> {
    let keys: BTreeSet<&str> = index
        .services
        .iter()
        .filter_map(|service| service.selector.keys().next())
        .map(String::as_str)
        .collect();
    let mut by_label = ByLabel::new();
    for pod in index.pods.iter() {
        for (key, value) in pod.labels.iter().filter(|(key, _)| keys.contains(key.as_str())) {
            by_label.entry((&pod.namespace, key, value)).or_default().push(pod);
        }
    }
    by_label
}

fn from_pods(by_label: &ByLabel<'_>, zones: &Zones, service: &Service, port: &ServicePort) -> Vec<Candidate> {
    let Some((key, value)) = service.selector.first_key_value() else { return Vec::new() };
    let pods = by_label.get(&(&*service.namespace, key.as_str(), value.as_str()));
    let selected = |pod: &&&Pod| {
        (pod.ready || (service.publish_not_ready && !pod.finished))
            && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    };
    let mut candidates = Vec::new();
    for pod in pods.into_iter().flatten().filter(selected) {
        let Some(number) = target(pod, port) else { continue };
        for ip in &pod.ips {
            let mut candidate = Candidate {
                address: (*ip, number),
                ready: true,
                serving: true,
                terminating: false,
                node: Some(pod.node_name.clone()),
                for_zones: BTreeSet::new(),
                for_nodes: BTreeSet::new(),
            };
            topology::hint(&mut candidate, service.distribution, zones.get(&pod.node_name));
            candidates.push(candidate);
        }
    }
    candidates
}

fn target(pod: &Pod, port: &ServicePort) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(number.get()),
        TargetPort::Named(name) => {
            let named = pod.ports.iter().find(|p| p.name == *name && p.protocol == port.protocol);
            named.map(|p| p.port.get())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::source::Delta;
    use crate::cluster::yaml;

    fn index(text: &str) -> Index {
        let content = yaml::read(text);
        assert_eq!(content.faults, []);
        let mut index = Index::default();
        for entry in content.objects {
            index.apply(Delta::Upsert(entry.key, entry.object));
        }
        index
    }

    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  clusterIPs: [10.96.0.10, 'fd00:96::a']
  selector: {app: web}
  ports: [{name: web, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Pod
metadata: {name: p1, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.244.1.5}, {ip: 'fd00:244:1::5'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p2, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 9090}]}]}
status: {podIPs: [{ip: 10.244.2.5}], conditions: [{type: Ready, status: 'False'}]}
";

    /// Frontends of a node whose addresses are 192.168.0.1 and fd00::1.
    fn of_node(index: &Index, name: &str) -> Frontends {
        let addresses = ["192.168.0.1", "fd00::1", "fe80::1"].map(|ip| ip.parse().unwrap()).into();
        frontends(index, OwnNode { name, addresses: &addresses, pods: &[] })
    }

    fn at(index: &Index, node: &str, ip: &str, port: u16, scope: Scope) -> Vec<String> {
        let found = of_node(index, node);
        let frontend = &found.by_key[&(ip.parse().unwrap(), port, 6, scope)];
        frontend.backends.iter().map(|(ip, port)| format!("{ip} {port}")).collect()
    }

    fn backends(index: &Index, ip: &str) -> Vec<String> {
        at(index, "n1", ip, 80, Scope::Inside)
    }

    #[test]
    fn without_slices_ready_pods_are_selected_each_with_its_own_port_and_family() {
        let index = index(SERVICE);
        assert_eq!(backends(&index, "10.96.0.10"), ["10.244.1.5 8080"]);
        assert_eq!(backends(&index, "fd00:96::a"), ["fd00:244:1::5 8080"]);
    }

    #[test]
    fn slices_count_once_there_are_any_even_if_nothing_in_them_is_ready() {
        let slice = "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
ports: [{name: web, port: 7070}, {name: other, port: 1}]
endpoints:
- {addresses: [10.244.9.1], conditions: {ready: READY}}
- {addresses: [10.244.9.2], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.244.9.3], conditions: {ready: false, serving: false, terminating: true}}
";
        let with = |ready: &str| index(&format!("{SERVICE}{}", slice.replace("READY", ready)));
        assert_eq!(backends(&with("true"), "10.96.0.10"), ["10.244.9.1 7070"]);
        assert_eq!(backends(&with("false"), "10.96.0.10"), ["10.244.9.2 7070"], "the one that still serves");
        assert_eq!(backends(&with("true"), "fd00:96::a"), Vec::<String>::new());
    }

    #[test]
    fn near_backends_are_preferred_where_the_service_asks_for_it_and_nobody_writes_slices() {
        let nodes = "---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {topology.kubernetes.io/zone: z2}}
";
        let ready = SERVICE
            .replace("'False'", "'True'")
            .replace("http, containerPort: 9090", "http, containerPort: 8080");
        let of = |distribution: &str| {
            let spec = format!("  trafficDistribution: {distribution}\n  selector:");
            backends(&index(&format!("{}{nodes}", ready.replace("  selector:", &spec))), "10.96.0.10")
        };
        assert_eq!(of("PreferClose"), ["10.244.1.5 8080"]);
        assert_eq!(of("PreferSameNode"), ["10.244.1.5 8080"]);
        assert_eq!(of("null"), ["10.244.1.5 8080", "10.244.2.5 8080"]);
    }

    #[test]
    fn hints_of_slices_narrow_the_choice() {
        let slice = "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
ports: [{name: web, port: 7070}]
endpoints:
- {addresses: [10.244.9.1], nodeName: n1, hints: {forNodes: [{name: n1}], forZones: [{name: z1}]}}
- {addresses: [10.244.9.2], nodeName: n2, hints: {forNodes: [{name: n2}], forZones: [{name: z1}]}}
";
        let index = index(&format!("{SERVICE}{slice}"));
        assert_eq!(backends(&index, "10.96.0.10"), ["10.244.9.1 7070"]);
    }

    #[test]
    fn a_local_service_has_only_this_nodes_backends() {
        let text = SERVICE.replace("  selector:", "  internalTrafficPolicy: Local\n  selector:");
        assert_eq!(backends(&index(&text), "10.96.0.10"), ["10.244.1.5 8080"]);
        let elsewhere = of_node(&index(&text), "n9");
        assert!(elsewhere.by_key.values().all(|frontend| frontend.backends.is_empty()));
    }

    /// p1 on n1, p2 on n2, both ready.
    fn outside(extra: &str) -> Index {
        let text = SERVICE.replace("'False'", "'True'").replace("port: 80,", "port: 80, nodePort: 30080,");
        index(&text.replace(
            "  selector:",
            &format!("  type: NodePort\n  externalIPs: [203.0.113.1]\n{extra}  selector:"),
        ))
    }

    #[test]
    fn clients_outside_come_by_node_ports_and_external_addresses() {
        let all = ["10.244.1.5 8080", "10.244.2.5 9090"];
        for scope in [Scope::Inside, Scope::Outside] {
            assert_eq!(at(&outside(""), "n1", "192.168.0.1", 30080, scope), all, "{scope:?}");
            assert_eq!(at(&outside(""), "n1", "203.0.113.1", 80, scope), all, "{scope:?}");
            assert_eq!(at(&outside(""), "n1", "fd00::1", 30080, scope), ["fd00:244:1::5 8080"], "{scope:?}");
        }
        let found = of_node(&outside(""), "n1");
        let keys: Vec<String> =
            found.by_key.keys().map(|(ip, port, _, scope)| format!("{ip} {port} {scope:?}")).collect();
        assert_eq!(
            keys,
            [
                "10.96.0.10 80 Inside",
                "192.168.0.1 30080 Inside",
                "192.168.0.1 30080 Outside",
                "203.0.113.1 80 Inside",
                "203.0.113.1 80 Outside",
                "fd00::1 30080 Inside",
                "fd00::1 30080 Outside",
                "fd00:96::a 80 Inside",
            ],
            "neither cluster addresses outside, nor node ports at addresses of a link"
        );
    }

    #[test]
    fn a_local_policy_for_clients_outside_is_theirs_alone() {
        let index = outside("  externalTrafficPolicy: Local\n");
        let all = ["10.244.1.5 8080", "10.244.2.5 9090"];
        assert_eq!(at(&index, "n1", "192.168.0.1", 30080, Scope::Outside), [all[0]]);
        assert_eq!(at(&index, "n1", "203.0.113.1", 80, Scope::Outside), [all[0]]);
        assert_eq!(at(&index, "n1", "192.168.0.1", 30080, Scope::Inside), all);
        assert_eq!(at(&index, "n1", "10.96.0.10", 80, Scope::Inside), all);
        let key = ("192.168.0.1".parse().unwrap(), 30080, 6, Scope::Outside);
        let elsewhere = of_node(&index, "n9");
        assert!(elsewhere.by_key[&key].backends.is_empty() && elsewhere.by_key[&key].local);
    }

    #[test]
    fn a_health_check_port_tells_of_ready_endpoints_on_this_node() {
        let index = outside("  externalTrafficPolicy: Local\n  healthCheckNodePort: 31000\n");
        let of = |node: &str| of_node(&index, node).health[&31000].local_endpoints;
        assert_eq!((of("n1"), of("n2"), of("n9")), (1, 1, 0));
        assert!(of_node(&outside(""), "n1").health.is_empty());
    }

    #[test]
    fn a_host_port_leads_to_the_pod_of_this_node_at_the_address_it_names() {
        let text = "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  nodeName: n1
  containers:
  - name: c
    ports: [{containerPort: 8080, hostPort: 80}, {containerPort: 53, hostPort: 53, hostIP: 192.168.0.9, protocol: UDP}]
";
        let index = index(text);
        let addresses = ["192.168.0.1", "192.168.0.9", "fd00::1"].map(|ip| ip.parse().unwrap()).into();
        let pod = LocalPod {
            id: 1,
            ifindex: 1,
            namespace: "default".into(),
            name: "p".into(),
            addresses: vec!["10.244.1.5".parse().unwrap()],
            netns_cookie: 1,
            last_known: None,
        };
        let found = frontends(&index, OwnNode { name: "n1", addresses: &addresses, pods: &[pod] });
        let lines: Vec<String> = found
            .by_key
            .iter()
            .filter(|((.., scope), _)| *scope == Scope::Outside)
            .map(|((ip, port, proto, _), frontend)| format!("{ip} {port} {proto} {:?}", frontend.backends))
            .collect();
        assert_eq!(
            lines,
            [
                "192.168.0.1 80 6 {(10.244.1.5, 8080)}",
                "192.168.0.9 53 17 {(10.244.1.5, 53)}",
                "192.168.0.9 80 6 {(10.244.1.5, 8080)}",
            ]
        );
        let none = frontends(&index, OwnNode { name: "n1", addresses: &addresses, pods: &[] });
        assert_eq!(none, Frontends::default());
    }
}
