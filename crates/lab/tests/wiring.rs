//! The lab itself, without Fathom's datapath: is what it builds a network, and does it go away. Root only.

#![forbid(unsafe_code)]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use fathom_lab::spec::{Datapath, PodSpec, Protocol, ServiceSpec, Spec};
use fathom_lab::{Lab, machine};
use support::{answered, fails, tools, traces, unique};

fn spec(name: &str) -> Spec {
    Spec::new(name, 2)
        .datapath(Datapath::None)
        .pod(PodSpec::new("web", "node-a").label("app", "web").run(&["tcp-echo", "--listen", "[::]:7"]))
        .pod(PodSpec::new("near", "node-a"))
        .pod(PodSpec::new("far", "node-b").run(&["udp-echo", "--listen", "[::]:7"]))
        .service(ServiceSpec::new("web", &[("app", "web")]).port("echo", 80, 7, Protocol::Tcp))
        .host(
            "outside.example.net",
            &["198.51.100.10".parse().unwrap(), "2001:db8:100::10".parse().unwrap()],
            &[],
        )
}

#[test]
fn pods_reach_each_other_and_the_outside_over_both_families() {
    let lab = Lab::ephemeral(spec(&unique("reach")), tools()).unwrap();
    let (web, far) = (lab.pod("web").unwrap(), lab.pod("far").unwrap());
    for from in ["near", "far", "internet", "node-a", "node-b"] {
        answered(&lab, from, &["tcp", &format!("{}:7", web.v4())]);
        answered(&lab, from, &["tcp", &format!("[{}]:7", web.v6())]);
        answered(&lab, from, &["icmp", &web.v4().to_string()]);
        answered(&lab, from, &["icmp", &web.v6().to_string()]);
    }
    answered(&lab, "near", &["udp", &format!("{}:7", far.v4())]);
    answered(&lab, "near", &["udp", &format!("[{}]:7", far.v6())]);
    for outside in ["198.51.100.10", "2001:db8:100::10"] {
        answered(&lab, "near", &["icmp", outside]);
    }
    answered(&lab, "internet", &["tcp", &format!("{}:7", web.v4()), "--bind", "198.51.100.10"]);
    fails(&lab, "near", &["tcp", &format!("{}:9", web.v4())], "refused");
    lab.check_pod("web").unwrap();
}

#[test]
fn two_labs_do_not_see_each_other() {
    let (first, second) = (unique("one"), unique("two"));
    let one = Lab::ephemeral(spec(&first), tools()).unwrap();
    let two = Lab::ephemeral(
        Spec::new(&second, 2).datapath(Datapath::None).pod(PodSpec::new("near", "node-a")),
        tools(),
    )
    .unwrap();
    // The same address, but nobody listens there in the other lab.
    let address = format!("{}:7", one.pod("web").unwrap().v4());
    answered(&one, "near", &["tcp", &address]);
    fails(&two, "near", &["tcp", &address, "--timeout", "300"], "");
    drop(one);
    assert_eq!(traces(&first), Vec::<String>::new());
    two.must_be_healthy().unwrap();
    drop(two);
    assert_eq!(traces(&second), Vec::<String>::new());
}

#[test]
fn up_twice_is_once_and_another_spec_is_refused() {
    let name = unique("twice");
    let _gone = TakeDown(&name);
    let first = Lab::up(spec(&name), tools()).unwrap();
    let pid = first.agent_pid("node-a").unwrap();
    assert_eq!(Lab::up(spec(&name), tools()).unwrap().agent_pid("node-a").unwrap(), pid);
    let other = spec(&name).pod(PodSpec::new("more", "node-a"));
    let refusal = Lab::up(other.clone(), tools()).err().unwrap().to_string();
    assert!(refusal.contains("another spec"), "{refusal}");

    // With a dead process it is no lab any more: made anew.
    first.kill_agent("node-a").unwrap();
    first.start_agent("node-a").unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(first.agent_pid("node-b").unwrap()),
        nix::sys::signal::SIGKILL,
    )
    .unwrap();
    machine::wait::until("the agent to be missed", Duration::from_secs(5), || {
        Ok(if first.must_be_healthy().is_err() { Ok(()) } else { Err("healthy".to_owned()) })
    })
    .unwrap();
    let again = Lab::up(other, tools()).unwrap();
    assert_ne!(again.agent_pid("node-a").unwrap(), pid);
    again.must_be_healthy().unwrap();
}

#[test]
fn a_death_is_told_with_the_end_of_the_log() {
    let name = unique("death");
    let bad = spec(&name).pod(PodSpec::new("bad", "node-a").run(&[
        "dns-server",
        "--listen",
        "[::]:99999",
        "--hosts",
        "x",
    ]));
    let text = format!("{:#}", Lab::ephemeral(bad, tools()).err().unwrap());
    assert!(text.contains("default/bad/0 died") && text.contains("99999"), "{text}");
    assert_eq!(traces(&name), Vec::<String>::new());
}

#[test]
fn endpoint_slices_follow_pods_and_labels() {
    let lab = Lab::ephemeral(spec(&unique("slices")), tools()).unwrap();
    let slice =
        || std::fs::read_to_string(lab.objects_dir().join("endpointslice-default-web-ipv4.yaml")).unwrap();
    let has = |name: &str| slice().contains(&lab.pod(name).unwrap().v4().to_string());
    assert!(has("web") && !has("near"));
    lab.set_labels("near", &[("app", "web")]).unwrap();
    assert!(has("near"));
    let more = lab.add_pod(PodSpec::new("more", "node-b").label("app", "web")).unwrap();
    assert!(slice().contains(&more.v4().to_string()));
    lab.remove_pod("more").unwrap();
    assert!(!slice().contains(&more.v4().to_string()));
    assert!(lab.place("more").is_err());
    // The address is free again and the cable of the next pod works.
    lab.add_pod(PodSpec::new("next", "node-b")).unwrap();
    answered(&lab, "next", &["tcp", &format!("{}:7", lab.pod("web").unwrap().v4())]);
}

#[test]
fn the_guardian_takes_the_lab_down_when_its_owner_dies() {
    let name = unique("guard");
    let _gone = TakeDown(&name);
    Lab::up(spec(&name), tools()).unwrap();
    let mut guardian =
        Command::new(tools().lab).args(["guard", &name]).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = guardian.stdin.take().unwrap();
    pipe.write_all(b"still here").unwrap();
    assert!(!traces(&name).is_empty());
    drop(pipe);
    assert!(guardian.wait().unwrap().success());
    assert_eq!(traces(&name), Vec::<String>::new());
}

#[test]
fn a_workload_started_later_gets_ready_and_stops() {
    let lab = Lab::ephemeral(spec(&unique("later")), tools()).unwrap();
    let web = lab.pod("web").unwrap();
    let target = format!("{}:7", web.v4());
    let client =
        lab.start_workload("far", "talker", &["tcp-client", "--to", &target, "--every", "10"]).unwrap();
    machine::wait::until("lines to come back", Duration::from_secs(5), || {
        let output = client.output();
        Ok(if output.contains("line 3 of this connection") { Ok(()) } else { Err(output) })
    })
    .unwrap();
    assert!(!client.output().contains("failed"), "{}", client.output());
    lab.stop_workload("talker").unwrap();
    assert!(!client.id.alive());
}

struct TakeDown<'a>(&'a str);

impl Drop for TakeDown<'_> {
    fn drop(&mut self) {
        fathom_lab::down(self.0).unwrap();
    }
}
