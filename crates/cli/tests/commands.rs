//! The commands beside `observe`, and the way to a server.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;

use common::{Script, Server, fathom, run};
use fathom_api::fathom_v1::{GetLedgerResponse, LedgerStage, NodeLedger};
use fathom_api::observer::*;
use fathom_api::relay::NodeState;

fn status() -> ServerStatusResponse {
    ServerStatusResponse {
        num_flows: 2031,
        max_flows: 4096,
        seen_flows: 12_345,
        uptime_ns: 90_000_000_000,
        num_connected_nodes: Some(2),
        num_unavailable_nodes: Some(0),
        version: "0.1.0".into(),
        flows_rate: 23.456,
        ..Default::default()
    }
}

#[test]
fn status_tells_health_flows_nodes_and_completeness() {
    let stage = LedgerStage { name: "kernel.events".into(), r#in: 10, out: 10, ..Default::default() };
    let node =
        NodeLedger { node_name: "node-1".into(), stages: vec![stage], balanced: true, ..Default::default() };
    let ledger = Some(GetLedgerResponse { nodes: vec![node] });
    let server = Server::start(Script { status: status(), ledger, ..Default::default() });
    let (code, out, err) = run(server.fathom("status"));
    assert_eq!(
        (code, out, err.as_str()),
        (
            0,
            format!(
                "Healthcheck (via {}): Ok\nCurrent/Max Flows: 2,031/4,096 (49.58%)\nFlows/s: 23.46\n\
                 Connected Nodes: 2/2\nComplete Streams: 1/1\n  node-1   complete   nothing lost\n",
                server.address()
            ),
            ""
        )
    );
    let (code, out, _) = run(server.fathom("status --ledger"));
    assert_eq!(code, 0);
    assert!(out.lines().nth(1).unwrap().starts_with("node-1   kernel.events   10"), "{out}");
}

#[test]
fn status_of_a_server_without_a_ledger_leaves_it_out() {
    let server = Server::start(Script { status: status(), ..Default::default() });
    let (code, out, err) = run(server.fathom("status"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.ends_with("Connected Nodes: 2/2\n"), "{out}");
    let (code, out, _) = run(server.fathom("status -o json"));
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "{\"num_flows\":\"2031\",\"max_flows\":\"4096\",\"seen_flows\":\"12345\",\"uptime_ns\":\"90000000000\",\
         \"num_connected_nodes\":2,\"num_unavailable_nodes\":0,\"version\":\"0.1.0\",\"flows_rate\":23.456}\n"
    );
    let (code, _, err) = run(server.fathom("status --ledger"));
    assert_eq!(code, 1);
    assert!(err.contains("which Fathom's agents and relays keep"), "{err}");
}

#[test]
fn a_sick_server_fails_status() {
    let server = Server::start(Script { sick: true, ..Default::default() });
    let (code, out, err) = run(server.fathom("status"));
    assert_eq!(code, 1);
    assert!(out.contains("): NOT OK: "), "{out}");
    assert!(err.ends_with("is not healthy: NOT_SERVING\n"), "{err}");
}

#[test]
fn features_say_what_follows_from_an_absence() {
    let server = Server::start(Script::default());
    let (code, out, _) = run(server.fathom("status --features"));
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "NODE     FEATURE   HERE   SINCE   WITHOUT IT\n\
             node-1   tcx       NO     6.6     programs hang on clsact\n\
             node-1   ringbuf   yes    6.6\n"
        )
    );
}

#[test]
fn lists_are_tables_or_json() {
    let node = Node { name: "node-1".into(), state: NodeState::NodeConnected.into(), ..Default::default() };
    let seen = Namespace { cluster: "default".into(), namespace: "shop".into() };
    let server = Server::start(Script {
        nodes: Some(GetNodesResponse { nodes: vec![node] }),
        namespaces: GetNamespacesResponse { namespaces: vec![seen] },
        ..Default::default()
    });
    let text = |line: &str| {
        let (code, out, err) = run(server.fathom(line));
        assert_eq!((code, err.as_str()), (0, ""), "{line}");
        out
    };
    assert!(
        text("list nodes")
            .starts_with("NAME     STATUS      AGE   FLOWS/S   CURRENT/MAX-FLOWS\nnode-1   Connected")
    );
    assert_eq!(
        text("list node -o json"),
        "[\n  {\n    \"name\": \"node-1\",\n    \"state\": \"NODE_CONNECTED\"\n  }\n]\n"
    );
    assert_eq!(text("list namespaces -o wide"), "NAMESPACE   CLUSTER\nshop        default\n");
    assert_eq!(
        text("list endpoints"),
        "NODE     POD         IDENTITY   INGRESS    EGRESS   ADDRESSES            STATE\n\
         node-1   shop/cart   1001       enforced   open     10.244.1.5,fd00::5   ready\n"
    );
    let empty = run(server.fathom("list rules"));
    assert_eq!(empty, (0, "ID   RULE   DENIED-PACKETS   DENIED-BYTES\n".into(), "none\n".into()));
    assert_eq!(text("watch peers"), "PEER_ADDED   10.0.0.1:4244 node-1\n");
}

#[test]
fn an_agent_asked_for_nodes_says_whom_to_ask() {
    let server = Server::start(Script::default());
    let (code, _, err) = run(server.fathom("list nodes"));
    assert_eq!(code, 1);
    assert!(err.contains("nodes (which a relay knows, not an agent)"), "{err}");
}

