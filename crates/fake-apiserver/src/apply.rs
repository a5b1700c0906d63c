//! Server-side apply.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::fields;
use crate::managers::{self, Entry, Writer};
use crate::merge::{self, Shape};
use crate::refusal::Refusal;
use crate::resources::Resource;

/// An object with what a manager applied, and who owns what then.
///
/// Fields this manager applied before and does not any more are removed, unless somebody else owns them too.
///
/// # Errors
/// 409 when another manager owns a field with another value, unless `force`.
pub fn apply(
    resource: &Resource,
    there: &Value,
    applied: &Value,
    writer: &Writer,
    force: bool,
) -> Result<(Value, Vec<Entry>), Refusal> {
    let shape = Shape::of(resource);
    let wanted = fields::of(applied, &shape);
    let mut entries = managers::read(there);
    let mut conflicts = Vec::new();
    for entry in entries.iter_mut().filter(|entry| entry.writer != *writer) {
        let disputed: BTreeSet<_> = entry
            .fields
            .iter()
            .filter(|path| wanted.contains(*path) && !is_item(path))
            .filter(|path| fields::value(there, path) != fields::value(applied, path))
            .cloned()
            .collect();
        if force {
            entry.fields.retain(|path| !disputed.contains(path));
        } else {
            conflicts.extend(disputed.iter().map(|path| (fields::told(path), entry.writer.manager.clone())));
        }
    }
    let name = applied.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if !conflicts.is_empty() {
        return Err(Refusal::owned_by_others(resource, name, conflicts));
    }
    let mut object = there.clone();
    let mut names = applied.clone();
    if let Some(metadata) = names.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
        metadata.remove("creationTimestamp");
        metadata.remove("uid");
    }
    merge::apply(&mut object, &names, &shape);
    let before = entries.iter().position(|entry| entry.writer == *writer);
    if let Some(before) = before {
        let dropped: Vec<_> = entries[before].fields.difference(&wanted).cloned().collect();
        // A field with owned fields inside of it stays.
        let is_owned = |path: &fields::Path| {
            let others = entries.iter().enumerate().filter(|(at, _)| *at != before);
            let owned = others.flat_map(|(_, entry)| &entry.fields).chain(&wanted);
            owned.into_iter().any(|owned| owned.starts_with(path))
        };
        for path in dropped.iter().filter(|path| !is_owned(path)) {
            fields::remove(&mut object, path);
        }
    }
    match before {
        Some(at) if entries[at].fields == wanted && object == *there => {}
        Some(at) => {
            entries[at].fields = wanted;
            entries[at].time = managers::now();
        }
        None => entries.push(Entry { writer: writer.clone(), time: managers::now(), fields: wanted }),
    }
    Ok((object, entries))
}

/// An item of a list: that two managers want it is no conflict.
fn is_item(path: &fields::Path) -> bool {
    path.last().is_some_and(|step| step.starts_with("k:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use crate::store::Store;
    use serde_json::json;

    fn writer(manager: &str) -> Writer {
        Writer { manager: manager.into(), operation: "Apply", subresource: String::new() }
    }

    fn applied(there: &Value, what: &Value, by: &str, force: bool) -> Result<Value, Refusal> {
        let maps = resources::find(&Store::default(), "", "v1", "configmaps").unwrap();
        let (mut object, entries) = apply(&maps, there, what, &writer(by), force)?;
        managers::write(&mut object, &maps, &entries);
        Ok(object)
    }

    #[test]
    fn what_is_applied_no_more_goes_and_what_another_owns_is_a_conflict() {
        let first =
            applied(&json!({"metadata": {}}), &json!({"data": {"a": "1", "b": "1"}}), "one", false).unwrap();
        let refused = applied(&first, &json!({"data": {"a": "2"}}), "two", false).unwrap_err();
        assert_eq!((refused.code, refused.reason), (409, "Conflict"));
        assert!(refused.message.contains("conflict with \"one\": .data.a"), "{}", refused.message);
        let both = applied(&first, &json!({"data": {"a": "1", "c": "2"}}), "two", false).unwrap();
        let less = applied(&both, &json!({"data": {}}), "one", false).unwrap();
        assert_eq!(less["data"], json!({"a": "1", "c": "2"}), "a has another owner, b had none");
        let forced = applied(&less, &json!({"data": {"c": "3"}}), "one", true).unwrap();
        assert_eq!(forced["data"]["c"], "3");
        let owner = |by: &str| {
            let entries = managers::read(&forced);
            entries.into_iter().find(|e| e.writer.manager == by).map(|e| fields::write(&e.fields))
        };
        assert_eq!(owner("two").unwrap(), json!({"f:data": {"f:a": {}}}));
    }
}
