//! A bpffs of the lab's own: its pins are nobody else's business, and one unmount removes them all.

use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts a bpffs, unless one is there already.
pub fn mount_at(path: &Path) -> Result<()> {
    if is_mounted(path) {
        return Ok(());
    }
    std::fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("mount a bpffs on {} (needs root)", path.display()))
}

/// Unmounts it; not mounted is fine.
pub fn unmount(path: &Path) -> Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
        Err(e) => Err(e).with_context(|| format!("unmount {}", path.display())),
    }
}

fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let path = path.to_string_lossy();
    mounts.lines().any(|line| {
        let mut fields = line.split(' ');
        fields.nth(1) == Some(&path) && fields.next() == Some("bpf")
    })
}
