//! Connecting to a ClusterIP: translated at the socket, beside kube-proxy's rules in iptables.
//!
//! A client asks all services in turn, so that the rules are walked halfway on average. Backends are
//! three pods on the client's node in both labs.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fathom_lab::spec::Datapath;
use fathom_lab::{Lab, Where, machine};

use crate::cli::Effort;
use crate::figure::{figure, median};
use crate::kube_proxy;
use crate::stage::{self, CLIENT, NODE, SERVERS};

/// Seconds for which netfilter's conntrack remembers a connection that was closed.
const TIME_WAIT: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait";

const COUNTS: [usize; 3] = [1, 100, 5000];

/// Measures and prints.
///
/// # Errors
/// When a lab or a measurement fails; a machine without iptables is no error.
pub fn run(effort: Effort) -> Result<()> {
    let ours = stage::lab("hook", Datapath::Fathom)?;
    let theirs = stage::lab("iptables", Datapath::None)?;
    let rules = can_translate(&theirs)?;
    forget_closed(&ours)?;
    forget_closed(&theirs)?;
    let (rounds, length) = effort.of((3, 300), (7, 500));
    let (mut first, mut last) = ([0.0; 2], [0.0; 2]);
    for count in COUNTS {
        let begun = Instant::now();
        add_services(&ours, count)?;
        figure(&format!("services.ours.{count}.installed_after"), begun.elapsed().as_secs_f64(), "s");
        let ours_to = frontends(&ours)?;
        let theirs_to = (0..count).map(|n| format!("{}:80", kube_proxy::frontend(n))).collect::<Vec<_>>();
        if rules {
            let begun = Instant::now();
            restore(&theirs, count)?;
            let took = begun.elapsed().as_secs_f64();
            figure(&format!("services.iptables.{count}.installed_after"), took, "s");
        }
        let mut results = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            results[0].push(stage::measure(&ours, "connect", &ours_to, length)?.p50);
            if rules {
                results[1].push(stage::measure(&theirs, "connect", &theirs_to, length)?.p50);
            }
        }
        for (side, (name, values)) in ["ours", "iptables"].into_iter().zip(results).enumerate() {
            if values.is_empty() {
                continue;
            }
            let p50 = median(values);
            figure(&format!("services.{name}.{count}"), p50 / 1e3, "µs p50");
            if first[side] == 0.0 {
                first[side] = p50;
            }
            last[side] = p50;
        }
    }
    figure("services.ours.growth", last[0] / first[0], "times");
    if rules {
        figure("services.iptables.growth", last[1] / first[1], "times");
    }
    // What the translation is on top of: the same client to a pod's own address.
    for (name, lab) in [("ours", &ours), ("iptables", &theirs)] {
        let to = [stage::server(lab)?];
        let mut values = Vec::new();
        for _ in 0..rounds {
            values.push(stage::measure(lab, "connect", &to, length)?.p50);
        }
        figure(&format!("services.{name}.pod_address"), median(values) / 1e3, "µs p50");
    }
    Ok(())
}

/// Servers close first. Where rules translate, another service's connection may come from the same port
/// of the client to the same server; its time stamps start elsewhere, so that a socket in TIME_WAIT takes
/// its SYN for an old one, and the client is a second late. Not what is measured: no socket waits, in
/// either lab.
fn forget_closed(lab: &Lab) -> Result<()> {
    for server in SERVERS {
        let line = ["sh", "-c", "echo 0 > /proc/sys/net/ipv4/tcp_max_tw_buckets"];
        lab.exec(server, Where::Inside, &line).and_then(|output| output.ok())?;
    }
    Ok(())
}

/// Whether this machine has iptables, and its kernel the modules; says what is missing.
fn can_translate(lab: &Lab) -> Result<bool> {
    if Command::new("iptables-restore").arg("--version").output().is_err() {
        eprintln!("services.iptables: skipped, iptables is not installed (ci/bootstrap --extras)");
        return Ok(false);
    }
    match restore(lab, 1) {
        Ok(()) => Ok(true),
        Err(error) => {
            eprintln!("services.iptables: skipped, this kernel refuses kube-proxy's rules: {error:#}");
            Ok(false)
        }
    }
}

/// Puts the rules for `count` services in place of those that are there.
fn restore(lab: &Lab, count: usize) -> Result<()> {
    let backends =
        SERVERS.iter().map(|server| lab.pod(server).map(|pod| pod.v4())).collect::<Result<Vec<IpAddr>>>()?;
    let [pods, _] = fathom_lab::layout::pod_cidrs(0);
    let path = lab.layout().dir.join("kube-proxy.rules");
    std::fs::write(&path, kube_proxy::rules(count, &backends, &pods))
        .with_context(|| format!("write {}", path.display()))?;
    let line = ["iptables-restore", &path.to_string_lossy()];
    lab.exec(NODE, Where::Inside, &line).and_then(|output| output.ok())?;
    // So that what one measurement leaves in conntrack doesn't weigh on the next.
    let forget = format!("echo 1 > {TIME_WAIT}");
    lab.exec(NODE, Where::Inside, &["sh", "-c", &forget]).and_then(|output| output.ok()).map(drop)
}

/// Brings the lab to `count` services, and waits until the newest answers.
fn add_services(lab: &Lab, count: usize) -> Result<()> {
    let have = lab.spec().services.len();
    lab.add_services((have..count).map(|n| stage::service(&format!("service-{n}"))).collect())?;
    let all = frontends(lab)?;
    let newest = all.last().context("there is no service")?;
    machine::wait::until("the newest service to answer", Duration::from_secs(120), || {
        let probe = lab.probe(CLIENT, Where::Inside, &["connect", newest, "--timeout", "200"])?;
        Ok(if probe.success { Ok(()) } else { Err(probe.stderr) })
    })
}

fn frontends(lab: &Lab) -> Result<Vec<String>> {
    let services = lab.spec().services;
    let of = |service: &fathom_lab::spec::ServiceSpec| -> Result<String> {
        let addresses = lab.service(&format!("{}/{}", service.namespace, service.name))?;
        let v4 = addresses.iter().find(|ip| ip.is_ipv4()).context("a service without an IPv4 address")?;
        Ok(format!("{v4}:80"))
    };
    services.iter().map(of).collect()
}
