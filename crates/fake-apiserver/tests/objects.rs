//! Objects through a client: made, changed, applied, deleted.

mod support;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use support::{
    boat, boats, client, config_map, config_maps, definition, is, object, refused, resource, server,
};

fn generation(object: &DynamicObject) -> i64 {
    object.metadata.generation.unwrap()
}

#[tokio::test]
async fn an_object_is_made_once_and_changed_only_in_the_form_that_was_read() {
    let server = server().await;
    let api = config_maps(client(&server, None));
    let post = PostParams::default();
    let made = api.create(&post, &config_map("a", json!({"x": "1"}))).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(refused(api.create(&post, &config_map("a", json!({}))).await), is(409, "AlreadyExists"));
    assert_eq!(refused(api.get("b").await), is(404, "NotFound"));
    let mut changed = made.clone();
    changed.data["data"]["x"] = json!("2");
    let second = api.replace("a", &post, &changed).await.unwrap();
    assert_ne!(second.resource_version(), made.resource_version());
    assert_eq!(second.metadata.uid, made.metadata.uid);
    assert_eq!(refused(api.replace("a", &post, &changed).await), is(409, "Conflict"));
    let mut same = second.clone();
    same.metadata.uid = None;
    let third = api.replace("a", &post, &same).await.unwrap();
    assert_eq!(third.resource_version(), second.resource_version(), "nothing changed: no new version");
    let patch = json!({"metadata": {"resourceVersion": made.resource_version()}, "data": {"x": "3"}});
    let patched = api.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await;
    assert_eq!(refused(patched), is(409, "Conflict"));
}

#[tokio::test]
async fn names_namespaces_and_labels_are_checked() {
    let server = server().await;
    let api = config_maps(client(&server, None));
    let post = PostParams::default();
    assert_eq!(refused(api.create(&post, &config_map("Upper", json!({}))).await), is(422, "Invalid"));
    let nowhere =
        Api::namespaced_with(client(&server, None), "nowhere", &resource("v1", "ConfigMap", "configmaps"));
    assert_eq!(refused(nowhere.create(&post, &config_map("a", json!({}))).await), is(404, "NotFound"));
    let label = json!({"metadata": {"name": "a", "labels": {"x": "no spaces"}}});
    assert_eq!(refused(api.create(&post, &object(label)).await), is(422, "Invalid"));
    let other = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}});
    assert_eq!(refused(api.create(&post, &object(other)).await), is(400, "BadRequest"));
    let generated = api.create(&post, &object(json!({"metadata": {"generateName": "a-"}}))).await.unwrap();
    assert!(generated.name_any().starts_with("a-") && generated.name_any().len() == 7);
}

