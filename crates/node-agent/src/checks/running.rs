//! What a running agent knows of itself: its source of objects, pods, tables, rings, books and certificates.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fathom_api::fathom_v1::NodeLedger;
use fathom_bpf::maps::Maps;
use fathom_bpf::ring::{Lane, Pending};
use fathom_kubernetes::certificates::validity::{Validity, validity};
use fathom_kubernetes::connect::in_a_pod;

use super::doctor::Parts;
use super::finding::Finding;
use crate::cluster::source::{Problem, SourceStatus};
use crate::config::{Config, ObjectSource};
use crate::control::report::Report;

/// A table that is fuller is told, in hundredths.
const FULL: u64 = 90;
/// A ring that is fuller is told: it is drained hundreds of times a second.
const RING_FULL: u64 = 75;
/// A certificate that ends sooner is told, or of which less than a sixth is left: those that renew themselves do it
/// before.
const EXPIRES: i64 = 30 * 86_400;
/// Things of one kind that are named one by one.
const NAMED: usize = 5;

/// All of it. May block for a moment.
pub fn examine(parts: &Parts, ledger: &NodeLedger) -> Vec<Finding> {
    let now = fathom_api::time::now();
    let report = parts.report.load();
    let mut found = source(&parts.config, &parts.source, now);
    found.extend(pods(&report));
    found.extend(installed(&report));
    found.extend(tables(parts.loaded.maps(), parts.connections.entries()));
    found.extend(rings(|lane| parts.gauge.pending(lane)));
    found.push(books(ledger));
    found.extend(certificates(&parts.config, now / 1_000_000_000));
    found
}

/// "a, b, c and 4 more".
fn named<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let names = names.take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}

/// `3s`, `5m`, `2h`, `4d`.
fn long(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn source(config: &Config, status: &SourceStatus, now: i64) -> Vec<Finding> {
    let last = match status.last_event.load(Ordering::Relaxed) {
        0 => "nothing has come yet".to_owned(),
        time => {
            format!("the last change came {} ago", long(Duration::from_nanos((now - time).max(0) as u64)))
        }
    };
    let (check, place) = match config.source(in_a_pod()) {
        ObjectSource::Directory(directory) => ("objects", directory.display().to_string()),
        ObjectSource::Server(_) => ("api-server", "the API server".to_owned()),
    };
    let problems = status.problems.load();
    // Kinds that cannot be had stand without a name behind them.
    let (objects, kinds): (Vec<&Problem>, Vec<&Problem>) =
        problems.iter().partition(|problem| check == "objects" || problem.object.contains(' '));
    let mut found: Vec<Finding> = kinds
        .iter()
        .map(|problem| {
            Finding::missing(check, format!("{} of {}: {}; {last}", problem.object, problem.origin, problem.message))
                .so("what changes there is not seen: the node goes on by what it knew")
                .then("see whether the API server is up and reached from this node, and whether the manifests' roles are applied")
        })
        .collect();
    if !objects.is_empty() {
        let texts: Vec<String> = objects.iter().map(ToString::to_string).collect();
        let what =
            format!("{} cannot be understood: {}", objects.len(), named(texts.iter().map(String::as_str)));
        found.push(
            Finding::degraded("objects", what)
                .so("an older form of them is in force, or a stricter one, or none")
                .then("mend them; fathom policy get tells of policies what is in force"),
        );
    }
    if kinds.is_empty() {
        found.push(Finding::ok(check, format!("{place} is followed; {last}")));
    }
    found
}

fn pods(report: &Report) -> Vec<Finding> {
    let name = |pod: &fathom_api::fathom_v1::LocalEndpoint| format!("{}/{}", pod.namespace, pod.pod_name);
    let mut found = Vec::new();
    if !report.unattached.is_empty() {
        let names: Vec<String> = report.unattached.iter().map(name).collect();
        let what =
            format!("{} without an endpoint: {}", names.len(), named(names.iter().map(String::as_str)));
        found.push(
            Finding::degraded("pods", what)
                .so("they are neither observed nor enforced")
                .then("restart them, so that Fathom's plugin wires them; with another plugin, start the agent with --mode attach"),
        );
    }
    let waiting = report.endpoints.iter().filter(|pod| pod.state != "ready");
    let waiting: Vec<String> = waiting.map(|pod| format!("{} ({})", name(pod), pod.state)).collect();
    if !waiting.is_empty() {
        let what = format!("{} wait: {}", waiting.len(), named(waiting.iter().map(String::as_str)));
        found.push(
            Finding::degraded("pods", what)
                .so("an endpoint that waits lets nothing through")
                .then("what it waits for is beside its name; fathom list endpoints follows it"),
        );
    }
    if found.is_empty() {
        found.push(Finding::ok("pods", format!("{} endpoints are ready", report.endpoints.len())));
    }
    found
}

fn installed(report: &Report) -> Vec<Finding> {
    let mut found = Vec::new();
    if !report.problems.is_empty() {
        let what = format!(
            "{} changes to the kernel's tables fail: {}",
            report.problems.len(),
            named(report.problems.iter().map(String::as_str))
        );
        found.push(
            Finding::degraded("tables", what)
                .so("what was in force before stays in force; each is tried again every second")
                .then("where a table is full, start the agent with a larger --map-… and --replace-maps"),
        );
    }
    if report.tables_behind > 0 {
        let what = format!("policy tables of {} identities could not be installed", report.tables_behind);
        found.push(
            Finding::degraded("tables", what)
                .so("their pods are judged by older policies, or let nothing through")
                .then("start the agent with a larger --map-policy-entries and --replace-maps"),
        );
    }
    found
}

fn tables(maps: &Maps, connections: u64) -> Vec<Finding> {
    let listed = [
        (
            "endpoints",
            maps.endpoints.list().map(|list| list.len()),
            maps.endpoints.capacity(),
            "--map-endpoints",
        ),
        ("addresses", maps.ipcache.list().map(|list| list.len()), maps.ipcache.capacity(), "--map-ipcache"),
        (
            "policy tables",
            maps.policy.identities().map(|list| list.len()),
            maps.policy.capacity(),
            "--map-policies",
        ),
        ("connections", Ok(connections as usize), maps.conntrack.capacity(), "--map-conntrack"),
    ];
    let mut found = Vec::new();
    let mut levels = Vec::new();
    for (name, used, capacity, flag) in listed {
        match used {
            Ok(used) => levels.push((name, used as u64, u64::from(capacity), flag)),
            Err(error) => found.push(Finding::unknown("fill", format!("{name}: {error}"))),
        }
    }
    found.extend(filled(&levels));
    found
}

fn filled(levels: &[(&str, u64, u64, &str)]) -> Vec<Finding> {
    let full = |used: u64, capacity: u64| used * 100 >= capacity * FULL;
    let mut found: Vec<Finding> = levels
        .iter()
        .filter(|(_, used, capacity, _)| full(*used, *capacity))
        .map(|(name, used, capacity, flag)| {
            let consequence = match *name {
                "connections" => {
                    "the oldest connections are forgotten: their next packet is judged anew, as if it began"
                }
                _ => "what no longer fits is not in force",
            };
            Finding::degraded("fill", format!("{name}: {used} of {capacity}"))
                .so(consequence)
                .then(format!("start the agent with a larger {flag} and --replace-maps"))
        })
        .collect();
    if found.is_empty() {
        let texts: Vec<String> =
            levels.iter().map(|(name, used, capacity, _)| format!("{name} {used} of {capacity}")).collect();
        found.push(Finding::ok("fill", texts.join(", ")));
    }
    found
}

fn rings(pending: impl Fn(Lane) -> Pending) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut levels = Vec::new();
    for (lane, name, flag) in
        [(Lane::Events, "events", "--ring-events"), (Lane::Drops, "drops", "--ring-drops")]
    {
        let pending = pending(lane);
        let percent = pending.bytes * 100 / pending.capacity.max(1);
        levels.push(format!("{name} {percent} %"));
        if percent >= RING_FULL {
            found.push(
                Finding::degraded("rings", format!("the ring of {name} is {percent} % full"))
                    .so("the kernel writes faster than the agent reads: what finds no room is lost, and counted")
                    .then(format!("give the agent more of a processor, or a larger {flag}; --events connection writes least")),
            );
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("rings", levels.join(", ")));
    }
    found
}

