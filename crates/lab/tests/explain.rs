//! A denial asked about: who decides, by what rule, and what would have to change; changed so, it passes.
//! Root only.

#![forbid(unsafe_code)]

mod support;

use std::path::Path;
use std::process::Command;

use fathom_lab::spec::{PodSpec, Protocol, ServiceSpec, Spec};
use fathom_lab::{Lab, Where};
use support::{answered, eventually, tools, unique};

/// What `fathom policy` says, and its exit status.
fn policy(lab: &Lab, server: &Path, line: &[&str]) -> (i32, String) {
    let output = Command::new(&lab.tools().cli)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("FATHOM_SERVER", format!("unix://{}", server.display()))
        .arg("policy")
        .args(line)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// The demo's policy on chat-relay, with who may come.
fn chat_relay(app: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: chat-relay-ingress, namespace: stream}}\n\
         spec:\n  podSelector: {{matchLabels: {{app: chat-relay}}}}\n  policyTypes: [Ingress]\n  ingress:\n\
         \x20 - from: [{{podSelector: {{matchLabels: {{app: {app}}}}}}}]\n    ports: [{{port: {port}}}]\n\
         \x20 - from: [{{ipBlock: {{cidr: 198.51.100.0/24}}}}]\n"
    )
}

#[test]
fn a_denial_is_explained_by_the_rule_that_came_nearest_and_mended_as_it_says() {
    let relay = PodSpec::new("chat-relay", "node-b")
        .namespace("stream")
        .label("app", "chat-relay")
        .port("http", 7, Protocol::Tcp)
        .run(&["tcp-echo", "--listen", "[::]:7"]);
    let fanout = PodSpec::new("fanout", "node-a").namespace("stream").label("app", "commentary-fanout");
    let mut service = ServiceSpec::new("chat-relay", &[("app", "chat-relay")]);
    service.namespace = "stream".into();
    let spec = Spec::new(&unique("explain"), 2)
        .namespace("stream", &[])
        .pod(relay)
        .pod(fanout)
        .service(service.port("http", 80, 7, Protocol::Tcp))
        .policy(&chat_relay("moderation", 7))
        .with_relay();
    let lab = Lab::ephemeral(spec, tools()).unwrap();
    let target = format!("{}:7", lab.pod("chat-relay").unwrap().v4());
    let reaches = || {
        let line = ["connect", &*target, "--timeout", "300"];
        lab.probe("fanout", Where::Inside, &line).unwrap().success
    };
    let relay = lab.layout().relay_socket();
    let why = ["explain", "-n", "stream", "--from", "fanout", "--to", "chat-relay", "--port", "http"];
    eventually("the policy to be in force", || !reaches());

    // Through the relay: each side by the node that decides it.
    eventually("the relay to have both nodes", || !policy(&lab, &relay, &why).1.contains("not known"));
    let (code, text) = policy(&lab, &relay, &why);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(" 7/TCP: DENIED\n"), "{text}");
    assert!(text.contains("node-a: allowed, no policy restricts its egress\n"), "{text}");
    assert!(text.contains("node-b: DENIED, no rule of the policies that select it allows this\n"), "{text}");
    assert!(
        text.contains(
            "    nearest is NetworkPolicy stream/chat-relay-ingress ingress[0]: \
             from pods app=moderation in stream, port 7/TCP\n      \
             misses by label: wants app=moderation, found app=commentary-fanout\n"
        ),
        "{text}"
    );
    assert!(text.contains("selected by NetworkPolicy stream/chat-relay-ingress, edited by "), "{text}");
    assert!(!text.contains("BUT"), "the table is what the policy makes: {text}");

    // One agent knows its own side, and says who knows the other; a service leads to its backend.
    let (code, text) = policy(&lab, &lab.layout().run_dir("node-a").join("hubble.sock"), &why);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("node-b: not known, only the node it runs on knows\n"), "{text}");
    let through = ["explain", "-n", "stream", "--from", "app=commentary-fanout", "--to", "svc/chat-relay"];
    let (code, text) = policy(&lab, &relay, &through);
    assert!(code == 1 && text.contains(" by service stream/chat-relay:80: DENIED\n"), "{text}");
    // By the kernel's prefix tree.
    let outside =
        ["explain", "-n", "stream", "--from", "198.51.100.9", "--to", "chat-relay", "--port", "1/udp"];
    let (code, text) = policy(&lab, &relay, &outside);
    assert!(code == 0 && text.contains("ingress[1]: from 198.51.100.0/24, any port\n"), "{text}");

    // The policy is edited as it says, the port is forgotten; then the port, too.
    lab.apply_policy(&chat_relay("commentary-fanout", 8)).unwrap();
    eventually("the port to be what is missed", || {
        policy(&lab, &relay, &why).1.contains("misses by port: wants 8/TCP, found 7\n")
    });
    assert!(!reaches());
    lab.apply_policy(&chat_relay("commentary-fanout", 7)).unwrap();
    eventually("the connection to pass", reaches);
    answered(&lab, "fanout", &["tcp", &target]);
    let (code, text) = policy(&lab, &relay, &why);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains(
            "by NetworkPolicy stream/chat-relay-ingress ingress[0]: from pods app=commentary-fanout"
        ),
        "{text}"
    );

    let (code, text) = policy(&lab, &relay, &["get", "-n", "stream", "-o", "wide"]);
    assert!(code == 0 && text.contains("chat-relay-ingress   1 "), "{text}");
}
