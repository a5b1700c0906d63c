//! Why an object was left out, in words its author can act on.

use thiserror::Error;

/// What is wrong with an object; the field is named as manifests spell it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConvertError {
    /// The text is YAML but not this kind of object.
    #[error("{0}")]
    Schema(String),
    /// What the policy crate found, joined.
    #[error("{0}")]
    Policy(String),
    /// The rest of the object counts.
    #[error("there is no such field as {0}: see how it is spelt")]
    UnknownFields(String),
    /// What it stands for without the annotation counts.
    #[error("metadata.annotations[{name:?}]: {value:?} means nothing: write {choices}")]
    Annotation { name: &'static str, value: String, choices: &'static str },
    /// Two warnings about one object.
    #[error("{0}; {1}")]
    Both(Box<ConvertError>, Box<ConvertError>),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field}: {value:?} is no IP address")]
    Address { field: String, value: String },
    #[error("{field}: {value:?} is no prefix such as 10.244.1.0/24")]
    Prefix { field: String, value: String },
    #[error("{field}: {value} is no port: write a number from 1 to 65535")]
    Port { field: String, value: i64 },
    #[error("{field}: {value:?} is no protocol: write TCP, UDP or SCTP")]
    Protocol { field: String, value: String },
    #[error("{field}: {value} is out of range: write {range}")]
    Range { field: String, value: i64, range: &'static str },
}
