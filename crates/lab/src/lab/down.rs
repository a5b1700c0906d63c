//! Taking a lab down: everything it made, found by its name, and nothing else.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Lab;
use super::state::State;
use crate::layout::{LABS, LabName, Layout, NETNS};
use crate::machine::{bpffs, cgroup, netns};

/// Removes a lab, or what is left of one. Nothing there is fine.
///
/// # Errors
/// The name is no lab's, or the first thing that would not go; the rest is tried all the same.
pub fn down(name: &str) -> Result<()> {
    remove(&Layout::new(&LabName::new(name)?))
}

/// [`down`] for a lab whose name is known to be one.
pub fn remove(layout: &Layout) -> Result<()> {
    must_be_a_lab(layout)?;
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

/// A directory is removed with all that is in it only when its state says that it is this lab's. The
/// state is read loosely: one that an earlier build wrote is good enough for that.
fn must_be_a_lab(layout: &Layout) -> Result<()> {
    match std::fs::read_dir(&layout.dir).map(|mut entries| entries.next().is_none()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("look into {}", layout.dir.display())),
        // Somebody was about to make a lab.
        Ok(true) => return Ok(()),
        Ok(false) => {}
    }
    let state = std::fs::read(layout.state_file()).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
    if state.pointer("/spec/name").and_then(serde_json::Value::as_str) != Some(&layout.name) {
        let (dir, name) = (layout.dir.display(), &layout.name);
        bail!("{dir} is no lab's directory (its state.json does not name {name}): left alone");
    }
    Ok(())
}

/// The layout of something in the labs' directory; nothing whose name is no lab's is one.
fn layout_of(name: &str) -> Option<Layout> {
    LabName::new(name).ok().map(|name| Layout::new(&name))
}

/// Names of ephemeral labs whose owner is gone.
pub fn leftovers() -> Vec<String> {
    super::status::names()
        .into_iter()
        .filter(|name| {
            let state = layout_of(name).map(|layout| State::read(&layout));
            matches!(state, Some(Ok(Some(State { owner: Some(owner), .. }))) if !owner.alive())
        })
        .collect()
}

/// Whether a lab lives only as long as the process that made it.
pub fn is_ephemeral(name: &str) -> bool {
    let state = layout_of(name).map(|layout| State::read(&layout));
    matches!(state, Some(Ok(Some(State { owner: Some(_), .. }))))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_no_lab_made_is_not_taken_down() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout { name: "mine".into(), dir: home.path().join("mine") };
        must_be_a_lab(&layout).expect("nothing there is fine");
        std::fs::create_dir(&layout.dir).unwrap();
        must_be_a_lab(&layout).expect("nothing in it is fine");
        std::fs::write(layout.dir.join("diary"), "dear diary").unwrap();
        let refused = must_be_a_lab(&layout).unwrap_err().to_string();
        assert!(refused.contains("left alone"), "{refused}");
        for (state, fine) in
            [("{", false), (r#"{"spec":{"name":"other"}}"#, false), (r#"{"spec":{"name":"mine"}}"#, true)]
        {
            std::fs::write(layout.state_file(), state).unwrap();
            assert_eq!(must_be_a_lab(&layout).is_ok(), fine, "{state}");
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_takes_nothing_down() {
        for name in ["", "..", "/", "a/b", "/tmp"] {
            let refused = down(name).unwrap_err().to_string();
            assert!(refused.contains("lab name"), "{name:?}: {refused}");
        }
    }
}
