//! Two pods on one node, client and server on one CPU: with Fathom and without, in turns.
//!
//! Both labs are up all the time, so that whatever else the machine does meets both; a ratio is the
//! median of the ratios of neighbouring measurements.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fathom_api::observer::GetFlowsRequest;
use fathom_lab::spec::Datapath;
use fathom_lab::{Lab, Source, machine};

use crate::cli::Effort;
use crate::figure::{figure, median};
use crate::follow;
use crate::process;
use crate::stage::{self, Measured, NODE};

/// What the client does, and what is read from its answer.
struct Path {
    what: &'static str,
    readings: &'static [Reading],
}

/// One number of a measurement.
struct Reading {
    name: &'static str,
    unit: &'static str,
    value: fn(&Measured, seconds: f64) -> f64,
    more_is_better: bool,
}

const PATHS: [Path; 3] = [
    Path {
        what: "rr",
        readings: &[Reading { name: "rr", unit: "ns p50", value: |m, _| m.p50, more_is_better: false }],
    },
    Path {
        what: "crr",
        readings: &[
            Reading { name: "crr", unit: "connections/s", value: |m, s| m.count / s, more_is_better: true },
            // The median connection: blind to what else takes the CPU, and to rare expensive ones.
            Reading { name: "crr_p50", unit: "ns", value: |m, _| m.p50, more_is_better: false },
        ],
    },
    Path {
        what: "bulk",
        readings: &[Reading { name: "bulk", unit: "MB/s", value: |m, _| m.p50 / 1e6, more_is_better: true }],
    },
];

/// Measures and prints.
///
/// # Errors
/// When a lab or a measurement fails.
pub fn run(effort: Effort, null: bool) -> Result<()> {
    let with = stage::lab("with", if null { Datapath::None } else { Datapath::Fathom })?;
    let without = stage::lab("without", Datapath::None)?;
    if !null {
        let pid = with.agent_pid(NODE)?;
        figure("agent.rss_at_start", process::resident(pid)? as f64 / 1e6, "MB");
    }
    let spent = paths(effort, &with, &without, null)?;
    if null {
        return Ok(());
    }
    figure("agent.cpu_per_connection", spent.as_nanos() as f64 / 1e3, "µs");
    let pid = with.agent_pid(NODE)?;
    figure("agent.rss", process::resident(pid)? as f64 / 1e6, "MB");
    balance(&with)?;
    policy_was_on(&with)?;
    idle(effort, pid)?;
    follow::run(effort, &with)
}

/// All paths in turns; returns the agent's CPU time per connection of `crr`.
fn paths(effort: Effort, with: &Lab, without: &Lab, null: bool) -> Result<Duration> {
    // Many short ones: what else the machine does then meets both of a pair alike.
    let (rounds, length) = effort.of((9, 250), (31, 300));
    // The first tenth is not counted.
    let seconds = length as f64 * 0.9 / 1e3;
    let (mut spent, mut connections) = (Duration::ZERO, 0.0);
    let mut results = PATHS.map(|_| (Vec::<Measured>::new(), Vec::<Measured>::new()));
    for round in 0..rounds {
        for (path, (ours, plain)) in PATHS.iter().zip(&mut results) {
            let one = |lab: &Lab, into: &mut Vec<Measured>| -> Result<Measured> {
                let measured = stage::measure(lab, path.what, &[stage::server(lab)?], length)?;
                into.push(measured);
                Ok(measured)
            };
            let mut fathom = || -> Result<()> {
                if null {
                    return one(with, ours).map(drop);
                }
                let pid = with.agent_pid(NODE)?;
                let before = process::cpu(pid)?;
                let measured = one(with, ours)?;
                if path.what == "crr" {
                    spent += process::cpu(pid)?.saturating_sub(before);
                    connections += measured.count / 0.9;
                }
                Ok(())
            };
            // Who goes first changes: neither always finds the other's heat.
            if round % 2 == 0 {
                fathom()?;
                one(without, plain)?;
            } else {
                one(without, plain)?;
                fathom()?;
            }
        }
    }
    for (path, (ours, plain)) in PATHS.iter().zip(results) {
        for reading in path.readings {
            let read = |all: &[Measured]| all.iter().map(|m| (reading.value)(m, seconds)).collect();
            print(reading, read(&ours), read(&plain));
        }
    }
    Ok(spent.div_f64(f64::max(connections, 1.0)))
}

/// Medians of both sides, and of the ratios of neighbours; quartiles tell how sure that is.
fn print(reading: &Reading, ours: Vec<f64>, plain: Vec<f64>) {
    let ratio = |(with, without): (&f64, &f64)| {
        if reading.more_is_better { with / without } else { without / with }
    };
    let mut ratios: Vec<f64> = ours.iter().zip(&plain).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let name = |what: &str| format!("traffic.{}.{what}", reading.name);
    figure(&name("without"), median(plain), reading.unit);
    figure(&name("with"), median(ours), reading.unit);
    for (what, quarter) in [("ratio", 2), ("ratio_first_quartile", 1), ("ratio_third_quartile", 3)] {
        figure(&name(what), ratios[ratios.len() * quarter / 4], "with : without");
    }
}

/// Waits until the agent's books balance, and prints what was lost on the way into the store.
fn balance(lab: &Lab) -> Result<()> {
    let source = Source::Node(NODE.to_owned());
    let node = machine::wait::until("the ledger to balance", Duration::from_secs(10), || {
        let nodes = lab.ledgers(&source)?;
        let node = nodes.into_iter().next().context("a ledger without its node")?;
        Ok(if node.balanced { Ok(node) } else { Err(node.problem) })
    })?;
    let counted = ["kernel.packets", "kernel.events", "kernel.drops", "reader"];
    let stages = node.stages.iter().filter(|stage| counted.contains(&stage.name.as_str()));
    figure("agent.events_lost", stages.map(|stage| stage.lost).sum::<u64>() as f64, "");
    let packets = node.stages.iter().find(|stage| stage.name == "kernel.packets");
    let events = node.stages.iter().find(|stage| stage.name == "kernel.events");
    if let (Some(packets), Some(events)) = (packets, events) {
        figure("agent.packets", packets.r#in as f64, "");
        figure("agent.events", events.r#in as f64, "");
    }
    Ok(())
}

/// The measurement counts only if the policy decided.
fn policy_was_on(lab: &Lab) -> Result<()> {
    let request = GetFlowsRequest { number: 200, ..GetFlowsRequest::default() };
    let responses = lab.flows(&Source::Node(NODE.to_owned()), request)?;
    let flows: Vec<_> = responses.into_iter().filter_map(fathom_lab::flow_of).collect();
    let allowed = flows.iter().filter(|flow| !flow.ingress_allowed_by.is_empty()).count();
    ensure!(allowed > 0, "of the last {} flows none names the policy that allowed it", flows.len());
    Ok(())
}

/// What the agent needs when nothing happens.
fn idle(effort: Effort, pid: i32) -> Result<()> {
    let length = effort.of(Duration::from_secs(2), Duration::from_secs(5));
    let before = process::cpu(pid)?;
    std::thread::sleep(length);
    let spent = process::cpu(pid)?.saturating_sub(before);
    figure("agent.idle_cpu", spent.as_secs_f64() / length.as_secs_f64() * 100.0, "% of a CPU");
    Ok(())
}
