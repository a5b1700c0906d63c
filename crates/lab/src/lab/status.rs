//! What is up, and what should be but is not.

use std::fmt;

use anyhow::Result;

use super::Lab;
use super::processes::indent;
use super::state::State;
use crate::layout::{LABS, Layout};

/// Names of all labs on this machine.
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(LABS).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A lab at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    state: State,
    layout: Layout,
    /// Processes that should run and do not, with the ends of their logs.
    pub dead: Vec<(String, String)>,
}

impl Lab {
    /// Looks at every process.
    pub fn status(&self) -> Status {
        let state = self.state().clone();
        let dead = state.processes.iter().filter(|(_, p)| !p.id.alive());
        let dead = dead.map(|(name, p)| (name.clone(), p.tail(15))).collect();
        Status { state, layout: self.layout.clone(), dead }
    }

    /// # Errors
    /// Names every dead process, with the end of its log.
    pub fn must_be_healthy(&self) -> Result<()> {
        let status = self.status();
        if status.dead.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{status}")) }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, layout, dead } = self;
        writeln!(f, "lab {} in {}", layout.name, layout.dir.display())?;
        for (i, node) in state.spec.nodes.iter().enumerate() {
            let [v4, v6] = crate::layout::node_addresses(i);
            writeln!(f, "  {:<28} {v4} {v6}", node.name)?;
            for (key, pod) in state.pods.iter().filter(|(_, p)| p.spec.node == node.name) {
                let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
                writeln!(f, "    {key:<26} {}", addresses.join(" "))?;
            }
        }
        for service in &state.spec.services {
            let addresses: Vec<String> = state.cluster_ips(service).iter().map(ToString::to_string).collect();
            writeln!(f, "  service {}/{:<12} {}", service.namespace, service.name, addresses.join(" "))?;
        }
        for host in &state.spec.internet {
            let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
            writeln!(f, "  outside {:<20} {}", host.name, addresses.join(" "))?;
        }
        let running = state.processes.len() - dead.len();
        writeln!(f, "  {running} processes run, logs in {}", layout.logs().display())?;
        for (name, tail) in dead {
            writeln!(f, "  DEAD: {name}; the end of its log:\n{}", indent(tail))?;
        }
        Ok(())
    }
}
