//! A client that shares no code with this project, generated from the public .proto files by gRPC's own
//! Python tools, against an agent's unix socket and the relay's. Root only; needs Python with venv and a
//! package index on the first run (`ci/interop/client --prepare`).

#![forbid(unsafe_code)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use fathom_lab::spec::{PodSpec, Spec};
use fathom_lab::{Lab, Source, Where};
use serde_json::Value;
use support::{answered, denied, eventually, tools, unique};

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-friends, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]
";

/// The client, made once; without `ci/interop/client` around it each call starts sooner.
fn client() -> Command {
    static MADE: OnceLock<()> = OnceLock::new();
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    MADE.get_or_init(|| {
        let made = Command::new(root.join("ci/interop/client")).arg("--prepare").output();
        let made = made.expect("start ci/interop/client");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "no stock client can be made here: {said}");
    });
    let mut command = Command::new(root.join(".cache/interop/client/venv/bin/python"));
    command.arg(root.join("ci/interop/client.py")).env("PYTHONPATH", root.join(".cache/interop/generated"));
    command
}

/// A lab with one denied and one allowed connection behind it.
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        client();
        let echo = ["tcp-echo", "--listen", "[::]:7"];
        let spec = Spec::new(&unique("stock"), 2)
            .pod(PodSpec::new("server", "node-a").label("app", "server").run(&echo))
            .pod(PodSpec::new("friend", "node-b").label("role", "friend"))
            .pod(PodSpec::new("stranger", "node-a").label("role", "stranger"))
            .policy(POLICY)
            .with_relay();
        let lab = Lab::ephemeral(spec, tools()).unwrap();
        eventually("the relay to see both nodes", || {
            lab.server_status(&Source::Relay).unwrap().num_connected_nodes == Some(2)
        });
        traffic(&lab);
        lab
    })
}

fn traffic(lab: &Lab) {
    let server = format!("{}:7", lab.pod("server").unwrap().v4());
    answered(lab, "friend", &["tcp", &server]);
    denied(lab, "stranger", &server);
}

fn sources() -> [Source; 2] {
    [Source::Node("node-a".into()), Source::Relay]
}

fn start(source: &Source, line: &[&str]) -> Child {
    let mut command = client();
    command.arg(lab().server(source)).args(line).stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().expect("start the client")
}

/// Everything a call printed, and whether it was answered.
fn ask(source: &Source, line: &[&str]) -> (bool, Vec<Value>) {
    let output = start(source, line).wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    (output.status.success(), lines)
}

#[track_caller]
fn answer(source: &Source, line: &[&str]) -> Vec<Value> {
    let (answered, lines) = ask(source, line);
    assert!(answered, "{line:?} of {source:?}: {lines:?}");
    lines
}

/// The flows in what was printed.
fn flows(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter_map(|line| line.get("flow")).collect()
}

fn pods(flow: &Value) -> [&str; 2] {
    ["source", "destination"].map(|side| flow[side]["pod_name"].as_str().unwrap_or_default())
}

/// A client that follows, read line by line.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(source: &Source, line: &[&str]) -> Self {
        let mut child = start(source, &[&["flows", "--follow"], line].concat());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the client says something").unwrap();
        assert_eq!(first, r#"{"accepted": true}"#);
        Self { child, lines }
    }

    /// Ends with the client's own time limit.
    #[track_caller]
    fn next_flow(&mut self) -> Value {
        for line in &mut self.lines {
            let mut value: Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert!(value.get("code").is_none(), "the stream broke: {value}");
            if value.get("flow").is_some() {
                return value["flow"].take();
            }
        }
        panic!("the stream ended")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn flows_are_filtered_by_verdict_and_pod() {
    for source in sources() {
        let line = ["flows", "--last", "50", "--verdict", "DROPPED", "--pod", "default/stranger"];
        let mut lines = Vec::new();
        eventually("the denial to be stored", || {
            lines = answer(&source, &line);
            !flows(&lines).is_empty()
        });
        for flow in flows(&lines) {
            assert_eq!(pods(flow), ["stranger", "server"], "{flow}");
            assert_eq!(flow["verdict"], "DROPPED");
            assert_eq!(flow["drop_reason_desc"], "POLICY_DENIED");
            assert_eq!(flow["traffic_direction"], "INGRESS");
            assert_eq!(flow["l4"]["TCP"]["destination_port"], 7);
            assert_eq!(flow["l4"]["TCP"]["flags"]["SYN"], true);
            assert_eq!(flow["ingress_denied_by"][0]["name"], "from-friends");
            assert_eq!(flow["Type"], "L3_L4");
            assert!(flow["time"].is_string() && flow["uuid"].is_string() && flow["Summary"].is_string());
            assert!(flow["node_name"].as_str().unwrap().ends_with("/node-a"));
        }
        let forwarded = ["flows", "--last", "50", "--verdict", "FORWARDED", "--port", "7"];
        let lines = answer(&source, &forwarded);
        assert!(flows(&lines).iter().any(|flow| pods(flow) == ["friend", "server"]), "{lines:?}");
        assert!(flows(&lines).iter().all(|flow| flow["verdict"] == "FORWARDED"), "{lines:?}");

        let lines = answer(&source, &["flows", "--last", "50", "--not-from-pod", "default/stranger"]);
        assert!(!flows(&lines).is_empty());
        assert!(flows(&lines).iter().all(|flow| pods(flow)[0] != "stranger"), "{lines:?}");
        let lines = answer(&source, &["flows", "--verdict", "AUDIT", "--last", "5"]);
        assert_eq!(flows(&lines).len(), 0, "{lines:?}");
    }
}

#[test]
fn numbers_count_from_either_end_and_times_are_bounds() {
    for source in sources() {
        let all = answer(&source, &["flows"]);
        let all = flows(&all);
        let times = |flows: &[&Value]| flows.iter().map(|f| f["time"].to_string()).collect::<Vec<_>>();
        assert!(times(&all).is_sorted(), "{:?}", times(&all));
        for (flag, want) in [("--first", 3), ("--last", 3)] {
            let lines = answer(&source, &["flows", flag, "3"]);
            assert_eq!(flows(&lines).len(), want, "{flag} of {source:?}: {lines:?}");
        }
        let oldest = answer(&source, &["flows", "--first", "1"]);
        assert_eq!(flows(&oldest)[0]["uuid"], all[0]["uuid"]);
        let second = all[1]["time"].as_str().unwrap();
        let since = answer(&source, &["flows", "--since", second]);
        assert!(flows(&since).iter().all(|flow| flow["time"].as_str().unwrap() >= second));
        let far = answer(&source, &["flows", "--since", "2100-01-01T00:00:00Z"]);
        assert_eq!(flows(&far).len(), 0, "{far:?}");
    }
}

#[test]
fn following_shows_flows_as_they_happen() {
    let filtered = ["--verdict", "DROPPED", "--pod", "default/server"];
    let mut followers = sources().map(|source| Follower::start(&source, &filtered));
    let server = format!("{}:7", lab().pod("server").unwrap().v4());
    // A relay may accept the request before its nodes have: denials go on until they were seen.
    let seen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !seen.load(Relaxed) {
                denied(lab(), "stranger", &server);
            }
        });
        let flows = catch_unwind(AssertUnwindSafe(|| followers.each_mut().map(Follower::next_flow)));
        seen.store(true, Relaxed);
        for flow in flows.unwrap_or_else(|panic| resume_unwind(panic)) {
            assert_eq!(pods(&flow), ["stranger", "server"], "{flow}");
            assert_eq!(flow["verdict"], "DROPPED");
        }
    });
    // One that has seen enough goes, and nobody minds.
    let counted = answer(&Source::Relay, &["flows", "--follow", "--last", "2", "--count", "2"]);
    assert_eq!(flows(&counted).len(), 2, "{counted:?}");
}

