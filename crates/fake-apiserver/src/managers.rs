//! Who owns which field: `metadata.managedFields`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fields::{self, Path};
use crate::merge::Shape;
use crate::resources::Resource;

/// Who writes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    pub manager: String,
    /// "Apply" or "Update".
    pub operation: &'static str,
    /// "" or "status".
    pub subresource: String,
}

/// One manager's fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub writer: Writer,
    pub time: String,
    pub fields: BTreeSet<Path>,
}

pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The entries of an object.
pub fn read(object: &Value) -> Vec<Entry> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let entry = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let operation = if entry["operation"] == "Apply" { "Apply" } else { "Update" };
        let writer = Writer { manager: text("manager"), operation, subresource: text("subresource") };
        Entry { writer, time: text("time"), fields: fields::read(&entry["fieldsV1"]) }
    };
    list.into_iter().flatten().map(entry).collect()
}

/// Writes the entries that own something.
pub fn write(object: &mut Value, resource: &Resource, entries: &[Entry]) {
    let entries = entries.iter().filter(|entry| !entry.fields.is_empty()).map(|entry| {
        let mut value = json!({
            "manager": entry.writer.manager, "operation": entry.writer.operation,
            "apiVersion": resource.api_version(), "time": entry.time,
            "fieldsType": "FieldsV1", "fieldsV1": fields::write(&entry.fields),
        });
        if !entry.writer.subresource.is_empty() {
            value["subresource"] = json!(entry.writer.subresource);
        }
        value
    });
    object["metadata"]["managedFields"] = entries.collect();
}

/// An update owns what it changed, and takes it from others.
pub fn updated(entries: &mut Vec<Entry>, writer: &Writer, before: &Value, after: &Value, shape: &Shape<'_>) {
    let (old, new) = (fields::of(before, shape), fields::of(after, shape));
    let is_changed = |path: &&Path| fields::value(before, path) != fields::value(after, path);
    let changed: BTreeSet<Path> =
        new.iter().filter(|path| !old.contains(*path) || is_changed(path)).cloned().collect();
    for entry in entries.iter_mut() {
        let changed_by_another = |path: &Path| entry.writer != *writer && changed.contains(path);
        let kept = entry.fields.iter().filter(|path| new.contains(*path) && !changed_by_another(path));
        entry.fields = kept.cloned().collect();
    }
    if changed.is_empty() {
        return;
    }
    match entries.iter_mut().find(|entry| entry.writer == *writer) {
        Some(entry) => {
            entry.fields.extend(changed);
            entry.time = now();
        }
        None => entries.push(Entry { writer: writer.clone(), time: now(), fields: changed }),
    }
}