fn books(ledger: &NodeLedger) -> Finding {
    if !ledger.balanced {
        return Finding::degraded("ledger", format!("it does not balance: {}", ledger.problem))
            .so("events may be missing that nobody tells of")
            .then("fathom status --ledger shows every stage; please report it");
    }
    let lost = ledger.stages.iter().filter(|stage| stage.lost > 0 && stage.name != "clients");
    let lost: Vec<String> = lost.map(|stage| format!("{} in {}", stage.lost, stage.name)).collect();
    if lost.is_empty() {
        return Finding::ok("ledger", "it balances, and nothing was lost");
    }
    Finding::info("ledger", format!("it balances; lost since the maps were made: {}", lost.join(", ")))
        .so("streams told of these losses when they happened")
        .then("if it grows: a larger --ring-events, or --events connection")
}

fn certificates(config: &Config, now: i64) -> Vec<Finding> {
    let files = [&config.tls.tls_cert_file, &config.tls.tls_client_ca_file];
    files.into_iter().flatten().map(|path| certificate(path, validity(path), now)).collect()
}

fn certificate(path: &Path, validity: Result<Validity, String>, now: i64) -> Finding {
    let shown = path.display();
    let Validity { not_before, not_after } = match validity {
        Ok(validity) => validity,
        Err(why) => {
            return Finding::missing("certificate", why)
                .so("clients that come now are refused, or are shown the last good one")
                .then("put certificate and key where the flags say; they are read again without a restart");
        }
    };
    let remedy = "renew it; it is read again without a restart";
    let left = not_after - now;
    let text = |seconds: i64| long(Duration::from_secs(seconds.unsigned_abs()));
    if now < not_before {
        return Finding::missing("certificate", format!("{shown} counts only in {}", text(not_before - now)))
            .so("clients do not accept it")
            .then("set this node's clock, or renew the certificate");
    }
    if left < 0 {
        return Finding::missing("certificate", format!("{shown} expired {} ago", text(left)))
            .so("clients do not accept it: relay and CLI get no answer")
            .then(remedy);
    }
    if left < EXPIRES.min((not_after - not_before) / 6) {
        return Finding::degraded("certificate", format!("{shown} expires in {}", text(left)))
            .so("clients do not accept it from then on")
            .then(remedy);
    }
    Finding::ok("certificate", format!("{shown} expires in {}", text(left)))
}

