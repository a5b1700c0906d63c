//! Label and field selectors.

use serde_json::Value;

use crate::refusal::Refusal;
use crate::resources::Resource;

/// Which objects are asked for.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<LabelTerm>,
    /// Field, value, and whether it must differ.
    fields: Vec<(String, String, bool)>,
}

#[derive(Clone, Debug)]
enum LabelTerm {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// Fields that can be selected by, beside those of metadata.
fn selectable(resource: &Resource, field: &str) -> bool {
    if matches!(field, "metadata.name") || (field == "metadata.namespace" && resource.namespaced) {
        return true;
    }
    let fields: &[&str] = match resource.kind.as_str() {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Node" => &["spec.unschedulable"],
        "Namespace" => &["status.phase"],
        "Service" => &["spec.clusterIP", "spec.type"],
        "Secret" => &["type"],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "reason",
            "type",
        ],
        _ => &[],
    };
    fields.contains(&field)
}

impl Selector {
    /// From the parameters of a request.
    ///
    /// # Errors
    /// 400 for what is no selector, or a field nobody can select by.
    pub fn read(
        labels: Option<&str>,
        fields: Option<&str>,
        resource: &Resource,
    ) -> Result<Selector, Refusal> {
        let mut selector = Selector::default();
        for term in split(labels.unwrap_or_default()) {
            selector.labels.push(label_term(term).ok_or_else(|| {
                Refusal::bad_request(format!("unable to parse requirement: {term:?} is no label selector"))
            })?);
        }
        for term in fields.unwrap_or_default().split(',').filter(|term| !term.is_empty()) {
            let (field, value, differs) = match (term.split_once("!="), term.split_once('=')) {
                (Some((field, value)), _) => (field, value, true),
                (None, Some((field, value))) => (field, value.trim_start_matches('='), false),
                (None, None) => {
                    let message = format!("invalid field selector: {term:?}");
                    return Err(Refusal::bad_request(message));
                }
            };
            if !selectable(resource, field) {
                return Err(Refusal::bad_request(format!("field label not supported: {field}")));
            }
            selector.fields.push((field.to_owned(), value.to_owned(), differs));
        }
        Ok(selector)
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that is asked for, if that is so: rules with names allow such lists too.
    pub fn only_name(&self) -> Option<&str> {
        let named = self.fields.iter().find(|(field, _, differs)| field == "metadata.name" && !differs);
        named.map(|(_, name, _)| name.as_str())
    }

    pub fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        let labels = self.labels.iter().all(|term| match term {
            LabelTerm::In(key, values) => label(key).is_some_and(|l| values.iter().any(|v| v == l)),
            LabelTerm::NotIn(key, values) => label(key).is_none_or(|l| values.iter().all(|v| v != l)),
            LabelTerm::Exists(key) => label(key).is_some(),
            LabelTerm::Absent(key) => label(key).is_none(),
        });
        let fields = self.fields.iter().all(|(field, wanted, differs)| {
            let there = object.pointer(&format!("/{}", field.replace('.', "/")));
            let there = match there {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(value)) => value.to_string(),
                _ if field == "spec.hostNetwork" || field == "spec.unschedulable" => "false".to_owned(),
                _ => String::new(),
            };
            (there == *wanted) != *differs
        });
        labels && fields
    }
}

/// At commas that are not inside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut terms, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                terms.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[begin..]);
    terms.into_iter().map(str::trim).filter(|term| !term.is_empty()).collect()
}

fn label_term(term: &str) -> Option<LabelTerm> {
    let values = |list: &str| -> Option<Vec<String>> {
        let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(list.split(',').map(|value| value.trim().to_owned()).collect())
    };
    if let Some((key, list)) = term.split_once(" notin ") {
        return Some(LabelTerm::NotIn(key.trim().to_owned(), values(list)?));
    }
    if let Some((key, list)) = term.split_once(" in ") {
        return Some(LabelTerm::In(key.trim().to_owned(), values(list)?));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Some(LabelTerm::NotIn(key.trim().to_owned(), vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = term.split_once('=') {
        let value = value.trim_start_matches('=').trim().to_owned();
        return Some(LabelTerm::In(key.trim().to_owned(), vec![value]));
    }
    if term.contains(['(', ')', ' ']) {
        return None;
    }
    Some(match term.strip_prefix('!') {
        Some(key) => LabelTerm::Absent(key.trim().to_owned()),
        None => LabelTerm::Exists(term.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use crate::store::Store;
    use serde_json::json;

    fn matches(labels: &str, fields: &str) -> bool {
        let pods = resources::find(&Store::default(), "", "v1", "pods").unwrap();
        let object = json!({"metadata": {"name": "p", "labels": {"app": "web", "tier": "front"}},
            "spec": {"nodeName": "a"}, "status": {"phase": "Running"}});
        Selector::read(Some(labels), Some(fields), &pods).unwrap().matches(&object)
    }

    #[test]
    fn labels_are_selected_by_value_set_and_presence() {
        for yes in ["app=web", "app==web,tier", "app in (db, web),tier!=back", "!gone", "x notin (a,b)"] {
            assert!(matches(yes, ""), "{yes}");
        }
        for no in ["app=db", "app!=web", "app notin (web)", "gone", "!app", "x in (a)"] {
            assert!(!matches(no, ""), "{no}");
        }
    }

    #[test]
    fn fields_are_selected_by_value_and_unknown_ones_are_refused() {
        assert!(matches("", "spec.nodeName=a,status.phase!=Failed"));
        assert!(!matches("", "spec.nodeName=b"));
        let pods = resources::find(&Store::default(), "", "v1", "pods").unwrap();
        assert_eq!(Selector::read(None, Some("spec.image=x"), &pods).unwrap_err().code, 400);
        assert_eq!(Selector::read(Some("a in b"), None, &pods).unwrap_err().code, 400);
    }
}
