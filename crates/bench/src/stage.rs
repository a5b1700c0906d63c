//! The labs that are measured, and measurements in them.

use anyhow::{Context, Result};
use fathom_lab::spec::{Datapath, PodSpec, Protocol, ServiceSpec, Spec};
use fathom_lab::{Lab, Tools, Where};

/// Client and server share it: on two, results depend on where the scheduler puts them.
pub const CPU: &str = "0";
/// Where servers listen.
pub const PORT: u16 = 8080;
/// Pods behind the services.
pub const SERVERS: [&str; 3] = ["server-0", "server-1", "server-2"];
pub const CLIENT: &str = "client";
pub const NODE: &str = "node-a";

/// Selects the servers and allows the client, four ports: every new connection is judged.
const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients-only, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: client}}}]
      ports: [{protocol: TCP, port: 8080, endPort: 8083}]
";

/// A node with three servers, a client, a service and a policy.
///
/// # Errors
/// When the lab does not come up.
pub fn lab(name: &str, datapath: Datapath) -> Result<Lab> {
    lab_with(name, datapath, &[])
}

/// The same, its agent with further arguments.
///
/// # Errors
/// As [`lab`].
pub fn lab_with(name: &str, datapath: Datapath, agent: &[&str]) -> Result<Lab> {
    let listen = format!("[::]:{PORT}");
    let mut spec = Spec::new(&format!("bench-{name}-{}", std::process::id()), 1)
        .datapath(datapath)
        .pod(PodSpec::new(CLIENT, NODE).label("app", "client"))
        .service(service("server"))
        .policy(POLICY);
    for server in SERVERS {
        let run = ["measure-server", "--listen", &listen, "--cpu", CPU];
        spec = spec.pod(PodSpec::new(server, NODE).label("app", "server").run(&run));
    }
    if datapath == Datapath::Fathom {
        spec = spec.with_relay();
    }
    for argument in agent {
        spec = spec.agent_arg(argument);
    }
    let own = std::env::current_exe().context("find the running binary")?;
    Lab::ephemeral(spec, Tools::beside(&own.with_file_name("fathom-lab")))
        .with_context(|| format!("bring up lab {name}"))
}

/// A service over all servers.
pub fn service(name: &str) -> ServiceSpec {
    ServiceSpec::new(name, &[("app", "server")]).port("tcp", 80, PORT, Protocol::Tcp)
}

/// Median in ns and count; of bulk bytes per second and bytes.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub p50: f64,
    pub count: f64,
}

/// One measurement from the client pod.
///
/// # Errors
/// With what the measuring client said.
pub fn measure(lab: &Lab, what: &str, targets: &[String], milliseconds: u64) -> Result<Measured> {
    let this = lab.tools().lab.to_string_lossy().into_owned();
    let length = milliseconds.to_string();
    let mut line = vec![this.as_str(), "measure", what, "--milliseconds", &length, "--cpu", CPU];
    line.extend(targets.iter().map(String::as_str));
    let output = lab.exec(CLIENT, Where::Inside, &line).and_then(|output| output.ok());
    let output = output.with_context(|| format!("measure {what} in {}", lab.layout().name))?;
    let numbers: Vec<f64> = output.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match numbers[..] {
        [p50, _p99, count] => Ok(Measured { p50, count }),
        _ => anyhow::bail!("measure {what} printed no three numbers: {output}"),
    }
}

/// The first server's address and port.
///
/// # Errors
/// When it is gone.
pub fn server(lab: &Lab) -> Result<String> {
    Ok(format!("{}:{PORT}", lab.pod(SERVERS[0])?.v4()))
}
