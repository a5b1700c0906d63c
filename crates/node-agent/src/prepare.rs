//! `fathom-agent prepare`: what a node needs before an agent in a pod can start. It runs as the pod's init
//! container, each time, and leaves alone what is as it should be.
//!
//! Mounts are made in the mount namespace of the node's first process. Made in the container they would end with
//! it, and Kubernetes lets mounts out of a container only if that is privileged in full.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

use crate::config::{Place, Prepare};

/// Name of the plugin's program.
const PLUGIN: &str = "fathom-cni";

/// Mounts and places what is not there yet.
///
/// # Errors
/// What could not be done, and where.
pub fn prepare(config: &Prepare) -> anyhow::Result<()> {
    if let Some(directory) = &config.cni_bin_dir {
        let plugin = match &config.cni_plugin {
            Some(path) => path.clone(),
            None => std::env::current_exe().context("find this program")?.with_file_name(PLUGIN),
        };
        let done = place_plugin(&plugin, directory)
            .with_context(|| format!("put {} into {}", plugin.display(), directory.display()))?;
        tracing::info!(directory = %directory.display(), "{PLUGIN} {done}");
    }
    let place = config.place.clone();
    on_the_node(&config.proc, move || mounts(&place))
}

fn mounts(place: &Place) -> anyhow::Result<()> {
    mounted(&place.bpffs, "bpf", BPF_FS_MAGIC)?;
    mounted(&place.cgroup_mount(), "cgroup2", CGROUP2_SUPER_MAGIC)
}

/// Runs `work` in the mount and cgroup namespaces of process 1, on a thread of its own.
fn on_the_node<F>(proc: &Path, work: F) -> anyhow::Result<()>
where
    F: FnOnce() -> anyhow::Result<()> + Send + 'static,
{
    let open = |name: &str| {
        let path = proc.join("1/ns").join(name);
        let opened = File::open(&path).with_context(|| {
            format!("open {}: needs root and CAP_SYS_PTRACE, and --proc must be the node's", path.display())
        });
        opened.map(|file| (file, path))
    };
    let (cgroup, mount) = (open("cgroup")?, open("mnt")?);
    let thread = std::thread::spawn(move || {
        // A thread that shares its root and directory with others can't change its mount namespace.
        unshare(CloneFlags::CLONE_FS).context("unshare the thread's root directory")?;
        enter(&cgroup, CloneFlags::CLONE_NEWCGROUP)?;
        enter(&mount, CloneFlags::CLONE_NEWNS)?;
        work()
    });
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("mounting on the node panicked"),
    }
}

fn enter((file, path): &(File, PathBuf), kind: CloneFlags) -> anyhow::Result<()> {
    setns(file.as_fd(), kind)
        .with_context(|| format!("enter {}: needs CAP_SYS_ADMIN and CAP_SYS_CHROOT", path.display()))
}

/// A file system of `kind` is mounted at `target`, by us if nobody did.
fn mounted(target: &Path, kind: &str, magic: FsType) -> anyhow::Result<()> {
    let there = |path: &Path| match statfs(path) {
        Ok(found) => Ok(found.filesystem_type() == magic),
        Err(Errno::ENOENT) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("look at {}", path.display())),
    };
    if there(target)? {
        tracing::info!(at = %target.display(), "{kind} is mounted");
        return Ok(());
    }
    fs::create_dir_all(target).with_context(|| format!("make {}", target.display()))?;
    let none: Option<&str> = None;
    mount(Some(kind), target, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, none)
        .with_context(|| format!("mount {kind} at {}", target.display()))?;
    tracing::info!(at = %target.display(), "{kind} mounted");
    Ok(())
}

/// Puts the plugin in place: a runtime that starts it meanwhile finds the old one or the new one, never half of one.
fn place_plugin(plugin: &Path, directory: &Path) -> io::Result<&'static str> {
    let wanted = fs::read(plugin)?;
    let target = directory.join(PLUGIN);
    if fs::read(&target).is_ok_and(|there| there == wanted) {
        return Ok("is in place");
    }
    fs::create_dir_all(directory)?;
    let mut file = tempfile::Builder::new().prefix(".fathom-cni").tempfile_in(directory)?;
    io::Write::write_all(&mut file, &wanted)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(&target)?;
    Ok("put in place")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_plugin_is_put_in_place_whole_replaced_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (plugin, bin) = (dir.path().join("built"), dir.path().join("opt/cni/bin"));
        fs::write(&plugin, "one").unwrap();
        assert_eq!(place_plugin(&plugin, &bin).unwrap(), "put in place");
        assert_eq!(place_plugin(&plugin, &bin).unwrap(), "is in place");
        fs::write(&plugin, "two").unwrap();
        assert_eq!(place_plugin(&plugin, &bin).unwrap(), "put in place");
        let target = bin.join(PLUGIN);
        assert_eq!(fs::read_to_string(&target).unwrap(), "two");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 1, "nothing half done is left");
    }

    #[test]
    fn mounts_are_made_where_process_one_is_and_once() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        // A node of its own: a process in a mount namespace where nothing spreads.
        let mut node = std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 60"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        io::Read::read_exact(node.stdout.as_mut().unwrap(), &mut line).unwrap();
        let proc = dir.path().join("proc");
        fs::create_dir_all(proc.join("1")).unwrap();
        std::os::unix::fs::symlink(format!("/proc/{}/ns", node.id()), proc.join("1/ns")).unwrap();
        let config = Prepare {
            place: Place {
                run_dir: dir.path().join("run"),
                bpffs: dir.path().join("bpf"),
                instance: "node".into(),
            },
            proc,
            cni_bin_dir: None,
            cni_plugin: None,
        };
        prepare(&config).unwrap();
        prepare(&config).unwrap();
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", node.id())).unwrap();
        let count = |path: &Path| mounts.lines().filter(|line| line.contains(path.to_str().unwrap())).count();
        assert_eq!((count(&config.place.bpffs), count(&config.place.cgroup_mount())), (1, 1), "{mounts}");
        let here = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!here.contains(dir.path().to_str().unwrap()), "only there");
        node.kill().unwrap();
        node.wait().unwrap();
    }
}
