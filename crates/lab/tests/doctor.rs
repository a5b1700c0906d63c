//! `fathom doctor` against a lab: nothing that is not so, and each thing that is made wrong, by name. Root only.

#![forbid(unsafe_code)]

mod support;

use std::process::{Command, Stdio};

use fathom_lab::spec::{PodSpec, Protocol, Spec};
use fathom_lab::{Lab, Where, machine};
use serde_json::Value;
use support::{eventually, eventually_or_say, tools, unique};

/// One line of the answer: node, severity, check, what.
type Found = (String, String, String, String);

/// What `fathom doctor` says through the relay, or of one node's agent, and whether it succeeded.
fn doctor(lab: &Lab, socket: &std::path::Path) -> (bool, Vec<Found>) {
    let output = Command::new(&lab.tools().cli)
        .args(["doctor", "-o", "json", "--server", &format!("unix://{}", socket.display())])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let of = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let findings = said["findings"].as_array().cloned().unwrap_or_default();
    let found = findings
        .iter()
        .map(|f| (of(f, "node_name"), of(f, "severity"), of(f, "check"), of(f, "what")))
        .collect();
    (output.status.success(), found)
}

fn relay(lab: &Lab) -> (bool, Vec<Found>) {
    doctor(lab, &lab.layout().relay_socket())
}

fn bad(found: &[Found]) -> Vec<&Found> {
    found.iter().filter(|(_, severity, ..)| severity == "DEGRADED" || severity == "MISSING").collect()
}

/// Waits until a finding of this check on this node, of this severity, says `word`.
#[track_caller]
fn told(lab: &Lab, node: &str, severity: &str, check: &str, word: &str) {
    eventually_or_say(&format!("{node} {severity} {check} {word}"), || {
        let (_, found) = relay(lab);
        let is = |f: &&Found| f.0 == node && f.1 == severity && f.2 == check && f.3.contains(word);
        found.iter().find(is).map(drop).ok_or_else(|| format!("{:#?}", bad(&found)))
    });
}

#[test]
fn each_thing_that_is_wrong_is_named_and_nothing_else() {
    let spec = Spec::new(&unique("doctor"), 2).pod(
        PodSpec::new("server", "node-a")
            .port("echo", 7, Protocol::Tcp)
            .run(&["tcp-echo", "--listen", "[::]:7"]),
    );
    let lab = &Lab::ephemeral(spec.with_relay(), tools()).unwrap();

    // As it should be: what this machine lacks, if anything, is the same on both nodes.
    let machine = eventually_or_say("both nodes to be examined", || {
        let (_, found) = relay(lab);
        let of = |node: &str| -> Vec<Found> {
            let own = bad(&found).into_iter().filter(|f| f.0 == node).cloned();
            own.map(|f| (String::new(), f.1, f.2, f.3)).collect()
        };
        let agents = |f: &&Found| f.2 == "agent" && f.1 == "OK";
        match (found.iter().filter(agents).count(), of("node-a") == of("node-b")) {
            (2, true) => Ok(of("node-a")),
            _ => Err(format!("{found:#?}")),
        }
    });
    let of_the_machine = |f: &Found| ["feature", "kube-proxy"].contains(&&*f.2);
    assert!(machine.iter().all(of_the_machine), "{machine:#?}");
    let (well, found) = relay(lab);
    assert!(well, "{found:#?}");
    for check in
        ["agent", "version", "clock", "kernel", "cgroup", "bpffs", "programs", "kube-proxy", "mtu", "cni"]
    {
        let count = found.iter().filter(|f| f.2 == check && f.0.starts_with("node-")).count();
        assert!(count >= 2, "{check}: {found:#?}");
    }
    // An agent alone says the same of its node, and its metrics in numbers.
    let (well, alone) = doctor(lab, &lab.layout().run_dir("node-a").join("hubble.sock"));
    assert!(well && alone.iter().any(|f| f.2 == "bpffs" && f.1 == "OK"), "{alone:#?}");
    let (_, metrics) = lab.agent_http("node-a", "/metrics").unwrap();
    assert!(metrics.contains("fathom_check_status{check=\"bpffs\"} 0"), "{metrics}");

    // Somebody else's filter on a pod's device.
    let device = lab
        .endpoints(&fathom_lab::Source::Node("node-a".into()))
        .unwrap()
        .into_iter()
        .find(|endpoint| endpoint.pod_name == "server")
        .unwrap()
        .interface;
    let tc = |line: &str| {
        let line: Vec<&str> = std::iter::once("tc").chain(line.split(' ')).collect();
        lab.exec("node-a", Where::OutsideCgroup, &line).unwrap().ok().unwrap();
    };
    tc(&format!("qdisc add dev {device} clsact"));
    tc(&format!("filter add dev {device} ingress bpf bytecode 1,6 0 0 4294967295,"));
    told(lab, "node-a", "DEGRADED", "programs", &format!("{device} of pod default/server: ? (tc ingress)"));
    tc(&format!("qdisc del dev {device} clsact"));

    // Another datapath's socket hooks above the nodes.
    let place = lab.layout().dir.join("other");
    let (bpffs, run_dir) = (place.join("bpf"), place.join("run"));
    std::fs::create_dir_all(&bpffs).unwrap();
    let above = machine::cgroup::mount_point().unwrap().join(lab.layout().cgroup_name());
    let text = |path: &std::path::Path| path.display().to_string();
    let [other_bpffs, other_run, objects] = [text(&bpffs), text(&run_dir), text(&lab.layout().objects())];
    let (above, agent) = (text(&above), lab.tools().agent.clone());
    let place = ["--run-dir", &*other_run, "--bpffs", &*other_bpffs];
    let line = ["--cgroup", &*above, "--objects", &*objects, "--metrics-listen", "", "--routes", "off"];
    let line = [&place[..], &line[..], &["--devices", "none"]].concat();
    lab.start_program("control", "other", &agent, &line).unwrap();
    told(lab, "node-a", "DEGRADED", "programs", "sock_connect4 (connect4)");
    told(lab, "node-b", "DEGRADED", "programs", "sock_connect4 (connect4)");
    lab.stop_workload("other").unwrap();
    let agent = text(&agent);
    lab.exec("control", Where::OutsideCgroup, &[&[&*agent, "cleanup"], &place[..]].concat())
        .unwrap()
        .ok()
        .unwrap();
    machine::bpffs::unmount(&bpffs).unwrap();

    // Pins out of sight.
    let pins = text(&lab.layout().bpffs());
    let on_the_machine =
        |line: &[&str]| assert!(Command::new(line[0]).args(&line[1..]).status().unwrap().success());
    on_the_machine(&["mount", "-t", "tmpfs", "tmpfs", &pins]);
    told(lab, "node-a", "MISSING", "bpffs", "tmpfs is mounted over");
    let (well, found) = relay(lab);
    assert!(!well, "missing things fail the command");
    assert!(!bad(&found).iter().any(|f| f.2 == "programs"), "an agent knows its own: {found:#?}");
    on_the_machine(&["umount", &pins]);

    // Nothing of it is left.
    eventually("all to be well again", || {
        let (well, found) = relay(lab);
        well && bad(&found).into_iter().all(of_the_machine)
    });

    // An agent that is gone, and one that is back.
    lab.kill_agent("node-b").unwrap();
    told(lab, "node-b", "MISSING", "agent", "is not reached");
    lab.start_agent("node-b").unwrap();
    told(lab, "node-b", "OK", "agent", "connected for");
    told(lab, "node-b", "INFO", "agent", "was not reached");
}
