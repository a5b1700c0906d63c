//! What the server itself fills in and checks.

use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::resources::{DEFINITIONS, Resource};
use crate::store::{Key, Store};

/// Namespaces every cluster has.
pub const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// A new object as the server makes it of what was sent.
pub fn prepare(resource: &Resource, object: &mut Value) {
    match (resource.group.as_str(), resource.kind.as_str()) {
        // A kubelet registers its node with the status.
        ("", "Node") => {}
        ("", "Namespace") => {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object["metadata"]["name"].clone();
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"] = json!({"phase": "Active"});
        }
        ("", "Pod") => {
            object["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
        }
        ("", "Service") => {
            object["status"] = json!({"loadBalancer": {}});
        }
        ("apiextensions.k8s.io", _) => {
            let condition = |kind: &str| json!({"type": kind, "status": "True"});
            object["status"] = json!({
                "acceptedNames": object["spec"]["names"],
                "conditions": [condition("NamesAccepted"), condition("Established")],
                "storedVersions": [object.pointer("/spec/versions/0/name")],
            });
        }
        _ if resource.status => drop(object.as_object_mut().map(|object| object.remove("status"))),
        _ => {}
    }
}

/// Fields that get a value if they have none, in new and in changed objects.
pub fn default(resource: &Resource, object: &mut Value) {
    let fields = match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => {
            json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30})
        }
        ("", "Service") => json!({"type": "ClusterIP"}),
        _ => return,
    };
    for (field, value) in fields.as_object().into_iter().flatten() {
        if object["spec"][field].is_null() {
            object["spec"][field] = value.clone();
        }
    }
}

/// What is wrong with a new or changed object: a field and a text each.
pub fn faults(resource: &Resource, object: &Value, before: Option<&Value>) -> Vec<(String, String)> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut faults = Vec::new();
    if !is_name(resource, name) {
        let text = format!(
            "Invalid value: {name:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        );
        faults.push(("metadata.name".to_owned(), text));
    }
    for (key, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
        if !value.as_str().is_some_and(is_label_value) {
            faults.push(("metadata.labels".to_owned(), format!("Invalid value: {value}: of label {key}")));
        }
    }
    for field in ["labels", "annotations"] {
        let map = &object["metadata"][field];
        let good = map.is_null() || map.as_object().is_some_and(|map| map.values().all(Value::is_string));
        if !good {
            faults.push((format!("metadata.{field}"), "Invalid value: must be a map of strings".to_owned()));
        }
    }
    if let (Some(before), "Pod") = (before, resource.kind.as_str()) {
        for field in ["nodeName", "hostNetwork", "serviceAccountName"] {
            let (old, new) = (&before["spec"][field], &object["spec"][field]);
            if old != new && !(field == "nodeName" && old.is_null()) {
                faults.push((format!("spec.{field}"), "Forbidden: pod updates may not change it".to_owned()));
            }
        }
    }
    if resource.place() == DEFINITIONS {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let wanted = format!("{}.{}", text("/spec/names/plural"), text("/spec/group"));
        if name != wanted {
            faults.push(("metadata.name".to_owned(), format!("Invalid value: {name:?}: must be {wanted}")));
        }
    }
    faults
}

/// A namespace must be there, and must stay.
///
/// # Errors
/// 404, 403.
pub fn namespace(store: &Store, resource: &Resource, namespace: &str, name: &str) -> Result<(), Refusal> {
    if !resource.namespaced {
        return Ok(());
    }
    let Some(there) = store.get("namespaces", &Key::new("", namespace)) else {
        return Err(Refusal::new(404, "NotFound", format!("namespaces \"{namespace}\" not found")));
    };
    if there["metadata"].get("deletionTimestamp").is_some() {
        let message = format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
            resource.full_name()
        );
        return Err(Refusal::new(403, "Forbidden", message).about(resource, name));
    }
    Ok(())
}

/// Names of roles and their bindings may have colons.
fn is_name(resource: &Resource, name: &str) -> bool {
    let is_part = |part: &str| {
        let mut letters = part.bytes();
        let plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        !part.is_empty()
            && letters.all(|l| plain(l) || l == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if resource.group == "rbac.authorization.k8s.io" {
        return !name.is_empty() && !name.contains(['/', '%']);
    }
    name.len() <= 253 && name.split('.').all(is_part)
}

fn is_label_value(value: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    value.is_empty()
        || (value.len() <= 63
            && edge(value.chars().next())
            && edge(value.chars().last())
            && value.chars().all(plain))
}
