//! A flood that the agent can't keep up with: what is lost is counted, said to clients to the last one,
//! and no denial is among it. Root only.

#![forbid(unsafe_code)]

mod support;

use std::process::Command;

use fathom_api::fathom_v1::LedgerStage;
use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_lab::spec::{PodSpec, Spec};
use fathom_lab::{Lab, Source, Where};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::want::Want;
use support::{Stream, answered, eventually, tools, unique};

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
fn delivered_and_lost_are_what_was_emitted_and_every_denial_arrives() {
    let spec = Spec::new(&unique("flood"), 1)
        .pod(PodSpec::new("server", "node-a").label("app", "server").run(&["tcp-echo", "--listen", "[::]:7"]))
        .pod(PodSpec::new("friend", "node-a").label("role", "friend"))
        .pod(PodSpec::new("stranger", "node-a").label("role", "stranger"))
        .policy(POLICY)
        // Room for some thirty records.
        .agent_arg("--ring-events=4096");
    let lab = Lab::ephemeral(spec, tools()).unwrap();
    let node = Source::Node("node-a".into());
    let target = format!("{}:7", lab.pod("server").unwrap().v4());
    let stream = Stream::of(&lab, &node);
    let mark = stream.mark();

    // An agent that is not scheduled: what a busy machine does, made certain.
    let agent = Pid::from_raw(lab.agent_pid("node-a").unwrap());
    kill(agent, Signal::SIGSTOP).unwrap();
    for _ in 0..10 {
        answered(&lab, "friend", &["connect", &target, "--count", "50"]);
        answered(&lab, "stranger", &["send", &target, "--count", "100"]);
    }
    kill(agent, Signal::SIGCONT).unwrap();

    let denial = Want::dropped("stranger", "server").protocol("UDP");
    eventually("all 1,000 denials to arrive", || stream.count(mark, &denial) >= 1000);
    assert_eq!(stream.count(mark, &denial), 1000);

    let mut stages: Vec<LedgerStage> = Vec::new();
    eventually("the ledger to balance", || {
        let ledger = lab.ledgers(&node).unwrap().remove(0);
        stages = ledger.stages;
        ledger.balanced
    });
    let stage =
        |name: &str| stages.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("{name}: {stages:?}"));
    let (events, drops) = (stage("kernel.events"), stage("kernel.drops"));
    assert_eq!(events.r#in, events.out + events.lost + events.held, "{events:?}");
    assert!(events.lost > 500, "the flood was none: {events:?}");
    assert_eq!(drops.lost, 0, "{drops:?}");
    let lost = events.lost;

    // The stream says the same number, in few words.
    let told = || {
        let losses =
            stream.follow().responses().into_iter().filter_map(|response| match response.response_types {
                Some(ResponseTypes::LostEvents(lost)) => Some(lost.num_events_lost),
                _ => None,
            });
        losses.collect::<Vec<u64>>()
    };
    eventually("the stream to tell every loss", || told().iter().sum::<u64>() == lost);
    assert!(told().len() < 10, "{:?}", told());

    // A client that comes later learns of it as well, and the CLI says how much is missing.
    let history = lab.flows(&node, GetFlowsRequest { number: 100, ..Default::default() }).unwrap();
    assert_eq!(history.into_iter().filter_map(fathom_lab::flow_of).count(), 100);
    let cli = |line: &[&str]| {
        let output = Command::new(&lab.tools().cli)
            .args(line)
            .args(["--server", &lab.server(&node)])
            .output()
            .unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let digits =
        |text: &str| text.chars().filter(|c| c.is_ascii_digit() || c.is_whitespace()).collect::<String>();
    let status = cli(&["status"]);
    assert!(digits(&status).split_whitespace().any(|n| n == lost.to_string()), "{lost} in {status}");
    let probe = lab.probe("friend", Where::Inside, &["tcp", &target]).unwrap();
    assert!(probe.success, "{}", probe.stderr);
}
