//! Who may do what.

mod support;

use fathom_fake_apiserver::ApiServer;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams, WatchParams};
use serde_json::json;
use support::{client, config_map, config_maps, is, locked_server, refused, resource};

fn allow(server: &ApiServer, rules: &serde_json::Value) {
    let group = "rbac.authorization.k8s.io";
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": rules});
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": "who"}]});
    server.put(&role).unwrap();
    server.put(&binding).unwrap();
}

#[tokio::test]
async fn a_bearer_may_do_what_roles_say_and_nothing_else() {
    let server = locked_server().await;
    let token = server.token("kube-system", "who").unwrap();
    allow(
        &server,
        &json!([
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["update"], "resourceNames": ["mine"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["watch"], "resourceNames": ["one"]},
        ]),
    );
    config_maps(client(&server, Some("admin")))
        .create(&PostParams::default(), &config_map("mine", json!({})))
        .await
        .unwrap();
    let api = config_maps(client(&server, Some(&token)));
    let mine = api.get("mine").await.unwrap();
    api.replace("mine", &PostParams::default(), &mine).await.unwrap();
    assert_eq!(
        refused(api.replace("other", &PostParams::default(), &config_map("other", json!({}))).await),
        is(403, "Forbidden")
    );
    assert_eq!(refused(api.create(&PostParams::default(), &mine).await), is(403, "Forbidden"));
    let secrets: Api<DynamicObject> =
        Api::default_namespaced_with(client(&server, Some(&token)), &resource("v1", "Secret", "secrets"));
    assert_eq!(refused(secrets.watch(&WatchParams::default(), "0").await.map(drop)).0, 403);
    secrets.watch(&WatchParams::default().fields("metadata.name=one"), "0").await.map(drop).unwrap();
    let (_, denied) = server.asked();
    assert_eq!(denied.len(), 3, "{denied:#?}");
    let unused: Vec<String> = server.unused("kube-system", "who").iter().map(ToString::to_string).collect();
    assert_eq!(unused, ["ClusterRole r: list configmaps"]);
}

#[tokio::test]
async fn a_role_in_a_namespace_grants_nothing_elsewhere() {
    let server = locked_server().await;
    let token = server.token("kube-system", "who").unwrap();
    let group = "rbac.authorization.k8s.io";
    let rules = json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]}]);
    server
        .put(&json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "rules": rules,
        "metadata": {"name": "r", "namespace": "kube-system"}}))
        .unwrap();
    server
        .put(&json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
        "metadata": {"name": "r", "namespace": "kube-system"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": "who"}]}))
        .unwrap();
    let leases = resource("coordination.k8s.io/v1", "Lease", "leases");
    let list = |namespace: Option<&str>| {
        let client = client(&server, Some(&token));
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &leases),
            None => Api::all_with(client, &leases),
        };
        async move { api.list(&ListParams::default()).await.map(|list| list.items.len()) }
    };
    assert_eq!(list(Some("kube-system")).await.unwrap(), 0);
    assert_eq!(refused(list(Some("default")).await), is(403, "Forbidden"));
    assert_eq!(refused(list(None).await), is(403, "Forbidden"));
}

#[tokio::test]
async fn a_token_is_good_as_long_as_its_account_and_none_at_all_is_anonymous() {
    let server = locked_server().await;
    let token = server.token("kube-system", "who").unwrap();
    let list =
        async |token: Option<&str>| config_maps(client(&server, token)).list(&ListParams::default()).await;
    assert_eq!(refused(list(Some(&token)).await), is(403, "Forbidden"));
    assert_eq!(refused(list(None).await), is(403, "Forbidden"));
    assert_eq!(refused(list(Some("nonsense")).await), is(401, "Unauthorized"));
    server.remove("v1", "ServiceAccount", "kube-system", "who").unwrap();
    assert_eq!(refused(list(Some(&token)).await), is(401, "Unauthorized"));
    let version = client(&server, None).apiserver_version().await.unwrap();
    assert_eq!(version.minor, "36", "that everybody may know");
}

#[tokio::test]
async fn what_is_served_can_be_discovered() {
    let server = locked_server().await;
    server.put(&support::definition()).unwrap();
    let discovery = kube::Discovery::new(client(&server, Some("admin"))).run().await.unwrap();
    let kinds = |group: &str| -> Vec<String> {
        let group = discovery.get(group).unwrap();
        group.recommended_resources().iter().map(|(resource, _)| resource.kind.clone()).collect()
    };
    assert_eq!(kinds("example.com"), ["Boat"]);
    assert!(kinds("").contains(&"Pod".to_owned()));
    assert_eq!(kinds("coordination.k8s.io"), ["Lease"]);
}
