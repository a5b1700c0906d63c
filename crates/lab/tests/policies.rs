//! Policies under traffic: allowed and denied beside each other, edits and label changes that take
//! effect on what is already there. Root only.

#![forbid(unsafe_code)]

mod support;

use std::sync::OnceLock;

use fathom_api::flow::DropReason;
use fathom_lab::Lab;
use fathom_lab::spec::{PodSpec, Protocol, Spec};
use support::want::Want;
use support::{Stream, answered, denied, eventually, names, tools, unique};

/// Each test has a namespace of its own in one lab.
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let mut spec = Spec::new(&unique("policy"), 2);
        for namespace in ["beside", "labels", "live", "egress", "cidr"] {
            spec = spec
                .namespace(namespace, &[("test", namespace)])
                .pod(
                    PodSpec::new(&format!("{namespace}-server"), "node-a")
                        .namespace(namespace)
                        .label("app", "server")
                        .port("echo", 7, Protocol::Tcp)
                        .run(&["tcp-echo", "--listen", "[::]:7"])
                        .run(&["tcp-echo", "--listen", "[::]:8"]),
                )
                .pod(
                    PodSpec::new(&format!("{namespace}-friend"), "node-a")
                        .namespace(namespace)
                        .label("role", "friend"),
                )
                .pod(
                    PodSpec::new(&format!("{namespace}-stranger"), "node-b")
                        .namespace(namespace)
                        .label("role", "stranger"),
                );
        }
        let spec = spec.host(
            "outside.example.net",
            &["198.51.100.10".parse().unwrap(), "198.51.100.66".parse().unwrap()],
            &[],
        );
        Lab::ephemeral(spec, tools()).unwrap()
    })
}

/// A policy on the server of a namespace.
fn policy(namespace: &str, name: &str, spec: &str) -> String {
    let mut text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n"
    );
    for line in spec.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

const FROM_FRIENDS: &str = "podSelector: {matchLabels: {app: server}}
policyTypes: [Ingress]
ingress:
  - from: [{podSelector: {matchLabels: {role: friend}}}]
    ports: [{port: echo}]";

const FROM_NOBODY: &str = "podSelector: {matchLabels: {app: server}}
policyTypes: [Ingress]";

fn server(namespace: &str, port: u16) -> String {
    format!("{}:{port}", lab().pod(&format!("{namespace}-server")).unwrap().v4())
}

/// Waits until a connection attempt is stopped: a policy takes a moment from file to kernel.
#[track_caller]
fn eventually_denied(place: &str, target: &str) {
    eventually(&format!("{place} to be denied {target}"), || {
        let line = ["connect", target, "--timeout", "300"];
        !lab().probe(place, fathom_lab::Where::Inside, &line).unwrap().success
    });
}

#[track_caller]
fn eventually_allowed(place: &str, target: &str) {
    eventually(&format!("{place} to reach {target}"), || {
        let line = ["connect", target, "--timeout", "300"];
        lab().probe(place, fathom_lab::Where::Inside, &line).unwrap().success
    });
}

#[test]
fn allowed_and_denied_stand_beside_each_other_and_both_name_the_policy() {
    let lab = lab();
    let (echo, other) = (server("beside", 7), server("beside", 8));
    for place in ["beside-friend", "beside-stranger"] {
        answered(lab, place, &["tcp", &echo]);
    }
    lab.apply_policy(&policy("beside", "from-friends", FROM_FRIENDS)).unwrap();
    lab.apply_policy(&policy("beside", "from-nobody", FROM_NOBODY)).unwrap();
    eventually_denied("beside-stranger", &echo);

    let stream = Stream::of_node(lab, "node-a");
    let mark = stream.mark();
    answered(lab, "beside-friend", &["tcp", &echo]);
    denied(lab, "beside-stranger", &echo);
    denied(lab, "beside-friend", &other);
    let allowed = stream.see(mark, &Want::forwarded("beside-friend", "beside-server").port(7).ingress());
    assert_eq!(names(&allowed.ingress_allowed_by), ["beside/from-friends"]);
    for (from, port) in [("beside-stranger", 7), ("beside-friend", 8)] {
        let dropped = stream.see(mark, &Want::dropped(from, "beside-server").port(port).ingress());
        assert_eq!(dropped.drop_reason_desc(), DropReason::PolicyDenied);
        // A default deny names every policy that selected the pod.
        assert_eq!(names(&dropped.ingress_denied_by), ["beside/from-friends", "beside/from-nobody"]);
    }
    // The node itself may always reach its pods.
    answered(lab, "node-a", &["tcp", &echo]);
}