#[tokio::test]
async fn status_is_written_through_its_own_door_and_counts_no_generation() {
    let server = server().await;
    server.put(&definition()).unwrap();
    let api = boats(client(&server, None));
    let post = PostParams::default();
    let mut new = boat("b", json!({"size": 1}));
    new.data["status"] = json!({"ready": true});
    let made = api.create(&post, &new).await.unwrap();
    assert_eq!((made.data["status"].clone(), generation(&made)), (Value::Null, 1));
    assert_eq!(made.data["spec"]["colour"], "red", "the schema's default");
    let mut status = made.clone();
    status.data["status"] = json!({"ready": true, "unknown": 1});
    status.data["spec"]["size"] = json!(9);
    let written = api.replace_status("b", &post, &status).await.unwrap();
    assert_eq!((&written.data["status"], generation(&written)), (&json!({"ready": true}), 1));
    assert_eq!(written.data["spec"]["size"], 1);
    let mut spec = written.clone();
    spec.data["spec"]["size"] = json!(2);
    spec.data["status"] = json!({"ready": false});
    let replaced = api.replace("b", &post, &spec).await.unwrap();
    assert_eq!((&replaced.data["status"], generation(&replaced)), (&json!({"ready": true}), 2));
    let patch = Patch::Merge(json!({"status": {"ready": false}, "spec": {"size": 7}}));
    let patched = api.patch_status("b", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!((&patched.data["status"]["ready"], &patched.data["spec"]["size"]), (&json!(false), &json!(2)));
}

#[tokio::test]
async fn custom_objects_follow_their_schema_and_are_replaced_only_with_a_version() {
    let server = server().await;
    let api = boats(client(&server, None));
    let post = PostParams::default();
    assert_eq!(refused(api.create(&post, &boat("b", json!({"size": 1}))).await).0, 404, "no definition yet");
    server.put(&definition()).unwrap();
    assert_eq!(refused(api.create(&post, &boat("b", json!({}))).await), is(422, "Invalid"));
    assert_eq!(refused(api.create(&post, &boat("b", json!({"size": "x"}))).await), is(422, "Invalid"));
    let made = api.create(&post, &boat("b", json!({"size": 1, "more": 2}))).await.unwrap();
    assert_eq!(made.data["spec"].get("more"), None, "what the schema does not name is dropped");
    assert_eq!(refused(api.replace("b", &post, &boat("b", json!({"size": 2}))).await), is(422, "Invalid"));
    let strategic = Patch::Strategic(json!({"spec": {"size": 3}}));
    assert_eq!(refused(api.patch("b", &PatchParams::default(), &strategic).await).0, 415);
    server.remove("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "boats.example.com").unwrap();
    assert_eq!(refused(api.get("b").await).0, 404);
    server.put(&definition()).unwrap();
    assert_eq!(refused(api.get("b").await), is(404, "NotFound"), "they went with the definition");
}

#[tokio::test]
async fn what_somebody_else_applied_is_a_conflict_unless_forced() {
    let server = server().await;
    let api = config_maps(client(&server, None));
    let apply = |manager: &'static str, data: Value, force: bool| {
        let mut params = PatchParams::apply(manager);
        params.force = force;
        let (api, map) = (api.clone(), config_map("a", data));
        async move { api.patch("a", &params, &Patch::Apply(&map)).await }
    };
    let first = apply("one", json!({"x": "1", "y": "1"}), false).await.unwrap();
    let again = apply("one", json!({"x": "1", "y": "1"}), false).await.unwrap();
    assert_eq!(first.resource_version(), again.resource_version());
    assert_eq!(refused(apply("two", json!({"x": "2"}), false).await), is(409, "Conflict"));
    let forced = apply("two", json!({"x": "2"}), true).await.unwrap();
    assert_eq!(forced.data["data"], json!({"x": "2", "y": "1"}));
    let less = apply("one", json!({"z": "1"}), false).await.unwrap();
    assert_eq!(less.data["data"], json!({"x": "2", "z": "1"}), "y is applied by nobody any more");
    let fields = less.metadata.managed_fields.unwrap();
    let managers: Vec<_> = fields.iter().map(|entry| entry.manager.clone().unwrap()).collect();
    assert_eq!(managers, ["one", "two"]);
    assert!(fields.iter().all(|entry| entry.time.is_some() && entry.operation.as_deref() == Some("Apply")));
}

#[tokio::test]
async fn who_updates_last_is_known_by_name_and_time() {
    let server = server().await;
    let api = config_maps(client(&server, None));
    let editor = |name: &str| PostParams { field_manager: Some(name.to_owned()), ..PostParams::default() };
    let mut map = api.create(&editor("maker"), &config_map("a", json!({"x": "1", "y": "1"}))).await.unwrap();
    map.data["data"]["x"] = json!("2");
    let map = api.replace("a", &editor("editor"), &map).await.unwrap();
    let fields = serde_json::to_value(map.metadata.managed_fields.unwrap()).unwrap();
    assert_eq!(fields[0]["fieldsV1"], json!({"f:data": {"f:y": {}}}));
    assert_eq!(
        (&fields[1]["manager"], &fields[1]["fieldsV1"]),
        (&json!("editor"), &json!({"f:data": {"f:x": {}}}))
    );
}

#[tokio::test]
async fn a_json_patch_tests_before_it_changes() {
    let server = server().await;
    let api = config_maps(client(&server, None));
    api.create(&PostParams::default(), &config_map("a", json!({"x": "1"}))).await.unwrap();
    let patch = |test: &str| -> Patch<DynamicObject> {
        let operations = json!([{"op": "test", "path": "/data/x", "value": test},
            {"op": "replace", "path": "/data/x", "value": "2"}]);
        Patch::Json(serde_json::from_value(operations).unwrap())
    };
    assert_eq!(refused(api.patch("a", &PatchParams::default(), &patch("9")).await).0, 422);
    let patched = api.patch("a", &PatchParams::default(), &patch("1")).await.unwrap();
    assert_eq!(patched.data["data"]["x"], "2");
}

#[tokio::test]
async fn a_deletion_waits_for_finalizers_and_keeps_to_its_preconditions() {
    let server = server().await;
    let api = config_maps(client(&server, None));
    let mut map = config_map("a", json!({}));
    map.metadata.finalizers = Some(vec!["example.com/wait".into()]);
    let made = api.create(&PostParams::default(), &map).await.unwrap();
    let only = |uid: &str| {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
        DeleteParams::default().preconditions(preconditions)
    };
    assert_eq!(refused(api.delete("a", &only("other")).await), is(409, "Conflict"));
    api.delete("a", &only(&made.uid().unwrap())).await.unwrap();
    assert!(api.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(refused(api.get("a").await), is(404, "NotFound"));
}

#[tokio::test]
async fn a_pod_on_a_node_is_let_end_before_it_goes() {
    let server = server().await;
    let api: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(client(&server, None));
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Running"}});
    let pod = serde_json::from_value(pod).unwrap();
    let made = api.create(&PostParams::default(), &pod).await.unwrap();
    assert_eq!(
        made.status.unwrap().phase.as_deref(),
        Some("Pending"),
        "status is not taken from who makes it"
    );
    api.delete("p", &DeleteParams::default()).await.unwrap();
    let ending = api.get("p").await.unwrap().metadata;
    assert_eq!((ending.deletion_timestamp.is_some(), ending.deletion_grace_period_seconds), (true, Some(30)));
    api.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(refused(api.get("p").await), is(404, "NotFound"));
}
