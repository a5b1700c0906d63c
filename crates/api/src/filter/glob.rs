//! Patterns for DNS names, clusters and nodes: `*` stands for any run of characters.

/// A lower-case pattern. Matching ignores ASCII case and one trailing dot of the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(Box<str>);

impl Glob {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let trimmed = trimmed.strip_suffix('.').unwrap_or(trimmed);
        if trimmed.is_empty() {
            return Err(format!("{text:?} is empty"));
        }
        if trimmed.ends_with('.') {
            return Err(format!("{text:?} ends in more than one dot"));
        }
        match trimmed.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*'))) {
            Some(c) => {
                Err(format!("{text:?} holds {c:?}; letters, digits, '-', '_', '.' and '*' are allowed"))
            }
            None => Ok(Self(trimmed.to_ascii_lowercase().into())),
        }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
        let pattern = self.0.as_bytes();
        let (mut p, mut n) = (0, 0);
        // Where to go on when what follows the last star does not fit: one character further.
        let mut retry = None;
        while n < name.len() {
            if pattern.get(p) == Some(&b'*') {
                p += 1;
                retry = Some((p, n));
            } else if pattern.get(p) == Some(&name[n].to_ascii_lowercase()) {
                p += 1;
                n += 1;
            } else if let Some((after_star, from)) = retry {
                p = after_star;
                n = from + 1;
                retry = Some((after_star, n));
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|c| *c == b'*')
    }
}

/// `node`, `cluster/node`, `cluster/` or `/node`; a missing half matches all. A flow's node name
/// without a cluster is a node of the cluster named "default".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeGlob {
    cluster: Option<Glob>,
    node: Option<Glob>,
}

impl NodeGlob {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (cluster, node) = text.split_once('/').unwrap_or(("", text));
        if cluster.is_empty() && node.is_empty() {
            return Err(format!("{text:?} names neither a cluster nor a node"));
        }
        let part = |part: &str| (!part.is_empty()).then(|| Glob::parse(part)).transpose();
        Ok(Self { cluster: part(cluster)?, node: part(node)? })
    }

    pub(super) fn matches(&self, node_name: &str) -> bool {
        let (cluster, node) = node_name.split_once('/').unwrap_or(("default", node_name));
        let fits = |glob: &Option<Glob>, part| glob.as_ref().is_none_or(|glob| glob.matches(part));
        !node.is_empty() && fits(&self.cluster, cluster) && fits(&self.node, node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn stars_stand_for_any_run_and_case_does_not_count() {
        assert!(matches("*.Example.com.", "www.example.COM"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a-xb--bc"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(!matches("example.com", "www.example.com"));
    }

    #[test]
    fn nodes_match_with_and_without_cluster() {
        let node = |pattern, name| NodeGlob::parse(pattern).unwrap().matches(name);
        assert!(node("worker-*", "worker-1") && node("worker-*", "other/worker-1"));
        assert!(node("default/worker-1", "worker-1") && !node("default/*", "other/worker-1"));
        assert!(node("other/", "other/anything") && node("/w*", "other/w1"));
        assert!(!node("*", ""));
        assert!(
            NodeGlob::parse("a/b/c").is_err()
                && NodeGlob::parse("/").is_err()
                && NodeGlob::parse("").is_err()
        );
    }

    proptest! {
        #[test]
        fn globs_agree_with_a_regex(pattern in "[ab.*]{1,8}", name in "[ab.]{0,10}") {
            prop_assume!(Glob::parse(&pattern).is_ok());
            let bare = pattern.trim_end_matches('.');
            let regex = format!("^{}$", bare.replace('.', "[.]").replace('*', ".*"));
            let bare_name = name.strip_suffix('.').unwrap_or(&name);
            prop_assert_eq!(matches(&pattern, &name), regex::Regex::new(&regex).unwrap().is_match(bare_name));
        }
    }
}
