//! Throw-away places: a network namespace, a BPF file system, a cgroup. Each goes on drop.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{IoContext as _, Result};
use crate::probe::cgroup2_mount;
use crate::sys;

/// Unlike any other name on this machine.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs `work` on a thread of its own in a new network namespace with loopback up. The namespace
/// goes with the thread and whatever the thread leaves open.
///
/// # Panics
/// When not root, and when `work` panics.
pub fn in_new_netns<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::netns::enter_new().expect("a network namespace (these tests need root)");
            sys::netns::loopback_up().expect("loopback");
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A BPF file system of its own under the temporary directory.
#[derive(Debug)]
pub struct TempBpffs {
    path: PathBuf,
}

impl TempBpffs {
    /// Mounts one.
    ///
    /// # Errors
    /// Without root.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(unique("fathom-bpffs"));
        fs::create_dir(&path).context(|| format!("create {}", path.display()))?;
        sys::mount_bpffs(&path).context(|| "mount a BPF file system (needs root)".into())?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempBpffs {
    fn drop(&mut self) {
        // Pins go with the file system.
        unmount(&self.path);
        let _ = fs::remove_dir(&self.path);
    }
}

/// Takes a file system off its mount point, as good as it goes.
pub fn unmount(path: &Path) {
    if let Ok(path) = CString::new(path.as_os_str().as_bytes()) {
        sys::unmount(&path);
    }
}

/// A cgroup of its own below the root of cgroup v2.
#[derive(Debug)]
pub struct TempCgroup {
    path: PathBuf,
}

impl TempCgroup {
    /// Makes one.
    ///
    /// # Errors
    /// Without root, or where cgroup v2 isn't mounted.
    pub fn new() -> Result<Self> {
        let no_mount = || io::Error::new(io::ErrorKind::NotFound, "cgroup v2 is not mounted");
        let root = cgroup2_mount().ok_or_else(no_mount).context(|| "make a cgroup".into())?;
        let path = root.join(unique("fathom-test"));
        fs::create_dir(&path).context(|| format!("create {} (needs root)", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn add(&self, pid: u32) -> Result<()> {
        let procs = self.path.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).context(|| format!("write {}", procs.display()))
    }
}

impl Drop for TempCgroup {
    fn drop(&mut self) {
        // Processes that are still in it (this one, perhaps) go back to the parent.
        if let (Some(parent), Ok(procs)) =
            (self.path.parent(), fs::read_to_string(self.path.join("cgroup.procs")))
        {
            for pid in procs.lines() {
                let _ = fs::write(parent.join("cgroup.procs"), pid);
            }
        }
        let _ = fs::remove_dir(&self.path);
    }
}
