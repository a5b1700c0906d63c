//! Building a spec in Rust, for tests and benchmarks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{
    Datapath, HostSpec, NamespaceSpec, NodeSpec, ObjectSource, PodSpec, PortSpec, Protocol, ServicePortSpec,
    ServiceSpec, Spec, Wiring,
};

impl Spec {
    /// A lab with nodes `node-a`, `node-b` … and nothing else yet.
    pub fn new(name: &str, nodes: u8) -> Self {
        let node = |i| NodeSpec { name: format!("node-{}", char::from(b'a' + i)), labels: BTreeMap::new() };
        Self {
            name: name.to_owned(),
            datapath: Datapath::Fathom,
            wiring: Wiring::Fathom,
            source: ObjectSource::Directory,
            nodes: (0..nodes).map(node).collect(),
            namespaces: Vec::new(),
            pods: Vec::new(),
            services: Vec::new(),
            policies: Vec::new(),
            internet: Vec::new(),
            isolated: false,
            relay: false,
            agent_args: Vec::new(),
            relay_args: Vec::new(),
        }
    }

    #[must_use]
    pub fn datapath(mut self, datapath: Datapath) -> Self {
        self.datapath = datapath;
        self
    }

    /// With pods that another plugin wires.
    #[must_use]
    pub fn wiring(mut self, wiring: Wiring) -> Self {
        self.wiring = wiring;
        self
    }

    /// With an API server as the source of objects.
    #[must_use]
    pub fn kubernetes(mut self) -> Self {
        self.source = ObjectSource::Kubernetes;
        self
    }

    /// With a relay over all nodes.
    #[must_use]
    pub fn with_relay(mut self) -> Self {
        self.relay = true;
        self
    }

    #[must_use]
    pub fn namespace(mut self, name: &str, labels: &[(&str, &str)]) -> Self {
        self.namespaces.push(NamespaceSpec { name: name.to_owned(), labels: owned(labels) });
        self
    }

    #[must_use]
    pub fn pod(mut self, pod: PodSpec) -> Self {
        self.pods.push(pod);
        self
    }

    #[must_use]
    pub fn service(mut self, service: ServiceSpec) -> Self {
        self.services.push(service);
        self
    }

    /// Adds a NetworkPolicy's YAML text.
    #[must_use]
    pub fn policy(mut self, yaml: &str) -> Self {
        self.policies.push(yaml.to_owned());
        self
    }

    #[must_use]
    pub fn host(mut self, name: &str, addresses: &[IpAddr], run: &[&[&str]]) -> Self {
        let run = run.iter().map(|line| words(line)).collect();
        self.internet.push(HostSpec { name: name.to_owned(), addresses: addresses.to_vec(), run });
        self
    }

    /// Without routes from outside to pods.
    #[must_use]
    pub fn isolated(mut self) -> Self {
        self.isolated = true;
        self
    }

    /// One more argument for every agent.
    #[must_use]
    pub fn agent_arg(mut self, argument: &str) -> Self {
        self.agent_args.push(argument.to_owned());
        self
    }
}

impl PodSpec {
    /// A pod in namespace `default` that runs nothing.
    pub fn new(name: &str, node: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            node: node.to_owned(),
            labels: BTreeMap::new(),
            host_network: false,
            deployment: None,
            ports: Vec::new(),
            run: Vec::new(),
        }
    }

    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With its node's network.
    #[must_use]
    pub fn host_network(mut self) -> Self {
        self.host_network = true;
        self
    }

    #[must_use]
    pub fn port(mut self, name: &str, port: u16, protocol: Protocol) -> Self {
        self.ports.push(PortSpec { name: Some(name.to_owned()), port, protocol, host_port: None });
        self
    }

    /// A port of the node that leads to the pod's.
    #[must_use]
    pub fn host_port(mut self, host_port: u16, port: u16, protocol: Protocol) -> Self {
        self.ports.push(PortSpec { name: None, port, protocol, host_port: Some(host_port) });
        self
    }

    /// Adds a workload's command line.
    #[must_use]
    pub fn run(mut self, line: &[&str]) -> Self {
        self.run.push(words(line));
        self
    }
}

impl ServiceSpec {
    /// A ClusterIP service in namespace `default` without ports.
    pub fn new(name: &str, selector: &[(&str, &str)]) -> Self {
        Self {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            selector: owned(selector),
            ports: Vec::new(),
            cluster_ips: Vec::new(),
            affinity_seconds: None,
            external_ips: Vec::new(),
            external_local: false,
            internal_local: false,
            health_check_port: None,
        }
    }

    /// A port of every node that leads to `target_port` of the pods, and to the service's port of that number.
    #[must_use]
    pub fn node_port(mut self, name: &str, node_port: u16, target_port: u16, protocol: Protocol) -> Self {
        self = self.port(name, node_port, target_port, protocol);
        if let Some(port) = self.ports.last_mut() {
            port.node_port = Some(node_port);
        }
        self
    }

    /// Clients outside reach only backends on the node they come to; load balancers ask at this port.
    #[must_use]
    pub fn external_local(mut self, health_check_port: u16) -> Self {
        self.external_local = true;
        self.health_check_port = Some(health_check_port);
        self
    }

    #[must_use]
    pub fn port(mut self, name: &str, port: u16, target_port: u16, protocol: Protocol) -> Self {
        let name = Some(name.to_owned());
        self.ports.push(ServicePortSpec { name, port, target_port, protocol, node_port: None });
        self
    }
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|w| (*w).to_owned()).collect()
}
