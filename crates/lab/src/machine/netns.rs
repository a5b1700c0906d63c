//! Named network namespaces, in the place and manner of `ip netns`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Makes a namespace and gives it a name: a bind mount keeps it alive without a process.
pub fn create(path: &Path) -> Result<()> {
    let directory = path.parent().context("a namespace's name has a directory")?;
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let make = || -> Result<()> {
        File::create_new(path).with_context(|| format!("name a network namespace {}", path.display()))?;
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace (needs root)")?;
        let own = Path::new("/proc/thread-self/ns/net");
        mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("mount a network namespace on {}", path.display()))
    };
    // A thread of its own, which ends in the new namespace: the caller stays where it is.
    let made = std::thread::scope(|scope| scope.spawn(make).join()).expect("the thread does not panic");
    if made.is_err() {
        let _ = std::fs::remove_file(path);
    }
    made
}

/// Takes the name away; the namespace goes when nobody uses it any more.
pub fn remove(path: &Path) -> Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // Not mounted, or not there: only the name may be left.
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(e) => return Err(e).with_context(|| format!("unmount {}", path.display())),
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Namespaces whose name begins with `prefix`.
pub fn list(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.filter(|e| e.file_name().to_string_lossy().starts_with(prefix)).map(|e| e.path()).collect();
    found.sort();
    found
}

/// Moves the calling thread, and what it starts, into the namespace.
pub fn enter(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("open network namespace {}", path.display()))?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("enter network namespace {}", path.display()))
}

/// Runs `work` on a thread inside the namespace.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let thread = || {
        enter(path)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(thread).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
