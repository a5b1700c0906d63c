//! The custom resource `FathomIdentity`: its name is a number, its content the labels the number stands for.

use fathom_identity::{CLUSTER_MAX, CLUSTER_MIN, Label, LabelSet};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Which labels an identity number stands for. Its name is the number, from 256 to 65535. Agents make these;
/// the relay that leads removes those no agent has used for a while.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fathom.dev",
    version = "v1alpha1",
    kind = "FathomIdentity",
    plural = "fathomidentities",
    singular = "fathomidentity",
    shortname = "fid",
    category = "fathom",
    doc = "Which labels an identity number stands for.",
    printcolumn(name = "Labels", type_ = "string", json_path = ".spec.labels"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = kube::core::Rule::new("self.metadata.name.matches('^(25[6-9]|2[6-9][0-9]|[3-9][0-9][0-9]|[1-9][0-9][0-9][0-9]|[1-5][0-9][0-9][0-9][0-9]|6[0-4][0-9][0-9][0-9]|65[0-4][0-9][0-9]|655[0-2][0-9]|6553[0-5])$')")
        .message("the name is the identity's number, from 256 to 65535")
)]
pub struct FathomIdentitySpec {
    /// Labels as source:key=value, sorted. They never change: another set of labels has another number.
    #[schemars(length(min = 1, max = 256), inner(length(max = 1024)))]
    #[x_kube(validation = kube::core::Rule::new("self == oldSelf").message("a number never changes its labels"))]
    pub labels: Vec<String>,
}

/// Label on every identity: the hash of its labels, so that all numbers of one set of labels are found.
pub const HASH_LABEL: &str = "fathom.dev/labels-hash";
/// Annotation: when an agent last said that it uses the number.
pub const USED_ANNOTATION: &str = "fathom.dev/last-used";

/// The hash as it stands in [`HASH_LABEL`].
pub fn hash_label(labels: &LabelSet) -> String {
    format!("{:016x}", labels.stable_hash())
}

/// A new identity, used now.
pub fn identity(number: u16, labels: &LabelSet) -> FathomIdentity {
    let spec = FathomIdentitySpec { labels: labels.rendered().iter().map(ToString::to_string).collect() };
    let mut object = FathomIdentity::new(&number.to_string(), spec);
    object.metadata.labels = Some([(HASH_LABEL.to_owned(), hash_label(labels))].into());
    object.metadata.annotations = Some([(USED_ANNOTATION.to_owned(), now())].into());
    object
}

/// This moment as annotations say it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The number in a name.
pub fn number(name: &str) -> Option<u16> {
    let number: u16 = name.parse().ok()?;
    let in_range = (CLUSTER_MIN..=CLUSTER_MAX).contains(&u32::from(number));
    (in_range && number.to_string() == name).then_some(number)
}

/// Labels from their texts.
///
/// # Errors
/// Which text is no label.
pub fn parse_labels<T: AsRef<str>>(texts: &[T]) -> Result<LabelSet, String> {
    let labels = texts.iter().map(|text| text.as_ref().parse());
    labels.collect::<Result<Vec<Label>, _>>().map(LabelSet::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbers_of_cluster_identities_in_one_spelling() {
        for (name, wanted) in [("256", Some(256)), ("65535", Some(65_535)), ("255", None), ("65536", None)] {
            assert_eq!(number(name), wanted, "{name}");
        }
        for name in ["0300", "+300", "300 ", "", "web"] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let labels = LabelSet::new([Label::k8s("app", "web"), Label::k8s("empty", "")]);
        let object = identity(300, &labels);
        assert_eq!(object.metadata.name.as_deref(), Some("300"));
        assert_eq!(parse_labels(&object.spec.labels).unwrap(), labels);
        assert!(parse_labels(&["k8s:"]).is_err());
    }
}
