//! Traffic with Fathom beside traffic without: request/response, connect/request/close, bulk; what
//! the agent costs; how connecting to a ClusterIP compares with kube-proxy's rules. Root only.
//!
//! `cargo bench -p fathom-lab` after `cargo build --release --workspace --bins`. Both labs are up at
//! once and measured in turns, client and server pinned to one CPU: what is printed are ratios of
//! medians over rounds. FATHOM_BENCH_ROUNDS and FATHOM_BENCH_MS make it longer.

use std::path::Path;

use fathom_lab::spec::{Datapath, PodSpec, Protocol, ServiceSpec, Spec};
use fathom_lab::{Lab, Source, Tools, Where, machine};

const CPU: &str = "0";
const SERVICES: [usize; 3] = [1, 100, 5000];

fn main() {
    // `cargo bench` passes --bench; `cargo test --benches` does not: then there is nothing to do.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("traffic: skipped, a lab needs root");
        return;
    }
    let rounds = number("FATHOM_BENCH_ROUNDS", 5);
    let length = number("FATHOM_BENCH_MS", 1000).to_string();
    let plain = Lab::ephemeral(spec("plain", Datapath::None), tools()).expect("the plain lab comes up");
    let fathom = Lab::ephemeral(spec("fathom", Datapath::Fathom), tools()).expect("the fathom lab comes up");
    paths(&plain, &fathom, rounds, &length);
    agent(&fathom);
    services(&plain, &fathom, rounds, &length);
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn tools() -> Tools {
    Tools::beside(Path::new(env!("CARGO_BIN_EXE_fathom-lab")))
}

/// A policy that selects and allows, so that every new connection is judged.
const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-clients, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: client}}}]
";

fn spec(name: &str, datapath: Datapath) -> Spec {
    Spec::new(&format!("b-{name}-{}", std::process::id()), 2)
        .datapath(datapath)
        .pod(PodSpec::new("server", "node-a").label("app", "server").run(&[
            "measure-server",
            "--listen",
            "[::]:7",
            "--cpu",
            CPU,
        ]))
        .pod(PodSpec::new("near", "node-a").label("app", "client"))
        .pod(PodSpec::new("far", "node-b").label("app", "client"))
        .service(ServiceSpec::new("server", &[("app", "server")]).port("echo", 80, 7, Protocol::Tcp))
        .policy(POLICY)
}

/// Median, 99th percentile and count (or rate and bytes) as the client printed them.
fn measure(lab: &Lab, place: &str, what: &str, target: &str, length: &str) -> [u64; 3] {
    let this = lab.tools().lab.to_string_lossy().into_owned();
    let line = [&this, "measure", what, target, "--milliseconds", length, "--cpu", CPU];
    let output = lab.exec(place, Where::Inside, &line).and_then(|o| o.ok()).expect("the measurement runs");
    let numbers: Vec<u64> = output.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    numbers.try_into().expect("three numbers")
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn paths(plain: &Lab, fathom: &Lab, rounds: usize, length: &str) {
    println!("{:<34} {:>12} {:>12} {:>8}", "path (medians)", "without", "with", "ratio");
    for (place, path) in [("near", "same node"), ("far", "across nodes")] {
        for (what, title, unit) in [
            ("rr", "request/response p50", "ns"),
            ("crr", "connect/request/close p50", "ns"),
            ("bulk", "bulk", "MB/s"),
        ] {
            let (mut without, mut with) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                for (lab, results) in [(plain, &mut without), (fathom, &mut with)] {
                    let target = format!("{}:7", lab.pod("server").expect("the server").v4());
                    results.push(measure(lab, place, what, &target, length)[0]);
                }
            }
            let (without, with) = (median(without), median(with));
            // As a rate: more is better, 1.00 is no cost.
            let ratio =
                if what == "bulk" { with as f64 / without as f64 } else { without as f64 / with as f64 };
            let shown = |v: u64| if what == "bulk" { v / 1_000_000 } else { v };
            println!(
                "{:<34} {:>9} {unit:<4} {:>7} {unit:<4} {ratio:>6.2}",
                format!("{title}, {path}"),
                shown(without),
                shown(with)
            );
        }
    }
}

