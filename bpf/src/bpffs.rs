//! The BPF file system that pins live in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext as _, Result};
use crate::sys;

/// `statfs.f_type` of a BPF file system (linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Where BPF file systems are mounted by convention.
const CONVENTIONAL: &str = "/sys/fs/bpf";

/// Whether `path` exists and lies on a BPF file system.
pub fn is_bpffs(path: &Path) -> bool {
    // The field is signed or not by architecture: compare 32 bits.
    sys::filesystem_magic(path).is_ok_and(|magic| magic as u32 == BPF_FS_MAGIC as u32)
}

/// Makes `dir` and its `maps` and `links`, mounting a BPF file system where there is none.
///
/// Below /sys/fs/bpf the mount goes there, as everybody expects; elsewhere onto the deepest parent
/// of `dir` that exists, provided it is empty.
///
/// # Errors
/// [`Error::NoBpffs`] with the command that repairs it.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    let existing = deepest_existing(dir);
    if !is_bpffs(&existing) {
        let mount_point = if dir.starts_with(CONVENTIONAL) && Path::new(CONVENTIONAL).is_dir() {
            PathBuf::from(CONVENTIONAL)
        } else {
            existing
        };
        mount(&mount_point).map_err(|source| Error::NoBpffs {
            path: dir.to_owned(),
            mount_point: mount_point.clone(),
            source,
        })?;
        tracing::info!(path = %mount_point.display(), "mounted a BPF file system");
    }
    for sub in ["maps", "links"] {
        let path = dir.join(sub);
        fs::create_dir_all(&path).context(|| format!("create {}", path.display()))?;
    }
    Ok(())
}

fn mount(point: &Path) -> io::Result<()> {
    if !point.starts_with("/sys") && fs::read_dir(point)?.next().is_some() {
        return Err(io::Error::new(
            io::ErrorKind::DirectoryNotEmpty,
            "not mounting over a directory with files in it",
        ));
    }
    sys::mount_bpffs(point)
}

fn deepest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}
