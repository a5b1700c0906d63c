//! Which labels count: a list of key prefixes to take or to leave, and exact keys policies ask for.
//!
//! Labels that differ from pod to pod (hashes, revisions, ordinals, job ids) would give every pod
//! an identity of its own, so they are left out unless some policy selects on them.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::label::{Label, source};
use crate::label_set::LabelSet;

/// What is in force when nothing is configured. Labels that no line matches are taken.
const DEFAULT_RULES: &str = "
    reserved:
    k8s:io.kubernetes.pod.namespace
    k8s:io.cilium.k8s.namespace.labels.
    k8s:io.cilium.k8s.policy.cluster
    k8s:io.cilium.k8s.policy.serviceaccount
    k8s:app.kubernetes.io
    !io.kubernetes
    !kubernetes.io
    !k8s.io
    !*beta.kubernetes.io
    !topology.kubernetes.io
    !annotation.
    !etcd_node
    !pod-template-hash
    !pod-template-generation
    !controller-revision-hash
    !controller-uid
    !job-name
    !batch.kubernetes.io/controller-uid
    !batch.kubernetes.io/job-name
    !batch.kubernetes.io/job-completion-index
    !statefulset.kubernetes.io/pod-name
    !apps.kubernetes.io/pod-index
";

/// One line of a filter: `[!][source:][*]key-prefix[*]`. `!` leaves labels out; a leading `*`
/// matches the text anywhere in the key; a `*` at the end says nothing more than the prefix does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRule {
    include: bool,
    source: Option<String>,
    text: String,
    anywhere: bool,
}

/// A filter line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("label filter {0:?} names no label: write [!][source:]key-prefix, for example !k8s:release")]
pub struct FilterError(pub String);

impl FromStr for FilterRule {
    type Err = FilterError;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let rest = written.strip_prefix('!');
        let include = rest.is_none();
        let rest = rest.unwrap_or(written);
        let (source, pattern) = match rest.split_once(':') {
            Some((source, pattern)) => (Some(source.to_owned()), pattern),
            None => (None, rest),
        };
        let stem = pattern.strip_prefix('*');
        let anywhere = stem.is_some();
        let text = stem.unwrap_or(pattern).trim_end_matches('*').to_owned();
        // "reserved:" alone means everything of that source; a bare "" or "!" means a slip.
        if source.as_deref() == Some("") || (source.is_none() && pattern.is_empty()) {
            return Err(FilterError(written.to_owned()));
        }
        Ok(Self { include, source, text, anywhere })
    }
}

impl FilterRule {
    fn matches(&self, label: &Label) -> bool {
        let source = self.source.as_deref().is_none_or(|source| source == &*label.source);
        source
            && if self.anywhere { label.key.contains(&self.text) } else { label.key.starts_with(&self.text) }
    }
}

/// Decides which labels are part of an identity.
///
/// The longest matching rule decides; between equals the later one, so a user's rule beats a
/// default of the same length. A label that no rule matches is taken, unless the user named labels
/// to take: then it is left out. Keys that policies ask for are always taken.
#[derive(Clone, Debug)]
pub struct LabelFilter {
    rules: Vec<FilterRule>,
    take_unmatched: bool,
    asked_for: BTreeSet<Arc<str>>,
}

impl Default for LabelFilter {
    fn default() -> Self {
        let rules = DEFAULT_RULES.split_whitespace().map(|line| line.parse());
        let rules = rules.collect::<Result<_, _>>().expect("the built-in list parses (tested)");
        Self { rules, take_unmatched: true, asked_for: BTreeSet::new() }
    }
}

impl LabelFilter {
    /// The defaults and a user's rules, separated by white space or commas.
    ///
    /// # Errors
    /// A rule that names no label.
    pub fn with_user_rules(list: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for written in list.split(|c: char| c.is_whitespace() || c == ',').filter(|text| !text.is_empty()) {
            let rule: FilterRule = written.parse()?;
            filter.take_unmatched &= !rule.include;
            filter.rules.push(rule);
        }
        Ok(filter)
    }

