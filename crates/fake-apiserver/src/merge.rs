//! How values are merged: maps by their keys, lists by what their items are known by.

use serde_json::{Map, Value};

use crate::resources::Resource;

/// What a list is when somebody writes a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// Written as a whole.
    Atomic,
    /// Of values that each occur once.
    Set,
    /// Of objects that are known by these fields.
    Map(Vec<String>),
}

/// A place in objects of a resource, and what is known of values there.
#[derive(Clone, Debug)]
pub enum Shape<'a> {
    /// By the names of a field and of the one around it.
    BuiltIn { kind: &'a str, around: String, name: String },
    /// By a definition's schema.
    Schema(Option<&'a Value>),
}

impl<'a> Shape<'a> {
    pub fn of(resource: &'a Resource) -> Self {
        match &resource.custom {
            Some(custom) => Shape::Schema(custom.schema.as_deref()),
            None => Shape::BuiltIn { kind: &resource.kind, around: String::new(), name: String::new() },
        }
    }

    pub fn field(&self, field: &str) -> Shape<'a> {
        match self {
            // Metadata is the same everywhere, whatever a schema says.
            Shape::Schema(_) if field == "metadata" => {
                Shape::BuiltIn { kind: "", around: String::new(), name: field.to_owned() }
            }
            Shape::Schema(schema) => {
                let of_field = |schema: &'a Value| {
                    schema["properties"].get(field).or_else(|| schema.get("additionalProperties"))
                };
                Shape::Schema(schema.and_then(of_field))
            }
            Shape::BuiltIn { kind, name, .. } => {
                Shape::BuiltIn { kind, around: name.clone(), name: field.to_owned() }
            }
        }
    }

    pub fn item(&self) -> Shape<'a> {
        match self {
            Shape::Schema(schema) => Shape::Schema(schema.and_then(|schema| schema.get("items"))),
            same @ Shape::BuiltIn { .. } => same.clone(),
        }
    }

    /// Maps that are written as a whole.
    pub fn is_atomic_map(&self) -> bool {
        match self {
            Shape::Schema(schema) => schema.is_some_and(|schema| schema["x-kubernetes-map-type"] == "atomic"),
            Shape::BuiltIn { name, around, .. } => {
                (name == "selector" && around == "spec")
                    || matches!(
                        name.as_str(),
                        "podSelector" | "namespaceSelector" | "labelSelector" | "roleRef"
                    )
            }
        }
    }

    pub fn list(&self) -> List {
        match self {
            Shape::Schema(None) => List::Atomic,
            Shape::Schema(Some(schema)) => match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => List::Set,
                Some("map") => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array();
                    List::Map(
                        keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
                    )
                }
                _ => List::Atomic,
            },
            Shape::BuiltIn { kind, around, name } => built_in(kind, around, name),
        }
    }
}

fn built_in(kind: &str, around: &str, name: &str) -> List {
    let map = |keys: &[&str]| List::Map(keys.iter().map(ToString::to_string).collect());
    match (kind, around, name) {
        (_, "metadata", "finalizers") | ("Node", "spec", "podCIDRs") => List::Set,
        (_, "metadata", "ownerReferences") => map(&["uid"]),
        (_, _, "conditions" | "addresses") if kind != "EndpointSlice" => map(&["type"]),
        ("Service", "spec", "ports") => map(&["port", "protocol"]),
        (_, "containers" | "initContainers", "ports") => map(&["containerPort", "protocol"]),
        (_, "spec", "containers" | "initContainers" | "volumes" | "imagePullSecrets")
        | (_, "containers" | "initContainers", "env") => map(&["name"]),
        (_, "containers" | "initContainers", "volumeMounts") => map(&["mountPath"]),
        ("Pod", "status", "podIPs" | "hostIPs") | (_, "spec", "hostAliases") => map(&["ip"]),
        _ => List::Atomic,
    }
}

/// Whether two items of a list are the same one. An absent protocol is TCP.
pub fn same_item(keys: &[String], a: &Value, b: &Value) -> bool {
    keys.iter().all(|key| key_value(a, key) == key_value(b, key))
}

/// The value of a key field, with its default.
pub fn key_value(item: &Value, key: &str) -> Value {
    match item.get(key) {
        Some(value) => value.clone(),
        None if key == "protocol" => Value::String("TCP".into()),
        None => Value::Null,
    }
}

/// Merges what is applied into what is there.
pub fn apply(there: &mut Value, applied: &Value, shape: &Shape<'_>) {
    match (there, applied) {
        (Value::Object(there), Value::Object(applied)) if !shape.is_atomic_map() => {
            for (field, value) in applied {
                match there.get_mut(field) {
                    Some(old) => apply(old, value, &shape.field(field)),
                    None => drop(there.insert(field.clone(), value.clone())),
                }
            }
        }
        (Value::Array(there), Value::Array(applied)) => match shape.list() {
            List::Atomic => *there = applied.clone(),
            List::Set => {
                let new: Vec<Value> = applied.iter().filter(|v| !there.contains(v)).cloned().collect();
                there.extend(new);
            }
            List::Map(keys) => {
                for item in applied {
                    match there.iter_mut().find(|old| same_item(&keys, old, item)) {
                        Some(old) => apply(old, item, &shape.item()),
                        None => there.push(item.clone()),
                    }
                }
            }
        },
        (there, applied) => *there = applied.clone(),
    }
}

