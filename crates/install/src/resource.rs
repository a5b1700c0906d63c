//! How kinds are called in paths: those of the manifests, so that nothing must be discovered.

use anyhow::Context;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::Value;

const PLURALS: [(&str, &str); 13] = [
    ("CustomResourceDefinition", "customresourcedefinitions"),
    ("ServiceAccount", "serviceaccounts"),
    ("ClusterRole", "clusterroles"),
    ("ClusterRoleBinding", "clusterrolebindings"),
    ("Role", "roles"),
    ("RoleBinding", "rolebindings"),
    ("Secret", "secrets"),
    ("Service", "services"),
    ("NetworkPolicy", "networkpolicies"),
    ("Deployment", "deployments"),
    ("DaemonSet", "daemonsets"),
    ("PodDisruptionBudget", "poddisruptionbudgets"),
    ("PodMonitor", "podmonitors"),
];

/// The place of an object, and its name there.
pub fn place(client: &Client, object: &Value) -> anyhow::Result<(Api<DynamicObject>, String)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (kind, api_version) = text("/kind").zip(text("/apiVersion")).context("an object without a kind")?;
    let name = text("/metadata/name").with_context(|| format!("a {kind} without a name"))?.to_owned();
    let plural = PLURALS.iter().find(|(known, _)| *known == kind);
    let (_, plural) = plural.with_context(|| format!("nobody knows where a {kind} goes"))?;
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: (*plural).to_owned(),
    };
    let api = match text("/metadata/namespace") {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((api, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_manifests_has_its_place() {
        let all = fathom_manifests::Variant { pod_monitor: true, ..Default::default() };
        for object in all.objects().unwrap() {
            let kind = object["kind"].as_str().unwrap();
            assert!(PLURALS.iter().any(|(known, _)| *known == kind), "{kind}");
        }
    }
}
