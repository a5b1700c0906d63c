//! What a process has used, CPU time and memory, from /proc; and what all of a cgroup have.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time of all threads so far, in nanoseconds' resolution (`schedstat`, first field).
///
/// # Errors
/// When the process is gone.
pub fn cpu(pid: i32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut nanos = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("list {tasks}"))? {
        let path = task.with_context(|| format!("list {tasks}"))?.path().join("schedstat");
        // A thread may end between the two.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let first = text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
        nanos += first.with_context(|| format!("no number in {}", path.display()))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// CPU time of all that ran in a cgroup so far, in microseconds' resolution, the kernel's part of it included.
///
/// # Errors
/// When the cgroup is gone.
pub fn cpu_of_cgroup(directory: &Path) -> Result<Duration> {
    let path = directory.join("cpu.stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    let used = used.and_then(|used| used.parse().ok());
    Ok(Duration::from_micros(used.with_context(|| format!("no usage_usec in {}", path.display()))?))
}

/// Resident memory, bytes.
///
/// # Errors
/// When the process is gone.
pub fn resident(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("no VmRSS in {path}"))? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_use_grows() {
        let pid = std::process::id() as i32;
        let before = cpu(pid).unwrap();
        while cpu(pid).unwrap() == before {}
        assert!(resident(pid).unwrap() > 1 << 20);
    }
}
