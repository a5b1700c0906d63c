//! What is made of Cilium's policies: what is refused is named, and never allows more than is written.

use fathom_policy::cilium::object::{List, Object, OneSpec, Part, UnknownField};
use fathom_policy::cilium::written::Spec;
use fathom_policy::{Direction, Effect, Peers, Policy, Ports, Rule, Subject};
use serde_json::{Value, json};

fn object(specs: &[Value]) -> Object {
    let specs = specs.iter().enumerate().map(|(number, spec)| OneSpec {
        place: if specs.len() == 1 { "spec".to_owned() } else { format!("specs[{number}]") },
        spec: serde_json::from_value::<Spec>(spec.clone()).unwrap(),
        ..OneSpec::default()
    });
    Object { namespace: "live".into(), name: "p".into(), specs: specs.collect(), ..Object::default() }
}

fn read(spec: Value) -> Policy {
    Policy::parse_cilium(&object(&[spec])).remove(0)
}

/// Places and faults in a line each.
fn said(policy: &Policy) -> Vec<String> {
    policy.problems.iter().map(|problem| format!("{}: {}", problem.place, problem.fault)).collect()
}

#[test]
fn what_is_not_enforced_is_refused_by_name_and_its_rule_allows_nothing() {
    let web = json!([{ "ports": [{ "port": "80", "protocol": "TCP" }] }]);
    let with = |field: &str, value: Value| {
        let mut ports = web.clone();
        ports[0][field] = value;
        json!({ "toPorts": ports })
    };
    for (place, direction, rule) in [
        ("toPorts[0].rules.http", "ingress", with("rules", json!({ "http": [{ "method": "GET" }] }))),
        ("toPorts[0].rules.kafka", "ingress", with("rules", json!({ "kafka": [{ "topic": "t" }] }))),
        ("toPorts[0].rules.dns", "egress", with("rules", json!({ "dns": [{ "matchPattern": "*" }] }))),
        ("toPorts[0].rules.l7", "ingress", with("rules", json!({ "l7proto": "x", "l7": [{}] }))),
        ("toPorts[0].terminatingTLS", "egress", with("terminatingTLS", json!({ "secret": {} }))),
        ("toPorts[0].originatingTLS", "egress", with("originatingTLS", json!({ "secret": {} }))),
        ("toPorts[0].serverNames", "egress", with("serverNames", json!(["a.example"]))),
        ("toPorts[0].listener", "ingress", with("listener", json!({ "name": "x" }))),
        ("toFQDNs", "egress", json!({ "toFQDNs": [{ "matchName": "a.example" }], "toPorts": web })),
        ("toNodes", "egress", json!({ "toNodes": [{}] })),
        ("fromNodes", "ingress", json!({ "fromNodes": [{}] })),
        ("toGroups", "egress", json!({ "toGroups": [{}] })),
        ("fromGroups", "ingress", json!({ "fromGroups": [{}] })),
        (
            "authentication",
            "ingress",
            json!({ "fromEntities": ["all"], "authentication": { "mode": "required" } }),
        ),
        ("fromCIDRSet[0].cidrGroupRef", "ingress", json!({ "fromCIDRSet": [{ "cidrGroupRef": "g" }] })),
    ] {
        let policy = read(json!({ "endpointSelector": {}, direction: [rule] }));
        let [problem] = &policy.problems[..] else { panic!("{place}: {:?}", said(&policy)) };
        assert_eq!(problem.place, format!("spec.{direction}[0].{place}"));
        assert!(problem.fault.to_string().contains("is not enforced by Fathom"), "{problem}");
        assert_eq!(problem.effect, Effect::RuleAllowsNothing);
        let way = if direction == "ingress" { Direction::Ingress } else { Direction::Egress };
        assert_eq!(policy.rules(way), Some(&[Rule::Broken][..]), "{place} is denied by default");
    }
    let harmless = read(json!({
        "endpointSelector": {}, "description": "d", "labels": [{ "key": "a" }], "log": { "value": "v" },
        "ingress": [{ "fromEntities": ["all"], "authentication": { "mode": "disabled" },
                      "toPorts": [{ "ports": [{ "port": "80" }], "rules": {} }] }],
    }));
    assert_eq!(said(&harmless), Vec::<String>::new());
}

