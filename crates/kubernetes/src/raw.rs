//! Objects as the API server sends them: whatever else is wrong with one, its name can be read, so that one
//! object nobody understands does not stop the others.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// One object of any kind.
#[derive(Clone, Debug)]
pub struct RawObject {
    /// Name, namespace, uid and resource version; nothing else is read from the metadata.
    meta: ObjectMeta,
    /// All of it.
    pub value: Value,
}

impl RawObject {
    pub fn new(value: Value) -> Self {
        let text = |field: &str| {
            value.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str).map(str::to_owned)
        };
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        RawObject { meta, value }
    }

    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(RawObject::new)
    }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl Resource for RawObject {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_with_nonsense_in_it_still_has_its_name() {
        let text = r#"{"metadata": {"name": "x", "namespace": "n", "creationTimestamp": 7, "labels": []}, "spec": 3}"#;
        let object: RawObject = serde_json::from_str(text).unwrap();
        assert_eq!((object.name(), object.namespace()), ("x", "n"));
        assert_eq!(object.value["spec"], json!(3));
        assert_eq!(RawObject::new(json!("?")).name(), "");
    }
}
