//! The agent is killed under traffic: the kernel goes on enforcing, connections live, and afterwards
//! the books balance. Root only.

#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeSet;

use fathom_api::fathom_v1::NodeLedger;
use fathom_api::flow::Flow;
use fathom_api::observer::GetFlowsRequest;
use fathom_lab::spec::{PodSpec, Spec};
use fathom_lab::{Lab, Source};
use support::want::Want;
use support::{Stream, answered, denied, eventually, eventually_at_least, names, tools, unique};

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-friends, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {role: friend}}}]
";

fn lab(kind: &str) -> Lab {
    let spec = Spec::new(&unique(kind), 2)
        .pod(PodSpec::new("server", "node-a").label("app", "server").run(&["tcp-echo", "--listen", "[::]:7"]))
        .pod(PodSpec::new("friend", "node-b").label("role", "friend"))
        .pod(PodSpec::new("neighbour", "node-a").label("role", "friend"))
        .pod(PodSpec::new("stranger", "node-a").label("role", "stranger"))
        .policy(POLICY);
    Lab::ephemeral(spec, tools()).unwrap()
}

fn balanced(lab: &Lab, node: &str) -> NodeLedger {
    let mut last = None;
    eventually(&format!("the ledger of {node} to balance"), || {
        let ledger = lab.ledgers(&Source::Node(node.to_owned())).unwrap().remove(0);
        let balanced = ledger.balanced;
        last = Some(ledger);
        balanced
    });
    last.unwrap()
}

fn stage(ledger: &NodeLedger, name: &str) -> (u64, u64, u64) {
    let stage = ledger.stages.iter().find(|s| s.name == name);
    let stage = stage.unwrap_or_else(|| panic!("no stage {name} in {:?}", ledger.stages));
    (stage.r#in, stage.out, stage.lost)
}

/// What tells connections to one port of a server apart.
fn client_port(flow: &Flow) -> Option<u32> {
    match flow.l4.as_ref()?.protocol.as_ref()? {
        fathom_api::flow::layer4::Protocol::Tcp(tcp) if tcp.destination_port == 7 => Some(tcp.source_port),
        _ => None,
    }
}

#[test]
fn a_killed_agent_takes_neither_enforcement_nor_connections_nor_events_with_it() {
    let lab = lab("kill");
    let target = format!("{}:7", lab.pod("server").unwrap().v4());
    denied(&lab, "stranger", &target);
    let line = ["tcp-client", "--to", &target, "--every", "5", "--timeout", "5000"];
    let clients: Vec<_> = ["friend", "neighbour"]
        .map(|place| lab.start_workload(place, &format!("{place}-client"), &line).unwrap())
        .into();
    let lines = || clients.iter().map(|c| c.output().lines().count()).collect::<Vec<_>>();
    eventually("both connections to be busy", || lines().iter().all(|n| *n > 10));

    let kept = |want: &Want| -> Vec<Flow> {
        let all = GetFlowsRequest { number: 4096, ..Default::default() };
        let history = lab.flows(&Source::Node("node-a".into()), all).unwrap();
        history.into_iter().filter_map(fathom_lab::flow_of).filter(|f| want.matches(f)).collect()
    };
    let connection = Want::forwarded("neighbour", "server").protocol("TCP");
    let connections = |want: &Want| kept(want).iter().filter_map(client_port).collect::<BTreeSet<_>>();
    let busy = connections(&connection);
    assert_eq!(busy.len(), 1, "the one that stays: {busy:?}");

    lab.kill_agent("node-a").unwrap();
    let when_killed = lines();
    // New connections and denials while nobody is there to tell of them.
    for _ in 0..20 {
        answered(&lab, "neighbour", &["tcp", &target]);
    }
    denied(&lab, "stranger", &target);
    eventually("connections to live on without the agent", || {
        lines().iter().zip(&when_killed).all(|(now, then)| *now > then + 50)
    });

    lab.start_agent("node-a").unwrap();
    let stream = Stream::of_node(&lab, "node-a");
    // What happened while it was away is there: twenty connections, seen leaving and arriving.
    for want in [connection.clone().ingress(), connection.egress()] {
        eventually_at_least(20, &format!("{want:?}"), || connections(&want).difference(&busy).count());
    }
    let denial = Want::dropped("stranger", "server");
    eventually_at_least(1, &format!("{denial:?}"), || kept(&denial).len());
    for denial in kept(&Want::dropped("stranger", "server")) {
        assert_eq!(names(&denial.ingress_denied_by), ["default/from-friends"]);
    }

    // And after it came back everything is as before.
    let mark = stream.mark();
    answered(&lab, "neighbour", &["tcp", &target]);
    denied(&lab, "stranger", &target);
    stream.see(mark, &Want::forwarded("neighbour", "server").ingress());
    stream.see(mark, &Want::dropped("stranger", "server"));
    for client in &clients {
        assert!(!client.output().contains("failed"), "a connection broke: {}", client.tail(5));
    }

    let ledger = balanced(&lab, "node-a");
    for name in ["kernel.events", "kernel.drops"] {
        let (emitted, delivered, lost) = stage(&ledger, name);
        assert_eq!(lost, 0, "{name}: {ledger:?}");
        assert!(emitted > 0 && delivered > 0, "{name}: {ledger:?}");
    }
}

#[test]
fn a_policy_written_while_the_agent_is_away_is_in_force_when_it_is_back() {
    let lab = lab("away");
    let target = format!("{}:7", lab.pod("server").unwrap().v4());
    answered(&lab, "neighbour", &["tcp", &target]);
    lab.stop_agent("node-a").unwrap();
    lab.apply_policy(&POLICY.replace("role: friend", "role: stranger")).unwrap();
    answered(&lab, "neighbour", &["tcp", &target]);
    denied(&lab, "stranger", &target);
    lab.start_agent("node-a").unwrap();
    answered(&lab, "stranger", &["tcp", &target]);
    denied(&lab, "neighbour", &target);
}

#[test]
fn a_pod_that_went_while_the_agent_was_away_is_forgotten_when_it_is_back() {
    let lab = lab("gone");
    let source = Source::Node("node-a".into());
    let known = || {
        let endpoints = lab.endpoints(&source).unwrap();
        endpoints.into_iter().map(|e| e.pod_name).collect::<BTreeSet<_>>()
    };
    let all = ["neighbour", "server", "stranger"].map(String::from);
    eventually("the agent to know its pods", || known() == BTreeSet::from(all.clone()));
    lab.stop_agent("node-a").unwrap();
    lab.remove_pod("stranger").unwrap();
    lab.start_agent("node-a").unwrap();
    eventually("the agent to forget the pod", || known() == all[..2].iter().cloned().collect());
}
