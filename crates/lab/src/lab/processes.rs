//! The lab's processes: started, waited for, missed when they die.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;

use super::Lab;
use crate::machine::enter::Entry;
use crate::machine::process::{self, Process};
use crate::machine::{cgroup, wait};

/// A process that is asked to end gets this long.
const GRACE: Duration = Duration::from_secs(10);

impl Lab {
    /// Starts a program under a name of its own in the lab, its output in `logs/<name>.log`.
    pub(super) fn launch<A: AsRef<OsStr>>(
        &self,
        name: &str,
        entry: &Entry,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Process> {
        if let Some(directory) = &entry.cgroup {
            cgroup::create(directory)?;
        }
        let log = self.layout.logs().join(format!("{}.log", name.replace('/', ".")));
        let entry = Entry { detach: true, ..entry.clone() };
        let (child, process) = process::start(&self.tools.lab, &entry, program, arguments, &log)?;
        self.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        self.update(|state| state.processes.insert(name.to_owned(), process.clone()))?;
        Ok(process)
    }

    /// Waits until a process has written `word` to its log.
    pub(super) fn await_output(&self, name: &str, word: &str, limit: Duration) -> Result<()> {
        let process = self.process(name)?;
        wait::until(&format!("{name} to say {word:?}"), limit, || {
            if process.output().contains(word) {
                return Ok(Ok(()));
            }
            self.must_live(name)?;
            Ok(Err(format!("it says: {}", process.tail(3))))
        })
    }

    pub(super) fn process(&self, name: &str) -> Result<Process> {
        let process = self.state().processes.get(name).cloned();
        process.with_context(|| format!("lab {} has no process {name}", self.layout.name))
    }

    /// # Errors
    /// With the end of the log when the process is dead.
    pub(super) fn must_live(&self, name: &str) -> Result<()> {
        let process = self.process(name)?;
        if process.id.alive() {
            return Ok(());
        }
        bail!("{name} died; the end of {}:\n{}", process.log.display(), indent(&process.tail(15)))
    }

    /// Asks a process to end, then makes it; returns when it is gone.
    ///
    /// # Errors
    /// When it ignores even SIGKILL for seconds.
    pub(super) fn stop(&self, name: &str, signal: Signal) -> Result<()> {
        let process = self.process(name)?;
        process.id.signal(signal)?;
        let gone = |process: &Process| {
            self.reap();
            Ok(if process.id.alive() { Err("still running".to_owned()) } else { Ok(()) })
        };
        if wait::until(&format!("{name} to end"), GRACE, || gone(&process)).is_err() {
            process.id.signal(Signal::SIGKILL)?;
            wait::until(&format!("{name} to end after SIGKILL"), GRACE, || gone(&process))?;
        }
        self.update(|state| state.processes.remove(name))?;
        Ok(())
    }

    /// Collects children that have ended.
    fn reap(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Adds the death of any process to an error: usually it is the cause.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let names: Vec<String> = self.state().processes.keys().cloned().collect();
        let deaths: Vec<String> =
            names.iter().filter_map(|n| self.must_live(n).err()).map(|e| e.to_string()).collect();
        let told = format!("{error:#}");
        let news: Vec<String> = deaths.into_iter().filter(|d| !told.contains(d.as_str())).collect();
        if news.is_empty() { error } else { anyhow!("{told}\n{}", news.join("\n")) }
    }
}

pub(super) fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
