//! What must be true of the machine before anything is loaded, and what is worth saying about it.

use std::path::Path;

use anyhow::{bail, ensure};
use fathom_api::serve::LONGEST_SOCKET_PATH;
use fathom_bpf::probe::{Features, cgroup2_mount};
use fathom_kubernetes::connect::in_a_pod;

use crate::config::{Config, L7, ObjectSource};

/// Oldest kernel the programs are written for.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Refuses what cannot work, with what to do about it.
///
/// # Errors
/// The first obstacle.
pub fn refuse_the_impossible(config: &Config, features: &Features) -> anyhow::Result<()> {
    kernel_is_new_enough(&features.kernel)?;
    ensure!(
        nix::unistd::geteuid().is_root(),
        "fathom-agent loads programs into the kernel and needs root: run it with sudo"
    );
    ensure!(
        features.ringbuf,
        "kernel {} has no BPF ring buffer, which events need: 5.8 or newer",
        features.kernel
    );
    let instance = &config.place.instance;
    ensure!(
        !instance.is_empty() && !instance.contains('/') && instance != "." && instance != "..",
        "--instance {instance:?} is no directory name"
    );
    let socket = config.place.run_dir.join("hubble.sock");
    ensure!(
        socket.as_os_str().len() <= LONGEST_SOCKET_PATH,
        "{} is longer than the {LONGEST_SOCKET_PATH} bytes a socket's path may have: choose a shorter --run-dir",
        socket.display()
    );
    if let Some(Some(cgroup)) = config.cgroup() {
        ensure!(
            cgroup.join("cgroup.procs").exists() && cgroup.join("cgroup.controllers").exists(),
            "--cgroup {} is no cgroup v2 directory{}",
            cgroup.display(),
            cgroup2_mount().map_or_else(String::new, |mount| format!(": they are below {}", mount.display()))
        );
    }
    Ok(())
}

fn kernel_is_new_enough(release: &str) -> anyhow::Result<()> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        // Strange, but the loader's own words will be better than a guess.
        return Ok(());
    };
    let (old_major, old_minor) = OLDEST_KERNEL;
    if (major, minor) < OLDEST_KERNEL {
        bail!("kernel {release} is too old: Fathom needs {old_major}.{old_minor} or newer");
    }
    Ok(())
}

/// Says what works less well here, once.
pub fn say_what_is_missing(config: &Config, features: &Features) {
    for feature in features.table().iter().filter(|feature| !feature.available) {
        tracing::warn!(
            feature = feature.name,
            since = feature.since,
            "not available: {}",
            feature.consequence
        );
    }
    if config.cgroup() == Some(None) && !features.cgroup2 {
        tracing::warn!("cgroup v2 is not mounted: services are translated packet by packet");
    }
    if let ObjectSource::Directory(directory) = config.source(in_a_pod())
        && !directory.is_dir()
    {
        tracing::warn!(directory = %directory.display(), "there is no objects directory yet: waiting for it");
    }
    if config.l7 != L7::All && !config.l7_headers().is_empty() {
        tracing::warn!(
            "--l7-headers names headers of HTTP, which is read with --l7 all only: none is captured"
        );
    }
}

/// Where the socket hooks go.
pub fn cgroup(config: &Config) -> Option<std::path::PathBuf> {
    match config.cgroup()? {
        Some(path) => Some(path.to_owned()),
        None => cgroup2_mount(),
    }
}

/// `fathom-agent check`: every fact in a table, and whether the agent could start.
///
/// # Errors
/// What keeps it from starting.
pub fn report(config: &Config) -> anyhow::Result<()> {
    let features = Features::probe();
    println!("kernel {}", features.kernel);
    for feature in features.table() {
        let mark = if feature.available { "yes" } else { "no " };
        let consequence =
            if feature.available { String::new() } else { format!(": {}", feature.consequence) };
        println!("{mark}  {:<28} since {}{consequence}", feature.name, feature.since);
    }
    let directory = |what: &str, path: &Path| {
        println!("{}  {what} {}", if path.is_dir() { "yes" } else { "no " }, path.display());
    };
    match config.source(in_a_pod()) {
        ObjectSource::Directory(objects) => directory("objects in", &objects),
        ObjectSource::Server(Some(kubeconfig)) => {
            println!("     objects of the API server in {}", kubeconfig.display())
        }
        ObjectSource::Server(None) => println!("     objects of this pod's API server"),
    }
    directory("run directory", &config.place.run_dir);
    if let Some(cgroup) = cgroup(config) {
        directory("cgroup", &cgroup);
    }
    refuse_the_impossible(config, &features)?;
    println!("the agent can run here");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_their_release() {
        for old in ["5.4.0-1-amd64", "4.19.0", "5.9"] {
            assert!(kernel_is_new_enough(old).unwrap_err().to_string().contains("5.10"), "{old}");
        }
        for fine in ["5.10.0-28-cloud", "6.18.1", "7.2-rc3", "unknown"] {
            kernel_is_new_enough(fine).unwrap();
        }
    }
}
