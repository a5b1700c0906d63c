//! The objects of a large cluster, the same every time.
//!
//! Namespaces of twenty Deployments, a Service before each; policies that select pods, namespaces of a team,
//! blocks, names and ranges of ports, as clusters have them.

use clap::Args;
use serde_json::{Value, json};

const APPS: u32 = 20;
const TEAMS: u32 = 5;
const PODS_PER_NODE: u32 = 100;

/// The policy that is edited, and the label of the pod that it selects.
pub const EDITED: &str = "edited";

/// How many of each.
#[derive(Debug, Clone, Copy, Args)]
pub struct Size {
    /// pods on other nodes, 100 on each
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=9000))]
    pub pods: u32,
    /// Services with EndpointSlices of both families
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=4000))]
    pub services: u32,
    /// NetworkPolicies
    #[arg(long, default_value_t = 500)]
    pub policies: u32,
    /// pods on the agent's own node
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub local: u32,
}

impl Size {
    /// For a rough answer.
    pub fn tenth(self) -> Self {
        let tenth = |n: u32| (n / 10).max(APPS);
        Self {
            pods: tenth(self.pods),
            services: tenth(self.services),
            policies: tenth(self.policies),
            local: 4,
        }
    }

    pub fn namespaces(self) -> u32 {
        self.services.div_ceil(APPS)
    }

    fn nodes(self) -> u32 {
        self.pods.div_ceil(PODS_PER_NODE)
    }

    /// All of them.
    pub fn objects(self) -> impl Iterator<Item = Value> {
        let namespaces = (0..self.namespaces()).map(namespace_object);
        let nodes = (0..self.nodes()).map(node);
        let pods = (0..self.pods).map(move |number| self.pod(number));
        let services = (0..self.services).map(service);
        let slices = (0..self.services).flat_map(move |number| self.slices(number));
        let policies = (0..self.policies).map(move |number| self.policy(number));
        namespaces.chain(nodes).chain(pods).chain(services).chain(slices).chain(policies)
    }

    /// Pods of one service are on different nodes.
    fn addresses(self, pod: u32) -> [String; 2] {
        let (node, host) = (100 + pod % self.nodes(), 2 + pod / self.nodes());
        [format!("10.244.{node}.{host}"), format!("fd00:10:244:{node}::{host}")]
    }

