//! Taking a lab down: everything it made, found by its name, and nothing else.

use std::path::Path;

use anyhow::{Context, Result};

use super::Lab;
use super::state::State;
use crate::layout::{LABS, Layout, NETNS};
use crate::machine::{bpffs, cgroup, netns};

/// Removes a lab, or what is left of one. Nothing there is fine.
///
/// # Errors
/// The first thing that would not go; the rest is tried all the same.
pub fn down(name: &str) -> Result<()> {
    let layout = Layout::new(name);
    let mut outcome = cgroup::mount_point().and_then(|root| cgroup::remove(&root.join(layout.cgroup_name())));
    let mut also = |result: Result<()>| {
        if outcome.is_ok() {
            outcome = result;
        }
    };
    also(bpffs::unmount(&layout.bpffs()));
    for path in netns::list(Path::new(NETNS), &layout.netns_prefix()) {
        also(netns::remove(&path));
    }
    also(match std::fs::remove_dir_all(&layout.dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", layout.dir.display()))
        }
        _ => Ok(()),
    });
    // The parents, when this was the last lab and nothing else lives there. /run/netns stays, as
    // `ip netns` leaves it.
    for parent in Path::new(LABS).ancestors().take(2) {
        let _ = std::fs::remove_dir(parent);
    }
    outcome
}

/// Names of ephemeral labs whose owner is gone.
pub fn leftovers() -> Vec<String> {
    super::status::names()
        .into_iter()
        .filter(|name| {
            let state = State::read(&Layout::new(name));
            matches!(state, Ok(Some(State { owner: Some(owner), .. })) if !owner.alive())
        })
        .collect()
}

/// Whether a lab lives only as long as the process that made it.
pub fn is_ephemeral(name: &str) -> bool {
    matches!(State::read(&Layout::new(name)), Ok(Some(State { owner: Some(_), .. })))
}

impl Lab {
    /// Takes this lab down.
    ///
    /// # Errors
    /// As [`down`].
    pub fn take_down(&mut self) -> Result<()> {
        let result = down(&self.layout.name);
        for mut child in self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            let _ = child.wait();
        }
        result
    }
}