#[test]
fn a_deny_rule_with_a_fault_denies_all_that_it_may_have_meant() {
    let policy = read(json!({
        "endpointSelector": {},
        "ingressDeny": [
            { "fromGroups": [{}], "toPorts": [{ "ports": [{ "port": "80", "protocol": "TCP" }] }] },
            { "fromEntities": ["world"], "toPorts": [{ "ports": [{ "port": "70000" }] }] },
        ],
    }));
    let [
        Rule::Deny { peers: Peers::Any, ports: Ports::Of(_) },
        Rule::Deny { peers: Peers::Of(world), ports: Ports::Any },
    ] = policy.rules(Direction::Ingress).unwrap()
    else {
        panic!("{policy:?}")
    };
    assert_eq!(world.len(), 1);
    assert!(policy.problems.iter().all(|problem| problem.effect == Effect::RuleDeniesMore));
    assert!(said(&policy)[1].contains("port 70000 is out of range"), "{:?}", said(&policy));
}

#[test]
fn what_is_written_wrong_is_named_with_its_place_and_what_to_write() {
    for (rule, wanted) in [
        (
            json!({ "fromEntities": ["wrold"] }),
            "fromEntities[0]: unknown entity \"wrold\": write one of all, world",
        ),
        (json!({ "fromCIDR": ["10.0.0.0/33"] }), "fromCIDR[0]: \"10.0.0.0/33\" is no prefix"),
        (
            json!({ "fromCIDRSet": [{ "cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"] }] }),
            "fromCIDRSet[0].except[0]:",
        ),
        (
            json!({ "fromEndpoints": [{}], "fromCIDR": ["10.0.0.0/8"] }),
            "cannot have both fromEndpoints and fromCIDR",
        ),
        (json!({ "toPorts": [{}] }), "toPorts[0].ports: no port is named"),
        (json!({ "toPorts": [{ "ports": [{ "protocol": "TCP" }] }] }), "write a number, a name, or \"0\""),
        (
            json!({ "toPorts": [{ "ports": [{ "port": "1", "protocol": "ICMP" }] }] }),
            "types of ICMP in icmps",
        ),
        (
            json!({ "toPorts": [{ "ports": [{ "port": "90", "endPort": 80 }] }] }),
            "endPort 80 is below port 90",
        ),
        (json!({ "icmps": [{ "fields": [{ "type": "Eco" }] }] }), "\"Eco\" is no type of this family's ICMP"),
        (
            json!({ "icmps": [{ "fields": [{ "type": 8 }] }], "toPorts": [{ "ports": [{ "port": "1" }] }] }),
            "two rules",
        ),
        (json!({ "fromEndpoints": [{ "matchLabels": { "k8s:": "a" } }] }), "the label key is empty"),
    ] {
        let policy = read(json!({ "endpointSelector": {}, "ingress": [rule] }));
        assert!(said(&policy)[0].contains(wanted), "{:?} has no {wanted:?}", said(&policy));
        assert_eq!(policy.rules(Direction::Ingress), Some(&[Rule::Broken][..]), "{wanted}");
    }
}

