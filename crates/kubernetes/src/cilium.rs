//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy as resources: their definitions, for clusters
//! where nobody else has installed them, and the status that tells authors what of a policy is refused.

use fathom_policy::cilium::written::Spec;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What pods of a namespace may send and get.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumNetworkPolicy",
    plural = "ciliumnetworkpolicies",
    singular = "ciliumnetworkpolicy",
    shortname = "cnp",
    shortname = "ciliumnp",
    category = "cilium",
    category = "ciliumpolicy",
    namespaced,
    status = "PolicyStatus",
    doc = "What pods of a namespace may send and get.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Valid",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Valid')].status"
    )
)]
pub struct CiliumNetworkPolicySpec {
    #[serde(flatten)]
    pub spec: Spec,
}

/// What pods of every namespace may send and get.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumClusterwideNetworkPolicy",
    plural = "ciliumclusterwidenetworkpolicies",
    singular = "ciliumclusterwidenetworkpolicy",
    shortname = "ccnp",
    category = "cilium",
    category = "ciliumpolicy",
    status = "PolicyStatus",
    doc = "What pods of every namespace may send and get.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Valid",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Valid')].status"
    )
)]
pub struct CiliumClusterwideNetworkPolicySpec {
    #[serde(flatten)]
    pub spec: Spec,
}

/// What became of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyStatus {
    /// The condition Valid says whether all of the policy is enforced, and if not, what is refused and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub conditions: Vec<Condition>,
}

/// One thing that is so or not so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// "Valid".
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub kind: String,
    /// "True", "False" or "Unknown".
    #[schemars(length(min = 1, max = 16))]
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub message: Option<String>,
    /// When the status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_transition_time: Option<String>,
}

/// The definition of CiliumNetworkPolicy.
pub fn network_policy() -> CustomResourceDefinition {
    with_specs(CiliumNetworkPolicy::crd())
}

/// The definition of CiliumClusterwideNetworkPolicy.
pub fn clusterwide_network_policy() -> CustomResourceDefinition {
    with_specs(CiliumClusterwideNetworkPolicy::crd())
}

/// Beside `spec` there may be `specs`, a list of the same, instead of it or with it.
fn with_specs(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(definition).expect("a definition is plain data");
    for version in value["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        let one = schema["properties"]["spec"].clone();
        schema["properties"]["specs"] = json!({
            "description": "Several specs in one object; each stands for itself.",
            "type": "array",
            "maxItems": 100,
            "items": one,
        });
        schema["x-kubernetes-validations"] = json!([{
            "rule": "has(self.spec) || has(self.specs)",
            "message": "a policy has a spec or specs",
        }]);
        if let Some(required) = schema["required"].as_array_mut() {
            required.retain(|name| name != "spec");
            if required.is_empty() {
                schema.as_object_mut().map(|schema| schema.remove("required"));
            }
        }
        for place in ["/properties/spec", "/properties/specs/items"] {
            if let Some(Value::Object(spec)) = schema.pointer_mut(place) {
                spec.insert(
                    "x-kubernetes-validations".into(),
                    json!([{
                        "rule": "has(self.endpointSelector) != has(self.nodeSelector)",
                        "message": "a spec has an endpointSelector or a nodeSelector, not both",
                    }]),
                );
            }
        }
    }
    serde_json::from_value(value).expect("a definition with one property more is one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_definitions_have_specs_and_a_status_of_their_own() {
        for (definition, scope) in
            [(network_policy(), "Namespaced"), (clusterwide_network_policy(), "Cluster")]
        {
            assert_eq!(definition.spec.scope, scope);
            let version = &definition.spec.versions[0];
            assert_eq!(version.name, "v2");
            assert!(version.subresources.as_ref().is_some_and(|sub| sub.status.is_some()));
            let schema = serde_json::to_value(version.schema.as_ref().unwrap()).unwrap();
            let properties = &schema["openAPIV3Schema"]["properties"];
            let rules = |of: &Value| of["properties"]["ingressDeny"]["items"]["properties"].clone();
            assert!(rules(&properties["spec"])["fromCIDRSet"].is_object());
            assert_eq!(rules(&properties["specs"]["items"]), rules(&properties["spec"]));
            assert!(schema["openAPIV3Schema"]["required"].is_null(), "neither of both must be there");
        }
    }

    /// What the API server asks of a schema: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.
    #[test]
    fn the_schema_is_structural() {
        fn walk(schema: &Value, place: &str, free: &mut usize) {
            let anything = schema["x-kubernetes-preserve-unknown-fields"] == true;
            *free += usize::from(anything);
            let either = schema["x-kubernetes-int-or-string"] == true;
            assert!(schema["type"].is_string() || anything || either, "{place} has no type: {schema}");
            for forbidden in ["$ref", "definitions", "dependencies", "patternProperties"] {
                assert!(schema[forbidden].is_null(), "{place} has {forbidden}");
            }
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                if place.is_empty() && name == "metadata" {
                    continue;
                }
                walk(inner, &format!("{place}.{name}"), free);
            }
            for inner in [&schema["items"], &schema["additionalProperties"]] {
                if inner.is_object() {
                    walk(inner, &format!("{place}[]"), free);
                }
            }
        }
        for definition in [network_policy(), clusterwide_network_policy()] {
            let schema = serde_json::to_value(definition.spec.versions[0].schema.as_ref().unwrap()).unwrap();
            let mut free = 0;
            walk(&schema["openAPIV3Schema"], "", &mut free);
            assert!(free > 20, "what is only refused may be anything: {free}");
        }
    }
}
