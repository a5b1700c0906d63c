//! NetworkPolicies: from the wire to what somebody wrote, and what that means.
//!
//! A policy is never simply skipped: that would open the pods it was written for.

use std::sync::Arc;

use fathom_policy::{Policy, spec};
use k8s_openapi::api::networking::v1 as wire;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::unknown::{self, FieldPath, Step};
use super::{ConvertError, Converted, InForce};
use crate::cluster::model::{NetworkPolicy, Object};

/// Converts a policy whatever is in it: what does not even have a policy's form restricts, in both
/// directions, the pods its selector names (all of the namespace if that cannot be read either).
///
/// A field that does not exist is no trifle here: `form:` for `from:` would allow everybody.
pub fn from_value(value: &Value) -> Converted {
    let mut unknown = Vec::new();
    let read = super::read::<wire::NetworkPolicy>(value, &mut unknown);
    let key_in_doubt = unknown::leaves_the_key_in_doubt(&unknown, value);
    let object = match read {
        Ok(object) => object,
        Err(error) => {
            return Converted {
                object: Some(Object::NetworkPolicy(Arc::new(closed(value)))),
                error: Some(error),
                in_force: InForce::OlderOrRestricted,
                key_in_doubt,
            };
        }
    };
    let no_spec = object.spec.is_none();
    let narrowing = |path: &FieldPath| {
        part_of(path, no_spec).map(|within| spec::UnknownField { place: path.to_string(), within })
    };
    let harmless: Vec<FieldPath> = unknown.iter().filter(|p| narrowing(p).is_none()).cloned().collect();
    let policy = network_policy(object, unknown.iter().filter_map(narrowing).collect());
    let problems = policy.meaning.problems.iter();
    let mut texts: Vec<String> =
        problems.map(|p| format!("{}: {}; {}", p.place, p.fault, p.effect)).collect();
    let in_force = if texts.is_empty() { InForce::AsWritten } else { InForce::Restricted };
    if !harmless.is_empty() {
        texts.push(ConvertError::UnknownFields(unknown::listed(&harmless)).to_string());
    }
    let error = (!texts.is_empty()).then(|| ConvertError::Policy(texts.join("; ")));
    Converted { object: Some(Object::NetworkPolicy(Arc::new(policy))), error, in_force, key_in_doubt }
}

/// Which part of the policy an unknown field may have been meant to narrow; `None`: none.
fn part_of(path: &FieldPath, no_spec: bool) -> Option<spec::Part> {
    let [Step::Field(first), rest @ ..] = &path.0[..] else { return None };
    match (first.as_str(), rest) {
        ("spec", [Step::Field(list), Step::Item(rule), ..]) if list == "ingress" => {
            Some(spec::Part::Ingress(*rule))
        }
        ("spec", [Step::Field(list), Step::Item(rule), ..]) if list == "egress" => {
            Some(spec::Part::Egress(*rule))
        }
        ("spec", [Step::Field(field), _, ..]) if field == "podSelector" => Some(spec::Part::PodSelector),
        ("spec", _) => Some(spec::Part::Spec),
        ("metadata", _) => None,
        // Perhaps it is the spec.
        _ => no_spec.then_some(spec::Part::Spec),
    }
}

/// A NetworkPolicy as the agent needs it. What is wrong with it is in `meaning.problems`.
fn network_policy(object: wire::NetworkPolicy, unknown_fields: Box<[spec::UnknownField]>) -> NetworkPolicy {
    let metadata = object.metadata;
    let policy = object.spec.unwrap_or_default();
    let namespace = super::namespace_of(&metadata);
    understood(spec::NetworkPolicy {
        namespace: namespace.to_string(),
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
        pod_selector: selector(policy.pod_selector.unwrap_or_default()),
        policy_types: policy.policy_types.unwrap_or_default(),
        ingress: policy.ingress.into_iter().flatten().map(|rule| rule_of(rule.from, rule.ports)).collect(),
        egress: policy.egress.into_iter().flatten().map(|rule| rule_of(rule.to, rule.ports)).collect(),
        unknown_fields,
    })
}

