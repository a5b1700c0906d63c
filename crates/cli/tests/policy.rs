//! `fathom policy`.

mod common;

use common::{Script, Server, fathom, run};
use fathom_api::fathom_v1::*;
use fathom_api::time::timestamp;

fn installed() -> ListPoliciesResponse {
    let policy = |namespace: &str, name: &str| InstalledPolicy {
        kind: "NetworkPolicy".into(),
        namespace: namespace.into(),
        name: name.into(),
        ..InstalledPolicy::default()
    };
    let on = |node: &str, endpoints, revision| PolicyOnNode {
        node_name: node.into(),
        endpoints,
        revision,
        ..PolicyOnNode::default()
    };
    let web = InstalledPolicy {
        selector: "app=web".into(),
        ingress_rules: Some(2),
        edited: Some(Edited { by: "kubectl-edit".into(), time: Some(timestamp(1_777_716_000_000_000_000)) }),
        nodes: vec![on("node-a", 2, 7), on("node-b", 1, 4)],
        ..policy("shop", "web")
    };
    let broken = InstalledPolicy {
        ingress_rules: Some(0),
        egress_rules: Some(1),
        problems: vec!["spec.ingress[0]: \u{1b}[2Jbad".into()],
        nodes: vec![on("node-a", 0, 7)],
        ..policy("shop", "broken")
    };
    let behind = PolicyOnNode { endpoints_behind: 1, ..on("node-a", 1, 9) };
    let late = InstalledPolicy { egress_rules: Some(1), nodes: vec![behind], ..policy("live", "late") };
    ListPoliciesResponse { policies: vec![late, broken, web] }
}

#[test]
fn get_lists_policies_with_what_is_wrong_and_who_wrote_them() {
    let server = Server::start(Script { policies: installed(), ..Default::default() });
    let (code, out, err) = run(server.fathom("policy get"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "NAMESPACE   NAME     ENDPOINTS   INGRESS   EGRESS   EDITED                              STATE\n\
         live        late     1           open      1 rule   -                                   1 endpoints enforce an older one\n\
         shop        broken   0           no rule   1 rule   -                                   1 problem\n\
         shop        web      3           2 rules   open     kubectl-edit 2026-05-02T10:00:00Z   ok\n\
         NetworkPolicy shop/broken: spec.ingress[0]: ^[[2Jbad\n"
    );
    let (_, wide, _) = run(server.fathom("policy get -o wide"));
    assert!(wide.contains("KIND            SELECTOR   REVISIONS\n"), "{wide}");
    assert!(wide.contains("NetworkPolicy   app=web    node-a:7,node-b:4\n"), "{wide}");
    let (_, json, _) = run(server.fathom("policy get -o json"));
    assert!(json.starts_with("{\"policies\":[{\"kind\":\"NetworkPolicy\",\"namespace\":\"live\""), "{json}");
}

#[test]
fn get_asks_for_one_policy_by_either_name() {
    let server = Server::start(Script::default());
    let asked = |line: &str| {
        let (code, _, err) = run(server.fathom(line));
        assert_eq!((code, err.as_str()), (0, "none\n"), "{line}");
        server.script.asked_policies.lock().unwrap().pop().unwrap()
    };
    let request =
        |namespace: &str, name: &str| ListPoliciesRequest { namespace: namespace.into(), name: name.into() };
    assert_eq!(asked("policy get"), request("", ""));
    assert_eq!(asked("policy get web"), request("", "web"));
    assert_eq!(asked("policy get shop/web"), request("shop", "web"));
    assert_eq!(asked("policy get web -n shop"), request("shop", "web"));
    let (code, _, err) = run(fathom("policy get shop/web -n live"));
    assert_eq!(code, 2);
    assert!(err.contains("shop/web is not in namespace live"), "{err}");
}
