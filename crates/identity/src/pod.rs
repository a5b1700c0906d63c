//! From a pod's metadata to its identity labels, and back to what policies select on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::filter::LabelFilter;
use crate::label::{Label, source};
use crate::label_set::LabelSet;

/// Label keys under which facts about a pod, other than its own labels, enter its identity. The
/// names are those that clients of the public API know.
pub mod key {
    pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub const NAMESPACE_LABEL_PREFIX: &str = "io.cilium.k8s.namespace.labels.";
    pub const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
    pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
    /// The label every namespace has (the API server adds it).
    pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
    /// Keys below this are ours to set: a pod's own labels cannot.
    pub(super) const OWN_PREFIX: &str = "io.cilium.k8s.";
}

/// What is known of a pod when its identity is computed.
#[derive(Clone, Copy, Debug)]
pub struct PodMeta<'a> {
    pub cluster: &'a str,
    pub namespace: &'a str,
    /// Empty when the pod names none: then "default", as the API server would write.
    pub service_account: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub namespace_labels: &'a BTreeMap<String, String>,
}

impl PodMeta<'_> {
    /// The labels that make the pod's identity.
    ///
    /// A pod's own label never takes the place of a fact about it: keys such as
    /// [`key::NAMESPACE`] on the pod itself are ignored, so that nobody moves into another
    /// namespace by writing a label.
    pub fn identity_labels(&self, filter: &LabelFilter) -> LabelSet {
        let account = if self.service_account.is_empty() { "default" } else { self.service_account };
        let facts =
            [(key::NAMESPACE, self.namespace), (key::SERVICE_ACCOUNT, account), (key::CLUSTER, self.cluster)];
        let facts = facts.into_iter().map(|(key, value)| Label::k8s(key, value));
        let own = self.labels.iter().filter(|(name, _)| !is_fact(name));
        let own = own.map(|(name, value)| Label::k8s(name.as_str(), value.as_str()));
        let named = self.namespace_labels.iter().filter(|(name, _)| *name != key::NAMESPACE_NAME);
        let named = named.map(|(name, value)| (name.as_str(), value.as_str()));
        let named = named.chain([(key::NAMESPACE_NAME, self.namespace)]);
        let named =
            named.map(|(name, value)| Label::k8s(format!("{}{name}", key::NAMESPACE_LABEL_PREFIX), value));
        let mut labels: Vec<Label> = filter.apply(own.chain(named)).iter().cloned().collect();
        labels.extend(facts);
        LabelSet::new(labels)
    }
}

fn is_fact(name: &str) -> bool {
    name == key::NAMESPACE || name.starts_with(key::OWN_PREFIX)
}

/// What an identity says about its pods: all that selectors can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodScope {
    pub namespace: Arc<str>,
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    pub namespace_labels: BTreeMap<Arc<str>, Arc<str>>,
    pub service_account: Arc<str>,
    pub cluster: Arc<str>,
}

impl PodScope {
    /// Reads a pod's identity labels; `None` for a set that names no namespace (reserved, CIDR).
    pub fn of(labels: &LabelSet) -> Option<Self> {
        let mut scope =
            Self { namespace: labels.get(source::K8S, key::NAMESPACE)?.into(), ..Self::default() };
        for label in labels.iter().filter(|label| &*label.source == source::K8S) {
            let value = label.value.clone();
            match &*label.key {
                key::NAMESPACE => {}
                key::SERVICE_ACCOUNT => scope.service_account = value,
                key::CLUSTER => scope.cluster = value,
                name => match name.strip_prefix(key::NAMESPACE_LABEL_PREFIX) {
                    Some(name) => _ = scope.namespace_labels.insert(name.into(), value),
                    None => _ = scope.labels.insert(label.key.clone(), value),
                },
            }
        }
        Some(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_pod_becomes_labels_and_the_labels_say_what_policies_need() {
        let labels = map(&[("app", "web"), ("pod-template-hash", "7d9f")]);
        let namespace_labels = map(&[("team", "video")]);
        let meta = PodMeta {
            cluster: "lab",
            namespace: "live",
            service_account: "",
            labels: &labels,
            namespace_labels: &namespace_labels,
        };
        let set = meta.identity_labels(&LabelFilter::default());
        let rendered: Vec<_> = set.rendered().iter().map(|text| text.to_string()).collect();
        assert_eq!(
            rendered,
            [
                "k8s:app=web",
                "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=live",
                "k8s:io.cilium.k8s.namespace.labels.team=video",
                "k8s:io.cilium.k8s.policy.cluster=lab",
                "k8s:io.cilium.k8s.policy.serviceaccount=default",
                "k8s:io.kubernetes.pod.namespace=live",
            ]
        );
        let scope = PodScope::of(&set).unwrap();
        assert_eq!((&*scope.namespace, &*scope.cluster), ("live", "lab"));
        assert_eq!(scope.labels, BTreeMap::from([("app".into(), "web".into())]));
        assert_eq!(scope.namespace_labels.len(), 2);
    }

    #[test]
    fn a_pod_cannot_move_to_another_namespace_by_a_label_of_its_own() {
        let labels = map(&[
            ("io.kubernetes.pod.namespace", "kube-system"),
            ("io.cilium.k8s.namespace.labels.team", "admin"),
            ("io.cilium.k8s.policy.serviceaccount", "root"),
        ]);
        let none = BTreeMap::new();
        let meta = PodMeta {
            cluster: "lab",
            namespace: "live",
            service_account: "app",
            labels: &labels,
            namespace_labels: &none,
        };
        let scope = PodScope::of(&meta.identity_labels(&LabelFilter::default())).unwrap();
        assert_eq!((&*scope.namespace, &*scope.service_account), ("live", "app"));
        assert_eq!(scope.namespace_labels, BTreeMap::from([(key::NAMESPACE_NAME.into(), "live".into())]));
        assert!(scope.labels.is_empty());
    }

    #[test]
    fn an_identity_without_a_namespace_is_no_pods() {
        assert_eq!(PodScope::of(&LabelSet::new([Label::reserved("world")])), None);
    }
}
