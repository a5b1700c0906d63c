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

fn explained() -> ExplainResponse {
    let end = |name: &str, address: &str, identity, node: &str| {
        let (name, address, node_name) = (name.into(), address.into(), node.into());
        Some(ExplainedEndpoint { name, address, identity, node_name, ..Default::default() })
    };
    let rule = |name: &str, direction: Direction, index| RuleRef {
        kind: "NetworkPolicy".into(),
        namespace: "live".into(),
        name: name.into(),
        direction: direction.into(),
        index: Some(index),
    };
    let selecting = SelectingPolicy {
        kind: "NetworkPolicy".into(),
        namespace: "live".into(),
        name: "relay".into(),
        edited: Some(Edited {
            by: "policies/relay.yaml".into(),
            time: Some(timestamp(1_777_716_000_000_000_000)),
        }),
        problems: vec!["spec.ingress[2]: \u{1b}[2Jbad".into()],
    };
    let near = ExplainedRule {
        rule: Some(rule("relay", Direction::Ingress, 1)),
        text: "from pods app=web in live, port http/TCP".into(),
        misses: vec![Miss { field: "label".into(), wanted: "app=web".into(), found: "app=fanout".into() }],
    };
    let out = ExplainedRule {
        rule: Some(rule("out", Direction::Egress, 0)),
        text: "to anybody, any port".into(),
        misses: vec![],
    };
    let path = ExplainedPath {
        from: end("live/fanout", "10.244.1.5", 300, "node-a"),
        to: end("live/relay", "10.244.2.9", 301, "node-b"),
        service: "live/relay:80".into(),
        protocol: 6,
        port: Some(8080),
        egress: Some(ExplainedSide {
            node_name: "node-a".into(),
            decision: Decision::Allowed.into(),
            reason: "a rule allows it".into(),
            rules: vec![out],
            ..Default::default()
        }),
        ingress: Some(ExplainedSide {
            node_name: "node-b".into(),
            decision: Decision::Denied.into(),
            reason: "no rule of the policies that select it allows this".into(),
            nearest: vec![near],
            selecting: vec![selecting],
            differs: "the policies as they are now allow it".into(),
            ..Default::default()
        }),
    };
    let outside = ExplainedPath {
        to: end("192.0.2.7", "192.0.2.7", 0, ""),
        from: path.from.clone(),
        protocol: 1,
        egress: path.egress.clone(),
        ingress: Some(ExplainedSide {
            decision: Decision::NotJudged.into(),
            reason: "192.0.2.7 is no pod of this cluster: no table decides for it".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    ExplainResponse { paths: vec![path, outside], more: 2 }
}

const EXPLAIN: &str = "policy explain --from fanout --to svc/relay -n live";

#[test]
fn explain_tells_who_decides_by_what_rule_and_which_came_nearest() {
    let server = Server::start(Script { explained: Some(explained()), ..Default::default() });
    let (code, out, err) = run(server.fathom(&format!("{EXPLAIN} -p http")));
    assert_eq!((code, err.as_str()), (1, ""), "denied is an answer, told by the exit status");
    assert_eq!(out, common::golden("policy-explain.txt"));
    let request = ExplainRequest {
        from: "fanout".into(),
        to: "svc/relay".into(),
        namespace: "live".into(),
        port: "http".into(),
    };
    assert_eq!(server.script.asked_why.lock().unwrap().pop(), Some(request));
    let (code, json, _) = run(server.fathom(&format!("{EXPLAIN} -o json")));
    assert_eq!(code, 1);
    assert!(json.starts_with("{\"paths\":[{\"from\":{\"name\":\"live/fanout\""), "{json}");
}

#[test]
fn explain_ends_with_0_when_allowed_and_1_when_not_or_when_nobody_knows() {
    let only = |change: fn(&mut ExplainResponse)| {
        let mut response = explained();
        response.paths.remove(0);
        change(&mut response);
        let (code, _, err) =
            run(Server::start(Script { explained: Some(response), ..Default::default() }).fathom(EXPLAIN));
        (code, err)
    };
    assert_eq!(only(|_| ()), (0, String::new()));
    let (code, err) = only(|response| response.paths[0].egress.as_mut().unwrap().decision = 0);
    assert_eq!(code, 1);
    assert!(err.starts_with("Error: not every node that decides has answered"), "{err}");
    let (code, out, err) = run(Server::start(Script::default()).fathom(EXPLAIN));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("there is no pod or service a/b"), "{err}");
    let (code, help, _) = run(fathom("policy explain --help"));
    assert!(code == 0 && help.contains("Exit status: 0 when all that was asked about is allowed"), "{help}");
}

#[test]
fn selectors_are_listed_with_whom_they_stand_for() {
    let selector = |place: &str, text: &str, identities: Vec<u32>, count| PolicySelector {
        kind: "NetworkPolicy".into(),
        namespace: "live".into(),
        name: "relay".into(),
        place: place.into(),
        text: text.into(),
        identities,
        count,
    };
    let selectors = ListSelectorsResponse {
        selectors: vec![
            selector("spec.podSelector", "pods app=relay in live", vec![301], 1),
            selector("spec.ingress[0].from[0]", "all pods in live", (300..309).collect(), 9),
        ],
        identities: vec![SelectedIdentity { number: 301, labels: vec!["k8s:app=relay".into()] }],
        node_name: "node-a".into(),
    };
    let server = Server::start(Script { selectors, ..Default::default() });
    let (code, out, err) = run(server.fathom("policy selectors"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "POLICY       PLACE                     SELECTS                  COUNT   IDENTITIES\n\
         live/relay   spec.podSelector          pods app=relay in live   1       301\n\
         live/relay   spec.ingress[0].from[0]   all pods in live         9       300,301,302,303,304,305,306,307,…\n"
    );
    let (_, wide, _) = run(server.fathom("policy selectors -o wide"));
    assert!(wide.contains("301                                   k8s:app=relay\n"), "{wide}");
}

#[test]
fn a_trace_shows_each_look_up_by_its_number() {
    let step = |number, question: &str, answer: &str, rule_id| TraceStep {
        number,
        question: question.into(),
        answer: answer.into(),
        rule_id,
    };
    let rule = RuleRef {
        kind: "NetworkPolicy".into(),
        namespace: "live".into(),
        name: "relay".into(),
        direction: Direction::Ingress.into(),
        index: None,
    };
    let table = TracedTable {
        node_name: "node-b".into(),
        direction: Direction::Ingress.into(),
        local_identity: 301,
        remote_identity: 300,
        cidr_identity: 16_777_217,
        decision: Decision::Denied.into(),
        rule_id: 9,
        rules: vec![rule],
        steps: vec![
            step(2, "is the direction enforced?", "yes", 0),
            step(4, "identity 300, TCP, port 80", "nothing", 0),
            step(13, "nothing matched", "denied by default", 9),
        ],
    };
    let server =
        Server::start(Script { traced: TraceResponse { tables: vec![table] }, ..Default::default() });
    let line = "policy trace --from 300 --to 301 -p 80 --from-cidr 16777217";
    let (code, out, err) = run(server.fathom(line));
    assert_eq!((code, err.as_str()), (1, ""));
    assert_eq!(
        out,
        "ingress at node-b: identity 301 from 300 (by prefix 16777217): DENIED\n\
         \u{20} 2    is the direction enforced?   yes\n\
         \u{20} 4    identity 300, TCP, port 80   nothing\n\
         \u{20} 13   nothing matched              denied by default   rule 9\n\
         \u{20} rule 9 is NetworkPolicy live/relay ingress\n"
    );
    let asked = server.script.asked_traces.lock().unwrap().pop().unwrap();
    let expected = TraceRequest {
        from_identity: 300,
        to_identity: 301,
        protocol: 6,
        port: Some(80),
        from_cidr_identity: 16_777_217,
        to_cidr_identity: 0,
    };
    assert_eq!(asked, expected);
    let (code, _, err) = run(Server::start(Script::default()).fathom("policy trace --from 7 --to 8 -p icmp"));
    assert!(code == 1 && err.contains("has a table of identity 7 or 8"), "{err}");
    assert_eq!(run(fathom("policy trace --from 7 --to 8 -p 80/quic")).0, 2);
    assert_eq!(run(fathom("policy trace --from web --to 8 -p 80")).0, 2);
}
