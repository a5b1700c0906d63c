//! Bringing a lab up, in the order things need each other.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use super::down;
use super::guard;
use super::state::State;
use super::{Lab, Tools};
use crate::layout::{LabName, Layout};
use crate::machine::process::ProcessId;
use crate::machine::{bpffs, cgroup, wait};
use crate::spec::{Datapath, ObjectSource, Spec};

pub fn up(spec: Spec, tools: Tools, ephemeral: bool) -> Result<Lab> {
    spec.check()?;
    if !geteuid().is_root() {
        bail!("a lab is made of network namespaces, cgroups and kernel programs: run as root");
    }
    let mut needed = vec![tools.lab.as_path(), tools.cni.as_path()];
    if spec.datapath == Datapath::Fathom {
        needed.push(&tools.agent);
    }
    if spec.source == ObjectSource::Kubernetes {
        needed.push(&tools.api_server);
    }
    if spec.relay {
        needed.push(&tools.relay);
    }
    tools.require(&needed)?;

    let layout = Layout::new(&LabName::new(&spec.name)?);
    if let Some(state) = State::read(&layout).unwrap_or_default()
        && state.complete
        && state.processes.values().all(|p| p.id.alive() && !p.id.outdated())
    {
        if state.wanted == spec && !ephemeral {
            return Lab::over(layout, tools, state);
        }
        bail!("a lab named {0} is up with another spec: fathom-lab down {0}", layout.name);
    }
    // Labs of dead tests whose guardian died as well: nobody else will, and a failure is not ours to report.
    for leftover in down::leftovers() {
        let _ = down::down(&leftover);
    }
    // Half a lab, one whose processes died, or one of an earlier build is no use to anybody.
    down::remove(&layout)?;

    make_home(&layout)?;
    let owner = if ephemeral { Some(ProcessId::own()?) } else { None };
    let state = State::new(spec, owner);
    state.write(&layout)?;
    let mut lab = Lab::over(layout, tools, state)?;
    if ephemeral {
        lab.guardian = Some(guard::start(&lab.tools.lab, &lab.layout.name)?);
    }
    match lab.build() {
        Ok(()) => Ok(lab),
        Err(error) => {
            let error = lab.explain(error);
            lab.take_down().context("taking down what had been made")?;
            Err(error)
        }
    }
}

/// The lab's directory. The last lab to go removes the directory of all labs, perhaps right now.
fn make_home(layout: &Layout) -> Result<()> {
    wait::until("a directory for the lab", Duration::from_secs(1), || {
        match fs::create_dir_all(&layout.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Err(e.to_string())),
            Err(e) => Err(e).with_context(|| format!("make {}", layout.dir.display())),
            Ok(()) => Ok(Ok(())),
        }
    })?;
    for dir in [layout.identities(), layout.logs()] {
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    }
    Ok(())
}

impl Lab {
    fn build(&self) -> Result<()> {
        let spec = self.spec();
        for node in &spec.nodes {
            cgroup::create(&self.cgroup.join(self.layout.node_cgroup(&node.name)))?;
        }
        self.lay_network(&spec)?;
        if spec.source == ObjectSource::Kubernetes {
            self.start_api_server()?;
            self.install()?;
        }
        self.write_objects(&spec)?;
        if spec.datapath == Datapath::Fathom {
            bpffs::mount_at(&self.layout.bpffs())?;
        }
        for node in &spec.nodes {
            self.launch_agent(&node.name)?;
        }
        for node in &spec.nodes {
            self.await_agent(&node.name)?;
        }
        self.wire_pods(&spec.pods)?;
        self.start_hosts(&spec)?;
        if spec.relay {
            self.start_relay()?;
        }
        self.update(|state| state.complete = true)
    }
}