#[test]
fn status_nodes_namespaces_and_peers_are_answered() {
    let agent = Source::Node("node-a".into());
    let status = &answer(&agent, &["status"])[0];
    let number = |name: &str| status[name].as_str().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
    assert!(number("num_flows") > 0 && number("seen_flows") >= number("num_flows"), "{status}");
    // The ring's capacity, of which the newest place is the writer's.
    assert!(number("max_flows") >= 4095 && number("uptime_ns") > 0, "{status}");
    assert!(status["version"].as_str().is_some_and(|version| !version.is_empty()), "{status}");

    let status = &answer(&Source::Relay, &["status"])[0];
    assert_eq!(status["num_connected_nodes"], 2, "{status}");
    // A wrapper with 0 inside: told, and nobody is away.
    assert_eq!(status["num_unavailable_nodes"], 0, "{status}");

    for (source, expected) in [(agent.clone(), vec!["node-a"]), (Source::Relay, vec!["node-a", "node-b"])] {
        let nodes = &answer(&source, &["nodes"])[0]["nodes"];
        let nodes = nodes.as_array().unwrap_or_else(|| panic!("{nodes}"));
        let mut names: Vec<_> =
            nodes.iter().map(|n| n["name"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, expected);
        assert!(nodes.iter().all(|node| node["state"] == "NODE_CONNECTED"), "{nodes:?}");

        let namespaces = &answer(&source, &["namespaces"])[0]["namespaces"];
        let listed = namespaces.as_array().is_some_and(|n| n.iter().any(|n| n["namespace"] == "default"));
        assert!(listed, "{namespaces}");
    }

    let peers = answer(&agent, &["peers", "--count", "2"]);
    let mut names: Vec<_> = peers.iter().map(|p| p["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert!(names[0].ends_with("node-a") && names[1].ends_with("node-b"), "{peers:?}");
    assert!(peers.iter().all(|peer| peer["type"] == "PEER_ADDED"), "{peers:?}");
}

#[test]
fn tcp_serves_it_as_well_as_unix_sockets() {
    let client = client();
    let arguments: Vec<_> = client.get_args().map(|a| a.to_str().unwrap()).collect();
    let (_, Some(path)) = client.get_envs().next().unwrap() else { panic!("PYTHONPATH is set") };
    for address in ["192.168.50.11:4244", "192.168.50.2:4245"] {
        let path = format!("PYTHONPATH={}", path.to_str().unwrap());
        let line = ["env", &path, client.get_program().to_str().unwrap(), arguments[0], address];
        let line = [&line[..], &["flows", "--last", "1", "--verdict", "DROPPED"]].concat();
        let text = lab().exec("control", Where::OutsideCgroup, &line).unwrap().ok().unwrap();
        assert!(text.contains("POLICY_DENIED"), "{address}: {text}");
    }
}

#[test]
fn a_refused_filter_names_itself() {
    for source in sources() {
        let (answered, lines) = ask(&source, &["flows", "--pod", "a/b/c"]);
        let refusal = lines.last().unwrap();
        assert!(!answered && refusal["code"] == "INVALID_ARGUMENT", "{lines:?}");
        let details = refusal["details"].as_str().unwrap();
        assert!(details.contains("whitelist[0].source_pod") && details.contains("a/b/c"), "{details}");
    }
}