#[test]
fn a_changed_label_changes_what_is_allowed_both_ways() {
    let lab = lab();
    let echo = server("labels", 7);
    lab.apply_policy(&policy("labels", "from-friends", FROM_FRIENDS)).unwrap();
    eventually_denied("labels-stranger", &echo);
    lab.set_labels("labels-stranger", &[("role", "friend")]).unwrap();
    eventually_allowed("labels-stranger", &echo);
    answered(lab, "labels-friend", &["tcp", &echo]);
    lab.set_labels("labels-stranger", &[("role", "stranger")]).unwrap();
    eventually_denied("labels-stranger", &echo);
    answered(lab, "labels-friend", &["tcp", &echo]);
}

#[test]
fn a_policy_edit_reaches_a_live_connection_and_undone_lets_it_go_on() {
    let lab = lab();
    lab.apply_policy(&policy("live", "from-friends", FROM_FRIENDS)).unwrap();
    eventually_denied("live-stranger", &server("live", 7));
    let line = ["tcp-client", "--to", &server("live", 7), "--every", "10", "--timeout", "30000"];
    let client = lab.start_workload("live-friend", "live-client", &line).unwrap();
    eventually("the connection to be busy", || client.output().contains("line 5 of this connection"));

    let stream = Stream::of_node(lab, "node-a");
    let mark = stream.mark();
    lab.apply_policy(&policy("live", "from-friends", FROM_NOBODY)).unwrap();
    let dropped = stream.see(mark, &Want::dropped("live-friend", "live-server"));
    assert_eq!(names(&dropped.ingress_denied_by), ["live/from-friends"]);
    let stopped_at = client.output().lines().count();

    lab.apply_policy(&policy("live", "from-friends", FROM_FRIENDS)).unwrap();
    eventually("the same connection to go on", || client.output().lines().count() > stopped_at + 20);
    assert!(!client.output().contains("broke"), "{}", client.tail(5));
    lab.stop_workload("live-client").unwrap();
}

#[test]
fn egress_is_judged_at_the_sender() {
    let lab = lab();
    let echo = server("egress", 7);
    answered(lab, "egress-stranger", &["tcp", &echo]);
    let only_friends = "podSelector: {matchLabels: {role: stranger}}
policyTypes: [Egress]
egress:
  - to: [{podSelector: {matchLabels: {role: friend}}}]";
    lab.apply_policy(&policy("egress", "to-friends", only_friends)).unwrap();
    eventually_denied("egress-stranger", &echo);
    let (senders, servers) = (Stream::of_node(lab, "node-b"), Stream::of_node(lab, "node-a"));
    let (mark, at_server) = (senders.mark(), servers.mark());
    denied(lab, "egress-stranger", &echo);
    let dropped = senders.see(mark, &Want::dropped("egress-stranger", "egress-server").egress());
    assert_eq!(names(&dropped.egress_denied_by), ["egress/to-friends"]);
    // Nothing came through to the other side; something else has, so that we know we looked.
    answered(lab, "egress-friend", &["tcp", &echo]);
    servers.see(at_server, &Want::forwarded("egress-friend", "egress-server").ingress());
    let through = Want::forwarded("egress-stranger", "egress-server").ingress();
    assert_eq!(servers.count(at_server, &through), 0);
}

#[test]
fn an_address_block_with_an_exception_is_both_allowed_and_denied() {
    let lab = lab();
    let echo = server("cidr", 7);
    let block = "podSelector: {matchLabels: {app: server}}
policyTypes: [Ingress]
ingress:
  - from: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.64/26]}}]";
    lab.apply_policy(&policy("cidr", "from-outside", block)).unwrap();
    eventually_denied("cidr-friend", &echo);
    let stream = Stream::of_node(lab, "node-a");
    let mark = stream.mark();
    answered(lab, "internet", &["tcp", &echo, "--bind", "198.51.100.10"]);
    let from = ["connect", &echo, "--bind", "198.51.100.66", "--timeout", "400"];
    support::fails(lab, "internet", &from, "timed out");
    let allowed = stream.see(mark, &Want::forwarded("reserved:world", "cidr-server").ingress());
    assert_eq!(allowed.ip.as_ref().unwrap().source, "198.51.100.10");
    let dropped = stream.see(mark, &Want::dropped("reserved:world", "cidr-server").ingress());
    assert_eq!(dropped.ip.as_ref().unwrap().source, "198.51.100.66");
}
