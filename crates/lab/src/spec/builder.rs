//! Building a spec in Rust, for tests and benchmarks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{
    Datapath, HostSpec, NamespaceSpec, NodeSpec, PodSpec, PortSpec, Protocol, ServicePortSpec, ServiceSpec,
    Spec, Wiring,
};

impl Spec {
    /// A lab with nodes `node-a`, `node-b` … and nothing else yet.
    pub fn new(name: &str, nodes: u8) -> Self {
        let node = |i| NodeSpec { name: format!("node-{}", char::from(b'a' + i)), labels: BTreeMap::new() };
        Self {
            name: name.to_owned(),
            datapath: Datapath::Fathom,
            wiring: Wiring::Fathom,
            nodes: (0..nodes).map(node).collect(),
            namespaces: Vec::new(),
            pods: Vec::new(),
            services: Vec::new(),
            policies: Vec::new(),
            internet: Vec::new(),
            relay: false,
            agent_args: Vec::new(),
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

    #[must_use]
    pub fn port(mut self, name: &str, port: u16, protocol: Protocol) -> Self {
        self.ports.push(PortSpec { name: Some(name.to_owned()), port, protocol });
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
        }
    }

    #[must_use]
    pub fn port(mut self, name: &str, port: u16, target_port: u16, protocol: Protocol) -> Self {
        self.ports.push(ServicePortSpec { name: Some(name.to_owned()), port, target_port, protocol });
        self
    }
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|w| (*w).to_owned()).collect()
}
