//! Kubernetes objects to the agent's own: the only place that knows the wire types.

pub mod edited;
mod error;
mod field;
mod node;
mod pod;
mod policy;
mod service;
mod unknown;

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use error::ConvertError;
pub use node::{namespace, node};
pub use pod::pod;
pub use service::{endpoint_slice, service};

use self::unknown::FieldPath;
use super::model::{Kind, Object};

/// Namespace of an object that names none, as for `kubectl apply`.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What became of an object.
#[derive(Debug)]
pub struct Converted {
    pub object: Option<Object>,
    pub error: Option<ConvertError>,
    pub in_force: InForce,
    /// A field of the metadata is misspelt and there is no namespace: the object may be another's than
    /// its key says.
    pub key_in_doubt: bool,
}

/// Which form of the object counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InForce {
    /// The object; an error beside it is a warning.
    AsWritten,
    /// The object beside the error: stricter than written.
    Restricted,
    /// The last good form if there is one, else the object beside the error.
    OlderOrRestricted,
    /// The last good form if there is one.
    Older,
}

/// Converts one object of a known kind.
pub fn object(kind: Kind, value: &Value) -> Converted {
    let mut unknown = Vec::new();
    let mut annotation = None;
    let object = match kind {
        Kind::NetworkPolicy => {
            let mut converted = policy::from_value(value);
            if let Some(object) = &mut converted.object {
                edited::note(object, edited::of(value));
            }
            return converted;
        }
        Kind::Namespace => {
            read(value, &mut unknown).and_then(namespace).map(|o| Object::Namespace(Arc::new(o)))
        }
        Kind::Node => read(value, &mut unknown).and_then(node).map(|o| Object::Node(Arc::new(o))),
        Kind::Pod => read(value, &mut unknown).and_then(|object: core::Pod| {
            annotation = pod::annotation_fault(&object.metadata);
            pod(object).map(|o| Object::Pod(Arc::new(o)))
        }),
        Kind::Service => read(value, &mut unknown).and_then(service).map(|o| Object::Service(Arc::new(o))),
        Kind::EndpointSlice => {
            read(value, &mut unknown).and_then(endpoint_slice).map(|o| Object::EndpointSlice(Arc::new(o)))
        }
    };
    let key_in_doubt = !kind.is_cluster_scoped() && unknown::leaves_the_key_in_doubt(&unknown, value);
    match object {
        Ok(object) => {
            let unknown =
                (!unknown.is_empty()).then(|| ConvertError::UnknownFields(unknown::listed(&unknown)));
            let error = match (unknown, annotation) {
                (Some(one), Some(other)) => Some(ConvertError::Both(one.into(), other.into())),
                (one, other) => one.or(other),
            };
            Converted { object: Some(object), error, in_force: InForce::AsWritten, key_in_doubt }
        }
        Err(error) => Converted { object: None, error: Some(error), in_force: InForce::Older, key_in_doubt },
    }
}

/// Converts an object that the API server has taken: it has looked at the spelling, and fields that are not
/// known here are those of a newer version. Policies are the exception, since such a field may narrow them.
pub fn from_server(kind: Kind, value: &Value) -> Converted {
    let mut converted = object(kind, value);
    if converted.in_force == InForce::AsWritten {
        converted.error = match converted.error {
            Some(ConvertError::Both(_, annotation)) => Some(*annotation),
            error => error.filter(|error| matches!(error, ConvertError::Annotation { .. })),
        };
    }
    converted
}

/// Reads a wire type, which passes over fields it does not have: they are collected.
fn read<T: DeserializeOwned>(value: &Value, unknown: &mut Vec<FieldPath>) -> Result<T, ConvertError> {
    serde_ignored::deserialize(value, |path| unknown.push(FieldPath::of(&path)))
        .map_err(|error| ConvertError::Schema(error.to_string()))
}

fn name_of(metadata: &ObjectMeta) -> Result<Arc<str>, ConvertError> {
    let name = metadata.name.as_deref().filter(|name| !name.is_empty());
    name.map(Into::into).ok_or(ConvertError::Missing("metadata.name"))
}

fn namespace_of(metadata: &ObjectMeta) -> Arc<str> {
    let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    namespace.unwrap_or(DEFAULT_NAMESPACE).into()
}