fn understood(written: spec::NetworkPolicy) -> NetworkPolicy {
    let meaning = Policy::parse(&written);
    NetworkPolicy { written, meaning }
}

fn closed(value: &Value) -> NetworkPolicy {
    let text = |field: &str| value.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let pods = value.pointer("/spec/podSelector");
    // The part that is understood selects more pods than all of it would: that is the safe side.
    let pods = pods.and_then(|pods| super::read::<LabelSelector>(pods, &mut Vec::new()).ok());
    let namespace = Some(text("/metadata/namespace")).filter(|namespace| !namespace.is_empty());
    understood(spec::NetworkPolicy {
        namespace: namespace.unwrap_or_else(|| super::DEFAULT_NAMESPACE.to_owned()),
        name: text("/metadata/name"),
        uid: text("/metadata/uid"),
        pod_selector: selector(pods.unwrap_or_default()),
        policy_types: vec!["Ingress".into(), "Egress".into()],
        ..Default::default()
    })
}

fn selector(selector: LabelSelector) -> spec::LabelSelector {
    let expressions = selector.match_expressions.into_iter().flatten();
    spec::LabelSelector {
        match_labels: selector.match_labels.unwrap_or_default(),
        match_expressions: expressions
            .map(|e| spec::Expression {
                key: e.key,
                operator: e.operator,
                values: e.values.unwrap_or_default(),
            })
            .collect(),
    }
}