/// What an agent spends on connections that come and go.
fn agent(fathom: &Lab) {
    let target = format!("{}:7", fathom.pod("server").expect("the server").v4());
    let pid = fathom.agent_pid("node-a").expect("the agent");
    let before = cpu_ticks(pid);
    let [_, _, connections] = measure(fathom, "near", "crr", &target, "3000");
    machine::wait::until("the ledger to balance", std::time::Duration::from_secs(10), || {
        let ledgers = fathom.ledgers(&Source::Node("node-a".into()))?;
        Ok(if ledgers.iter().all(|l| l.balanced) { Ok(()) } else { Err("not yet".to_owned()) })
    })
    .expect("the agent catches up");
    let micros = (cpu_ticks(pid) - before) * 10_000;
    println!(
        "\nagent: {:.1} us of CPU per connection ({connections} connections, both ends local), {} MB resident",
        micros as f64 / connections as f64,
        resident_kilobytes(pid) / 1024
    );
}

/// User and system time, in ticks of 10 ms.
fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the agent's stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
}

fn resident_kilobytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent's status");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("a resident size");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// Connecting to the last of many services: the socket hook here, kube-proxy's chains there.
fn services(plain: &Lab, fathom: &Lab, rounds: usize, length: &str) {
    if std::process::Command::new("iptables").arg("--version").output().is_err() {
        println!("\nclusterip: skipped, iptables is not installed (ci/bootstrap --extras)");
        return;
    }
    println!(
        "\n{:<34} {:>12} {:>12} {:>8}",
        "connect to a ClusterIP, p50", "iptables", "socket hook", "ratio"
    );
    for count in SERVICES {
        let frontend = kube_proxy_rules(plain, count);
        many_services(fathom, count);
        let ours = format!("{}:80", fathom.service("default/server").expect("the service")[0]);
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            without.push(measure(plain, "far", "connect", &frontend, length)[0]);
            with.push(measure(fathom, "far", "connect", &ours, length)[0]);
        }
        let (without, with) = (median(without), median(with));
        let ratio = without as f64 / with as f64;
        println!("{:<34} {without:>9} ns {with:>9} ns {ratio:>8.2}", format!("{count} services"));
    }
}

/// The rules kube-proxy would write for `count` services of one endpoint each; the last is real.
fn kube_proxy_rules(plain: &Lab, count: usize) -> String {
    let server = plain.pod("server").expect("the server").v4();
    let mut text = String::from("*nat\n:PREROUTING ACCEPT\n:KUBE-SERVICES -\n");
    for n in 0..count {
        text.push_str(&format!(":KUBE-SVC-{n:06} -\n:KUBE-SEP-{n:06} -\n"));
    }
    text.push_str("-A PREROUTING -j KUBE-SERVICES\n");
    let address = |n: usize| format!("10.97.{}.{}", n / 250, n % 250 + 1);
    for n in 0..count {
        text.push_str(&format!(
            "-A KUBE-SERVICES -d {}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-{n:06}\n",
            address(n)
        ));
        text.push_str(&format!("-A KUBE-SVC-{n:06} -j KUBE-SEP-{n:06}\n"));
        text.push_str(&format!("-A KUBE-SEP-{n:06} -p tcp -m tcp -j DNAT --to-destination {server}:7\n"));
    }
    text.push_str("COMMIT\n");
    let rules = plain.layout().dir.join("kube-proxy.rules");
    std::fs::write(&rules, text).expect("write the rules");
    let restore = ["iptables-restore", "-w", &rules.to_string_lossy()];
    plain.exec("node-b", Where::Inside, &restore).and_then(|o| o.ok()).expect("iptables takes the rules");
    format!("{}:80", address(count - 1))
}

/// Services beside the one that is measured, all over the same pod.
fn many_services(fathom: &Lab, count: usize) {
    let have = fathom.spec().services.len();
    let more = (have..count)
        .map(|n| ServiceSpec::new(&format!("s{n}"), &[("app", "server")]).port("echo", 80, 7, Protocol::Tcp));
    fathom.add_services(more.collect()).expect("the services are written");
    // The last of them answers once all are in place.
    let last = fathom.spec().services.last().map(|s| format!("default/{}", s.name)).expect("a service");
    let target = format!("{}:80", fathom.service(&last).expect("the service")[0]);
    machine::wait::until("the last service to answer", std::time::Duration::from_secs(120), || {
        let probe = fathom.probe("far", Where::Inside, &["connect", &target, "--timeout", "300"])?;
        Ok(if probe.success { Ok(()) } else { Err(probe.stderr) })
    })
    .expect("the services come into force");
}
