//! `fathom doctor`.

mod common;

use common::{Script, Server, fathom, golden, run};
use fathom_api::fathom_v1::{Finding, Severity};

fn finding(node: &str, check: &str, severity: Severity, what: &str) -> Finding {
    Finding {
        check: check.into(),
        node_name: node.into(),
        severity: severity.into(),
        what: what.into(),
        ..Finding::default()
    }
}

fn findings() -> Vec<Finding> {
    let mtu = Finding {
        consequence: "large packets do not fit".into(),
        remedy: "restart the pod".into(),
        ..finding(
            "node-a",
            "mtu",
            Severity::Degraded,
            "lxc1 of pod shop/\u{1b}[2Jweb has 1500, the way out over eth0 1450",
        )
    };
    let lost = Finding {
        consequence: "its flows are missing from every answer until it is back".into(),
        remedy: "see whether the agent runs on node-b".into(),
        ..finding("node-b", "agent", Severity::Missing, "10.0.0.2:4244 is not reached, for 3m: refused")
    };
    vec![
        finding("relay", "agents", Severity::Ok, "1 of 2 agents are connected"),
        finding("node-a", "kernel", Severity::Ok, "6.18.1"),
        mtu,
        finding(
            "node-a",
            "ledger",
            Severity::Info,
            "it balances; lost since the maps were made: 3 in kernel.events",
        ),
        lost,
    ]
}

/// What is not the same in every run: the server's path, how long it took, this build's version.
fn steady(text: &str, server: &Server) -> String {
    let text = text.replace(&server.address(), "SERVER").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let lines = text.lines().map(|line| match (line.find("answers in "), line.find("relay is ")) {
        (Some(at), _) => format!("{}answers in TIME", &line[..at]),
        (_, Some(at)) if line.contains('±') => format!("{}relay is TIME", &line[..at]),
        _ => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

#[test]
fn what_is_wrong_is_told_node_by_node_and_missing_things_fail_the_command() {
    let server = Server::start(Script { findings: Some(findings()), ..Default::default() });
    let (code, out, err) = run(server.fathom("doctor"));
    assert_eq!((code, err.as_str()), (1, "Error: 1 thing missing\n"));
    assert_eq!(steady(&out, &server), golden("doctor.txt"));
    let (_, out, _) = run(server.fathom("doctor --verbose"));
    assert_eq!(steady(&out, &server), golden("doctor-verbose.txt"));
    let (_, colours, _) = run(server.fathom("doctor --color always"));
    assert!(colours.contains("\u{1b}[31mMISSING"), "{colours}");
    let (code, json, _) = run(server.fathom("doctor -o json"));
    assert_eq!(code, 1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let all = json["findings"].as_array().unwrap();
    let last = all.last().unwrap();
    assert_eq!(
        (&last["check"], &last["node_name"], &last["severity"]),
        (&"agent".into(), &"node-b".into(), &"MISSING".into())
    );
}

#[test]
fn when_nothing_is_missing_the_command_succeeds() {
    let all = vec![finding("node-a", "kernel", Severity::Ok, "6.18.1")];
    let server = Server::start(Script { findings: Some(all), ..Default::default() });
    let (code, out, err) = run(server.fathom("doctor"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("\nnode-a: all well\n"), "{out}");
}

#[test]
fn another_version_and_another_time_are_told() {
    let script = Script { findings: Some(vec![]), version: Some("99.0.0"), ahead: 60, ..Default::default() };
    let (code, out, _) = run(Server::start(script).fathom("doctor"));
    assert_eq!(code, 0);
    assert!(out.contains("degraded  version") && out.contains("relay is 99.0.0"), "{out}");
    assert!(out.contains("info      clock"), "{out}");
}

#[test]
fn without_a_server_it_says_where_else_to_look() {
    let (code, out, err) = run(fathom("doctor --server unix:///nonexistent/hubble.sock"));
    assert_eq!((code, err.as_str()), (1, "Error: 1 thing missing\n"));
    assert!(out.contains("MISSING   server      cannot connect to unix:///nonexistent/hubble.sock"), "{out}");
    assert!(out.contains("fathom-agent check"), "{out}");
    // A server of somebody else's, or an older one.
    let server = Server::start(Script::default());
    let (code, out, _) = run(server.fathom("doctor"));
    assert_eq!(code, 1);
    assert!(out.contains("has no answer to a question for how its nodes are"), "{out}");
    let (code, _, _) = run(fathom("doctor --server :::"));
    assert_eq!(code, 2, "a usage error stays one");
}
