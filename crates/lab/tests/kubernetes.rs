//! Agents and relay with an API server as the source, under the roles of the manifests and nothing else: the same
//! flows and verdicts as with a directory, edits that take effect at once, roles that grant what is used. Root only.

#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fathom_api::flow::{Flow, Verdict};
use fathom_api::observer::GetFlowsRequest;
use fathom_lab::spec::{PodSpec, Spec};
use fathom_lab::{Account, Lab, Source, Where, machine};
use support::want::{Want, l4};
use support::{Stream, answered, denied, eventually, eventually_or_say, names, tools, unique};

const FROM_FRIENDS: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-friends, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {role: friend}}}]
";

fn spec(kind: &str) -> Spec {
    Spec::new(&unique(kind), 2)
        .kubernetes()
        .pod(PodSpec::new("server", "node-a").label("app", "server").run(&["tcp-echo", "--listen", "[::]:7"]))
        .pod(PodSpec::new("friend", "node-b").label("role", "friend"))
        .pod(PodSpec::new("stranger", "node-b").label("role", "stranger"))
        .policy(FROM_FRIENDS)
}

fn reaches(lab: &Lab, place: &str, target: &str) -> bool {
    lab.probe(place, Where::Inside, &["connect", target, "--timeout", "100"]).unwrap().success
}

/// Nothing but what the roles grant was asked for.
#[track_caller]
fn nothing_was_denied(lab: &Lab) {
    let denied = lab.asked().unwrap().denied;
    assert_eq!(denied, [], "denied by the roles in manifests/base/rbac.yaml");
}

/// What a flow tells of the cluster's doings: who, to whom, how, and what policies said.
fn told(flow: &Flow, lab: &str) -> Option<String> {
    if flow.is_reply == Some(true) || !matches!(flow.verdict(), Verdict::Forwarded | Verdict::Dropped) {
        return None;
    }
    let side = |endpoint: Option<&fathom_api::flow::Endpoint>| {
        endpoint.map(|e| format!("{}/{} {:?}", e.namespace, e.pod_name, e.labels)).unwrap_or_default()
    };
    let (protocol, port) = l4(flow);
    // Who began is not known of connections that were there before; ports of clients differ each time.
    // Names are asked for at the start, which the stream may have missed, and then when a program thinks so.
    let known = flow.is_reply == Some(false) && port != 0 && port != 53 && port < 30_000;
    let from = side(flow.source.as_ref());
    let to = side(flow.destination.as_ref());
    let by: Vec<String> =
        [&flow.ingress_allowed_by, &flow.ingress_denied_by, &flow.egress_allowed_by, &flow.egress_denied_by]
            .map(|policies| names(policies).join(","))
            .into();
    let (verdict, direction) = (flow.verdict(), flow.traffic_direction());
    known.then(|| {
        format!("{from} -> {to} {protocol} {port} {direction:?} {verdict:?} {by:?}").replace(lab, "LAB")
    })
}

#[test]
fn the_demos_objects_make_the_same_flows_and_verdicts_as_in_a_directory() {
    let demo = Spec::from_yaml(include_str!("../demo/cluster.yaml")).unwrap();
    let run = |spec: Spec, wanted: Option<&BTreeSet<String>>| -> BTreeSet<String> {
        let name = spec.name.clone();
        let lab = Lab::ephemeral(spec, tools()).unwrap();
        let stream = lab.follow(&Source::Relay, GetFlowsRequest::default()).unwrap();
        let seen = || stream.flows().iter().filter_map(|flow| told(flow, &name)).collect::<BTreeSet<_>>();
        // Until nothing new was told for a while, and all that the other told.
        let (mut before, mut since) = (seen(), Instant::now());
        machine::wait::until("everything to be told", Duration::from_secs(90), || {
            let now = seen();
            if now != before {
                (before, since) = (now.clone(), Instant::now());
            }
            let missing: Vec<&String> =
                wanted.into_iter().flatten().filter(|line| !now.contains(*line)).collect();
            if !missing.is_empty() {
                return Ok(Err(format!("missing: {missing:#?}")));
            }
            Ok(if since.elapsed() > Duration::from_secs(6) {
                Ok(())
            } else {
                Err("still something new".into())
            })
        })
        .unwrap();
        if lab.spec().source == fathom_lab::spec::ObjectSource::Kubernetes {
            nothing_was_denied(&lab);
        }
        before
    };
    let directory = run(Spec { name: unique("demo-dir"), ..demo.clone() }, None);
    let server = run(Spec { name: unique("demo-api"), ..demo }.kubernetes(), Some(&directory));
    let more: Vec<&String> = server.difference(&directory).collect();
    assert!(directory.len() > 10, "{directory:#?}");
    assert!(more.is_empty(), "only with the API server: {more:#?}");
}

