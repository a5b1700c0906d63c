//! Each fault is named with policy, place and remedy, and the policy stays closed.

use fathom_policy::spec::{Expression, IpBlock, LabelSelector, NetworkPolicy, Peer, Port, PortValue, Rule};
use fathom_policy::{Direction, Effect, Policy, Rule as Meant};

fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
    let values = values.iter().map(|value| value.to_string()).collect();
    let expression = Expression { key: key.to_owned(), operator: operator.to_owned(), values };
    LabelSelector { match_expressions: vec![expression], ..LabelSelector::default() }
}

fn block(cidr: &str, except: &[&str]) -> Peer {
    let except = except.iter().map(|text| text.to_string()).collect();
    Peer { ip_block: Some(IpBlock { cidr: cidr.to_owned(), except }), ..Peer::default() }
}

fn number(port: i32, end_port: Option<i32>) -> Port {
    Port { port: Some(PortValue::Number(port)), end_port, ..Port::default() }
}

fn name(port: &str, end_port: Option<i32>) -> Port {
    Port { port: Some(PortValue::Name(port.to_owned())), end_port, ..Port::default() }
}

fn policy(rules: Vec<Rule>) -> NetworkPolicy {
    let (namespace, name) = ("live".to_owned(), "chat".to_owned());
    NetworkPolicy { namespace, name, ingress: rules, ..NetworkPolicy::default() }
}

fn peers(peer: Peer) -> NetworkPolicy {
    policy(vec![Rule { peers: vec![peer], ports: vec![] }])
}

fn ports(port: Port) -> NetworkPolicy {
    policy(vec![Rule { peers: vec![], ports: vec![port] }])
}

#[test]
fn every_fault_in_a_rule_has_a_text_that_says_what_to_do_and_the_rule_allows_nothing() {
    let selector = |selector| Peer { pod_selector: Some(selector), ..Peer::default() };
    let namespaces = |selector| Peer { namespace_selector: Some(selector), ..Peer::default() };
    let with_block = Peer { pod_selector: Some(LabelSelector::default()), ..block("10.0.0.0/8", &[]) };
    let quic = Port { protocol: Some("QUIC".to_owned()), ..number(80, None) };
    let no_port = Port { end_port: Some(90), ..Port::default() };
    let cases = [
        (
            peers(selector(expression("app", "Is", &["a"]))),
            "from[0].podSelector.matchExpressions[0]",
            "write In, NotIn",
        ),
        (
            peers(selector(expression("app", "In", &[]))),
            "from[0].podSelector.matchExpressions[0]",
            "at least one value",
        ),
        (
            peers(namespaces(expression("app", "Exists", &["a"]))),
            "from[0].namespaceSelector.matchExpressions[0]",
            "takes no values",
        ),
        (
            peers(selector(expression("", "Exists", &[]))),
            "from[0].podSelector.matchExpressions[0]",
            "name a label",
        ),
        (peers(Peer::default()), "from[0]", "set podSelector"),
        (peers(with_block), "from[0]", "write two peers"),
        (peers(block("10.0.0.0", &[])), "from[0].ipBlock.cidr", "10.0.0.0/8"),
        (peers(block("10.0.0.0/33", &[])), "from[0].ipBlock.cidr", "is no prefix"),
        (
            peers(block("10.0.0.0/8", &["10.1.0.0/16", "11.0.0.0/16"])),
            "from[0].ipBlock.except[1]",
            "is not inside 10.0.0.0/8",
        ),
        (peers(block("10.0.0.0/8", &["10.0.0.0/8"])), "from[0].ipBlock.except[0]", "longer prefix"),
        (peers(block("::/0", &["10.0.0.0/8"])), "from[0].ipBlock.except[0]", "is not inside ::/0"),
        (ports(quic), "ports[0].protocol", "TCP, UDP or SCTP"),
        (ports(number(0, None)), "ports[0].port", "from 1 to 65535"),
        (ports(number(70_000, None)), "ports[0].port", "from 1 to 65535"),
        (ports(number(80, Some(79))), "ports[0].endPort", "below port 80"),
        (ports(number(80, Some(65_536))), "ports[0].endPort", "above 65535"),
        (ports(no_port), "ports[0].endPort", "needs a port"),
        (ports(name("http", Some(90))), "ports[0].endPort", "as a number"),
        (ports(name("HTTP", None)), "ports[0].port", "at most 15"),
        (ports(name("a-name-that-is-too-long", None)), "ports[0].port", "at most 15"),
    ];
    for (written, place, remedy) in cases {
        let read = Policy::parse(&written);
        let [problem] = read.problems.as_slice() else { panic!("{place}: {:?}", read.problems) };
        let text = problem.to_string();
        let begins = format!("NetworkPolicy live/chat: spec.ingress[0].{place}: ");
        assert!(
            text.starts_with(&begins) && text.contains(remedy),
            "expected {begins}…{remedy}…, got {text}"
        );
        assert_eq!(problem.effect, Effect::RuleAllowsNothing, "{text}");
        assert_eq!(read.rules(Direction::Ingress), Some(&[Meant::Broken][..]), "{text}");
    }
}

