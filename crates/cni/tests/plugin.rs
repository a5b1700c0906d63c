//! The plugin as a runtime calls it, against real namespaces and a fake agent. Root only.

#![forbid(unsafe_code)]

mod rig;

use rig::{FakeAgent, Node, Refuse, ip};
use serde_json::json;

fn answers(netns: &str, address: &str) -> bool {
    // A refused TCP connection is an answer, and needs no program that may not be installed.
    let script = format!("exec 3<>/dev/tcp/{address}/9");
    let output = std::process::Command::new("ip")
        .args(["netns", "exec", netns, "timeout", "2", "bash", "-c", &script])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stderr).contains("refused")
}

#[test]
fn an_added_pod_has_addresses_routes_and_answers_both_ways() {
    let mut node = Node::new();
    let agent = FakeAgent::start(&node.socket());
    let (a, b) = (node.pod(), node.pod());
    let result = node.cni("ADD", "a", &a).ok();
    node.cni("ADD", "b", &b).ok();
    assert_eq!(result["ips"][0]["address"], "10.244.1.2/32");
    assert_eq!(result["ips"][1]["address"], "fd00:10:244:1::2/128");
    assert_eq!(result["interfaces"][0]["name"], "fh2");
    assert_eq!(result["interfaces"][1]["mtu"], 1400);

    // Forwarding is the agent's; the real one would have switched it on.
    for key in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        ip(&["netns", "exec", &node.netns, "sysctl", "-qw", key]);
    }
    ip(&["-n", &node.netns, "addr", "add", "192.168.9.1/32", "dev", "lo"]);
    ip(&["-n", &node.netns, "addr", "add", "fd09::1/128", "dev", "lo", "nodad"]);
    for (from, to) in [
        (&a, "10.244.1.3"),
        (&b, "10.244.1.2"),
        (&a, "fd00:10:244:1::3"),
        (&node.netns, "10.244.1.2"),
        (&node.netns, "fd00:10:244:1::2"),
        (&a, "192.168.9.1"),
        (&a, "fd09::1"),
    ] {
        assert!(answers(from, to), "expected {to} to answer {from}");
    }
    // Nobody asked who has an address: every neighbour is permanent.
    for netns in [&node.netns, &a] {
        let neighbours = ip(&["-n", netns, "neigh", "show", "nud", "all"]);
        let learned = neighbours.lines().find(|l| !l.contains("PERMANENT") && !l.contains("NOARP"));
        assert_eq!(learned, None, "in {netns}");
    }

    let state = agent.state();
    let told = &state.activated[0];
    assert_eq!(told.host_interface, "fh2");
    assert_eq!(told.pod_mac, result["interfaces"][1]["mac"].as_str().unwrap());
    assert_ne!(told.netns_cookie, 0);
    assert_ne!(told.netns_cookie, state.activated[1].netns_cookie);
    let link: serde_json::Value =
        serde_json::from_str(&ip(&["-n", &node.netns, "-j", "link", "show", "fh2"])).unwrap();
    assert_eq!(link[0]["ifindex"], told.ifindex);
}

#[test]
fn adding_twice_fails_and_leaves_the_first_as_it_was() {
    let mut node = Node::new();
    let agent = FakeAgent::start(&node.socket());
    let (pod, other) = (node.pod(), node.pod());
    let result = node.cni("ADD", "a", &pod).ok();
    assert!(node.cni("ADD", "a", &pod).fails(103).contains("wired already"));
    assert!(node.cni("ADD", "a", &other).fails(103).contains("wired already"));
    assert!(node.cni("ADD", "b", &pod).fails(103).contains("eth0 exists already"));
    assert_eq!(agent.state().released, Vec::<String>::new());
    node.cni_with("CHECK", "a", &pod, json!({ "prevResult": result })).ok();
}

#[test]
fn deleting_twice_or_without_a_namespace_succeeds() {
    let mut node = Node::new();
    let agent = FakeAgent::start(&node.socket());
    let (a, b) = (node.pod(), node.pod());
    node.cni("ADD", "a", &a).ok();
    node.cni("ADD", "b", &b).ok();
    node.cni("DEL", "a", &a).ok();
    assert_eq!(node.devices(), ["fh3"]);
    assert!(!ip(&["-n", &a, "link"]).contains("eth0"), "the pod's end goes too");
    node.cni("DEL", "a", &a).ok();
    ip(&["netns", "del", &b]);
    node.cni("DEL", "b", &b).ok();
    node.cni("DEL", "b", "").ok();
    node.cni("DEL", "never-heard-of", "").ok();
    assert_eq!(node.devices(), Vec::<String>::new());
    assert_eq!(agent.state().released, ["a", "a", "b", "b", "never-heard-of"]);
}

#[test]
fn a_delete_of_one_network_leaves_anothers_device_alone() {
    let mut node = Node::new();
    let _agent = FakeAgent::start(&node.socket());
    let pod = node.pod();
    node.cni("ADD", "a", &pod).ok();
    node.cni_with("DEL", "a", &pod, json!({ "name": "other" })).ok();
    assert_eq!(node.devices(), ["fh2"]);
}

