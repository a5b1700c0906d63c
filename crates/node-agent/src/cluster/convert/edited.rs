//! Who edited an object last, and when: of `metadata.managedFields`, which the agent otherwise passes over.

use std::sync::Arc;

use fathom_policy::Edited;
use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::model::Object;

/// Longest name of a manager that is kept; the API server allows no longer ones.
const MANAGER: usize = 128;

/// The newest entry that is about the object itself and not about its status.
///
/// Source: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.
pub fn of(value: &Value) -> Option<Edited> {
    let entries = value.pointer("/metadata/managedFields")?.as_array()?;
    let edit = |entry: &Value| {
        let text = |field: &str| entry.get(field).and_then(Value::as_str);
        let time: Timestamp = text("time")?.parse().ok()?;
        let about_status = text("subresource").is_some_and(|part| !part.is_empty());
        let by: String = text("manager").unwrap_or_default().chars().take(MANAGER).collect();
        let unix_ns = i64::try_from(time.as_nanosecond()).ok()?;
        (!about_status).then(|| Edited { by: by.into(), unix_ns })
    };
    // Of equal times the last one: the API server appends.
    entries.iter().filter_map(edit).max_by_key(|edit| edit.unix_ns)
}

/// Notes the edit in a policy; nobody asks it of other kinds.
pub fn note(object: &mut Object, edited: Option<Edited>) {
    let Object::NetworkPolicy(policy) = object else { return };
    if policy.meaning.meta.edited != edited {
        let policy = Arc::make_mut(policy);
        Arc::make_mut(&mut policy.meaning.meta).edited = edited;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::convert;
    use crate::cluster::model::Kind;
    use serde_json::json;

    fn managed(fields: Value) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "web", "managedFields": fields}, "spec": {"podSelector": {}},
        })
    }

    #[test]
    fn the_newest_edit_of_the_object_itself_counts() {
        let fields = json!([
            {"manager": "kubectl-create", "operation": "Update", "time": "2026-05-01T10:00:00Z"},
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-05-02T10:00:00Z"},
            {"manager": "fathom-agent", "operation": "Update", "subresource": "status", "time": "2026-05-03T10:00:00Z"},
            {"manager": "helm", "operation": "Apply", "time": "2026-05-01T11:00:00Z"},
        ]);
        let object = convert::object(Kind::NetworkPolicy, &managed(fields)).object.unwrap();
        let Object::NetworkPolicy(policy) = object else { panic!("a policy") };
        let edited = policy.meaning.meta.edited.clone().unwrap();
        assert_eq!((&*edited.by, edited.unix_ns), ("kubectl-edit", 1_777_716_000_000_000_000));
    }

    #[test]
    fn nonsense_in_managed_fields_is_no_edit() {
        for fields in [
            json!(null),
            json!("x"),
            json!([]),
            json!([7, {}]),
            json!([{"manager": "m", "time": "yesterday"}]),
            json!([{"manager": "m", "time": "2026-05-01T10:00:00Z", "subresource": "status"}]),
        ] {
            assert_eq!(of(&managed(fields.clone())), None, "{fields}");
        }
        let long = json!([{"manager": "m".repeat(1_000), "time": "2026-05-01T10:00:00Z"}]);
        assert_eq!(of(&managed(long)).unwrap().by.len(), MANAGER);
    }
}
