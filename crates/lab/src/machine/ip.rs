//! The `ip` program: a lab's networks are laid with commands anybody can repeat by hand.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{netns, wait};

/// Runs a list of `ip` commands in one go, inside a namespace. Stops at the first that fails.
pub fn batch(namespace: &Path, commands: &[String]) -> Result<()> {
    let output = netns::inside(namespace, || {
        let mut child = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start ip (package iproute2)")?;
        let text = commands.join("\n") + "\n";
        child.stdin.take().context("ip has a stdin")?.write_all(text.as_bytes()).context("write to ip")?;
        child.wait_with_output().context("wait for ip")
    })?;
    if output.status.success() {
        return Ok(());
    }
    // "Command failed -:3" names the line.
    let stderr = String::from_utf8_lossy(&output.stderr);
    let line = stderr.rsplit_once("-:").and_then(|(_, n)| n.trim().parse::<usize>().ok());
    let command = line.and_then(|n| commands.get(n.wrapping_sub(1))).map_or("?", String::as_str);
    bail!("in {}: ip {command}: {}", namespace.display(), stderr.lines().next().unwrap_or("failed").trim())
}

/// Waits until every device of a namespace that is up passes packets: the kernel gives a device its
/// queue some time after it came up, and drops everything before that without a trace.
pub fn awake(namespace: &Path) -> Result<()> {
    wait::until("devices to pass packets", Duration::from_secs(5), || {
        let output = netns::inside(namespace, || {
            Command::new("ip")
                .args(["-o", "link", "show", "up"])
                .output()
                .context("start ip (package iproute2)")
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let asleep = text.lines().find(|line| line.contains("qdisc noop "));
        Ok(asleep.map_or(Ok(()), |line| Err(line.to_owned())))
    })
}

/// Writes a network sysctl of a namespace; one this kernel does not have is passed over.
pub fn sysctl(namespace: &Path, settings: &[(&str, &str)]) -> Result<()> {
    netns::inside(namespace, || {
        for (path, value) in settings {
            match std::fs::write(format!("/proc/sys/net/{path}"), value) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("set net/{path} to {value}"));
                }
                _ => {}
            }
        }
        Ok(())
    })
}
