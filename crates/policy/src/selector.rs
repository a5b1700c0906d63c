//! Label selectors that cannot be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Labels as selectors see them.
pub(crate) type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// What keys of identities with fixed numbers begin with.
pub(crate) const RESERVED: &str = "reserved:";

/// Requirements that must all hold; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requirement {
    /// The label is there with one of the values; with none, it never holds.
    In {
        key: Arc<str>,
        values: BTreeSet<Arc<str>>,
    },
    /// The label is missing or has none of the values.
    NotIn {
        key: Arc<str>,
        values: BTreeSet<Arc<str>>,
    },
    Exists {
        key: Arc<str>,
    },
    DoesNotExist {
        key: Arc<str>,
    },
}

impl Selector {
    /// Whether labels fulfil every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.holds(|key| labels.get(key))
    }

    /// Whether the labels that `value` tells fulfil every requirement.
    pub(crate) fn holds<'l>(&self, value: impl Fn(&str) -> Option<&'l Arc<str>>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(value(requirement.key())))
    }

    /// One that selects nobody.
    pub(crate) fn nothing() -> Self {
        Self { requirements: vec![Requirement::In { key: "".into(), values: BTreeSet::new() }] }
    }

    /// Whether it selects only what has a label of `reserved:`.
    pub(crate) fn asks_for_reserved(&self) -> bool {
        self.requirements.iter().any(|requirement| match requirement {
            Requirement::In { key, .. } | Requirement::Exists { key } => key.starts_with(RESERVED),
            Requirement::NotIn { .. } | Requirement::DoesNotExist { .. } => false,
        })
    }

    /// The values of which it asks for one, where it asks for a label with certain values.
    pub(crate) fn only_values_of(&self, wanted: &str) -> Option<&BTreeSet<Arc<str>>> {
        self.requirements.iter().find_map(|requirement| match requirement {
            Requirement::In { key, values } if **key == *wanted => Some(values),
            _ => None,
        })
    }

    /// The keys it looks at.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> + '_ {
        self.requirements.iter().map(Requirement::key)
    }
}

impl Requirement {
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::In { key, .. }
            | Self::NotIn { key, .. }
            | Self::Exists { key }
            | Self::DoesNotExist { key } => key,
        }
    }

    pub(crate) fn holds(&self, value: Option<&Arc<str>>) -> bool {
        match self {
            Self::In { values, .. } => value.is_some_and(|value| values.contains(value)),
            Self::NotIn { values, .. } => value.is_none_or(|value| !values.contains(value)),
            Self::Exists { .. } => value.is_some(),
            Self::DoesNotExist { .. } => value.is_none(),
        }
    }
}
