//! The API server is killed under load and comes back with an empty cache, every watch expires, and agents and relay
//! are restarted one after the other: connections live, denials stay, numbers do not move, books balance. Root only.

#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fathom_lab::spec::{PodSpec, Spec};
use fathom_lab::{Lab, Source, Where};
use support::want::Want;
use support::{Stream, answered, denied, eventually, eventually_or_say, tools, unique};

/// How long the API server is away; more by FATHOM_OUTAGE_SECONDS.
const OUTAGE: Duration = Duration::from_secs(15);

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-friends, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {role: friend}}}]
";

const NODES: [&str; 2] = ["node-a", "node-b"];

fn outage() -> Duration {
    let seconds = std::env::var("FATHOM_OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    seconds.map_or(OUTAGE, Duration::from_secs)
}

/// Identities of all pods as agents have them, and the objects that say what they stand for.
fn identities(lab: &Lab) -> (BTreeMap<String, u32>, Vec<String>) {
    let of_node = |node: &str| lab.endpoints(&Source::Node(node.to_owned())).unwrap();
    let endpoints = NODES.iter().flat_map(|node| of_node(node));
    let pods = endpoints.map(|endpoint| (endpoint.pod_name, endpoint.identity)).collect();
    let objects = lab.api_server().unwrap().list("FathomIdentity").unwrap();
    let field = |object: &serde_json::Value, path: &str| object.pointer(path).unwrap().to_string();
    let text = |object| format!("{} {}", field(object, "/metadata/name"), field(object, "/spec/labels"));
    (pods, objects.iter().map(text).collect())
}

#[track_caller]
fn ledgers_balance(lab: &Lab) {
    for node in NODES {
        eventually_or_say(&format!("the ledger of {node} to balance"), || {
            let ledger = lab.ledgers(&Source::Node(node.to_owned())).unwrap().remove(0);
            let lost: u64 = ledger.stages.iter().map(|stage| stage.lost).sum();
            if ledger.balanced && lost == 0 { Ok(()) } else { Err(format!("{ledger:?}")) }
        });
    }
}

#[test]
fn an_api_server_that_dies_and_agents_that_restart_take_nothing_with_them() {
    let spec = Spec::new(&unique("outage"), 2)
        .kubernetes()
        .with_relay()
        .pod(PodSpec::new("server", "node-a").label("app", "server").run(&["tcp-echo", "--listen", "[::]:7"]))
        .pod(PodSpec::new("friend", "node-b").label("role", "friend"))
        .pod(PodSpec::new("neighbour", "node-a").label("role", "friend"))
        .pod(PodSpec::new("stranger", "node-b").label("role", "stranger"))
        .policy(POLICY);
    let lab = Lab::ephemeral(spec, tools()).unwrap();
    let target = format!("{}:7", lab.pod("server").unwrap().v4());
    // Who has an address is news to another node a moment later.
    eventually("the friend to be known", || {
        lab.probe("friend", Where::Inside, &["connect", &target, "--timeout", "100"]).unwrap().success
    });
    denied(&lab, "stranger", &target);
    let before = identities(&lab);
    assert_eq!((before.0.len(), before.1.len()), (4, 3), "{before:?}");

    let line = ["tcp-client", "--to", &target, "--every", "5", "--timeout", "5000"];
    let clients = ["friend", "neighbour"]
        .map(|place| lab.start_workload(place, &format!("{place}-client"), &line).unwrap());
    let lines = || clients.iter().map(|client| client.output().lines().count()).collect::<Vec<_>>();
    let go_on = |what: &str| {
        let then = lines();
        eventually(&format!("both connections to go on {what}"), || {
            lines().iter().zip(&then).all(|(now, then)| *now > then + 20)
        });
    };
    // New ones of those who may, and of one who may not.
    let mut attempts = 0;
    let mut attempt = |lab: &Lab| {
        for place in ["friend", "neighbour"] {
            answered(lab, place, &["tcp", &target]);
        }
        let line = ["connect", &target, "--timeout", "200"];
        assert!(!lab.probe("stranger", Where::Inside, &line).unwrap().success, "the stranger came through");
        attempts += 1;
    };
    go_on("at first");

    lab.kill_api_server().unwrap();
    let begin = Instant::now();
    while begin.elapsed() < outage() {
        attempt(&lab);
    }
    go_on("without an API server");
    for node in NODES {
        let (code, body) = lab.agent_http(node, "/readyz").unwrap();
        assert_eq!(code, 200, "{node} is ready all the same: {body}");
    }
    lab.start_api_server().unwrap();
    attempt(&lab);
    lab.expire_watches().unwrap();
    attempt(&lab);
    go_on("with a new one");

    for node in NODES {
        lab.stop_agent(node).unwrap();
        attempt(&lab);
        lab.start_agent(node).unwrap();
        attempt(&lab);
    }
    lab.stop_relay().unwrap();
    attempt(&lab);
    lab.start_relay().unwrap();
    go_on("with new agents and a new relay");

    // It is not only that nothing happens any more.
    let stream = Stream::of(&lab, &Source::Relay);
    let mark = stream.mark();
    attempt(&lab);
    stream.see(mark, &Want::dropped("stranger", "server"));
    stream.see(mark, &Want::forwarded("friend", "server").ingress());
    lab.apply_policy(&POLICY.replace("role: friend", "role: stranger")).unwrap();
    eventually("an edit to be followed", || {
        lab.probe("stranger", Where::Inside, &["connect", &target, "--timeout", "200"]).unwrap().success
    });
    lab.apply_policy(POLICY).unwrap();
    eventually("an edit to be followed back", || {
        !lab.probe("stranger", Where::Inside, &["connect", &target, "--timeout", "200"]).unwrap().success
    });
    go_on("at last");

    for client in &clients {
        let output = client.output();
        assert!(!output.contains("broke") && !output.contains("failed"), "{}", client.tail(5));
    }
    assert_eq!(identities(&lab), before, "no number moved");
    assert!(attempts > 5);
    ledgers_balance(&lab);
    let denied = lab.asked().unwrap().denied;
    assert_eq!(denied, [], "denied by the roles in manifests/base/rbac.yaml");
}