fn rule_of(
    peers: Option<Vec<wire::NetworkPolicyPeer>>,
    ports: Option<Vec<wire::NetworkPolicyPort>>,
) -> spec::Rule {
    let block = |b: wire::IPBlock| spec::IpBlock { cidr: b.cidr, except: b.except.unwrap_or_default() };
    let peer = |p: wire::NetworkPolicyPeer| spec::Peer {
        pod_selector: p.pod_selector.map(selector),
        namespace_selector: p.namespace_selector.map(selector),
        ip_block: p.ip_block.map(block),
    };
    let port = |p: wire::NetworkPolicyPort| spec::Port {
        protocol: p.protocol,
        port: p.port.map(|port| match port {
            IntOrString::Int(number) => spec::PortValue::Number(number),
            IntOrString::String(name) => spec::PortValue::Name(name),
        }),
        end_port: p.end_port,
    };
    spec::Rule {
        peers: peers.into_iter().flatten().map(peer).collect(),
        ports: ports.into_iter().flatten().map(port).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(spec: Value) -> (NetworkPolicy, Option<String>) {
        let converted = from_value(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": "p", "namespace": "live" }, "spec": spec,
        }));
        let Some(Object::NetworkPolicy(policy)) = converted.object else { panic!("a policy") };
        ((*policy).clone(), converted.error.map(|e| e.to_string()))
    }

    #[test]
    fn every_field_arrives() {
        let (policy, error) = read(json!({
            "podSelector": { "matchLabels": { "app": "web" } },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{
                "from": [
                    { "podSelector": { "matchExpressions": [{ "key": "a", "operator": "In", "values": ["1"] }] },
                      "namespaceSelector": {} },
                    { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } },
                ],
                "ports": [{ "protocol": "UDP", "port": "dns" }, { "port": 80, "endPort": 90 }],
            }],
            "egress": [{}],
        }));
        assert_eq!(error, None);
        let written = policy.written;
        assert_eq!((written.namespace.as_str(), written.name.as_str()), ("live", "p"));
        assert_eq!(written.ingress[0].peers[0].namespace_selector, Some(spec::LabelSelector::default()));
        assert_eq!(written.ingress[0].peers[1].ip_block.as_ref().unwrap().except, ["10.1.0.0/16"]);
        assert_eq!(written.ingress[0].ports[0].port, Some(spec::PortValue::Name("dns".into())));
        assert_eq!(written.ingress[0].ports[1].end_port, Some(90));
        assert_eq!(written.egress.len(), 1);
    }

    #[test]
    fn a_misspelt_field_allows_nothing_in_its_part_and_is_named_by_path() {
        let allows = |rules: &Option<Vec<fathom_policy::Rule>>| {
            rules.iter().flatten().any(|rule| matches!(rule, fathom_policy::Rule::Allow { .. }))
        };
        let friends = json!([{ "podSelector": { "matchLabels": { "role": "friend" } } }]);
        for (place, rule) in [
            ("spec.ingress[1].form", json!({ "form": friends })),
            ("spec.ingress[1].port", json!({ "from": friends, "port": [{ "port": 80 }] })),
            ("spec.ingress[1].ports[0].prot", json!({ "ports": [{ "prot": 80 }] })),
            (
                "spec.ingress[1].from[0].podSelector.matchLabel",
                json!({ "from": [{ "podSelector": { "matchLabel": { "role": "friend" } } }] }),
            ),
        ] {
            let good = json!({ "from": friends });
            let (policy, error) = read(json!({ "podSelector": {}, "ingress": [good, rule] }));
            let error = error.unwrap();
            assert!(error.contains(place), "{place}: {error}");
            let rules = policy.meaning.ingress.unwrap();
            assert!(matches!(rules[0], fathom_policy::Rule::Allow { .. }), "{place}: the other rule works");
            assert_eq!(rules[1], fathom_policy::Rule::Broken, "{place}");
        }
        for (place, spec) in [
            ("spec.podSelector.matchLabel", json!({ "podSelector": { "matchLabel": {} }, "ingress": [{}] })),
            ("spec.podSelectr", json!({ "podSelectr": {}, "ingress": [{}], "egress": [{}] })),
            ("spec.policyTypse", json!({ "podSelector": {}, "policyTypse": ["Egress"], "ingress": [{}] })),
        ] {
            let (policy, error) = read(spec);
            let error = error.unwrap();
            assert!(error.contains(place), "{place}: {error}");
            let meaning = policy.meaning;
            assert!(meaning.ingress.is_some() && !allows(&meaning.ingress) && !allows(&meaning.egress));
            assert_eq!(meaning.egress.is_some(), place != "spec.podSelector.matchLabel", "{place}");
        }
        let converted =
            from_value(&json!({ "metadata": { "name": "p" }, "sepc": { "policyTypes": ["Egress"] } }));
        let Some(Object::NetworkPolicy(policy)) = converted.object else { panic!("a policy") };
        assert!(policy.meaning.ingress.is_some() && policy.meaning.egress.is_some(), "closed both ways");
    }

    #[test]
    fn a_field_beside_the_spec_that_says_nothing_about_pods_is_only_a_warning() {
        let converted = from_value(&json!({
            "metadata": { "name": "p", "namespace": "live", "lables": {} }, "status": {},
            "spec": { "podSelector": {}, "ingress": [{}] },
        }));
        assert_eq!(converted.in_force, InForce::AsWritten);
        assert!(!converted.key_in_doubt);
        let error = converted.error.unwrap().to_string();
        assert!(error.contains("metadata.lables, status"), "{error}");
    }

    #[test]
    fn what_is_no_policy_restricts_the_pods_it_names_and_says_why() {
        let (policy, error) =
            read(json!({ "podSelector": { "matchLabels": { "app": "web" } }, "ingress": "nonsense" }));
        assert!(error.is_some());
        assert_eq!(policy.written.pod_selector.match_labels["app"], "web");
        assert_eq!(policy.written.policy_types, ["Ingress", "Egress"]);
        assert!(policy.written.ingress.is_empty() && policy.written.egress.is_empty());
    }

    #[test]
    fn what_is_wrong_inside_a_policy_is_named_by_its_place() {
        let (_, error) = read(json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": 70000 }] }] }));
        let error = error.unwrap();
        assert!(error.contains("spec.ingress[0].ports[0]") && error.contains("70000"), "{error}");
    }
}
