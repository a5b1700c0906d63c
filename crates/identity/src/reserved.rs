//! Identity numbers with a fixed meaning, numbered as clients of the public API know them.

use crate::label::{Label, source};
use crate::label_set::LabelSet;

pub const UNKNOWN: u32 = 0;
/// This node.
pub const HOST: u32 = 1;
/// Any address outside the cluster.
pub const WORLD: u32 = 2;
pub const UNMANAGED: u32 = 3;
pub const HEALTH: u32 = 4;
/// A pod whose labels are not known yet.
pub const INIT: u32 = 5;
/// Another node of the cluster.
pub const REMOTE_NODE: u32 = 6;
pub const KUBE_APISERVER: u32 = 7;
pub const INGRESS: u32 = 8;
pub const WORLD_IPV4: u32 = 9;
pub const WORLD_IPV6: u32 = 10;

const NAMES: [(u32, &str); 11] = [
    (UNKNOWN, "unknown"),
    (HOST, "host"),
    (WORLD, "world"),
    (UNMANAGED, "unmanaged"),
    (HEALTH, "health"),
    (INIT, "init"),
    (REMOTE_NODE, "remote-node"),
    (KUBE_APISERVER, "kube-apiserver"),
    (INGRESS, "ingress"),
    (WORLD_IPV4, "world-ipv4"),
    (WORLD_IPV6, "world-ipv6"),
];

/// All reserved numbers with their names, in order.
pub fn all() -> impl Iterator<Item = (u32, &'static str)> {
    NAMES.into_iter()
}

/// Name of a reserved number.
pub fn name(number: u32) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Number of a reserved name.
pub fn number(name: &str) -> Option<u32> {
    NAMES.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

/// `reserved:<name>`, the labels of a reserved number.
pub fn labels(number: u32) -> Option<LabelSet> {
    Some(LabelSet::new([Label::reserved(name(number)?)]))
}

/// The reserved number a label set stands for: exactly one `reserved:` label and no other.
pub fn of_labels(labels: &LabelSet) -> Option<u32> {
    let mut labels = labels.iter();
    let only = labels.next().filter(|label| &*label.source == source::RESERVED)?;
    labels.next().is_none().then(|| number(&only.key))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_labels_lead_to_each_other() {
        for (known, name) in all() {
            assert_eq!(number(name), Some(known));
            assert_eq!(of_labels(&labels(known).unwrap()), Some(known));
        }
        assert_eq!(
            (name(HOST), name(WORLD), name(KUBE_APISERVER)),
            (Some("host"), Some("world"), Some("kube-apiserver"))
        );
        assert_eq!(name(256), None);
        assert_eq!(of_labels(&LabelSet::new([Label::reserved("world"), Label::k8s("a", "1")])), None);
    }
}
