//! Cilium's policies: what is in force of one that is not all in order.

use std::sync::Arc;

use fathom_kubernetes::cilium;
use serde_json::Value;

use super::unknown;
use super::{ConvertError, Converted, InForce};
use crate::cluster::model::{CiliumPolicy, Kind, NetworkPolicy, Object, Written};

/// Converts a policy whatever is in it.
pub fn from_value(kind: Kind, value: &Value) -> Converted {
    let cilium::Read { object, policies, mut faults, harmless, unread, key_in_doubt } =
        cilium::read(kind.is_cluster_scoped(), value);
    let in_force = match (unread, faults.is_empty()) {
        (true, _) => InForce::OlderOrRestricted,
        (false, true) => InForce::AsWritten,
        (false, false) => InForce::Restricted,
    };
    if !harmless.is_empty() {
        faults.push(ConvertError::UnknownFields(unknown::listed(&harmless)).to_string());
    }
    let error = (!faults.is_empty()).then(|| ConvertError::Policy(faults.join("; ")));
    let written = Arc::new(object);
    let part = |(number, meaning)| {
        Arc::new(NetworkPolicy { written: Written::Cilium { object: written.clone(), number }, meaning })
    };
    let parts = policies.into_iter().enumerate().map(part).collect();
    let policy = Arc::new(CiliumPolicy { written, parts });
    let object = match kind {
        Kind::CiliumClusterwideNetworkPolicy => Object::CiliumClusterwideNetworkPolicy(policy),
        _ => Object::CiliumNetworkPolicy(policy),
    };
    Converted { object: Some(object), error, in_force, key_in_doubt }
}

#[cfg(test)]
mod tests {
    use fathom_policy::{Direction, Peers, Ports, Rule};
    use serde_json::json;

    use super::*;
    use crate::cluster::convert;

    fn read(kind: Kind, mut object: Value) -> (Arc<CiliumPolicy>, Option<String>, InForce) {
        object["metadata"] = json!({ "name": "p", "namespace": "live" });
        let Converted { object, error, in_force, .. } = convert::object(kind, &object);
        let Some(Object::CiliumNetworkPolicy(policy) | Object::CiliumClusterwideNetworkPolicy(policy)) =
            object
        else {
            panic!("a policy")
        };
        (policy, error.map(|error| error.to_string()), in_force)
    }

    fn own(spec: Value) -> (Arc<CiliumPolicy>, Option<String>, InForce) {
        read(Kind::CiliumNetworkPolicy, json!({ "spec": spec }))
    }

    fn rules(policy: &CiliumPolicy, part: usize, direction: Direction) -> &[Rule] {
        policy.parts[part].meaning.rules(direction).unwrap_or_default()
    }

