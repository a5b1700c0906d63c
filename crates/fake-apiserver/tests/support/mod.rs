//! Clients and objects.
#![allow(dead_code, reason = "each test uses a part")]

use fathom_fake_apiserver::{ApiServer, Options};
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Client, Config};
use serde_json::{Value, json};

pub async fn server() -> ApiServer {
    ApiServer::start(Options::default()).await.unwrap()
}

pub async fn locked_server() -> ApiServer {
    let options = Options { admin_token: Some("admin".into()), ..Options::default() };
    ApiServer::start(options).await.unwrap()
}

pub fn client(server: &ApiServer, token: Option<&str>) -> Client {
    let mut config = Config::new(server.url().parse().unwrap());
    config.auth_info.token = token.map(|token| token.to_owned().into());
    Client::try_from(config).unwrap()
}

pub fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: api_version.into(),
        kind: kind.into(),
        plural: plural.into(),
    }
}

pub fn config_maps(client: Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client, &resource("v1", "ConfigMap", "configmaps"))
}

pub fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

pub fn config_map(name: &str, data: Value) -> DynamicObject {
    object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
}

/// A definition with a schema and a status of its own.
pub fn definition() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 1},
            "colour": {"type": "string", "default": "red"}}},
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema}}]},
    })
}

pub fn boats(client: Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client, &resource("example.com/v1", "Boat", "boats"))
}

pub fn boat(name: &str, spec: Value) -> DynamicObject {
    object(json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": name}, "spec": spec}))
}

/// Code and reason of a refusal.
pub fn refused<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone()),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub fn is(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}