#[test]
fn selectors_without_a_place_or_with_another_are_refused() {
    let node = read(json!({ "nodeSelector": {}, "ingress": [{ "fromEntities": ["all"] }] }));
    assert_eq!((&node.subject, node.problems[0].effect), (&Subject::Nobody, Effect::NobodyRestricted));
    for spec in [
        json!({ "ingress": [{ "fromEntities": ["all"] }] }),
        json!({ "endpointSelector": {}, "nodeSelector": {}, "ingress": [{ "fromEntities": ["all"] }] }),
        json!({ "endpointSelector": { "matchLabels": { "k8s:io.kubernetes.pod.namespace": "chat" } },
                "ingress": [{ "fromEntities": ["all"] }] }),
    ] {
        let policy = read(spec);
        assert_eq!(policy.problems[0].effect, Effect::PolicyAllowsNothing);
        assert_eq!(policy.rules(Direction::Ingress), Some(&[Rule::Broken][..]));
        assert!(matches!(&policy.subject, Subject::Endpoints(own) if own.requirements.len() == 1));
    }
    let nothing = Policy::parse_cilium(&object(&[])).remove(0);
    assert_eq!(said(&nothing), ["spec: the policy says nothing: write a spec"]);
    let idle = read(json!({ "endpointSelector": {} }));
    assert!(said(&idle)[0].contains("there are no rules"), "{:?}", said(&idle));
}

fn misspelt(spec: Value, name: &str, within: Part) -> Policy {
    let field = UnknownField { place: format!("spec.{name}"), name: name.to_owned(), within };
    let object = Object { unknown_fields: [field].into(), ..object(&[spec]) };
    Policy::parse_cilium(&object).remove(0)
}

#[test]
fn a_misspelt_field_never_allows_more() {
    let open = json!({ "endpointSelector": {}, "ingress": [{ "fromEntities": ["all"] }] });
    let all = [Rule::Deny { peers: Peers::Any, ports: Ports::Any }];

    let policy = misspelt(open.clone(), "egres", Part::Spec(0));
    assert_eq!(policy.rules(Direction::Ingress), Some(&[Rule::Broken][..]));
    assert_eq!(
        policy.rules(Direction::Egress),
        Some(&[][..]),
        "the other direction is denied by default, too"
    );

    let policy = misspelt(open.clone(), "ingresDeny", Part::Spec(0));
    assert_eq!(policy.rules(Direction::Egress), Some(&all[..]), "what was to be denied is");
    assert_eq!(policy.problems[0].effect, Effect::EverythingDenied);

    let rule = |list| Part::Rule { spec: 0, list, rule: 0 };
    let policy = misspelt(open, "toPrts", rule(List::Ingress));
    assert_eq!(policy.rules(Direction::Ingress), Some(&[Rule::Broken][..]));
    assert!(policy.requires.ingress.allow.is_empty());

    let deny = json!({ "endpointSelector": {}, "ingressDeny": [{ "fromEntities": ["world"] }] });
    let policy = misspelt(deny, "toPrts", rule(List::IngressDeny));
    assert_eq!(policy.rules(Direction::Ingress), Some(&all[..]));

    let required =
        json!({ "endpointSelector": {}, "ingress": [{ "fromEndpoints": [{}] }, { "fromEndpoints": [{}] }] });
    let policy = misspelt(required, "fromRequire", rule(List::Ingress));
    assert_eq!(policy.requires.ingress.allow.len(), 1, "a requirement that is lost is one nobody fulfils");

    let lenient =
        json!({ "endpointSelector": {}, "enableDefaultDeny": { "ingress": false }, "ingress": [{}] });
    assert!(read(lenient.clone()).open.ingress);
    assert!(!misspelt(lenient, "egrss", Part::DefaultDeny(0)).open.ingress);
}

#[test]
fn rules_of_several_specs_are_numbered_through_the_object() {
    let rule = json!({ "fromEntities": ["all"] });
    let one = json!({ "endpointSelector": {}, "ingress": [rule, rule], "ingressDeny": [rule] });
    let two = json!({ "endpointSelector": {}, "ingress": [rule], "egress": [{ "toEntities": ["all"] }] });
    let policies = Policy::parse_cilium(&object(&[one, two]));
    assert_eq!((policies[0].first_rule.ingress, policies[1].first_rule.ingress), (0, 3));
    assert_eq!(policies[1].first_rule.egress, 0);
    assert_eq!(policies[0].meta.title(), "CiliumNetworkPolicy live/p");
}
