//! The manifests of `manifests/`, built in, and put together the way kustomize does it, so that `kubectl apply -k`
//! and a program apply the same objects.

#![forbid(unsafe_code)]

mod files;
mod kustomize;
mod merge;
mod variant;

use anyhow::Context;
use serde_json::Value;

pub use variant::{DEFAULT_IMAGE, DEFAULT_NAMESPACE, Mode, Variant};

/// Objects of a kustomization in `manifests/`, by its folder: "" for the whole of it, "overlays/kind".
///
/// # Errors
/// There is no such folder, or it says what is not understood.
pub fn overlay(folder: &str) -> anyhow::Result<Vec<Value>> {
    kustomize::build(folder)
}

/// Objects as one YAML file, for `kubectl apply -f`.
///
/// # Errors
/// They cannot be written as YAML.
pub fn to_yaml(objects: &[Value]) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in objects {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&serde_saphyr::to_string(object).with_context(|| format!("write {}", name(object)))?);
    }
    Ok(text)
}

/// "DaemonSet/fathom-agent".
pub fn name(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    format!("{}/{}", text("/kind"), text("/metadata/name"))
}
