//! What must be true of the machine before anything is loaded, and what is worth saying about it: the same findings
//! at the agent's start, in `fathom-agent check`, and for `fathom doctor`.
//!
//! A finding names what is the case, what follows and what to do. Looking changes nothing.

mod conflists;
mod doctor;
mod finding;
mod kernel;
mod kube_proxy;
mod mounts;
mod netlink;
mod network;
mod programs;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use fathom_api::fathom_v1::ExamineResponse;
use fathom_api::serve::LONGEST_SOCKET_PATH;
use fathom_bpf::probe::{Features, cgroup2_mount};
use fathom_kubernetes::connect::in_a_pod;
use prost::Message as _;

pub use self::doctor::{Doctor, Parts};
pub use self::finding::{Finding, Severity};
pub use self::network::pinned;
use crate::config::{Check, CheckOutput, Config, L7, ObjectSource, Wiring};

/// Where container runtimes look for the configurations of plugins.
const CNI_CONFIGURATIONS: &str = "/etc/cni/net.d";

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
    let (old_major, old_minor) = kernel::OLDEST;
    // One that is not understood is strange, but the loader's own words will be better than a guess.
    if kernel::version(release).is_some_and(|found| found < kernel::OLDEST) {
        bail!("kernel {release} is too old: Fathom needs {old_major}.{old_minor} or newer");
    }
    Ok(())
}

/// Where the socket hooks go.
pub fn cgroup(config: &Config) -> Option<PathBuf> {
    match config.cgroup()? {
        Some(path) => Some(path.to_owned()),
        None => cgroup2_mount(),
    }
}

/// What can be told of the machine, whether an agent runs or not. `pods`: their host-side devices by index; `own`:
/// programs that are ours though no pin says so.
pub async fn machine(
    config: &Config,
    features: &Features,
    pods: BTreeMap<u32, String>,
    own: BTreeSet<u32>,
) -> Vec<Finding> {
    let (devices, no_devices) = match network::devices(&pods, &config.place.pin_dir()).await {
        Ok(devices) => (devices, None),
        Err(error) => (Vec::new(), Some(Finding::unknown("mtu", format!("{error:#}")))),
    };
    let (config, features) = (config.clone(), features.clone());
    // A node has thousands of processes and devices to look at.
    let looked = tokio::task::spawn_blocking(move || {
        let cgroup = cgroup(&config);
        let mut found = kernel::examine(&config, &features);
        found.extend(kernel::privileges(&config, &features));
        found.extend(mounts::examine(&config, cgroup.as_deref()));
        found.extend(programs::examine(&config.place.bpffs, own, cgroup.as_deref(), &devices));
        found.push(kube_proxy::examine(&config.proc));
        found.extend(network::switches(&config, &devices));
        match no_devices {
            None => found.extend(network::mtus(&devices, config.wiring)),
            Some(finding) => found.push(finding),
        }
        if config.wiring == Wiring::Cni {
            let served = matches!(config.source(in_a_pod()), ObjectSource::Server(_));
            found.push(conflists::examine(Path::new(CNI_CONFIGURATIONS), served));
        }
        found.extend(flags(&config));
        found
    });
    looked.await.unwrap_or_else(|error| vec![Finding::unknown("kernel", error)])
}

/// What the command line asks for and does not get.
fn flags(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    if let ObjectSource::Directory(directory) = config.source(in_a_pod())
        && !directory.is_dir()
    {
        found.push(
            Finding::degraded("objects", format!("there is no directory {}", directory.display()))
                .so("no pods, services or policies are known until there is")
                .then("make it and save manifests in it, or name another one with --objects"),
        );
    }
    if config.l7 != L7::All && !config.l7_headers().is_empty() {
        found.push(
            Finding::degraded("flags", "--l7-headers names headers of HTTP, and --l7 is not all")
                .so("HTTP is not read: none is captured")
                .then("start the agent with --l7 all, or without --l7-headers"),
        );
    }
    found
}

/// Says in the log what is not as it should be.
pub fn say(findings: &[Finding]) {
    for finding in findings {
        let Finding { check, severity, what, consequence, remedy } = finding;
        match severity {
            Severity::Ok => tracing::debug!(check, "{what}"),
            Severity::Info => tracing::info!(check, consequence, "{what}"),
            Severity::Degraded => tracing::warn!(check, consequence, remedy, "{what}"),
            Severity::Missing => tracing::error!(check, consequence, remedy, "{what}"),
        }
    }
}

/// `fathom-agent check`: every finding, and whether the agent could start.
///
/// # Errors
/// What keeps it from starting.
pub async fn report(check: &Check) -> anyhow::Result<()> {
    let config = &check.config;
    let features = Features::probe();
    let findings = machine(config, &features, pinned(&config.place.pin_dir()), BTreeSet::new()).await;
    let possible = refuse_the_impossible(config, &features);
    match check.output {
        CheckOutput::Json => {
            let node = crate::run::node_name(config)?;
            let findings = findings.iter().map(|finding| finding.wire(&node)).collect();
            let mut line = Vec::new();
            let bytes = ExamineResponse { findings }.encode_to_vec();
            fathom_api::json::append("fathom.v1.ExamineResponse", &bytes, &mut line)?;
            println!("{}", String::from_utf8_lossy(&line));
        }
        CheckOutput::Text => {
            print!("{}", text(&findings));
            if possible.is_ok() {
                println!("the agent can run here");
            }
        }
    }
    possible
}

/// One line a finding, and what follows below it.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding { check, severity, what, consequence, remedy } = finding;
        text += &format!("{:<9} {check:<11} {what}\n", severity.word());
        for more in [consequence, remedy].into_iter().filter(|more| !more.is_empty()) {
            text += &format!("{:<21} {more}\n", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_are_too_old_are_refused() {
        assert!(kernel_is_new_enough("5.4.0-1-amd64").unwrap_err().to_string().contains("5.10"));
        kernel_is_new_enough("5.10.0-28-cloud").unwrap();
        kernel_is_new_enough("unknown").unwrap();
    }

    #[test]
    fn findings_are_read_line_by_line() {
        let findings = [
            Finding::ok("kernel", "6.18.1"),
            Finding::degraded("mtu", "too wide").so("packets do not fit").then("restart the pod"),
        ];
        assert_eq!(
            text(&findings),
            "ok        kernel      6.18.1\n\
             degraded  mtu         too wide\n                      packets do not fit\n                      restart the pod\n"
        );
    }

    #[tokio::test]
    async fn every_check_says_something_and_what_is_wrong_says_what_follows() {
        use clap::Parser as _;
        let cli = crate::config::Cli::parse_from(["fathom-agent", "--objects", "/nonexistent"]);
        let findings = machine(&cli.run, &Features::probe(), BTreeMap::new(), BTreeSet::new()).await;
        for check in [
            "kernel",
            "feature",
            "privileges",
            "memlock",
            "cgroup",
            "bpffs",
            "programs",
            "kube-proxy",
            "forwarding",
            "mtu",
            "cni",
            "objects",
        ] {
            assert!(findings.iter().any(|finding| finding.check == check), "{check}: {findings:#?}");
        }
        for finding in findings.iter().filter(|finding| finding.severity >= Severity::Degraded) {
            assert!(!finding.consequence.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
        }
    }
}
