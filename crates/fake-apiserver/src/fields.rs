//! Sets of fields, as `managedFields` has them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::merge::{List, Shape, key_value};

/// A field: steps as FieldsV1 names them, "f:spec", "k:{\"type\":\"Ready\"}", "v:\"name\"".
pub type Path = Vec<String>;

/// Every field of an object that somebody can own.
pub fn of(object: &Value, shape: &Shape<'_>) -> BTreeSet<Path> {
    let mut fields = BTreeSet::new();
    collect(object, shape, &mut Vec::new(), &mut fields);
    fields.retain(is_owned);
    fields
}

/// What names an object, and what the server writes, has no owner.
fn is_owned(path: &Path) -> bool {
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    !matches!(
        steps.as_slice(),
        [] | ["f:apiVersion" | "f:kind" | "f:metadata"]
            | [
                "f:metadata",
                "f:name"
                    | "f:namespace"
                    | "f:uid"
                    | "f:resourceVersion"
                    | "f:generation"
                    | "f:creationTimestamp"
                    | "f:deletionTimestamp"
                    | "f:deletionGracePeriodSeconds"
                    | "f:managedFields"
                    | "f:selfLink"
                    | "f:generateName",
                ..
            ]
    )
}

fn collect(value: &Value, shape: &Shape<'_>, path: &mut Path, fields: &mut BTreeSet<Path>) {
    match value {
        Value::Object(map) if !map.is_empty() && !shape.is_atomic_map() => {
            for (field, value) in map {
                path.push(format!("f:{field}"));
                collect(value, &shape.field(field), path, fields);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() && shape.list() != List::Atomic => {
            for item in items {
                match shape.list() {
                    List::Map(keys) => {
                        path.push(item_step(item, &keys));
                        // The item itself, beside its fields: it is gone when nobody owns that.
                        fields.insert(path.clone());
                        collect(item, &shape.item(), path, fields);
                    }
                    _ => {
                        path.push(format!("v:{item}"));
                        fields.insert(path.clone());
                    }
                }
                path.pop();
            }
        }
        _ => drop(fields.insert(path.clone())),
    }
}

fn item_step(item: &Value, keys: &[String]) -> String {
    let keys: Map<String, Value> = keys.iter().map(|key| (key.clone(), key_value(item, key))).collect();
    format!("k:{}", Value::Object(keys))
}

/// The value of a field; `None` where there is none.
pub fn value<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(object) };
    let (kind, name) = step.split_once(':')?;
    let next = match kind {
        "f" => object.get(name)?,
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(name).ok()?;
            object.as_array()?.iter().find(|item| is_item(item, &keys))?
        }
        _ => {
            let wanted: Value = serde_json::from_str(name).ok()?;
            object.as_array()?.iter().find(|item| **item == wanted)?
        }
    };
    value(next, rest)
}

fn is_item(item: &Value, keys: &Map<String, Value>) -> bool {
    keys.iter().all(|(key, wanted)| key_value(item, key) == *wanted)
}

/// Removes a field, and maps and lists that are empty without it.
pub fn remove(object: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    let Some((kind, name)) = step.split_once(':') else { return };
    match (kind, object) {
        ("f", Value::Object(map)) => {
            if let Some(value) = map.get_mut(name).filter(|_| !rest.is_empty()) {
                remove(value, rest);
                let is_empty = value.as_object().is_some_and(Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty);
                if is_empty {
                    map.remove(name);
                }
            } else {
                map.remove(name);
            }
        }
        ("k", Value::Array(items)) => {
            let Ok(keys) = serde_json::from_str::<Map<String, Value>>(name) else { return };
            if rest.is_empty() {
                items.retain(|item| !is_item(item, &keys));
            } else if let Some(item) = items.iter_mut().find(|item| is_item(item, &keys)) {
                remove(item, rest);
            }
        }
        ("v", Value::Array(items)) => {
            let Ok(wanted) = serde_json::from_str::<Value>(name) else { return };
            items.retain(|item| *item != wanted);
        }
        _ => {}
    }
}

/// ".spec.ports", as messages have it.
pub fn told(path: &Path) -> String {
    let steps = path.iter().map(|step| match step.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some((_, key)) => format!("[{key}]"),
        None => step.clone(),
    });
    steps.collect()
}

/// As FieldsV1.
pub fn write(fields: &BTreeSet<Path>) -> Value {
    let mut tree = json!({});
    for path in fields {
        let mut node = &mut tree;
        for step in path {
            node = &mut node[step.as_str()];
            if node.is_null() {
                *node = json!({});
            }
        }
        let last_is_item = path.last().is_some_and(|step| step.starts_with("k:"));
        if last_is_item {
            node["."] = json!({});
        }
    }
    tree
}

/// From FieldsV1.
pub fn read(tree: &Value) -> BTreeSet<Path> {
    fn walk(tree: &Value, path: &mut Path, fields: &mut BTreeSet<Path>) {
        let Some(map) = tree.as_object() else { return };
        if map.is_empty() || map.contains_key(".") {
            fields.insert(path.clone());
        }
        for (step, tree) in map.iter().filter(|(step, _)| *step != ".") {
            path.push(step.clone());
            walk(tree, path, fields);
            path.pop();
        }
    }
    let mut fields = BTreeSet::new();
    walk(tree, &mut Vec::new(), &mut fields);
    fields.remove(&Vec::new());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use crate::store::Store;

    #[test]
    fn fields_of_an_object_are_written_and_read_back() {
        let services = resources::find(&Store::default(), "", "v1", "services").unwrap();
        let object = json!({"kind": "Service", "metadata": {"name": "s", "labels": {"a": "b"}, "finalizers": ["x"]},
            "spec": {"ports": [{"port": 80, "name": "web"}], "selector": {"app": "web"}}});
        let fields = of(&object, &Shape::of(&services));
        let wanted = json!({
            "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x\"": {}}},
            "f:spec": {"f:selector": {}, "f:ports": {
                "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}}},
        });
        assert_eq!(write(&fields), wanted);
        assert_eq!(read(&wanted), fields);
    }
}
