//! Selectors whose keys may name a source, and the namespace they are confined to.
//!
//! A key without a source, with `k8s:` or `any:` is a label of Kubernetes, which is where all labels of pods
//! are from; one of `reserved:` is the label of an identity with a fixed number. No pod has labels of other
//! sources.

use std::collections::BTreeSet;
use std::sync::Arc;

use fathom_identity::key::{NAMESPACE, NAMESPACE_LABEL_PREFIX};

use super::rule::Faults;
use super::written::{Expression, LabelSelector};
use crate::problem::Fault;
use crate::selector::{Requirement, Selector};

/// Where a policy is: endpoints it names are of its namespace, unless they are of another by name.
pub(super) struct Scope(Option<Arc<str>>);

impl Scope {
    pub(super) fn new(namespace: &str) -> Self {
        Self((!namespace.is_empty()).then(|| namespace.into()))
    }

    /// `None`: the policy is cluster-wide.
    pub(super) fn namespace(&self) -> Option<&Arc<str>> {
        self.0.as_ref()
    }

    fn own(&self) -> Option<Requirement> {
        let namespace = self.0.clone()?;
        Some(Requirement::In { key: NAMESPACE.into(), values: [namespace].into() })
    }

    /// A selector of peers: the understood part, and what is wrong with the rest.
    pub(super) fn peer(&self, written: &LabelSelector) -> (Selector, Faults) {
        let (mut selector, faults) = requirements(written);
        let names_a_namespace =
            selector.keys().any(|key| **key == *NAMESPACE || key.starts_with(NAMESPACE_LABEL_PREFIX));
        if !names_a_namespace && !selector.asks_for_reserved() {
            selector.requirements.extend(self.own());
        }
        (ordered(selector), faults)
    }

    /// The selector of the policy's own pods, which are of its namespace.
    pub(super) fn subject(&self, written: &LabelSelector) -> (Selector, Faults) {
        let (mut selector, mut faults) = requirements(written);
        if let Some(own) = self.own() {
            let elsewhere =
                |requirement: &&Requirement| **requirement.key() == *NAMESPACE && **requirement != own;
            if let Some(other) = selector.requirements.iter().find(elsewhere) {
                let other = match other {
                    Requirement::In { values, .. } => {
                        values.first().map_or(String::new(), ToString::to_string)
                    }
                    _ => String::new(),
                };
                faults.push((String::new(), Fault::OtherNamespace(other)));
            }
            selector.requirements.retain(|requirement| **requirement.key() != *NAMESPACE);
            selector.requirements.push(own);
        }
        (ordered(selector), faults)
    }
}

/// A selector of labels as they are written, without sources: those of services.
pub(super) fn plain(written: &LabelSelector) -> (Selector, Faults) {
    let (selector, faults) = requirements(written);
    (ordered(selector), faults)
}

fn ordered(mut selector: Selector) -> Selector {
    selector.requirements.sort_unstable();
    selector.requirements.dedup();
    selector
}

/// The key as the requirement has it.
fn key(written: &str) -> Option<Arc<str>> {
    let key = match written.split_once(':') {
        Some(("k8s" | "any", key)) => key,
        Some(("", _)) => return None,
        _ => written,
    };
    let name = key.rsplit_once(':').map_or(key, |(_, name)| name);
    (!name.is_empty()).then(|| key.into())
}

fn requirements(written: &LabelSelector) -> (Selector, Faults) {
    let mut faults = Faults::new();
    let mut requirements = Vec::new();
    for (name, value) in written.match_labels.iter().flatten() {
        match key(name) {
            Some(key) => requirements.push(Requirement::In { key, values: [value.as_str().into()].into() }),
            None => faults.push((".matchLabels".to_owned(), Fault::EmptyKey)),
        }
    }
    for (index, expression) in written.match_expressions.iter().flatten().enumerate() {
        match requirement(expression) {
            Ok(requirement) => requirements.push(requirement),
            Err(fault) => faults.push((format!(".matchExpressions[{index}]"), fault)),
        }
    }
    (Selector { requirements }, faults)
}

fn requirement(written: &Expression) -> Result<Requirement, Fault> {
    let key = key(&written.key).ok_or(Fault::EmptyKey)?;
    let operator = || written.operator.clone();
    let values: BTreeSet<Arc<str>> =
        written.values.iter().flatten().map(|value| value.as_str().into()).collect();
    match (written.operator.as_str(), values.is_empty()) {
        ("In" | "NotIn", true) => Err(Fault::ValuesMissing(operator())),
        ("Exists" | "DoesNotExist", false) => Err(Fault::ValuesUnexpected(operator())),
        ("In", _) => Ok(Requirement::In { key, values }),
        ("NotIn", _) => Ok(Requirement::NotIn { key, values }),
        ("Exists", _) => Ok(Requirement::Exists { key }),
        ("DoesNotExist", _) => Ok(Requirement::DoesNotExist { key }),
        _ => Err(Fault::UnknownOperator(operator())),
    }
}