#[cfg(test)]
mod tests {
    use fathom_api::fathom_v1::{LedgerStage, LocalEndpoint};

    use super::*;
    use crate::checks::Severity;

    fn config(arguments: &[&str]) -> Config {
        use clap::Parser as _;
        crate::config::Cli::parse_from([&["fathom-agent"], arguments].concat()).run
    }

    #[test]
    fn a_server_that_is_away_is_told_with_when_it_was_last_heard_of() {
        let status = SourceStatus::default();
        let now = 1_000_000_000_000;
        status.last_event.store(now - 190_000_000_000, Ordering::Relaxed);
        let config = config(&["--kubeconfig", "/k"]);
        let found = source(&config, &status, now);
        assert_eq!(
            found,
            [Finding::ok("api-server", "the API server is followed; the last change came 3m ago")]
        );
        let problem = |object: &str| Problem {
            origin: "https://10.0.0.1".into(),
            line: 0,
            object: object.into(),
            message: "connection refused".into(),
        };
        status.problems.store(vec![problem("Pod"), problem("Service a/b")].into());
        let found = source(&config, &status, now);
        assert_eq!((found[0].severity, found[0].check), (Severity::Missing, "api-server"));
        assert_eq!(found[0].what, "Pod of https://10.0.0.1: connection refused; the last change came 3m ago");
        assert_eq!((found[1].severity, found[1].check), (Severity::Degraded, "objects"));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn pods_nobody_attached_and_pods_that_wait_are_named() {
        let pod = |name: &str, state: &str| LocalEndpoint {
            namespace: "shop".into(),
            pod_name: name.into(),
            state: state.into(),
            ..Default::default()
        };
        let mut report = Report { endpoints: vec![pod("a", "ready")], ..Report::default() };
        assert_eq!(pods(&report), [Finding::ok("pods", "1 endpoints are ready")]);
        report.endpoints.push(pod("b", "waiting for its object"));
        report.unattached = (0..7).map(|n| pod(&format!("p{n}"), "")).collect();
        let found = pods(&report);
        assert!(found[0].what.ends_with("shop/p4 and 2 more"), "{found:?}");
        assert_eq!(found[1].what, "1 wait: shop/b (waiting for its object)");
        report.problems = vec!["table full".into()];
        report.tables_behind = 2;
        assert_eq!(installed(&report).len(), 2);
    }

    #[test]
    fn full_tables_and_rings_are_told() {
        let found = filled(&[("endpoints", 8, 10, "--map-endpoints"), ("addresses", 1, 10, "--map-ipcache")]);
        assert_eq!(found, [Finding::ok("fill", "endpoints 8 of 10, addresses 1 of 10")]);
        let found = filled(&[("endpoints", 9, 10, "--map-endpoints"), ("addresses", 1, 10, "--map-ipcache")]);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Degraded));
        assert!(found[0].remedy.contains("--map-endpoints"));
        let ring = |bytes| move |_: Lane| Pending { bytes, capacity: 100, ..Pending::default() };
        assert_eq!(rings(ring(10))[0].severity, Severity::Ok);
        assert_eq!(rings(ring(80)).len(), 2);
    }

    #[test]
    fn books_that_do_not_balance_are_worse_than_losses() {
        let stage = |lost| LedgerStage { name: "kernel.events".into(), lost, ..Default::default() };
        let ledger =
            |balanced, lost| NodeLedger { balanced, stages: vec![stage(lost)], ..Default::default() };
        assert_eq!(books(&ledger(true, 0)).severity, Severity::Ok);
        assert_eq!(books(&ledger(true, 3)).severity, Severity::Info);
        assert_eq!(books(&ledger(false, 0)).severity, Severity::Degraded);
    }

    #[test]
    fn certificates_are_told_before_they_end() {
        let valid = Validity { not_before: 1_000, not_after: 1_000 + 90 * 86_400 };
        let at = |now| certificate(Path::new("/c"), Ok(valid), now);
        assert_eq!(at(2_000).severity, Severity::Ok);
        assert_eq!((at(0).severity, &*at(0).what), (Severity::Missing, "/c counts only in 16m"));
        let soon = at(valid.not_after - 2 * 86_400);
        assert_eq!((soon.severity, &*soon.what), (Severity::Degraded, "/c expires in 2d"));
        assert_eq!(at(valid.not_after + 7_200).what, "/c expired 2h ago");
        assert_eq!(certificate(Path::new("/c"), Err("x".into()), 0).severity, Severity::Missing);
    }
}
