//! One label with the place it came from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use thiserror::Error;

/// Where labels come from.
pub mod source {
    /// Kubernetes objects.
    pub const K8S: &str = "k8s";
    /// Built-in identities.
    pub const RESERVED: &str = "reserved";
    /// Prefixes named by policies.
    pub const CIDR: &str = "cidr";
    /// Text that named no source.
    pub const UNSPEC: &str = "unspec";
}

/// A label, written `source:key=value`, or `source:key` when the value is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    pub source: Arc<str>,
    pub key: Arc<str>,
    pub value: Arc<str>,
}

/// A label text that has no key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("label {0:?} has no key: write source:key=value, for example k8s:app=web")]
pub struct LabelError(pub String);

impl Label {
    pub fn new(source: impl Into<Arc<str>>, key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self { source: source.into(), key: key.into(), value: value.into() }
    }

    /// A label of a Kubernetes object.
    pub fn k8s(key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self::new(source::K8S, key, value)
    }

    /// `reserved:<name>`.
    pub fn reserved(name: &str) -> Self {
        Self::new(source::RESERVED, name, "")
    }

    /// `cidr:<prefix>`.
    pub fn cidr(prefix: IpNet) -> Self {
        Self::new(source::CIDR, prefix.to_string(), "")
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        Ok(())
    }
}

impl FromStr for Label {
    type Err = LabelError;

    /// Reads `source:key=value`; a text without a source gets [`source::UNSPEC`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let (source, key) = name.split_once(':').unwrap_or((source::UNSPEC, name));
        if key.is_empty() || source.is_empty() {
            return Err(LabelError(text.to_owned()));
        }
        Ok(Self::new(source, key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_reads_back_what_it_renders() {
        for text in ["k8s:app=web", "reserved:world", "cidr:10.0.0.0/8", "cidr:2001:db8::/32", "k8s:a=b:c=d"]
        {
            assert_eq!(text.parse::<Label>().unwrap().to_string(), text);
        }
        assert_eq!("app=a:b".parse::<Label>().unwrap(), Label::new("unspec", "app", "a:b"));
    }

    #[test]
    fn a_label_without_a_key_is_refused_by_name() {
        let error = "k8s:=web".parse::<Label>().unwrap_err().to_string();
        assert!(error.contains("k8s:=web") && error.contains("source:key=value"), "{error}");
    }
}
