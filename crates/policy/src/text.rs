//! Selectors as people type them: `app=web,tier in (a,b),!canary`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::selector::{Requirement, Selector};

/// As `kubectl get -l` takes it; a selector of everything is empty.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In { key, values } if values.len() == 1 => write!(f, "{key}={}", List(values)),
            Self::In { key, values } => write!(f, "{key} in ({})", List(values)),
            Self::NotIn { key, values } if values.len() == 1 => write!(f, "{key}!={}", List(values)),
            Self::NotIn { key, values } => write!(f, "{key} notin ({})", List(values)),
            Self::Exists { key } => f.write_str(key),
            Self::DoesNotExist { key } => write!(f, "!{key}"),
        }
    }
}

struct List<'a>(&'a BTreeSet<Arc<str>>);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, value) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_as_kubectl_takes_them() {
        let values = |values: &[&str]| values.iter().map(|value| Arc::from(*value)).collect();
        let key = || Arc::from("app");
        let requirements = vec![
            Requirement::In { key: key(), values: values(&["web"]) },
            Requirement::In { key: key(), values: values(&["web", "db"]) },
            Requirement::NotIn { key: key(), values: values(&["web"]) },
            Requirement::NotIn { key: key(), values: values(&["web", "db"]) },
            Requirement::Exists { key: key() },
            Requirement::DoesNotExist { key: key() },
        ];
        let text = Selector { requirements }.to_string();
        assert_eq!(text, "app=web,app in (db,web),app!=web,app notin (db,web),app,!app");
        assert_eq!(Selector::default().to_string(), "");
    }
}
