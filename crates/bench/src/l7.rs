//! Two pods on one node, messages read (`--l7 all`) and not read (`--l7 off`), in turns.
//!
//! Both labs are up all the time and nothing is restarted between measurements. Rates depend on what
//! else the machine does; the CPU time a request takes, in both pods with the kernel's part of it,
//! does so less, hence both. The agent's own is told apart: it has the other CPU.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fathom_lab::layout::Place;
use fathom_lab::spec::Datapath;
use fathom_lab::{Lab, Source, machine};

use crate::cli::Effort;
use crate::figure::{figure, median};
use crate::process;
use crate::stage::{self, CLIENT, NODE, SERVERS};
use crate::web::{self, Answered};

/// What the client does.
struct Load {
    name: &'static str,
    /// Of the rate, and of one of what is counted.
    unit: &'static str,
    one: &'static str,
    run: fn(&Lab, Effort) -> Result<Answered>,
}

const LOADS: [Load; 6] = [
    Load { name: "http1", unit: "requests/s", one: "request", run: web::http1 },
    Load { name: "http2", unit: "requests/s", one: "request", run: web::http2 },
    Load { name: "http2_nghttpd", unit: "requests/s", one: "request", run: web::http2_nghttpd },
    // A connection of which nothing is a message: read until that is known.
    Load { name: "bulk", unit: "MB/s", one: "MB", run: |lab, _| measured(lab, "bulk") },
    Load { name: "rr", unit: "round trips/s", one: "round trip", run: |lab, _| measured(lab, "rr") },
    Load { name: "crr", unit: "connections/s", one: "connection", run: |lab, _| measured(lab, "crr") },
];

/// One measurement.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    /// CPU time per request, µs: both pods', the agent's.
    pods: f64,
    agent: f64,
}

/// Measures and prints.
///
/// # Errors
/// When a lab or a measurement fails; a machine without the programs is no error.
pub fn run(effort: Effort, null: bool, only: &[String]) -> Result<()> {
    for name in only {
        ensure!(LOADS.iter().any(|load| load.name == name), "{name} is no load");
    }
    let wanted = |load: &&Load| only.is_empty() || only.iter().any(|name| name == load.name);
    let chosen: Vec<&Load> = LOADS.iter().filter(wanted).collect();
    let missing = web::missing();
    if !missing.is_empty() {
        eprintln!("l7: skipped, not installed: {} (ci/bootstrap --software)", missing.join(", "));
        return Ok(());
    }
    let off = stage::lab_with("l7-off", Datapath::Fathom, &["--l7=off"])?;
    let all = stage::lab_with("l7-all", Datapath::Fathom, &[if null { "--l7=off" } else { "--l7=all" }])?;
    web::serve(&off)?;
    web::serve(&all)?;
    let asked = loads(effort, &chosen, &off, &all)?;
    if null || asked == 0.0 {
        return Ok(());
    }
    let [told, lost] = books(&all)?;
    figure("l7.messages_per_request", told / asked, "");
    figure("l7.messages_lost", lost, "");
    ensure!(told > asked && books(&off)? == [0.0, 0.0], "messages are read in the one lab alone");
    Ok(())
}

/// All loads in turns; returns how many requests the lab that reads them was asked.
fn loads(effort: Effort, chosen: &[&Load], off: &Lab, all: &Lab) -> Result<f64> {
    let rounds = effort.of(5, 25);
    let mut results = vec![(Vec::<Measured>::new(), Vec::<Measured>::new()); chosen.len()];
    let mut asked = 0.0;
    for round in 0..rounds {
        for (load, (plain, read)) in chosen.iter().zip(&mut results) {
            let mut with = || -> Result<()> {
                let (measured, answered) = measure(all, load, effort)?;
                read.push(measured);
                asked += if load.one == "request" { answered.count } else { 0.0 };
                Ok(())
            };
            // Who goes first changes: neither always finds the other's heat.
            if round % 2 == 0 {
                with()?;
                plain.push(measure(off, load, effort)?.0);
            } else {
                plain.push(measure(off, load, effort)?.0);
                with()?;
            }
        }
    }
    for (load, (plain, read)) in chosen.iter().zip(results) {
        print(load, &plain, &read);
    }
    Ok(asked)
}

