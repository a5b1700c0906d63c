//! The text of one file to typed objects, and what is wrong with the rest.

use std::borrow::Cow;

use serde_json::Value;

use super::document::{Document, split};
use crate::cluster::convert::{self, Converted, InForce};
use crate::cluster::model::{Kind, Object, ObjectKey};

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// In the order of the file; a key may come twice.
    pub objects: Vec<Entry>,
    pub faults: Vec<Fault>,
    /// Some document is no YAML: what it would have said is unknown.
    pub broken: bool,
}

/// An object and the line its document starts at.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: ObjectKey,
    pub object: Object,
    pub line: usize,
    pub in_force: InForce,
}

/// Something in the file that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    /// The object, when at least its name could be read.
    pub key: Option<ObjectKey>,
    pub message: String,
    /// Which form of the object counts instead.
    pub in_force: InForce,
}

/// Reads a whole file: YAML documents or JSON, single objects or `List`s.
pub fn read(text: &str) -> Content {
    let mut content = Content::default();
    for document in split(text) {
        match parse(document) {
            Ok(value) => object(&value, document.line, &mut content),
            Err((line, message)) => {
                content.broken = true;
                content.faults.push(Fault { line, key: None, message, in_force: InForce::Older });
            }
        }
    }
    content
}

fn parse(document: Document<'_>) -> Result<Value, (usize, String)> {
    serde_saphyr::from_str_with_options(document.text, options()).map_err(|error| {
        let line = error.location().map_or(1, |at| usize::try_from(at.line()).unwrap_or(1).max(1));
        let message = error.without_snippet().to_string();
        let message = message.lines().next().unwrap_or_default().trim().to_owned();
        (document.line + line - 1, format!("not valid YAML: {message}"))
    })
}

/// The parser's defaults bound depth, aliases and size; only the node count is raised, so that a
/// `List` of a whole cluster fits (a service takes about 40 nodes).
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 8_000_000, max_events: 16_000_000 },
    }
}

fn object(value: &Value, line: usize, content: &mut Content) {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if kind.is_empty() || api_version.is_empty() {
        let message = "no Kubernetes object: apiVersion or kind is missing".to_owned();
        content.faults.push(Fault { line, key: None, message, in_force: InForce::Older });
        return;
    }
    if let (true, Some(items)) = (kind.ends_with("List"), value.get("items").and_then(Value::as_array)) {
        for item in items {
            object(&with_list_kind(item, api_version, kind), line, content);
        }
        return;
    }
    let Some(kind) = Kind::parse(api_version, kind) else {
        match other_version_of(api_version, kind) {
            Some(kind) => {
                let (name, version) = (kind.name(), kind.api_version());
                let message = format!("{name} in apiVersion {api_version} is not read: write {version}");
                content.faults.push(Fault { line, key: None, message, in_force: InForce::Older });
            }
            None => tracing::debug!(line, api_version, kind, "object of a kind that is not followed"),
        }
        return;
    };
    typed(kind, value, line, content);
}

/// A kind that is followed, but not in this version: a slip, unlike kinds of other groups.
fn other_version_of(api_version: &str, kind: &str) -> Option<Kind> {
    let group = |version: &str| version.rsplit_once('/').map_or(String::new(), |(group, _)| group.to_owned());
    let same_group = |known: &Kind| group(known.api_version()) == group(api_version);
    Kind::ALL.into_iter().filter(|known| known.name() == kind).find(same_group)
}

/// Items of a typed list (`PodList`) may leave their own kind out.
fn with_list_kind<'a>(item: &'a Value, api_version: &str, list: &str) -> Cow<'a, Value> {
    let kind = list.strip_suffix("List").filter(|kind| !kind.is_empty() && item.get("kind").is_none());
    let Some(kind) = kind else { return Cow::Borrowed(item) };
    let mut item = item.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.insert("kind".into(), kind.into());
        fields.entry("apiVersion").or_insert_with(|| api_version.into());
    }
    Cow::Owned(item)
}

fn typed(kind: Kind, value: &Value, line: usize, content: &mut Content) {
    let metadata = value.get("metadata");
    let meta = |field: &str| metadata.and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or_default();
    let name = meta("name");
    if name.is_empty() {
        let message = format!("{} without metadata.name", kind.name());
        content.faults.push(Fault { line, key: None, message, in_force: InForce::Older });
        return;
    }
    let namespace = Some(meta("namespace")).filter(|n| !n.is_empty()).unwrap_or(convert::DEFAULT_NAMESPACE);
    let key = ObjectKey::new(kind, namespace, name);
    let Converted { object, error, in_force } = convert::object(kind, value);
    if let Some(error) = error {
        let key = Some(key.clone());
        content.faults.push(Fault { line, key, message: error.to_string(), in_force });
    }
    if let Some(object) = object {
        content.objects.push(Entry { key, object, line, in_force });
    }
}
