//! `*_pod` and `*_service`: `[namespace/][name prefix]`.

/// `prefix` (in the namespace "default"), `ns/prefix`, `ns/` (all in a namespace), `/prefix` (in any
/// namespace), `/` (whatever has a namespace).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamePrefix {
    /// Empty = any.
    namespace: Box<str>,
    prefix: Box<str>,
}

impl NamePrefix {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            _ if text.is_empty() => Err("an empty name; use \"/\" for whatever has a namespace".to_owned()),
            Some((_, name)) if name.contains('/') => Err(format!("{text:?} has more than one slash")),
            Some((namespace, name)) => Ok(Self { namespace: namespace.into(), prefix: name.into() }),
            None => Ok(Self { namespace: "default".into(), prefix: text.into() }),
        }
    }

    pub(super) fn matches(&self, namespace: &str, name: &str) -> bool {
        // "/prefix" asks for a name, "/" for a namespace: an end that has neither never matches.
        let in_namespace = if self.namespace.is_empty() {
            !namespace.is_empty() || !self.prefix.is_empty()
        } else {
            *self.namespace == *namespace
        };
        in_namespace && name.starts_with(&*self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, namespace: &str, name: &str) -> bool {
        NamePrefix::parse(pattern).unwrap().matches(namespace, name)
    }

    #[test]
    fn each_form_means_what_it_says() {
        assert!(matches("web", "default", "web-1") && !matches("web", "other", "web-1"));
        assert!(matches("ns/web", "ns", "web-1") && !matches("ns/web", "ns", "db"));
        assert!(
            matches("ns/", "ns", "anything") && matches("ns/", "ns", "") && !matches("ns/", "ms", "anything")
        );
        assert!(matches("/web", "any", "web-1") && !matches("/web", "any", "db"));
        assert!(matches("/", "any", "db") && !matches("/", "", ""));
        assert!(!matches("/web", "", ""));
    }

    #[test]
    fn empty_names_and_paths_are_refused() {
        assert!(NamePrefix::parse("").is_err());
        assert!(NamePrefix::parse("a/b/c").unwrap_err().contains("\"a/b/c\""));
    }
}
