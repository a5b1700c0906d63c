//! The lab's corner of the cgroup v2 tree: who gets which socket hooks, and who must die on the way down.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::wait;

/// Where cgroup v2 is mounted: alone, or beside v1.
pub fn mount_point() -> Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        })
        .next()
        .context("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

/// Makes a cgroup and those above it.
pub fn create(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("make cgroup {}", path.display()))
}

/// Kills every process in the tree, waits until it is empty, and removes it. Absent is fine.
pub fn remove(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    kill(path)?;
    // The kernel removes a process from its cgroup a moment after it is dead.
    wait::until("the lab's processes to end", Duration::from_secs(10), || {
        let left = processes(path);
        Ok(if left.is_empty() { Ok(()) } else { Err(format!("still there: {left:?}")) })
    })?;
    wait::until("the lab's cgroups to go", Duration::from_secs(5), || match remove_tree(path) {
        Ok(()) => Ok(Ok(())),
        Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => Ok(Err(e.to_string())),
        Err(e) => Err(e).with_context(|| format!("remove cgroup {}", path.display())),
    })
}

fn kill(path: &Path) -> Result<()> {
    // cgroup.kill: Linux 5.14. It catches those who fork meanwhile as well.
    if std::fs::write(path.join("cgroup.kill"), "1").is_ok() {
        return Ok(());
    }
    let own = std::process::id() as i32;
    for _ in 0..100 {
        let left = processes(path);
        if left.contains(&own) {
            bail!("{} holds this very process", path.display());
        }
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            // Gone already is as good.
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Process ids in a cgroup and below.
pub fn processes(path: &Path) -> Vec<i32> {
    let own = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<i32> = own.lines().filter_map(|l| l.parse().ok()).collect();
    for child in children(path) {
        found.extend(processes(&child));
    }
    found
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for child in children(path) {
        remove_tree(&child)?;
    }
    match std::fs::remove_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn children(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|e| e.path()).filter(|p| p.is_dir()).collect()
}
