//! Processes of a lab: started into their place, known by more than a number, with a log each.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::enter::Entry;

/// A process id and when it began: numbers are used again, pairs are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks after boot, field 22 of `/proc/<pid>/stat`.
    pub start: u64,
}

impl ProcessId {
    /// The calling process.
    pub fn own() -> Result<Self> {
        Self::of(std::process::id() as i32).context("this process is not in /proc")
    }

    fn of(pid: i32) -> Option<Self> {
        read_stat(pid).map(|(_, start)| Self { pid, start })
    }

    /// Whether it still runs; a zombie does not.
    pub fn alive(self) -> bool {
        read_stat(self.pid).is_some_and(|(state, start)| start == self.start && state != 'Z' && state != 'X')
    }

    /// Whether it runs a file that has been built anew since.
    pub fn outdated(self) -> bool {
        let exe = std::fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap_or_default();
        exe.to_string_lossy().ends_with(" (deleted)")
    }

    /// Sends a signal; a process that is gone is no error.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(e) => Err(e).with_context(|| format!("send {signal} to process {}", self.pid)),
        }
    }
}

fn read_stat(pid: i32) -> Option<(char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses itself.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// A process as the lab's state file remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub id: ProcessId,
    pub log: PathBuf,
    /// Where in the log this run begins.
    pub log_start: u64,
}

impl Process {
    /// What this run has written so far.
    pub fn output(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            file.seek(SeekFrom::Start(self.log_start))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }

    /// The last lines of this run.
    pub fn tail(&self, lines: usize) -> String {
        let output = self.output();
        let all: Vec<&str> = output.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Starts a long-running program into its place, with output to `log`.
pub fn start<A: AsRef<OsStr>>(
    this: &Path,
    entry: &Entry,
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    log: &Path,
) -> Result<(Child, Process)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open log {}", log.display()))?;
    let log_start = file.metadata().with_context(|| format!("examine log {}", log.display()))?.len();
    let stderr = file.try_clone().context("duplicate a log's descriptor")?;
    let child = entry
        .command(this, program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(stderr)
        .spawn()
        .with_context(|| format!("start {}", this.display()))?;
    let id =
        ProcessId::of(child.id() as i32).with_context(|| format!("find the new process {}", child.id()))?;
    Ok((child, Process { id, log: log.to_owned(), log_start }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_a_zombie_is_dead() {
        let own = ProcessId::own().unwrap();
        assert!(own.alive());
        assert!(!ProcessId { start: own.start + 1, ..own }.alive());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id() as i32).unwrap();
        assert!(id.alive());
        id.signal(Signal::SIGKILL).unwrap();
        crate::machine::wait::until("the child to die", std::time::Duration::from_secs(5), || {
            Ok(if id.alive() { Err("alive".to_owned()) } else { Ok(()) })
        })
        .unwrap();
        child.wait().unwrap();
        id.signal(Signal::SIGKILL).unwrap();
    }
}