#[test]
fn without_the_agent_add_asks_to_try_again_and_delete_leaves_a_note() {
    let mut node = Node::new();
    let pod = node.pod();
    assert!(node.cni("ADD", "a", &pod).fails(11).contains("cni.sock"));
    assert!(!ip(&["-n", &pod, "link"]).contains("eth0"));
    assert!(node.cni("STATUS", "a", "").fails(50).contains("does not answer"));

    let agent = FakeAgent::start(&node.socket());
    node.cni("ADD", "a", &pod).ok();
    node.cni("STATUS", "a", "").ok();
    drop(agent);
    node.cni("DEL", "a", &pod).ok();
    assert_eq!(node.devices(), Vec::<String>::new());
    let note = std::fs::read_to_string(node.run_dir.path().join("released/a.eth0")).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&note).unwrap(),
        json!({ "containerId": "a", "interface": "eth0" })
    );
}

#[test]
fn a_failed_add_leaves_nothing() {
    let mut node = Node::new();
    let agent = FakeAgent::start(&node.socket());
    let pod = node.pod();
    for (refuse, code, word) in [
        (Refuse::Allocate, 101, "used up"),
        (Refuse::NameTaken, 102, "lo – eth0"),
        (Refuse::Activate, 100, "would not load"),
    ] {
        agent.state().refuse = refuse;
        let text = node.cni("ADD", "a", &pod).fails(code);
        assert!(text.contains(word), "expected {word:?} in {text:?}");
        assert_eq!(node.devices(), Vec::<String>::new(), "{refuse:?}");
        assert!(!ip(&["-n", &pod, "link"]).contains("eth0"), "{refuse:?}");
        assert_eq!(agent.state().released.pop().as_deref(), Some("a"), "{refuse:?}");
    }
    agent.state().refuse = Refuse::Nothing;
    node.cni("ADD", "a", &pod).ok();
}

#[test]
fn check_names_every_difference() {
    let mut node = Node::new();
    let agent = FakeAgent::start(&node.socket());
    let pod = node.pod();
    let previous = json!({ "prevResult": node.cni("ADD", "a", &pod).ok() });
    let check = || node.cni_with("CHECK", "a", &pod, previous.clone());
    check().ok();
    assert_eq!(agent.state().checked[0].addresses, ["10.244.1.2/32", "fd00:10:244:1::2/128"]);

    agent.state().problems = vec!["policy is not in place".into()];
    assert!(check().fails(104).contains("policy is not in place"));
    agent.state().problems.clear();
    ip(&["-n", &pod, "route", "del", "default"]);
    ip(&["-n", &pod, "addr", "del", "fd00:10:244:1::2/128", "dev", "eth0"]);
    ip(&["-n", &node.netns, "route", "del", "10.244.1.2"]);
    let text = check().fails(104);
    for difference in [
        "the route to 0.0.0.0/0 is gone",
        "eth0 has lost address fd00:10:244:1::2/128",
        "the node has no route to 10.244.1.2/32",
    ] {
        assert!(text.contains(difference), "expected {difference:?} in {text:?}");
    }
    ip(&["-n", &node.netns, "link", "del", "fh2"]);
    let text = check().fails(104);
    assert!(text.contains("eth0 is gone") && text.contains("no host-side device"), "{text}");
    assert!(node.cni("CHECK", "a", &pod).fails(7).contains("prevResult"));
}

#[test]
fn garbage_collection_keeps_what_is_listed() {
    let mut node = Node::new();
    let agent = FakeAgent::start(&node.socket());
    let (a, b) = (node.pod(), node.pod());
    node.cni("ADD", "a", &a).ok();
    node.cni("ADD", "b", &b).ok();
    // Its device went with its namespace, say: nobody but the agent knows of it.
    let c = node.pod();
    node.cni("ADD", "c", &c).ok();
    node.remove_device("fh4");
    let keep = json!({ "cni.dev/valid-attachments": [{ "containerID": "b", "ifname": "eth0" }] });
    assert!(node.cni("GC", "", "").fails(7).contains("valid-attachments"), "no list is not an empty one");
    assert_eq!(node.devices().len(), 2);
    node.cni_with("GC", "", "", keep).ok();
    assert_eq!(node.devices(), ["fh3"]);
    assert_eq!(agent.state().released, ["a", "c"]);
}

#[test]
fn the_nodes_own_namespace_is_never_wired() {
    let node = Node::new();
    let _agent = FakeAgent::start(&node.socket());
    assert!(node.cni("ADD", "a", &node.netns).fails(4).contains("the node's own"));
    assert!(node.cni("ADD", "a", "no-such-pod").fails(4).contains("cannot be opened"));
}

#[test]
fn the_versions_are_told_without_a_configuration() {
    let node = Node::new();
    let run = node.cni("VERSION", "", "");
    assert_eq!(run.ok()["supportedVersions"], json!(["0.4.0", "1.0.0", "1.1.0"]));
}