    #[test]
    fn every_field_arrives_and_what_is_refused_is_named() {
        let (policy, error, in_force) = own(json!({
            "endpointSelector": { "matchLabels": { "app": "web" } },
            "description": "d", "labels": [{ "key": "k", "source": "s", "value": "v" }],
            "enableDefaultDeny": { "egress": false },
            "ingress": [
                { "fromEndpoints": [{ "matchExpressions": [{ "key": "k8s:app", "operator": "Exists" }] }],
                  "fromRequires": [{ "matchLabels": { "env": "prod" } }],
                  "toPorts": [{ "ports": [{ "port": 8080, "endPort": 8090, "protocol": "TCP" }, { "port": "dns" }] }] },
                { "fromCIDRSet": [{ "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] }],
                  "icmps": [{ "fields": [{ "family": "IPv6", "type": "EchoRequest" }, { "type": 8 }] }] },
                { "fromEntities": ["cluster"], "toPorts": [{ "ports": [{ "port": "80" }], "rules": { "http": [{}] } }] },
            ],
            "egressDeny": [{ "toServices": [{ "k8sService": { "serviceName": "db", "namespace": "ops" } }] }],
        }));
        let error = error.unwrap();
        assert!(
            error.contains("spec.ingress[2].toPorts[0].rules.http: rules.http is not enforced by Fathom"),
            "{error}"
        );
        assert_eq!(in_force, InForce::Restricted);
        let ingress = rules(&policy, 0, Direction::Ingress);
        assert!(matches!(ingress, [Rule::Allow { .. }, Rule::Allow { .. }, Rule::Broken]), "{ingress:?}");
        assert_eq!(rules(&policy, 0, Direction::Egress).len(), 1);
        let meaning = &policy.parts[0].meaning;
        assert!(meaning.open.egress && !meaning.open.ingress && meaning.asks_for_services());
        assert_eq!(meaning.requires.ingress.allow.len(), 1);
        assert_eq!(meaning.meta.title(), "CiliumNetworkPolicy live/p");
    }

    #[test]
    fn a_cluster_wide_policy_has_no_namespace_and_each_spec_is_a_part() {
        let spec = json!({ "endpointSelector": {}, "ingress": [{ "fromEntities": ["all"] }] });
        let (policy, error, _) =
            read(Kind::CiliumClusterwideNetworkPolicy, json!({ "spec": spec, "specs": [spec, spec] }));
        assert_eq!((error, policy.parts.len()), (None, 3));
        assert_eq!(policy.parts[2].meaning.meta.title(), "CiliumClusterwideNetworkPolicy p");
        assert_eq!(policy.parts[2].meaning.first_rule.ingress, 2);
    }

    #[test]
    fn a_misspelt_field_closes_its_part_and_is_named_by_path() {
        let peers = json!([{ "matchLabels": { "app": "web" } }]);
        for (place, rule) in [
            (
                "spec.ingress[1].formEndpoints",
                json!({ "formEndpoints": peers, "toPorts": [{ "ports": [{ "port": "80" }] }] }),
            ),
            ("spec.ingress[1].toPort", json!({ "fromEndpoints": peers, "toPort": [] })),
            (
                "spec.ingress[1].toPorts[0].ports[0].prt",
                json!({ "toPorts": [{ "ports": [{ "port": "0", "prt": 80 }] }] }),
            ),
            (
                "spec.ingress[1].fromEndpoints[0].matchLabel",
                json!({ "fromEndpoints": [{ "matchLabel": {} }] }),
            ),
        ] {
            let good = json!({ "fromEndpoints": peers });
            let (policy, error, in_force) = own(json!({ "endpointSelector": {}, "ingress": [good, rule] }));
            assert!(error.as_ref().unwrap().contains(place), "{place}: {error:?}");
            let found = rules(&policy, 0, Direction::Ingress);
            assert!(matches!(found, [Rule::Allow { .. }, Rule::Broken]), "{place}: {found:?}");
            assert_eq!(in_force, InForce::Restricted);
        }
        let (policy, error, _) = own(
            json!({ "endpointSelector": { "matchLabel": {} }, "ingress": [{ "fromEntities": ["all"] }] }),
        );
        assert!(error.unwrap().contains("spec.endpointSelector.matchLabel"));
        assert_eq!(rules(&policy, 0, Direction::Ingress), [Rule::Broken]);
        for name in ["sepc", "specification"] {
            let (policy, error, _) = read(Kind::CiliumNetworkPolicy, json!({ name: {} }));
            assert!(error.unwrap().contains(name));
            assert!(policy.parts[0].meaning.ingress.is_some() && policy.parts[0].meaning.egress.is_some());
        }
        let deny = json!({ "endpointSelector": {}, "ingressDeny": [{ "fromEntities": ["world"] }] });
        let (policy, ..) =
            read(Kind::CiliumNetworkPolicy, json!({ "spec": { "endpointSelector": {} }, "spces": [deny] }));
        assert_eq!(
            rules(&policy, 1, Direction::Ingress),
            [Rule::Deny { peers: Peers::Any, ports: Ports::Any }],
            "what was to be denied is"
        );
    }

    #[test]
    fn a_spec_that_is_none_is_closed_and_the_others_work() {
        let good = json!({ "endpointSelector": {}, "ingress": [{ "fromEntities": ["all"] }] });
        let all = [Rule::Deny { peers: Peers::Any, ports: Ports::Any }];
        for (bad, wanted) in [
            (json!({ "endpointSelector": {}, "ingress": "nonsense" }), &[][..]),
            (
                json!({ "endpointSelector": {}, "ingress": 7, "ingressDeny": [{ "fromEntities": ["world"] }] }),
                &all,
            ),
            (json!("nonsense"), &[]),
        ] {
            let (policy, error, in_force) = read(Kind::CiliumNetworkPolicy, json!({ "specs": [bad, good] }));
            assert!(error.as_ref().unwrap().contains("specs[0]:"), "{error:?}");
            assert_eq!(in_force, InForce::OlderOrRestricted);
            for direction in Direction::BOTH {
                assert_eq!(policy.parts[0].meaning.rules(direction), Some(wanted), "{error:?}");
            }
            assert!(matches!(rules(&policy, 1, Direction::Ingress), [Rule::Allow { .. }]));
        }
    }

    #[test]
    fn a_field_that_says_nothing_about_packets_is_only_a_warning() {
        let (_, error, in_force) = read(
            Kind::CiliumNetworkPolicy,
            json!({ "spec": { "endpointSelector": {}, "ingress": [{}], "labels": [{ "key": "a", "kye": "b" }] },
                    "status": { "conditions": [] }, "extra": 1 }),
        );
        assert_eq!(in_force, InForce::AsWritten);
        let error = error.unwrap();
        assert!(error.contains("extra") && error.contains("spec.labels[0].kye"), "{error}");
    }
}
