//! What a lab consists of: read from a YAML file or built in Rust.

mod builder;
mod check;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use check::SpecError;
pub(crate) use check::name;

/// A cluster on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Unique on the machine: part of every namespace's, cgroup's and directory's name.
    pub name: String,
    #[serde(default)]
    pub datapath: Datapath,
    #[serde(default)]
    pub wiring: Wiring,
    #[serde(default)]
    pub source: ObjectSource,
    pub nodes: Vec<NodeSpec>,
    #[serde(default)]
    pub namespaces: Vec<NamespaceSpec>,
    #[serde(default)]
    pub pods: Vec<PodSpec>,
    #[serde(default)]
    pub services: Vec<ServiceSpec>,
    /// NetworkPolicies, each as its YAML text: it is what people edit.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Addresses and processes outside the cluster.
    #[serde(default)]
    pub internet: Vec<HostSpec>,
    /// Hosts outside have no routes to pods: these can ask only where their node lends them its address.
    #[serde(default)]
    pub isolated: bool,
    /// Whether a relay runs.
    #[serde(default)]
    pub relay: bool,
    /// Further arguments for every agent.
    #[serde(default)]
    pub agent_args: Vec<String>,
    /// Further arguments for the relay.
    #[serde(default)]
    pub relay_args: Vec<String>,
}

/// Who moves the packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datapath {
    /// `fathom-agent` on every node.
    #[default]
    Fathom,
    /// Plain routing by the kernel: the yardstick of benchmarks, and the lab's own test.
    None,
}

/// Where agents get the cluster's objects from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectSource {
    /// A directory of YAML files.
    #[default]
    Directory,
    /// An API server in the control place; agents and relay are there with the roles of the manifests alone.
    Kubernetes,
}

/// Who gives pods their interfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wiring {
    /// `fathom-cni`.
    #[default]
    Fathom,
    /// The reference plugin `bridge`: pods of a node on one bridge. Agents run with `--mode attach`.
    Bridge,
    /// The reference plugin `ptp`: a cable per pod, and routes. Agents run with `--mode attach`.
    Ptp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    pub name: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSpec {
    pub name: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSpec {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    pub node: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// It has its node's network and is wired by nobody.
    #[serde(default)]
    pub host_network: bool,
    /// The Deployment the pod belongs to, when it belongs to one.
    #[serde(default)]
    pub deployment: Option<String>,
    #[serde(default)]
    pub ports: Vec<PortSpec>,
    /// Each a command line for `fathom-lab workload`. `$POD`, `$NAMESPACE` and `$NODE` stand for
    /// their names, `$DNS` for the address of the cluster's DNS service.
    #[serde(default)]
    pub run: Vec<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortSpec {
    #[serde(default)]
    pub name: Option<String>,
    pub port: u16,
    #[serde(default)]
    pub protocol: Protocol,
    /// The port of its node that leads to it.
    #[serde(default)]
    pub host_port: Option<u16>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    pub selector: BTreeMap<String, String>,
    pub ports: Vec<ServicePortSpec>,
    /// One per family; the next free ones when empty.
    #[serde(default, rename = "clusterIPs")]
    pub cluster_ips: Vec<IpAddr>,
    /// Seconds a client stays with its backend.
    #[serde(default)]
    pub affinity_seconds: Option<u32>,
    /// Addresses outside the cluster that lead to it as well.
    #[serde(default, rename = "externalIPs")]
    pub external_ips: Vec<IpAddr>,
    /// `externalTrafficPolicy: Local`.
    #[serde(default)]
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`.
    #[serde(default)]
    pub internal_local: bool,
    /// Where a load balancer asks for backends on a node.
    #[serde(default)]
    pub health_check_port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePortSpec {
    #[serde(default)]
    pub name: Option<String>,
    pub port: u16,
    pub target_port: u16,
    #[serde(default)]
    pub protocol: Protocol,
    /// The port of every node that leads to it.
    #[serde(default)]
    pub node_port: Option<u16>,
}

/// A host outside the cluster: all of them share the internet's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostSpec {
    /// A DNS name the lab's DNS server answers for.
    pub name: String,
    pub addresses: Vec<IpAddr>,
    #[serde(default)]
    pub run: Vec<Vec<String>>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

impl Spec {
    /// Reads a spec from YAML.
    ///
    /// # Errors
    /// Says where the text is no spec, or what contradicts itself.
    pub fn from_yaml(text: &str) -> Result<Self, SpecError> {
        let spec: Self = serde_saphyr::from_str(text).map_err(|e| SpecError::Unreadable(e.to_string()))?;
        spec.check()?;
        Ok(spec)
    }

    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        self.nodes.iter().find(|n| n.name == name)
    }
}

impl PodSpec {
    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
