//! The guardian of an ephemeral lab: takes it down when its owner ends, however it ends.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// Starts a guardian. It acts when the returned pipe closes, which the kernel does for the dead.
pub fn start(this: &Path, name: &str) -> Result<(Child, ChildStdin)> {
    let mut child = Command::new(this)
        .args(["guard", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the lab's guardian")?;
    let pipe = child.stdin.take().context("the guardian has a stdin")?;
    Ok((child, pipe))
}

/// The guardian itself.
pub fn guard(name: &str) -> Result<()> {
    // A session of its own: a Ctrl-C meant for the owner must not end the guardian first.
    let _ = nix::unistd::setsid();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    super::down(name)
}
