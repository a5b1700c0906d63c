//! Label selectors that cannot be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Labels as selectors see them.
pub(crate) type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Requirements that must all hold; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requirement {
    /// The label is there with one of the values (of which there is at least one).
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
        self.requirements.iter().all(|requirement| requirement.holds(labels))
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

    pub(crate) fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(self.key());
        match self {
            Self::In { values, .. } => value.is_some_and(|value| values.contains(value)),
            Self::NotIn { values, .. } => value.is_none_or(|value| !values.contains(value)),
            Self::Exists { .. } => value.is_some(),
            Self::DoesNotExist { .. } => value.is_none(),
        }
    }
}