#[test]
fn an_edited_policy_is_in_force_within_a_second() {
    let lab = Lab::ephemeral(spec("edit"), tools()).unwrap();
    let target = format!("{}:7", lab.pod("server").unwrap().v4());
    // Who has an address is news to another node a moment later.
    eventually("the friend to be known", || reaches(&lab, "friend", &target));
    denied(&lab, "stranger", &target);
    let reaches = |place: &str| reaches(&lab, place, &target);
    let mut times = Vec::new();
    for turn in 0..6 {
        let (role, who, other) =
            if turn % 2 == 0 { ("stranger", "stranger", "friend") } else { ("friend", "friend", "stranger") };
        let begin = Instant::now();
        lab.apply_policy(&FROM_FRIENDS.replace("role: friend", &format!("role: {role}"))).unwrap();
        eventually("the edit to be in force", || reaches(who));
        times.push(begin.elapsed());
        eventually("the other to be denied", || !reaches(other));
    }
    times.sort_unstable();
    // A try that is denied takes a tenth of a second, and a busy machine more.
    assert!(times[3] < Duration::from_secs(1), "edits took {times:?}");
    lab.delete_policy("default", "from-friends").unwrap();
    eventually("everybody to be let in", || reaches("friend") && reaches("stranger"));
    nothing_was_denied(&lab);
}

#[test]
fn a_changed_label_moves_a_pod_without_a_denied_packet() {
    let both = FROM_FRIENDS.replace(
        "[{podSelector: {matchLabels: {role: friend}}}]",
        "[{podSelector: {matchExpressions: [{key: role, operator: In, values: [friend, neighbour]}]}}]",
    );
    let mut spec = spec("label");
    spec.policies = vec![both];
    let lab = Lab::ephemeral(spec, tools()).unwrap();
    let target = format!("{}:7", lab.pod("server").unwrap().v4());
    denied(&lab, "stranger", &target);
    let stream = Stream::of_node(&lab, "node-a");
    let mark = stream.mark();
    let line = ["tcp-client", "--to", &target, "--every", "2", "--timeout", "2000"];
    let client = lab.start_workload("friend", "client", &line).unwrap();
    eventually("the connection to be busy", || client.output().lines().count() > 20);
    let identity = || {
        let endpoints = lab.endpoints(&Source::Node("node-b".into())).unwrap();
        endpoints.iter().find(|endpoint| endpoint.pod_name == "friend").map(|endpoint| endpoint.identity)
    };
    for role in ["neighbour", "friend", "neighbour"] {
        let before = identity();
        lab.set_labels("friend", &[("role", role)]).unwrap();
        eventually("the pod to have another identity", || identity() != before);
        let lines = client.output().lines().count();
        for _ in 0..10 {
            answered(&lab, "friend", &["tcp", &target]);
        }
        eventually("the connection to go on", || client.output().lines().count() > lines + 50);
    }
    let output = client.output();
    assert!(!output.contains("broke") && !output.contains("failed"), "{}", client.tail(5));
    assert_eq!(stream.count(mark, &Want::dropped("friend", "server")), 0, "a packet was denied on the way");
    nothing_was_denied(&lab);
}

/// What only a race between agents makes them do; `crates/kubernetes/tests/registry.rs` has races.
const IN_RACES: [&str; 2] = [
    "ClusterRole fathom-agent delete fathomidentities fathom.dev",
    "ClusterRole fathom-agent get fathomidentities fathom.dev",
];

#[test]
fn the_roles_grant_what_is_used_and_nothing_else() {
    let mut spec = spec("roles").with_relay().agent_arg("--identity-refresh").agent_arg("2s");
    spec.relay_args = ["--identity-grace", "6s", "--keep-certificates"].map(str::to_owned).to_vec();
    let lab = Lab::ephemeral(spec, tools()).unwrap();
    let target = format!("{}:7", lab.pod("server").unwrap().v4());
    // Who has an address is news to another node a moment later.
    eventually("the friend to be known", || reaches(&lab, "friend", &target));
    denied(&lab, "stranger", &target);
    // An identity that nobody uses any more is given up, one that is used is refreshed.
    lab.remove_pod("stranger").unwrap();
    lab.expire_watches().unwrap();
    let unused = |account: Account| {
        let unused = lab.unused_grants(account).unwrap();
        unused.into_iter().filter(|grant| !IN_RACES.contains(&grant.as_str())).collect::<Vec<_>>()
    };
    for account in [Account::Relay, Account::Agent] {
        eventually_or_say(&format!("every grant of {account:?} to be used"), || match unused(account) {
            none if none.is_empty() => Ok(()),
            some => Err(format!("unused: {some:#?}")),
        });
    }
    answered(&lab, "friend", &["tcp", &target]);
    nothing_was_denied(&lab);
}
