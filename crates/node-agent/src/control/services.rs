//! Services to frontends with backends.
//!
//! Backends come from EndpointSlices, which say named target ports as numbers. A Service that has no
//! slice at all but a selector falls back to the pods it selects: in a directory of YAML nobody runs the
//! controller that would write the slices.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::topology::{self, Candidate, Here};
use crate::cluster::index::{Index, Name};
use crate::cluster::model::{EndpointSlice, Node, Pod, Service, ServicePort, TargetPort};

/// Address, port and IANA protocol that clients connect to.
pub type FrontendKey = (IpAddr, u16, u8);

/// What is behind a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub backends: BTreeSet<(IpAddr, u16)>,
    pub affinity: Option<Duration>,
}

/// Every frontend of the cluster. Of two services with one address and port the first by name counts.
pub fn frontends(index: &Index, node: &str) -> BTreeMap<FrontendKey, Frontend> {
    let mut slices: BTreeMap<Name, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in index.slices.iter() {
        if let Some(service) = &slice.service {
            slices.entry((slice.namespace.clone(), service.clone())).or_default().push(slice);
        }
    }
    let by_label = pods_by_label(index);
    let zones = zones(index);
    let here = Here { node, zone: zones.get(node).map(|zone| &**zone) };
    let mut frontends = BTreeMap::new();
    for service in index.services.iter().filter(|service| !service.cluster_ips.is_empty()) {
        let slices = slices.get(&(service.namespace.clone(), service.name.clone()));
        for port in &service.ports {
            let candidates = match slices {
                Some(slices) => from_slices(slices, port),
                None => from_pods(&by_label, &zones, service, port),
            };
            for ip in &service.cluster_ips {
                // Each family for itself, as clients see it: hints of the other say nothing here.
                let of_family = |candidate: &&Candidate| candidate.address.0.is_ipv4() == ip.is_ipv4();
                let candidates: Vec<Candidate> = candidates.iter().filter(of_family).cloned().collect();
                let frontend = Frontend {
                    namespace: service.namespace.clone(),
                    name: service.name.clone(),
                    backends: match service.local_only {
                        true => topology::on_this_node(&candidates, here),
                        false => topology::anywhere(&candidates, here),
                    },
                    affinity: service.affinity_seconds.map(|s| Duration::from_secs(s.into())),
                };
                let key = (*ip, port.port.get(), port.protocol.number());
                if frontends.contains_key(&key) {
                    tracing::debug!(service = %service.name, %ip, "another service has this address and port");
                }
                frontends.entry(key).or_insert(frontend);
            }
        }
    }
    frontends
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

    fn backends(index: &Index, ip: &str) -> Vec<String> {
        let key = (ip.parse().unwrap(), 80, 6);
        frontends(index, "n1")[&key].backends.iter().map(|(ip, port)| format!("{ip} {port}")).collect()
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
        let elsewhere = frontends(&index(&text), "n9");
        assert!(elsewhere.values().all(|frontend| frontend.backends.is_empty()));
    }
}
