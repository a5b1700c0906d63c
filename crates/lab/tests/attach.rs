//! Pods that another plugin wired (`--mode attach`): found, observed, enforced, and left clean. Root only;
//! the reference plugins come with `ci/bootstrap --software`.

#![forbid(unsafe_code)]

mod support;

use fathom_api::flow::DropReason;
use fathom_lab::spec::{PodSpec, Protocol, ServiceSpec, Spec, Wiring};
use fathom_lab::{Lab, Source};
use support::want::Want;
use support::{Stream, answered, denied, eventually, eventually_or_say, names, tools, unique};

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-friends, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {role: friend}}}]
";

#[test]
fn pods_on_a_bridge_of_another_plugin() {
    found_observed_enforced_and_left_clean("bridge", Wiring::Bridge);
}

#[test]
fn pods_on_cables_of_another_plugin() {
    found_observed_enforced_and_left_clean("ptp", Wiring::Ptp);
}

fn spec(name: &str, wiring: Wiring) -> Spec {
    let server = |name: &str| {
        PodSpec::new(name, "node-a")
            .label("app", "server")
            .port("echo", 7, Protocol::Tcp)
            .run(&["tcp-echo", "--listen", "[::]:7"])
    };
    Spec::new(name, 2)
        .wiring(wiring)
        .pod(server("server"))
        // Without a process: known by the name of its namespace and its addresses.
        .pod(PodSpec::new("friend", "node-a").label("role", "friend"))
        .pod(PodSpec::new("neighbour", "node-a").label("role", "stranger"))
        .pod(PodSpec::new("stranger", "node-b").label("role", "stranger"))
        .pod(PodSpec::new("far-friend", "node-b").label("role", "friend"))
        .service(ServiceSpec::new("echo", &[("app", "server")]).port("echo", 80, 7, Protocol::Tcp))
}

fn found_observed_enforced_and_left_clean(kind: &str, wiring: Wiring) {
    let lab = &Lab::ephemeral(spec(&unique(kind), wiring), tools()).unwrap();
    let server = lab.pod("server").unwrap();
    let targets = [format!("{}:7", server.v4()), format!("[{}]:7", server.v6())];

    // Found.
    ready(lab, "node-a", &["friend", "neighbour", "server"]);
    ready(lab, "node-b", &["far-friend", "stranger"]);

    // Observed, also through its service.
    let stream = Stream::of_node(lab, "node-a");
    let mark = stream.mark();
    for from in ["friend", "neighbour", "stranger", "far-friend"] {
        for (target, v6) in targets.iter().zip([false, true]) {
            answered(lab, from, &["tcp", target]);
            stream.see(mark, &Want::forwarded(from, "server").port(7).family(v6).ingress());
        }
    }
    let service = lab.service("default/echo").unwrap();
    answered(lab, "friend", &["tcp", &format!("{}:80", service[0])]);

    // Enforced, on one node and between nodes, in both families.
    lab.apply_policy(POLICY).unwrap();
    for from in ["neighbour", "stranger"] {
        for target in &targets {
            eventually(&format!("{from} to be denied {target}"), || !reaches(lab, from, target));
        }
    }
    let enforced = |lab: &Lab| {
        let stream = Stream::of_node(lab, "node-a");
        let mark = stream.mark();
        for target in &targets {
            answered(lab, "friend", &["tcp", target]);
            answered(lab, "far-friend", &["tcp", target]);
            denied(lab, "neighbour", target);
            denied(lab, "stranger", target);
        }
        for from in ["neighbour", "stranger"] {
            let dropped = stream.see(mark, &Want::dropped(from, "server").ingress());
            assert_eq!(dropped.drop_reason_desc(), DropReason::PolicyDenied);
            assert_eq!(names(&dropped.ingress_denied_by), ["default/from-friends"]);
        }
    };
    enforced(lab);

    // Without the agent, and with the next one.
    lab.kill_agent("node-a").unwrap();
    denied(lab, "neighbour", &targets[0]);
    answered(lab, "friend", &["tcp", &targets[1]]);
    lab.start_agent("node-a").unwrap();
    ready(lab, "node-a", &["friend", "neighbour", "server"]);
    enforced(lab);

    // Pods come and go.
    lab.add_pod(PodSpec::new("late", "node-a").label("role", "stranger")).unwrap();
    ready(lab, "node-a", &["friend", "late", "neighbour", "server"]);
    denied(lab, "late", &targets[0]);
    lab.remove_pod("late").unwrap();
    ready(lab, "node-a", &["friend", "neighbour", "server"]);

    // Left clean: nobody is in the way, and nothing of ours is left, while the other plugin's work stands.
    lab.stop_agent("node-a").unwrap();
    denied(lab, "neighbour", &targets[0]);
    lab.clean_node("node-a").unwrap();
    for from in ["neighbour", "friend", "stranger", "far-friend"] {
        for target in &targets {
            answered(lab, from, &["tcp", target]);
        }
    }
    assert!(!lab.layout().bpffs().join("fathom/node-a").exists(), "pins are left");
    let qdiscs =
        lab.exec("node-a", fathom_lab::Where::Inside, &["tc", "qdisc", "show"]).unwrap().ok().unwrap();
    assert!(!qdiscs.contains("clsact"), "{qdiscs}");
}

fn reaches(lab: &Lab, from: &str, target: &str) -> bool {
    lab.probe(from, fathom_lab::Where::Inside, &["connect", target, "--timeout", "300"]).unwrap().success
}

/// Waits until exactly these pods of a node are endpoints that are ready.
fn ready(lab: &Lab, node: &str, pods: &[&str]) {
    eventually_or_say(&format!("the endpoints of {node}"), || {
        let endpoints = lab.endpoints(&Source::Node(node.to_owned())).map_err(|e| format!("{e:#}"))?;
        let mut found: Vec<String> =
            endpoints.iter().map(|e| format!("{} {}", e.pod_name, e.state)).collect();
        found.sort();
        let wanted: Vec<String> = pods.iter().map(|pod| format!("{pod} ready")).collect();
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    });
}