/// A JSON merge patch (RFC 7386).
pub fn merge_patch(there: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *there = patch.clone();
        return;
    };
    for (field, value) in patch {
        let there = object(there);
        if value.is_null() {
            there.remove(field);
        } else {
            merge_patch(there.entry(field.clone()).or_insert(Value::Null), value);
        }
    }
    object(there);
}

/// A strategic merge patch: like a merge patch, but lists of known items are merged item by item, and `$patch`
/// may delete an item or replace a whole map or list.
pub fn strategic_patch(there: &mut Value, patch: &Value, shape: &Shape<'_>) {
    match patch {
        Value::Object(patch) => {
            let mut patch = patch.clone();
            match patch.remove("$patch").as_ref().and_then(Value::as_str) {
                Some("replace") => {
                    *there = Value::Object(patch);
                    return;
                }
                Some("delete") => {
                    *there = Value::Object(Map::new());
                    return;
                }
                _ => {}
            }
            let there = object(there);
            for (field, value) in &patch {
                if field.starts_with('$') {
                    delete_from_set(there, field, value);
                } else if value.is_null() {
                    there.remove(field);
                } else {
                    let old = there.entry(field.clone()).or_insert(Value::Null);
                    strategic_patch(old, value, &shape.field(field));
                }
            }
        }
        Value::Array(patch) => strategic_list(there, patch, shape),
        value => *there = value.clone(),
    }
}

/// `$deleteFromPrimitiveList/finalizers`.
fn delete_from_set(there: &mut Map<String, Value>, directive: &str, values: &Value) {
    if let Some(field) = directive.strip_prefix("$deleteFromPrimitiveList/")
        && let Some(list) = there.get_mut(field).and_then(Value::as_array_mut)
        && let Some(values) = values.as_array()
    {
        list.retain(|value| !values.contains(value));
    }
}

fn strategic_list(there: &mut Value, patch: &[Value], shape: &Shape<'_>) {
    let directive = |item: &Value, wanted: &str| item["$patch"] == wanted;
    let List::Map(keys) = shape.list() else {
        let old = there.as_array().cloned().unwrap_or_default();
        let mut list = if shape.list() == List::Set { old } else { Vec::new() };
        for value in patch {
            if !list.contains(value) {
                list.push(value.clone());
            }
        }
        *there = Value::Array(list);
        return;
    };
    let mut list = there.as_array().cloned().unwrap_or_default();
    if patch.iter().any(|item| directive(item, "replace")) {
        list.clear();
    }
    for item in patch.iter().filter(|item| !directive(item, "replace")) {
        if directive(item, "delete") {
            list.retain(|old| !same_item(&keys, old, item));
            continue;
        }
        match list.iter_mut().find(|old| same_item(&keys, old, item)) {
            Some(old) => strategic_patch(old, item, &shape.item()),
            None => list.push(item.clone()),
        }
    }
    *there = Value::Array(list);
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was just made one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use crate::store::Store;
    use serde_json::json;

    #[test]
    fn a_merge_patch_sets_removes_and_replaces_lists() {
        let mut there = json!({"a": {"b": 1, "c": 2}, "list": [1, 2]});
        merge_patch(&mut there, &json!({"a": {"b": null, "d": 3}, "list": [9], "x": {"y": null}}));
        assert_eq!(there, json!({"a": {"c": 2, "d": 3}, "list": [9], "x": {}}));
    }

    #[test]
    fn a_strategic_patch_merges_lists_whose_items_are_known_by_a_field() {
        let pods = resources::find(&Store::default(), "", "v1", "pods").unwrap();
        let mut there = json!({"status": {"conditions": [{"type": "A", "status": "x"}, {"type": "B"}]},
            "metadata": {"finalizers": ["f"]}, "spec": {"tolerations": [1]}});
        let patch = json!({"status": {"conditions": [{"type": "A", "status": "y"}, {"type": "B", "$patch": "delete"},
            {"type": "C"}]}, "metadata": {"finalizers": ["g"]}, "spec": {"tolerations": [2]}});
        strategic_patch(&mut there, &patch, &Shape::of(&pods));
        let wanted = json!({"status": {"conditions": [{"type": "A", "status": "y"}, {"type": "C"}]},
            "metadata": {"finalizers": ["f", "g"]}, "spec": {"tolerations": [2]}});
        assert_eq!(there, wanted);
    }
}
