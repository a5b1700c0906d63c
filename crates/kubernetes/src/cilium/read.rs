//! From an object as it comes to what somebody wrote. Each spec is read for itself: one that does not have a
//! spec's form is closed, and the others work.

use fathom_policy::Policy;
use fathom_policy::cilium::is_nearly;
use fathom_policy::cilium::object::{List, Object, OneSpec, Part, UnknownField, Unread};
use fathom_policy::cilium::written::{LabelSelector, Spec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::unknown::{self, FieldPath, Step};

/// Fields of an object beside its metadata.
const KNOWN: [&str; 6] = ["apiVersion", "kind", "metadata", "spec", "specs", "status"];
/// Namespace of an object that names none, as for `kubectl apply`.
const DEFAULT_NAMESPACE: &str = "default";

/// What was read of an object.
#[derive(Clone, Debug)]
pub struct Read {
    pub object: Object,
    /// What it means: one policy for each spec, at least one.
    pub policies: Vec<Policy>,
    /// What is wrong and what follows from it, a sentence each.
    pub faults: Vec<String>,
    /// Unknown fields that say nothing about what is allowed.
    pub harmless: Vec<FieldPath>,
    /// Some of it does not have its form: an older object that had may be in force instead.
    pub unread: bool,
    /// Its namespace may be among the unknown fields.
    pub key_in_doubt: bool,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: ObjectMeta,
}

/// Reads an object whatever is in it; see [`Policy::parse_cilium`] for what a fault makes of it.
pub fn read(clusterwide: bool, value: &Value) -> Read {
    let mut paths = Vec::new();
    let head = typed::<Head>(value, &mut paths);
    paths.retain(|path| path.first() == Some("metadata"));
    let key_in_doubt = !clusterwide && unknown::leaves_the_key_in_doubt(&paths, value);
    let (metadata, mut faults) = match head {
        Ok(head) => (head.metadata, Vec::new()),
        Err(error) => (names(value), vec![error]),
    };
    let metadata_unread = !faults.is_empty();
    let mut reading = Reading::default();
    reading.specs(value);
    faults.append(&mut reading.faults);
    for (name, value) in value.as_object().into_iter().flatten() {
        if KNOWN.contains(&name.as_str()) {
            continue;
        }
        let path = FieldPath(vec![Step::Field(name.clone())]);
        if is_nearly(name, &["spec", "specs"]) {
            reading.misspelt_spec(&path, value);
        } else if reading.specs.is_empty() {
            // Perhaps it is the spec.
            reading.unknown.push(unknown_field(String::new(), &path, Part::Object));
        } else {
            paths.push(path);
        }
    }
    paths.append(&mut reading.harmless);
    let namespace = metadata.namespace.filter(|namespace| !namespace.is_empty());
    let object = Object {
        namespace: match clusterwide {
            true => String::new(),
            false => namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        },
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
        specs: reading.specs,
        unknown_fields: reading.unknown.into(),
    };
    let unread = metadata_unread || object.specs.iter().any(|one| one.unread != Unread::Nothing);
    let policies = Policy::parse_cilium(&object);
    let problems = policies.iter().flat_map(|policy| &policy.problems);
    faults.extend(problems.map(|p| format!("{}: {}; {}", p.place, p.fault, p.effect)));
    Read { object, policies, faults, harmless: paths, unread, key_in_doubt }
}

/// Reads a typed part, which passes over fields it does not have: they are collected.
fn typed<T: DeserializeOwned>(value: &Value, unknown: &mut Vec<FieldPath>) -> Result<T, String> {
    serde_ignored::deserialize(value, |path| unknown.push(FieldPath::of(&path)))
        .map_err(|error| error.to_string())
}

/// What can be read of metadata that has not its form.
fn names(value: &Value) -> ObjectMeta {
    let text = |field: &str| value.pointer(field).and_then(Value::as_str).map(str::to_owned);
    ObjectMeta {
        name: text("/metadata/name"),
        namespace: text("/metadata/namespace"),
        uid: text("/metadata/uid"),
        ..ObjectMeta::default()
    }
}

#[derive(Default)]
struct Reading {
    specs: Vec<OneSpec>,
    unknown: Vec<UnknownField>,
    /// Fields that say nothing about what is allowed.
    harmless: Vec<FieldPath>,
    faults: Vec<String>,
}

impl Reading {
    fn specs(&mut self, value: &Value) {
        if let Some(spec) = value.get("spec").filter(|spec| !spec.is_null()) {
            self.spec("spec".to_owned(), spec);
        }
        match value.get("specs") {
            None | Some(Value::Null) => {}
            Some(Value::Array(specs)) => {
                for (number, spec) in specs.iter().enumerate() {
                    self.spec(format!("specs[{number}]"), spec);
                }
            }
            Some(other) => self.spec("specs".to_owned(), other),
        }
    }

    /// What is nearly called so is taken for specs that cannot be read.
    fn misspelt_spec(&mut self, path: &FieldPath, value: &Value) {
        self.faults.push(format!("{path}: there is no such field: see how it is spelt"));
        let of = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        for value in of {
            self.specs.push(OneSpec {
                place: path.to_string(),
                spec: whom(value),
                unread: what_is_unread(value),
            });
        }
    }

    fn spec(&mut self, place: String, value: &Value) {
        let number = self.specs.len();
        let mut paths = Vec::new();
        let (spec, unread) = match typed::<Spec>(value, &mut paths) {
            Ok(spec) => (spec, Unread::Nothing),
            Err(error) => {
                paths.clear();
                self.faults.push(format!("{place}: {error}"));
                (whom(value), what_is_unread(value))
            }
        };
        for path in paths {
            match part_of(&path, number) {
                Some(part) => self.unknown.push(unknown_field(format!("{place}."), &path, part)),
                None => {
                    let whole = [Step::Field(place.clone())].into_iter().chain(path.0);
                    self.harmless.push(FieldPath(whole.collect()));
                }
            }
        }
        self.specs.push(OneSpec { place, spec, unread });
    }
}

fn unknown_field(before: String, path: &FieldPath, within: Part) -> UnknownField {
    let name = path.0.iter().rev().find_map(|step| match step {
        Step::Field(name) => Some(name.clone()),
        Step::Item(_) => None,
    });
    UnknownField { place: format!("{before}{path}"), name: name.unwrap_or_default(), within }
}

/// Which part of a spec an unknown field may have been meant to narrow; `None`: none.
fn part_of(path: &FieldPath, spec: usize) -> Option<Part> {
    let [Step::Field(first), rest @ ..] = &path.0[..] else { return Some(Part::Spec(spec)) };
    let list = List::ALL.into_iter().find(|list| list.name() == first);
    match (first.as_str(), list, rest) {
        (_, Some(list), [Step::Item(rule), ..]) => Some(Part::Rule { spec, list, rule: *rule }),
        ("endpointSelector" | "nodeSelector", _, [_, ..]) => Some(Part::Selector(spec)),
        ("enableDefaultDeny", _, [_, ..]) => Some(Part::DefaultDeny(spec)),
        ("labels" | "log", _, [_, ..]) => None,
        _ => Some(Part::Spec(spec)),
    }
}

/// Of a spec that cannot be read: whom it is for. The part of a selector that is understood selects more pods
/// than all of it would: that is the safe side.
fn whom(value: &Value) -> Spec {
    let selector = |field: &str| {
        let written = value.get(field).filter(|written| !written.is_null())?;
        Some(typed::<LabelSelector>(written, &mut Vec::new()).unwrap_or_default())
    };
    let node_selector = selector("nodeSelector");
    let endpoint_selector = match (selector("endpointSelector"), &node_selector) {
        (None, None) => Some(LabelSelector::default()),
        (written, _) => written,
    };
    Spec { endpoint_selector, node_selector, ..Spec::default() }
}

/// Whether what is lost may have been denials: any field that speaks of them, however it is spelt.
fn what_is_unread(value: &Value) -> Unread {
    let mut names = value.as_object().into_iter().flatten().map(|(name, _)| name);
    match names.any(|name| name != "enableDefaultDeny" && name.to_lowercase().contains("deny")) {
        true => Unread::DenyRules,
        false => Unread::Something,
    }
}
