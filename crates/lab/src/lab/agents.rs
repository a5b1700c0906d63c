//! The agent of each node: started, stopped, killed, started again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Account, Lab, Where};
use crate::layout::{NETNS, Place, node_addresses, pod_cidrs};
use crate::machine::enter::Entry;
use crate::machine::{netns, wait};
use crate::spec::{Datapath, ObjectSource, Wiring};

/// Loading programs takes a verifier's time on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
const HTTP_PORT: u16 = 9965;

impl Lab {
    /// Starts a node's agent and waits until it is ready.
    ///
    /// # Errors
    /// With the log's end when it dies, with its own words when it never gets ready.
    pub fn start_agent(&self, node: &str) -> Result<()> {
        self.launch_agent(node)?;
        self.await_agent(node)
    }

    /// Asks a node's agent to end, and waits until it has.
    ///
    /// # Errors
    /// When there is none.
    pub fn stop_agent(&self, node: &str) -> Result<()> {
        self.stop(&name(node), Signal::SIGTERM)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_agent(&self, node: &str) -> Result<()> {
        self.stop(&name(node), Signal::SIGKILL)
    }

    /// Takes a node's programs, pins and notes off it, as one does for good; the agent has ended before.
    ///
    /// # Errors
    /// What `fathom-agent cleanup` said.
    pub fn clean_node(&self, node: &str) -> Result<()> {
        let path = |path: std::path::PathBuf| path.display().to_string();
        let (run_dir, bpffs) = (path(self.layout.run_dir(node)), path(self.layout.bpffs()));
        let agent = path(self.tools.agent.clone());
        let line = [&agent, "cleanup", "--run-dir", &run_dir, "--bpffs", &bpffs, "--instance", node];
        self.exec(node, Where::OutsideCgroup, &line)?.ok().map(drop)
    }

    /// The process id of a node's agent.
    ///
    /// # Errors
    /// When there is none.
    pub fn agent_pid(&self, node: &str) -> Result<i32> {
        Ok(self.process(&name(node))?.id.pid)
    }

    pub(super) fn launch_agent(&self, node: &str) -> Result<()> {
        let spec = self.spec();
        let index =
            spec.nodes.iter().position(|n| n.name == node).with_context(|| format!("no node {node}"))?;
        let place = Place::Node(node.to_owned());
        let entry = Entry {
            netns: Some(self.layout.netns(&place)),
            cgroup: Some(self.cgroup.join(self.layout.cgroup_of(&place, None))),
            ..Entry::default()
        };
        let run_dir = self.layout.run_dir(node);
        std::fs::create_dir_all(&run_dir).with_context(|| format!("make {}", run_dir.display()))?;
        let run_dir = run_dir.display().to_string();
        if spec.datapath == Datapath::None {
            let mut arguments = vec!["plain-agent".to_owned(), "--run-dir".into(), run_dir];
            arguments.extend(pod_cidrs(index).into_iter().flat_map(|cidr| ["--pod-cidr".to_owned(), cidr]));
            self.launch(&name(node), &entry, &self.tools.lab, &arguments)?;
            return Ok(());
        }
        let [v4, _] = node_addresses(index);
        let path = |path: std::path::PathBuf| path.display().to_string();
        let mut arguments = vec![
            "--node-name".to_owned(),
            node.into(),
            "--cluster-name".into(),
            self.layout.name.clone(),
            "--run-dir".into(),
            run_dir,
            "--cgroup".into(),
            path(self.cgroup.join(self.layout.node_cgroup(node))),
            "--bpffs".into(),
            path(self.layout.bpffs()),
            "--instance".into(),
            node.into(),
            "--listen".into(),
            format!("{v4}:4244"),
            // The network between the nodes is the lab's own.
            "--tls".into(),
            "off".into(),
            "--metrics-listen".into(),
            format!("127.0.0.1:{HTTP_PORT}"),
        ];
        let source = match spec.source {
            ObjectSource::Directory => [
                "--objects".to_owned(),
                path(self.layout.objects()),
                "--identities".into(),
                path(self.layout.identities()),
            ]
            .to_vec(),
            ObjectSource::Kubernetes => {
                ["--kubeconfig".to_owned(), path(self.kubeconfig(Account::Agent))].to_vec()
            }
        };
        arguments.extend(source);
        if spec.wiring != Wiring::Fathom {
            arguments.extend(["--mode", "attach", "--netns-dir", NETNS].map(str::to_owned));
        }
        arguments.extend(spec.agent_args);
        self.launch(&name(node), &entry, &self.tools.agent, &arguments)?;
        Ok(())
    }

    pub(super) fn await_agent(&self, node: &str) -> Result<()> {
        if self.state().spec.datapath == Datapath::None {
            return self.await_output(&name(node), "ready", READY_WITHIN);
        }
        wait::until(&format!("the agent of {node} to be ready"), READY_WITHIN, || {
            self.must_live(&name(node))?;
            Ok(match self.agent_http(node, "/readyz") {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status} {}", body.trim())),
                Err(e) => Err(format!("{e:#}")),
            })
        })
    }

    /// GET on the agent's HTTP port: status and body.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn agent_http(&self, node: &str, path: &str) -> Result<(u16, String)> {
        netns::inside(&self.layout.netns(&Place::Node(node.to_owned())), || {
            let limit = Duration::from_secs(5);
            let address = SocketAddr::from(([127, 0, 0, 1], HTTP_PORT));
            let mut stream =
                TcpStream::connect_timeout(&address, limit).context("connect to the agent's HTTP port")?;
            stream.set_read_timeout(Some(limit)).context("set a timeout")?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
                .context("ask the agent")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).context("read the agent's answer")?;
            let (head, body) = answer.split_once("\r\n\r\n").context("the agent's answer is no HTTP")?;
            let status = head
                .split(' ')
                .nth(1)
                .and_then(|s| s.parse().ok())
                .context("no status in the agent's answer")?;
            Ok((status, body.to_owned()))
        })
    }
}

fn name(node: &str) -> String {
    format!("{node}/agent")
}