#[test]
fn a_broken_rule_leaves_its_neighbours_working_at_their_own_index() {
    let sound = Rule { peers: vec![], ports: vec![number(80, None)] };
    let read = Policy::parse(&policy(vec![
        sound.clone(),
        Rule { peers: vec![Peer::default()], ports: vec![] },
        sound,
    ]));
    let rules = read.rules(Direction::Ingress).unwrap();
    assert_eq!((rules.len(), &rules[1]), (3, &Meant::Broken));
    assert_eq!(rules[0], rules[2]);
    assert_eq!(read.problems[0].place, "spec.ingress[1].from[0]");
}

#[test]
fn a_broken_pod_selector_restricts_all_that_may_be_meant_and_allows_nothing() {
    let mut written = policy(vec![Rule::default()]);
    written.pod_selector = expression("app", "Is", &["a"]);
    written.pod_selector.match_labels.insert("tier".to_owned(), "front".to_owned());
    let read = Policy::parse(&written);
    assert_eq!(read.rules(Direction::Ingress), Some(&[Meant::Broken][..]));
    let labels = |tier: &str| [("tier".into(), tier.into())].into();
    assert!(read.subject.matches(&labels("front")) && !read.subject.matches(&labels("back")));
    assert_eq!(read.problems[0].effect, Effect::PolicyAllowsNothing);
    assert_eq!(read.problems[0].place, "spec.podSelector.matchExpressions[0]");
}

#[test]
fn an_unknown_policy_type_restricts_both_directions() {
    let mut written = policy(vec![]);
    written.policy_types = vec!["Ingress".to_owned(), "Sideways".to_owned()];
    let read = Policy::parse(&written);
    assert!(read.ingress.is_some() && read.egress.is_some());
    assert!(read.problems[0].to_string().contains("policyTypes[1]: unknown policy type \"Sideways\""));
}

#[test]
fn policy_types_default_to_ingress_and_to_egress_when_there_are_egress_rules() {
    let restricted = |types: &[&str], egress: Vec<Rule>| {
        let policy_types = types.iter().map(|name| name.to_string()).collect();
        let read = Policy::parse(&NetworkPolicy { policy_types, egress, ..policy(vec![]) });
        (read.ingress.is_some(), read.egress.is_some())
    };
    assert_eq!(restricted(&[], vec![]), (true, false));
    assert_eq!(restricted(&[], vec![Rule::default()]), (true, true));
    assert_eq!(restricted(&["Egress"], vec![]), (false, true));
    assert_eq!(restricted(&["Ingress"], vec![]), (true, false));
}

#[test]
fn rules_of_a_direction_that_policy_types_leave_out_are_remarked_on() {
    let mut written = policy(vec![Rule::default()]);
    written.policy_types = vec!["Egress".to_owned()];
    let read = Policy::parse(&written);
    assert_eq!(read.ingress, None);
    assert!(read.problems[0].to_string().contains("leaves ingress out"), "{}", read.problems[0]);
}
