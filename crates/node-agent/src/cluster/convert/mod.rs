//! Kubernetes objects to the agent's own: the only place that knows the wire types.

mod error;
mod field;
mod node;
mod pod;
mod policy;
mod service;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use error::ConvertError;
pub use node::{namespace, node};
pub use pod::pod;
pub use policy::network_policy;
pub use service::{endpoint_slice, service};

use super::model::{Kind, Object};

/// Namespace of an object that names none, as for `kubectl apply`.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What became of an object.
#[derive(Debug)]
pub struct Converted {
    pub object: Option<Object>,
    pub error: Option<ConvertError>,
    pub in_force: InForce,
}

/// Which form of the object counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InForce {
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
    if kind == Kind::NetworkPolicy {
        return policy::from_value(value);
    }
    let object = match kind {
        Kind::Namespace => read(value).and_then(namespace).map(|o| Object::Namespace(Arc::new(o))),
        Kind::Node => read(value).and_then(node).map(|o| Object::Node(Arc::new(o))),
        Kind::Pod => read(value).and_then(pod).map(|o| Object::Pod(Arc::new(o))),
        Kind::Service => read(value).and_then(service).map(|o| Object::Service(Arc::new(o))),
        Kind::EndpointSlice => {
            read(value).and_then(endpoint_slice).map(|o| Object::EndpointSlice(Arc::new(o)))
        }
        Kind::NetworkPolicy => unreachable!("returned above"),
    };
    match object {
        Ok(object) => Converted { object: Some(object), error: None, in_force: InForce::AsWritten },
        Err(error) => Converted { object: None, error: Some(error), in_force: InForce::Older },
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, ConvertError> {
    T::deserialize(value).map_err(|error| ConvertError::Schema(error.to_string()))
}

fn name_of(metadata: &ObjectMeta) -> Result<Arc<str>, ConvertError> {
    let name = metadata.name.as_deref().filter(|name| !name.is_empty());
    name.map(Into::into).ok_or(ConvertError::Missing("metadata.name"))
}

fn namespace_of(metadata: &ObjectMeta) -> Arc<str> {
    let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    namespace.unwrap_or(DEFAULT_NAMESPACE).into()
}