fn measure(lab: &Lab, load: &Load, effort: Effort) -> Result<(Measured, Answered)> {
    let pid = lab.agent_pid(NODE)?;
    let pods = [cgroup(lab, CLIENT)?, cgroup(lab, SERVERS[0])?];
    let used = || -> Result<[Duration; 2]> {
        let [client, server] = [process::cpu_of_cgroup(&pods[0])?, process::cpu_of_cgroup(&pods[1])?];
        Ok([client + server, process::cpu(pid)?])
    };
    let before = used()?;
    let answered =
        (load.run)(lab, effort).with_context(|| format!("{} in {}", load.name, lab.layout().name))?;
    let after = used()?;
    let [pods, agent] =
        [0, 1].map(|i| (after[i].saturating_sub(before[i])).as_nanos() as f64 / 1e3 / answered.count);
    Ok((Measured { per_second: answered.per_second, pods, agent }, answered))
}

/// A measurement by the lab's own client.
fn measured(lab: &Lab, what: &str) -> Result<Answered> {
    let length = 300;
    let measured = stage::measure(lab, what, &[stage::server(lab)?], length)?;
    // The first tenth is not counted, but it is paid for.
    let seconds = length as f64 * 0.9 / 1e3;
    let count = measured.count / if what == "bulk" { 1e6 } else { 0.9 };
    let per_second = if what == "bulk" { measured.p50 / 1e6 } else { measured.count / seconds };
    Ok(Answered { count, per_second })
}

fn cgroup(lab: &Lab, pod: &str) -> Result<PathBuf> {
    let layout = lab.layout();
    let lab_own = machine::cgroup::mount_point()?.join(layout.cgroup_name());
    Ok(lab_own.join(layout.cgroup_of(&Place::Pod(lab.pod(pod)?.spec.key()), Some(NODE))))
}

/// Medians of both sides, and of the ratios of neighbours; quartiles tell how sure that is.
fn print(load: &Load, plain: &[Measured], read: &[Measured]) {
    let name = |what: &str| format!("l7.{}.{what}", load.name);
    let middle = |all: &[Measured], of: fn(&Measured) -> f64| median(all.iter().map(of).collect());
    let ratios = |what: &str, of: fn(&Measured) -> f64| {
        let mut ratios: Vec<f64> = read.iter().zip(plain).map(|(read, plain)| of(read) / of(plain)).collect();
        ratios.sort_by(f64::total_cmp);
        for (which, quarter) in [("", 2), ("_first_quartile", 1), ("_third_quartile", 3)] {
            figure(&name(&format!("{what}{which}")), ratios[ratios.len() * quarter / 4], "all : off");
        }
    };
    let each = format!("µs per {}", load.one);
    figure(&name("off"), middle(plain, |m| m.per_second), load.unit);
    figure(&name("all"), middle(read, |m| m.per_second), load.unit);
    ratios("ratio", |m| m.per_second);
    figure(&name("cpu_off"), middle(plain, |m| m.pods), &each);
    figure(&name("cpu_all"), middle(read, |m| m.pods), &each);
    ratios("cpu_ratio", |m| m.pods);
    figure(&name("agent_off"), middle(plain, |m| m.agent), &each);
    figure(&name("agent_all"), middle(read, |m| m.agent), &each);
}

/// Waits until the agent's books balance; messages told, and lost.
fn books(lab: &Lab) -> Result<[f64; 2]> {
    let source = Source::Node(NODE.to_owned());
    let node = machine::wait::until("the ledger to balance", Duration::from_secs(10), || {
        let node = lab.ledgers(&source)?.into_iter().next().context("a ledger without its node")?;
        Ok(if node.balanced { Ok(node) } else { Err(node.problem) })
    })?;
    let stage = node.stages.iter().find(|stage| stage.name == "kernel.l7");
    let stage = stage.context("a ledger without messages")?;
    Ok([stage.r#in as f64, stage.lost as f64])
}