#[test]
fn nobody_listening_is_told_with_address_and_remedy() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, out, err) = run(fathom(&format!("observe --server 127.0.0.1:{port}")));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with(&format!("Error: cannot connect to 127.0.0.1:{port}: ")), "{err}");
    assert!(err.contains("Connection refused") && err.contains("--server HOST:PORT"), "{err}");

    let (code, _, err) = run(fathom("status --server unix:///nonexistent/hubble.sock"));
    assert_eq!(code, 1);
    assert!(err.contains("unix:///nonexistent/hubble.sock") && err.contains("are you root"), "{err}");
}

/// Answers every connection with these bytes, whatever was said.
fn answering(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 1024]);
            let _ = connection.write_all(bytes);
        }
    });
    port
}

#[test]
fn tls_where_there_is_none_is_told_and_the_other_way_round() {
    let plain = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (code, _, err) =
        run(fathom(&format!("status --tls --tls-allow-insecure --server 127.0.0.1:{plain}")));
    assert_eq!(code, 1);
    assert!(err.contains("does not speak TLS there"), "{err}");

    // A TLS alert: "unexpected message".
    let tls = answering(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x0a]);
    let (code, _, err) = run(fathom(&format!("observe --server 127.0.0.1:{tls}")));
    assert_eq!(code, 1);
    assert!(err.contains("if the server speaks TLS, add --tls"), "{err}");
}

#[test]
fn the_flag_beats_our_environment_which_beats_hubbles_which_beats_the_file() {
    let server = Server::start(Script { status: status(), ..Default::default() });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    let dead = "unix:///nonexistent/hubble.sock";
    let asks = |settings: &[(&str, &str)], flag: Option<&str>, configured: &str| {
        std::fs::write(&file, format!("server: {configured}\n")).unwrap();
        let mut command = fathom("status --config");
        command.arg(&file).envs(settings.iter().copied());
        flag.map(|flag| command.arg("--server").arg(flag));
        run(command).0
    };
    let live = server.address();
    assert_eq!(asks(&[], None, &live), 0);
    assert_eq!(asks(&[("HUBBLE_SERVER", &live)], None, dead), 0);
    assert_eq!(asks(&[("HUBBLE_SERVER", dead), ("FATHOM_SERVER", &live)], None, dead), 0);
    assert_eq!(asks(&[("FATHOM_SERVER", dead)], Some(&live), dead), 0);
    assert_eq!(asks(&[("FATHOM_SERVER", dead)], None, &live), 1);
    assert_eq!(asks(&[("FATHOM_TIMEOUT", "soon")], None, &live), 2);
}

#[test]
fn config_is_set_read_and_reset() {
    let directory = tempfile::tempdir().unwrap();
    let config = |line: &str| {
        let mut command = fathom(&format!("config {line}"));
        command.env("XDG_CONFIG_HOME", directory.path());
        run(command)
    };
    assert_eq!(config("get server"), (0, "localhost:4245\n".into(), String::new()));
    assert_eq!(config("set server unix:///run/fathom/hubble.sock").0, 0);
    assert_eq!(config("set basic-auth-password it's").0, 0);
    assert_eq!(config("get server").1, "unix:///run/fathom/hubble.sock\n");
    let (_, view, _) = config("view");
    assert!(view.starts_with("server: unix:///run/fathom/hubble.sock\ntimeout: 5s\n"), "{view}");
    assert!(view.contains("basic-auth-password: '***************'\n"), "{view}");
    assert_eq!(config("reset server").0, 0);
    assert_eq!(config("get server").1, "localhost:4245\n");
    assert_eq!(config("get basic-auth-password").1, "it's\n");
    let (code, _, err) = config("set timeout soon");
    assert_eq!((code, err.starts_with("Error: timeout: \"soon\": not a duration")), (2, true), "{err}");
    assert_eq!(config("get sauce").0, 2);
}

#[test]
fn version_and_completions_need_no_server() {
    let (code, out, _) = run(fathom("version"));
    assert_eq!(code, 0);
    assert!(out.starts_with(concat!("fathom v", env!("CARGO_PKG_VERSION"), " on linux/")), "{out}");
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let (code, out, _) = run(fathom(&format!("completion {shell}")));
        assert!(code == 0 && out.contains("print-policy-names"), "{shell}");
    }
}

#[test]
fn a_list_says_which_nodes_it_is_without_and_that_it_is_empty() {
    let missing = vec!["node-b: connection refused", "node-c: no answer within 3s"];
    let server = Server::start(Script { missing: missing.clone(), ..Default::default() });
    let (code, out, err) = run(server.fathom("list endpoints"));
    assert_eq!(code, 0);
    assert!(out.contains("shop/cart"), "{out}");
    for node in missing {
        assert!(err.contains(&format!("no answer from {node}")), "{err}");
    }
    let (code, out, err) = run(server.fathom("list namespaces"));
    assert_eq!(code, 0);
    assert!(format!("{out}{err}").contains("none"), "{out}{err}");
}

#[test]
fn a_list_that_nobody_answered_is_a_failure() {
    let script = Script { missing: vec!["node-b: gone"], nobody_answered: true, ..Default::default() };
    let (code, out, err) = run(Server::start(script).fathom("list endpoints"));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("node-b: gone") || err.contains("no node answered"), "{err}");
}