    fn pod(self, number: u32) -> Value {
        let (service, node) = (number % self.services, number % self.nodes());
        let app = app(service % APPS);
        let hash = format!("{:010x}", (u64::from(service) * 0x9e37_79b9) & 0xff_ffff_ffff);
        let addresses = self.addresses(number);
        let variables = ["DATABASE_URL", "LOG_LEVEL", "CACHE_SIZE", "FEATURES"];
        let variables = variables.map(|name| json!({ "name": name, "value": format!("{name} of {app}") }));
        let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(
            |kind| json!({ "type": kind, "status": "True", "lastTransitionTime": "2026-11-28T06:00:00Z" }),
        );
        let probe = |path: &str| {
            json!({ "httpGet": { "path": path, "port": "http", "scheme": "HTTP" },
            "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3 })
        };
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("{app}-{hash}-{number:05}"),
                "namespace": namespace(service / APPS),
                "uid": format!("00000000-0000-4000-8000-{number:012}"),
                "resourceVersion": format!("{}", 100_000 + number),
                "creationTimestamp": "2026-11-28T06:00:00Z",
                "labels": { "app": app, "tier": if service % 2 == 0 { "front" } else { "back" }, "pod-template-hash": hash },
                "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": "9090" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                    "name": format!("{app}-{hash}"), "uid": format!("00000000-0000-4000-9000-{service:012}") }],
            },
            "spec": {
                "nodeName": node_name(node),
                "serviceAccountName": "default",
                "restartPolicy": "Always",
                "containers": [{
                    "name": "main",
                    "image": format!("registry.example.com/{app}:1.{}", service % 7),
                    "ports": [
                        { "name": "http", "containerPort": 8080, "protocol": "TCP" },
                        { "name": "metrics", "containerPort": 9090, "protocol": "TCP" },
                    ],
                    "env": variables,
                    "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
                    "readinessProbe": probe("/ready"),
                    "livenessProbe": probe("/live"),
                    "volumeMounts": [{ "name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true }],
                }],
                "tolerations": [{ "effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300 }],
                "volumes": [{ "name": "token", "projected": { "sources": [{ "serviceAccountToken": { "path": "token" } }] } }],
            },
            "status": {
                "phase": "Running",
                "hostIP": node_addresses(node)[0],
                "podIP": addresses[0],
                "podIPs": addresses.map(|ip| json!({ "ip": ip })),
                "conditions": conditions,
                "containerStatuses": [{ "name": "main", "ready": true, "restartCount": 0, "started": true }],
            },
        })
    }

    fn slices(self, service: u32) -> [Value; 2] {
        let pods: Vec<u32> = (service..self.pods).step_by(self.services as usize).collect();
        [0, 1].map(|family| {
            let endpoints: Vec<Value> = pods
                .iter()
                .map(|pod| {
                    json!({
                        "addresses": [self.addresses(*pod)[family]],
                        "nodeName": node_name(pod % self.nodes()),
                        "conditions": { "ready": true, "serving": true, "terminating": false },
                    })
                })
                .collect();
            let app = app(service % APPS);
            let (kind, short) = [("IPv4", "v4"), ("IPv6", "v6")][family];
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{app}-{short}"),
                    "namespace": namespace(service / APPS),
                    "labels": { "kubernetes.io/service-name": app },
                },
                "addressType": kind,
                "endpoints": endpoints,
                "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
            })
        })
    }

    fn policy(self, number: u32) -> Value {
        let (space, nth) = (number % self.namespaces(), number / self.namespaces());
        let also = |n: u32| app((nth + n) % APPS);
        let cidr = |last: &str| format!("172.{}.{last}", 16 + nth % 16);
        let mut spec = json!({
            "podSelector": { "matchLabels": { "app": app(nth % APPS) } },
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [
                        { "podSelector": { "matchExpressions": [{ "key": "app", "operator": "In", "values": [also(1), also(2)] }] } },
                        { "namespaceSelector": { "matchLabels": { "team": team(number) } } },
                    ],
                    "ports": [{ "port": "http" }, { "port": 9000, "endPort": 9015 }],
                },
                {
                    "from": [{ "ipBlock": { "cidr": cidr("0.0/16"), "except": [cidr(&format!("{space}.0/24"))] } }],
                    "ports": [{ "port": 8443 }],
                },
            ],
        });
        if nth % 2 == 0 {
            spec["policyTypes"] = json!(["Ingress", "Egress"]);
            spec["egress"] = json!([
                {
                    "to": [{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": also(3) } } }],
                    "ports": [{ "protocol": "UDP", "port": 53 }, { "port": 8080 }],
                },
                // Whatever the measured pods send passes here.
                { "to": [{ "namespaceSelector": { "matchLabels": { "team": team(space) } } }] },
                { "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] } }] },
            ]);
        }
        network_policy(&namespace(space), &format!("policy-{nth}"), &spec)
    }
}

/// The edited policy: as the first port it opens `open`.
pub fn edited(open: u16) -> Value {
    let spec = json!({
        "podSelector": { "matchLabels": { "measured": EDITED } },
        "policyTypes": ["Ingress"],
        "ingress": [{
            "from": [{ "namespaceSelector": { "matchLabels": { "team": team(0) } } }],
            "ports": [{ "protocol": "UDP", "port": open }],
        }],
    });
    network_policy(&namespace(0), EDITED, &spec)
}

fn network_policy(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

pub fn namespace(number: u32) -> String {
    format!("space-{number:02}")
}

pub fn app(number: u32) -> String {
    format!("app-{number:02}")
}

fn team(number: u32) -> String {
    format!("team-{}", number % TEAMS)
}

fn namespace_object(number: u32) -> Value {
    let name = namespace(number);
    let labels = json!({ "kubernetes.io/metadata.name": name, "team": team(number) });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

fn node_name(number: u32) -> String {
    format!("elsewhere-{number:02}")
}

fn node_addresses(number: u32) -> [String; 2] {
    let host = 100 + number;
    [format!("192.168.50.{host}"), format!("fd50::{host}")]
}

fn node(number: u32) -> Value {
    let subnet = 100 + number;
    let cidrs = [format!("10.244.{subnet}.0/24"), format!("fd00:10:244:{subnet}::/64")];
    let addresses = node_addresses(number).map(|ip| json!({ "type": "InternalIP", "address": ip }));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": node_name(number), "labels": { "kubernetes.io/os": "linux" } },
        "spec": { "podCIDR": cidrs[0], "podCIDRs": cidrs },
        "status": { "addresses": addresses },
    })
}

fn service(number: u32) -> Value {
    let app = app(number % APPS);
    let (high, low) = (number / 250, 1 + number % 250);
    let addresses = [format!("10.97.{high}.{low}"), format!("fd00:10:97::{high}:{low}")];
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": app, "namespace": namespace(number / APPS) },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ipFamilies": ["IPv4", "IPv6"],
            "selector": { "app": app },
            "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP" }],
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SIZE: Size = Size { pods: 5000, services: 1000, policies: 500, local: 30 };

    #[test]
    fn there_are_as_many_objects_as_asked_for_each_with_a_name_of_its_own() {
        let key = |object: &Value| {
            let meta = &object["metadata"];
            format!("{} {} {}", object["kind"], meta["namespace"], meta["name"])
        };
        let keys: BTreeSet<String> = SIZE.objects().map(|object| key(&object)).collect();
        let of = |kind: &str| keys.iter().filter(|key| key.starts_with(&format!("\"{kind}\""))).count();
        assert_eq!((of("Pod"), of("Service"), of("NetworkPolicy")), (5000, 1000, 500));
        assert_eq!((of("EndpointSlice"), of("Node"), of("Namespace")), (2000, 50, 50));
    }

    #[test]
    fn no_two_pods_have_one_address_and_every_address_is_one() {
        let addresses: Vec<String> = (0..SIZE.pods).flat_map(|pod| SIZE.addresses(pod)).collect();
        let read: BTreeSet<std::net::IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(read.len(), addresses.len());
    }
}
