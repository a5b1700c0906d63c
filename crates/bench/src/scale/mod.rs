//! One agent in a cluster of thousands of pods: until it is ready, what it holds, how soon an edit counts.
//!
//! The objects are files, one each, as an agent without an API server reads them. The node itself has some
//! pods; all others are elsewhere and only objects.

mod cluster;
mod edits;

use std::time::Instant;

use anyhow::{Context, Result};
use fathom_lab::objects::Directory;
use fathom_lab::spec::{PodSpec, Protocol, Spec};
use fathom_lab::{Lab, Tools};

pub use self::cluster::Size;
use self::cluster::{EDITED, app, namespace};
use crate::cli::Effort;
use crate::figure::{figure, median};
use crate::process;
use crate::stage::NODE;

const MIB: f64 = (1 << 20) as f64;

/// Measures and prints.
///
/// # Errors
/// When the lab fails, or an edit is never enforced.
pub fn run(effort: Effort, size: Size) -> Result<()> {
    let size = effort.of(size.tenth(), size);
    let own = std::env::current_exe().context("find the running binary")?;
    let spec = Spec::new(&format!("bench-scale-{}", std::process::id()), 1);
    let lab =
        Lab::ephemeral(spec, Tools::beside(&own.with_file_name("fathom-lab"))).context("bring up the lab")?;
    let pid = lab.agent_pid(NODE)?;
    figure("scale.rss_of_nothing", process::resident(pid)? as f64 / MIB, "MiB");

    let objects = Directory::create(&lab.objects_dir().join("scale"))?;
    let mut written = 0;
    for object in size.objects() {
        objects.put(&object)?;
        written += 1;
    }
    figure("scale.objects", f64::from(written), "");

    // As on a node that has just been started: nothing in the kernel, no copies of objects.
    lab.stop_agent(NODE)?;
    lab.clean_node(NODE)?;
    start(&lab, "scale.first_start")?;
    let mut wired = Vec::new();
    for pod in local(size) {
        let begun = Instant::now();
        lab.add_pod(pod)?;
        wired.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    figure("scale.pod_wired.p50", median(wired), "ms");
    edits::run(effort, &lab, &objects)?;

    // As after an upgrade: all is in the kernel, and pods are there.
    lab.stop_agent(NODE)?;
    start(&lab, "scale.restart")
}

/// Starts the agent, and tells what that took.
fn start(lab: &Lab, name: &str) -> Result<()> {
    let begun = Instant::now();
    lab.start_agent(NODE)?;
    figure(&format!("{name}.ready_after"), begun.elapsed().as_secs_f64(), "s");
    let pid = lab.agent_pid(NODE)?;
    figure(&format!("{name}.cpu"), process::cpu(pid)?.as_secs_f64(), "s");
    figure(&format!("{name}.rss"), process::resident(pid)? as f64 / MIB, "MiB");
    Ok(())
}

/// The node's own pods: the two that are measured, and others that the same policies select.
fn local(size: Size) -> Vec<PodSpec> {
    let pod = |name: &str, number: u32| {
        let (space, app) = (namespace(number % size.namespaces()), app(number % 10));
        PodSpec::new(name, NODE).namespace(&space).label("app", &app).port("http", 8080, Protocol::Tcp)
    };
    let mut pods = vec![pod("client", 0), pod("server", 0).label("measured", EDITED)];
    pods.extend((1..size.local).map(|number| pod(&format!("here-{number}"), number)));
    pods
}
