//! The text of one file to typed objects, and what is wrong with the rest.

use std::borrow::Cow;

use fathom_policy::Edited;
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
    /// Some document does not say which object it is, or is no YAML: what it would have said is unknown.
    pub broken: bool,
    /// Objects of kinds that are not followed.
    pub strangers: Vec<Stranger>,
}

/// An object of a kind that is not followed: nobody's business, unless it used to be one that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stranger {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub line: usize,
}

impl Stranger {
    /// The same wherever it stands in its file.
    pub fn without_line(&self) -> Self {
        Self { line: 0, ..self.clone() }
    }
}

impl Content {
    /// What a file says that is no text.
    pub fn no_text() -> Self {
        let mut content = Self::default();
        content.keyless(1, "not valid YAML: no UTF-8 text".to_owned());
        content
    }

    /// Notes the file's own edit in what it says.
    pub fn note_edit(&mut self, edited: &Edited) {
        for entry in &mut self.objects {
            convert::edited::note(&mut entry.object, Some(edited.clone()));
        }
    }

    /// A fault that leaves open which object is meant.
    fn keyless(&mut self, line: usize, message: String) {
        self.broken = true;
        self.faults.push(Fault { line, key: None, message, in_force: InForce::Older });
    }
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
            Err((line, message)) => content.keyless(line, message),
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
        content.keyless(line, "no Kubernetes object: apiVersion or kind is missing".to_owned());
        return;
    }
    if let (true, Some(items)) = (kind.ends_with("List"), value.get("items").and_then(Value::as_array)) {
        for item in items {
            object(&with_list_kind(item, api_version, kind), line, content);
        }
        return;
    }
    let listed =
        kind.strip_suffix("List").filter(|of| of.is_empty() || Kind::parse(api_version, of).is_some());
    if listed.is_some() && value.get("items").is_none_or(|items| !items.is_null()) {
        content.keyless(line, format!("{kind} without items"));
        return;
    }
    let Some(kind) = Kind::parse(api_version, kind) else {
        match meant(api_version, kind) {
            Some(known) => {
                let (name, version) = (known.name(), known.api_version());
                let message =
                    format!("{kind} in apiVersion {api_version} is not read: write {name} in {version}");
                content.keyless(line, message);
            }
            None => {
                tracing::debug!(line, api_version, kind, "object of a kind that is not followed");
                let (namespace, name) = namespace_and_name(value);
                let stranger = Stranger {
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    line,
                };
                content.strangers.push(stranger);
            }
        }
        return;
    };
    typed(kind, value, line, content);
}

/// The kind that is followed and that somebody most likely meant: the same or nearly the same name in the
/// same group. Kinds of other groups may be called as they like.
fn meant(api_version: &str, kind: &str) -> Option<Kind> {
    let group = |version: &str| version.rsplit_once('/').map_or(String::new(), |(group, _)| group.to_owned());
    let same_group = |known: &Kind| group(known.api_version()) == group(api_version);
    Kind::ALL.into_iter().filter(same_group).find(|known| is_slip(kind, known.name()))
}

/// Whether two names differ by case or by what one slip of the hand does: a letter too many, too few,
/// wrong, or two that changed places.
fn is_slip(written: &str, meant: &str) -> bool {
    let (a, b) = (written.to_lowercase(), meant.to_lowercase());
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    let changed_places = a.len() > 1 && b.len() > 1 && a[0] == b[1] && a[1] == b[0] && a[2..] == b[2..];
    let after = |letters: &'_ [char], n: usize| letters.get(n..).unwrap_or_default().to_vec();
    let one = after(a, 1) == after(b, 1) || after(a, 1) == b || a == after(b, 1);
    (a.is_empty() && b.is_empty()) || changed_places || (one && meant.len() > 4)
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

fn namespace_and_name(value: &Value) -> (&str, &str) {
    let metadata = value.get("metadata");
    let meta = |field: &str| metadata.and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or_default();
    let namespace = Some(meta("namespace")).filter(|n| !n.is_empty());
    (namespace.unwrap_or(convert::DEFAULT_NAMESPACE), meta("name"))
}

fn typed(kind: Kind, value: &Value, line: usize, content: &mut Content) {
    let (namespace, name) = namespace_and_name(value);
    if name.is_empty() {
        content.keyless(line, format!("{} without metadata.name", kind.name()));
        return;
    }
    let key = ObjectKey::new(kind, namespace, name);
    let Converted { object, error, in_force, key_in_doubt } = convert::object(kind, value);
    content.broken |= key_in_doubt;
    if let Some(error) = error {
        let key = Some(key.clone());
        content.faults.push(Fault { line, key, message: error.to_string(), in_force });
    }
    if let Some(object) = object {
        content.objects.push(Entry { key, object, line, in_force });
    }
}
