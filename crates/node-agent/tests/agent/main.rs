//! The real agent: kernel, CNI plugin, sockets, signals. Needs root.

mod bad_input;
mod ended;
mod node;

use std::process::Command;
use std::time::Duration;

use fathom_api::fathom_v1::agent_client::AgentClient;
use fathom_api::fathom_v1::{
    GetFeaturesRequest, GetLedgerRequest, ListEndpointsRequest, ListRulesRequest, LocalEndpoint,
};
use fathom_bpf::testing::in_new_netns;
use nix::sys::signal::Signal;
use node::{Node, echoed, get, until};
use tonic::transport::Channel;

const DENY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: only-friends}\n\
    spec:\n  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]\n";

fn ask<T>(question: impl AsyncFnOnce(AgentClient<Channel>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Channel::from_static("http://127.0.0.1:4244").connect().await.unwrap();
        question(AgentClient::new(channel)).await
    })
}

fn endpoints() -> Vec<LocalEndpoint> {
    ask(async |mut agent| agent.list_endpoints(ListEndpointsRequest {}).await.unwrap().into_inner().endpoints)
}

fn endpoint(name: &str) -> Option<LocalEndpoint> {
    endpoints().into_iter().find(|endpoint| endpoint.pod_name == name)
}

fn is(wanted: bool, what: &str, now: bool) -> Result<(), String> {
    if now == wanted { Ok(()) } else { Err(format!("{what} is {now}")) }
}

#[test]
fn pods_are_wired_judged_and_unharmed_by_what_happens_to_the_agent() {
    in_new_netns(|| {
        let mut node = Node::new();
        node.start();
        let web = node.add("web", "web");
        let client = node.add("client", "client");
        assert_eq!((web.addresses.len(), client.addresses.len()), (2, 2), "dual stack");
        web.echo(8080);
        let ready = endpoint("web").unwrap();
        assert_eq!(ready.state, "ready");
        assert!(ready.identity >= 256 && !ready.ingress_enforced, "{ready:?}");
        for address in &web.addresses {
            assert!(client.reaches(*address, 8080), "{address}: {}", node.log());
        }
        // A saved policy denies, live connections included; taking it back allows.
        let live = client.connect(web.addresses[0], 8080, Duration::from_secs(1)).unwrap();
        assert!(echoed(&live));
        node.save("policy.yaml", DENY);
        until("the policy to bite", || is(false, "reachable", client.reaches(web.addresses[0], 8080)));
        assert!(!client.reaches(web.addresses[1], 8080), "IPv6 too");
        assert!(!echoed(&live), "a live connection is judged again");
        until("the endpoint to say so", || {
            is(true, "enforced", endpoint("web").is_some_and(|e| e.ingress_enforced && !e.egress_enforced))
        });
        let rules =
            ask(async |mut agent| agent.list_rules(ListRulesRequest {}).await.unwrap().into_inner().rules);
        let denied = rules.iter().find(|rule| rule.default_deny && rule.denied_packets > 0);
        assert_eq!(denied.expect("a rule that denied").refs[0].name, "only-friends");

        // A label makes the client a friend.
        let before = endpoint("client").unwrap().identity;
        node.save_pod("client", "friend");
        until("the label to count", || is(true, "reachable", client.reaches(web.addresses[0], 8080)));
        assert_ne!(endpoint("client").unwrap().identity, before);
        node.save_pod("client", "client");
        until("and not to count", || is(false, "reachable", client.reaches(web.addresses[0], 8080)));

        // Without an agent the kernel goes on as it was told.
        let friend = node.add("friend", "friend");
        let live = friend.connect(web.addresses[0], 8080, Duration::from_secs(1)).unwrap();
        node.end(Signal::SIGKILL);
        assert!(echoed(&live) && friend.reaches(web.addresses[0], 8080));
        assert!(!client.reaches(web.addresses[0], 8080));
        node.start();
        assert!(echoed(&live), "{}", node.log());
        let after = endpoints();
        assert_eq!(after.len(), 3);
        assert!(after.iter().all(|endpoint| endpoint.state == "ready"), "{after:?}");
        assert!(!client.reaches(web.addresses[0], 8080));
        until("a balanced ledger", || {
            let question =
                async |mut agent: AgentClient<Channel>| agent.get_ledger(GetLedgerRequest {}).await;
            let ledger = ask(question).unwrap().into_inner().nodes.remove(0);
            if ledger.balanced { Ok(()) } else { Err(format!("{ledger:?}")) }
        });
        let features =
            ask(async |mut agent| agent.get_features(GetFeaturesRequest {}).await.unwrap().into_inner());
        assert!(features.features.iter().any(|feature| feature.name == "tcx" && feature.node_name == "n1"));
        let metrics = get("/metrics").unwrap();
        assert!(metrics.contains("fathom_endpoints{state=\"ready\"} 3"), "{metrics}");

        let routes = || {
            let out = Command::new("ip").args(["route", "show", "proto", "102"]).output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        assert!(routes().contains("10.99.2.0/24 via 192.168.77.2"), "{}", routes());

        // DEL gives everything back, twice without complaint.
        node.cni("DEL", &friend).unwrap();
        node.cni("DEL", &friend).unwrap();
        until("the endpoint to go", || is(false, "known", endpoint("friend").is_some()));

        let status = node.end(Signal::SIGTERM);
        assert!(status.success(), "{}", node.log());
        assert!(!node.run_dir().join("hubble.sock").exists() && !node.run_dir().join("cni.sock").exists());
        assert!(!client.reaches(web.addresses[0], 8080), "programs stay");
        // Nobody answers: the plugin leaves a note, which cleanup takes along.
        node.cni("DEL", &friend).unwrap();
        assert!(node.run_dir().join("released").exists());
        node.cleanup();
        assert!(client.reaches(web.addresses[0], 8080), "and go when told");
        assert!(!node.bpffs.path().join("fathom").exists());
        assert_eq!(routes(), "");
        assert!(!node.run_dir().exists());
    });
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    in_new_netns(|| {
        let mut node = Node::new();
        node.start();
        let second = Command::new(env!("CARGO_BIN_EXE_fathom-agent"))
            .args(["--node-name", "n1", "--run-dir"])
            .arg(node.run_dir())
            .output()
            .unwrap();
        let text = String::from_utf8(second.stderr).unwrap();
        assert!(!second.status.success() && text.contains("another agent runs with --run-dir"), "{text}");
        for (arguments, words) in [
            (["--listen", "192.168.77.1:4300"], "--tls off"),
            (["--cgroup", "/tmp"], "no cgroup v2 directory"),
            (["--ring-events", "5000"], "a power of two"),
            (["--instance", "a/b"], "no directory name"),
            (["--store-size", "1000"], "power of two"),
        ] {
            let elsewhere = tempfile::tempdir().unwrap();
            let out = Command::new(env!("CARGO_BIN_EXE_fathom-agent"))
                .args(["--node-name", "n1", "--bpffs"])
                .arg(node.bpffs.path())
                .args(["--metrics-listen", "", "--run-dir"])
                .arg(elsewhere.path())
                .args(["--map-conntrack", "1024", "--map-ipcache", "1024"])
                .args(arguments)
                // A flag beats its variable.
                .env("FATHOM_INSTANCE", "other")
                .env("FATHOM_CGROUP", "none")
                .output()
                .unwrap();
            let text = String::from_utf8(out.stderr).unwrap();
            assert!(!out.status.success() && text.contains(words), "{arguments:?}: {text}");
        }
    });
}
