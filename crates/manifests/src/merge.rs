//! Strategic merge patches, as far as these manifests need them: objects are merged; of lists, those whose items
//! have a name of their own are merged item by item, others are replaced; `$patch: delete` removes.
//! (<https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>)

use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";

/// The field that tells items of a list apart; `None`: the list is one value.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "volumes" | "env" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        _ => None,
    }
}

/// Lays `patch` over `target`.
pub fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_object(target, patch),
        (target, patch) => *target = without_directives(patch),
    }
}

fn merge_object(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (field, value) in patch {
        match (target.get_mut(field), value, merge_key(field)) {
            (_, Value::Null, _) => {
                target.remove(field);
            }
            (Some(Value::Array(there)), Value::Array(items), Some(key)) => merge_list(there, items, key),
            (Some(there), value, _) => merge(there, value),
            (None, value, _) => {
                target.insert(field.clone(), without_directives(value));
            }
        }
    }
}

fn merge_list(there: &mut Vec<Value>, items: &[Value], key: &str) {
    for item in items {
        let at = there.iter().position(|known| known.get(key).is_some() && known.get(key) == item.get(key));
        let deletes = item.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
        match (at, deletes) {
            (Some(at), true) => {
                there.remove(at);
            }
            (Some(at), false) => merge(&mut there[at], item),
            (None, true) => {}
            (None, false) => there.push(without_directives(item)),
        }
    }
}

fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(field, value)| *field != DIRECTIVE && !value.is_null());
            Value::Object(kept.map(|(field, value)| (field.clone(), without_directives(value))).collect())
        }
        Value::Array(items) => {
            let deleted = |item: &&Value| item.get(DIRECTIVE).and_then(Value::as_str) != Some("delete");
            Value::Array(items.iter().filter(deleted).map(without_directives).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn named_items_are_merged_deleted_and_added_and_other_lists_replaced() {
        let mut target = json!({"spec": {
            "replicas": 2,
            "args": ["a", "b"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "volumeMounts": [{"mountPath": "/a", "name": "a"}],
        }});
        let patch = json!({"spec": {
            "replicas": null,
            "args": ["c"],
            "env": [{"name": "A", "$patch": "delete"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"},
                    {"name": "D", "$patch": "delete"}],
            "volumeMounts": [{"mountPath": "/a", "readOnly": true}],
        }});
        merge(&mut target, &patch);
        let wanted = json!({"spec": {
            "args": ["c"],
            "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
            "volumeMounts": [{"mountPath": "/a", "name": "a", "readOnly": true}],
        }});
        assert_eq!(target, wanted);
    }
}
