//! What the server says of itself: its version, and the resources it serves.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::resources::{self, Resource, group_version};
use crate::store::Store;

/// The release whose behaviour this server follows.
pub const VERSION: (&str, &str) = ("1", "36");

/// Paths that everybody may read, without a token too.
pub fn public(path: &str) -> Option<Response> {
    let path = path.trim_end_matches('/');
    let probe = ["/healthz", "/livez", "/readyz"];
    if probe.iter().any(|probe| path == *probe || path.starts_with(&format!("{probe}/"))) {
        return Some("ok".into_response());
    }
    let (major, minor) = VERSION;
    (path == "/version").then(|| {
        let version = json!({
            "major": major, "minor": minor, "gitVersion": format!("v{major}.{minor}.0"), "platform": "linux/amd64",
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
        });
        Json(version).into_response()
    })
}

/// Paths that list what is served.
pub fn answer(store: &Store, path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["api", version] => resource_list(store, "", version),
        ["apis"] => {
            let groups: Vec<Value> =
                groups(store).iter().map(|(name, versions)| group(name, versions)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let groups = groups(store);
            let mut answer = group(name, groups.get(*name)?);
            answer["kind"] = json!("APIGroup");
            answer["apiVersion"] = json!("v1");
            Some(answer)
        }
        ["apis", group, version] => resource_list(store, group, version),
        _ => None,
    }
}

fn groups(store: &Store) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in resources::all(store).into_iter().filter(|resource| !resource.group.is_empty()) {
        let versions = groups.entry(resource.group).or_default();
        if !versions.contains(&resource.version) {
            versions.push(resource.version);
        }
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let version =
        |version: &String| json!({"groupVersion": group_version(name, version), "version": version});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

fn resource_list(store: &Store, group: &str, version: &str) -> Option<Value> {
    let all = resources::all(store);
    let served: Vec<&Resource> = all.iter().filter(|r| r.group == group && r.version == version).collect();
    if served.is_empty() {
        return None;
    }
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let mut list = Vec::new();
    for resource in served {
        list.push(json!({
            "name": resource.plural, "singularName": resource.kind.to_lowercase(), "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs, "shortNames": resource.short_names,
        }));
        if resource.status {
            list.push(json!({
                "name": format!("{}/status", resource.plural), "singularName": "", "namespaced": resource.namespaced,
                "kind": resource.kind, "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let group_version = group_version(group, version);
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}