    /// Sets the keys (of source `k8s`) that policies select on; true when that changed anything, so
    /// that identities must be computed again.
    pub fn set_asked_for(&mut self, keys: BTreeSet<Arc<str>>) -> bool {
        if keys == self.asked_for {
            return false;
        }
        self.asked_for = keys;
        true
    }

    /// Whether a label is part of identities.
    pub fn takes(&self, label: &Label) -> bool {
        self.takes_by_rules(label) || (&*label.source == source::K8S && self.asked_for.contains(&label.key))
    }

    /// Whether the rules alone take a label: false for a key kept only because a policy asks.
    pub fn takes_by_rules(&self, label: &Label) -> bool {
        let decisive =
            self.rules.iter().filter(|rule| rule.matches(label)).max_by_key(|rule| rule.text.len());
        decisive.map_or(self.take_unmatched, |rule| rule.include)
    }

    /// The labels that count.
    pub fn apply(&self, labels: impl IntoIterator<Item = Label>) -> LabelSet {
        labels.into_iter().filter(|label| self.takes(label)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(filter: &LabelFilter, label: &str) -> bool {
        filter.takes(&label.parse().unwrap())
    }

    #[test]
    fn by_default_what_differs_from_pod_to_pod_is_left_out() {
        let filter = LabelFilter::default();
        for taken in [
            "k8s:app=web",
            "k8s:app.kubernetes.io/name=web",
            "k8s:io.kubernetes.pod.namespace=default",
            "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=default",
            "k8s:io.cilium.k8s.policy.serviceaccount=default",
            "k8s:io.cilium.k8s.policy.cluster=default",
            "reserved:world",
        ] {
            assert!(takes(&filter, taken), "{taken} must count");
        }
        for left in [
            "k8s:pod-template-hash=7d9f",
            "k8s:controller-revision-hash=1",
            "k8s:statefulset.kubernetes.io/pod-name=db-0",
            "k8s:apps.kubernetes.io/pod-index=0",
            "k8s:batch.kubernetes.io/job-completion-index=3",
            "k8s:batch.kubernetes.io/controller-uid=9",
            "k8s:job-name=nightly-2811",
            "k8s:node.beta.kubernetes.io/x=1",
            "k8s:io.kubernetes.other=1",
            "k8s:topology.kubernetes.io/zone=a",
        ] {
            assert!(!takes(&filter, left), "{left} must not count");
        }
    }

    #[test]
    fn naming_labels_to_take_leaves_the_unnamed_ones_out() {
        let filter = LabelFilter::with_user_rules("k8s:app, !k8s:app.internal*").unwrap();
        assert!(takes(&filter, "k8s:app=web"));
        assert!(!takes(&filter, "k8s:app.internal=1"));
        assert!(!takes(&filter, "k8s:team=x"));
        assert!(takes(&filter, "k8s:io.kubernetes.pod.namespace=default"), "the defaults stay in force");
    }

    #[test]
    fn leaving_labels_out_keeps_the_rest() {
        let filter = LabelFilter::with_user_rules("!release").unwrap();
        assert!(takes(&filter, "k8s:app=web") && !takes(&filter, "k8s:release=17"));
    }

    #[test]
    fn a_key_that_a_policy_asks_for_counts_whatever_the_rules_say() {
        let mut filter = LabelFilter::with_user_rules("!release").unwrap();
        assert!(filter.set_asked_for(["release".into(), "pod-template-hash".into()].into()));
        assert!(takes(&filter, "k8s:release=17") && takes(&filter, "k8s:pod-template-hash=7d9f"));
        assert!(!filter.takes_by_rules(&Label::k8s("release", "17")));
        assert!(
            !filter.set_asked_for(["release".into(), "pod-template-hash".into()].into()),
            "nothing changed"
        );
    }

    #[test]
    fn a_rule_without_a_label_is_refused() {
        assert!(LabelFilter::with_user_rules("app !").unwrap_err().to_string().contains("!"));
    }
}
