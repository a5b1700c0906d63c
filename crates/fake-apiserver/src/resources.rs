//! What is served: built-in resources, and those that definitions in the store add.

use std::sync::Arc;

use serde_json::Value;

use crate::store::{Key, Store};

/// A resource of one group and version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// "" for the core.
    pub group: String,
    pub version: String,
    pub plural: String,
    pub kind: String,
    pub namespaced: bool,
    /// Status is written through its subresource alone.
    pub status: bool,
    pub short_names: Vec<String>,
    /// The definition that adds it, and the schema of its version.
    pub custom: Option<Custom>,
}

/// What a definition says beside the names.
#[derive(Clone, Debug)]
pub struct Custom {
    pub definition: String,
    pub schema: Option<Arc<Value>>,
}

/// Group, version, plural, kind, in a namespace, has a status subresource, short names.
type Row = (&'static str, &'static str, &'static str, &'static str, bool, bool, &'static [&'static str]);

const BUILT_IN: &[Row] = &[
    ("", "v1", "pods", "Pod", true, true, &["po"]),
    ("", "v1", "namespaces", "Namespace", false, true, &["ns"]),
    ("", "v1", "nodes", "Node", false, true, &["no"]),
    ("", "v1", "services", "Service", true, true, &["svc"]),
    ("", "v1", "events", "Event", true, false, &["ev"]),
    ("", "v1", "serviceaccounts", "ServiceAccount", true, false, &["sa"]),
    ("", "v1", "secrets", "Secret", true, false, &[]),
    ("", "v1", "configmaps", "ConfigMap", true, false, &["cm"]),
    ("events.k8s.io", "v1", "events", "Event", true, false, &["ev"]),
    ("apps", "v1", "deployments", "Deployment", true, true, &["deploy"]),
    ("apps", "v1", "daemonsets", "DaemonSet", true, true, &["ds"]),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true, true, &["pdb"]),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true, false, &[]),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true, false, &["netpol"]),
    ("coordination.k8s.io", "v1", "leases", "Lease", true, false, &[]),
    ("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false, false, &["pc"]),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false, false, &[]),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false, false, &[]),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role", true, false, &[]),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true, false, &[]),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        false,
        true,
        &["crd", "crds"],
    ),
];

impl Resource {
    /// "v1", "apps/v1".
    pub fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// "pods", "networkpolicies.networking.k8s.io".
    pub fn full_name(&self) -> String {
        with_group(&self.plural, &self.group)
    }

    /// "Pod", "NetworkPolicy.networking.k8s.io".
    pub fn kind_with_group(&self) -> String {
        with_group(&self.kind, &self.group)
    }

    /// Where the store keeps its objects: all versions of a resource in one place.
    pub fn place(&self) -> String {
        self.full_name()
    }
}

fn with_group(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

pub fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn built_in(row: &Row) -> Resource {
    let &(group, version, plural, kind, namespaced, status, short_names) = row;
    Resource {
        group: group.into(),
        version: version.into(),
        plural: plural.into(),
        kind: kind.into(),
        namespaced,
        status,
        short_names: short_names.iter().map(ToString::to_string).collect(),
        custom: None,
    }
}

/// Place of the definitions themselves.
pub const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// The resource of this name, if it is served.
pub fn find(store: &Store, group: &str, version: &str, plural: &str) -> Option<Resource> {
    if let Some(row) = BUILT_IN.iter().find(|row| (row.0, row.1, row.2) == (group, version, plural)) {
        return Some(built_in(row));
    }
    let definition = store.get(DEFINITIONS, &Key::new("", &format!("{plural}.{group}")))?;
    defined(&definition).into_iter().find(|resource| resource.version == version)
}

/// Everything that is served.
pub fn all(store: &Store) -> Vec<Resource> {
    let definitions = store.objects(DEFINITIONS).map(|(_, object)| object);
    BUILT_IN.iter().map(built_in).chain(definitions.flat_map(|d| defined(d))).collect()
}

/// The resources a definition adds, one per version that is served.
pub fn defined(definition: &Value) -> Vec<Resource> {
    let text = |path: &str| definition.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let served = versions.into_iter().flatten().filter(|version| version["served"] == true);
    served
        .map(|version| Resource {
            group: text("/spec/group"),
            version: version["name"].as_str().unwrap_or_default().to_owned(),
            plural: text("/spec/names/plural"),
            kind: text("/spec/names/kind"),
            namespaced: text("/spec/scope") == "Namespaced",
            status: version.pointer("/subresources/status").is_some(),
            short_names: definition
                .pointer("/spec/names/shortNames")
                .and_then(Value::as_array)
                .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default(),
            custom: Some(Custom {
                definition: text("/metadata/name"),
                schema: version.pointer("/schema/openAPIV3Schema").cloned().map(Arc::new),
            }),
        })
        .collect()
}
