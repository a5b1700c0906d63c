//! Running commands in a lab's places.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Lab;
use crate::layout::Place;
use crate::machine::cgroup;
use crate::machine::enter::Entry;
use crate::machine::process::Process;

/// How a command stands to the node's socket hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// In the pod's own cgroup, as its containers are.
    Inside,
    /// In the pod's network but in no node's cgroup: services are then translated at tc, or not at all.
    OutsideCgroup,
}

/// What a command left.
#[derive(Debug, Clone)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that must have succeeded.
    ///
    /// # Errors
    /// With what it said otherwise.
    pub fn ok(self) -> Result<String> {
        if self.success {
            return Ok(self.stdout);
        }
        bail!("failed: {}{}", self.stdout, self.stderr)
    }
}

impl Lab {
    /// Where processes of a place begin.
    pub(super) fn entry_of(&self, place: &Place) -> Result<Entry> {
        let (node, network) = match place {
            Place::Pod(key) => {
                let spec = self.pod(key)?.spec;
                let network = if spec.host_network { Place::Node(spec.node.clone()) } else { place.clone() };
                (Some(spec.node), network)
            }
            _ => (None, place.clone()),
        };
        let cgroup = self.cgroup.join(self.layout.cgroup_of(place, node.as_deref()));
        Ok(Entry { netns: Some(self.layout.netns(&network)), cgroup: Some(cgroup), ..Entry::default() })
    }

    /// A command that will run in a place, ready to be given a terminal or pipes.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn command(&self, place: &str, whence: Where, program: &str) -> Result<Command> {
        let place = self.place(place)?;
        let mut entry = self.entry_of(&place)?;
        if whence == Where::OutsideCgroup {
            entry.cgroup = Some(self.cgroup.join(self.layout.cgroup_of(&Place::Control, None)));
        }
        if matches!(place, Place::Pod(_)) {
            entry.resolv_conf = Some(self.layout.resolv_conf());
        }
        if let Some(directory) = &entry.cgroup {
            cgroup::create(directory)?;
        }
        Ok(entry.command(&self.tools.lab, Path::new(program)))
    }

    /// Runs a command in a place and returns what it left.
    ///
    /// # Errors
    /// When it can't be started; its own failure is in [`Output`].
    pub fn exec(&self, place: &str, whence: Where, line: &[&str]) -> Result<Output> {
        let (program, arguments) = line.split_first().context("no command named")?;
        let mut command = self.command(place, whence, program)?;
        let output = command
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run {program} in {place}"))?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a probe (`fathom-lab probe …`) in a place.
    ///
    /// # Errors
    /// When it can't be started; its own failure is in [`Output`].
    pub fn probe(&self, place: &str, whence: Where, line: &[&str]) -> Result<Output> {
        let this = self.tools.lab.to_string_lossy().into_owned();
        self.exec(place, whence, &[&[this.as_str(), "probe"], line].concat())
    }

    /// Starts a workload (`fathom-lab workload …`) in a place, under a name of its own.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_workload(&self, place: &str, name: &str, line: &[&str]) -> Result<Process> {
        let entry = self.entry_of(&self.place(place)?)?;
        let arguments = std::iter::once(&"workload").chain(line).map(OsStr::new);
        let process = self.launch(name, &entry, &self.tools.lab, arguments)?;
        self.await_output(name, "ready", std::time::Duration::from_secs(20))?;
        Ok(process)
    }

    /// Starts a program that nobody here wrote in a place, under a name of its own. When it is ready
    /// only its caller can tell.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_program(&self, place: &str, name: &str, program: &Path, line: &[&str]) -> Result<Process> {
        self.launch(name, &self.entry_of(&self.place(place)?)?, program, line)
    }

    /// Ends a workload or program started by name.
    ///
    /// # Errors
    /// When there is none.
    pub fn stop_workload(&self, name: &str) -> Result<()> {
        self.stop(name, nix::sys::signal::Signal::SIGTERM)
    }
}
