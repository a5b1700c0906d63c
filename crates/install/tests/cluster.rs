//! Installing and uninstalling against an API server in memory; the test stands in for controllers and kubelets.

use std::time::Duration;

use fathom_fake_apiserver::{ApiServer, Options};
use fathom_install::apply::{Outcome, apply};
use fathom_install::state::{look, wait};
use fathom_install::{remove, state};
use fathom_manifests::{Variant, name};
use kube::{Client, Config};
use serde_json::{Value, json};

const NAMESPACE: &str = "kube-system";
const LONG: Duration = Duration::from_secs(30);

async fn cluster() -> (ApiServer, Client) {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let client = Client::try_from(Config::new(server.url().parse().unwrap())).unwrap();
    (server, client)
}

async fn installed(client: &Client) -> Vec<Value> {
    let objects = Variant::default().objects().unwrap();
    for object in &objects {
        apply(client, object, false).await.unwrap_or_else(|error| panic!("{}: {error:#}", name(object)));
    }
    objects
}

/// What a controller would say of a DaemonSet.
async fn set_status(client: &Client, set: &str, status: Value) {
    use k8s_openapi::api::apps::v1::DaemonSet;
    let sets: kube::Api<DaemonSet> = kube::Api::namespaced(client.clone(), NAMESPACE);
    let patch = kube::api::Patch::Merge(json!({"status": status}));
    sets.patch_status(set, &kube::api::PatchParams::default(), &patch).await.unwrap();
}

async fn set_relays(client: &Client, ready: i32) {
    use k8s_openapi::api::apps::v1::Deployment;
    let deployments: kube::Api<Deployment> = kube::Api::namespaced(client.clone(), NAMESPACE);
    let generation = deployments.get("fathom-relay").await.unwrap().metadata.generation;
    let status = json!({"status": {"observedGeneration": generation, "replicas": 2, "updatedReplicas": 2,
        "readyReplicas": ready}});
    let patch = kube::api::Patch::Merge(status);
    deployments.patch_status("fathom-relay", &kube::api::PatchParams::default(), &patch).await.unwrap();
}

fn agents(ready: i32) -> Value {
    json!({"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0,
        "updatedNumberScheduled": 2, "numberReady": ready})
}

#[tokio::test]
async fn applied_twice_it_changes_nothing_and_filled_certificates_stay() {
    let (_server, client) = cluster().await;
    let dry = Variant::default().objects().unwrap();
    // What the server only tries is not there afterwards.
    assert_eq!(apply(&client, &dry[0], true).await.unwrap(), Outcome::Created);
    assert_eq!(apply(&client, &dry[0], false).await.unwrap(), Outcome::Created);
    let objects = installed(&client).await;
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(client.clone(), NAMESPACE);
    let filled = kube::api::Patch::Merge(json!({"data": {"tls.crt": "eA=="}}));
    secrets.patch("fathom-agent-tls", &kube::api::PatchParams::default(), &filled).await.unwrap();
    for object in &objects {
        assert_eq!(apply(&client, object, false).await.unwrap(), Outcome::Unchanged, "{}", name(object));
    }
    assert!(secrets.get("fathom-agent-tls").await.unwrap().data.unwrap().contains_key("tls.crt"));
    let other = Variant { image: "example/fathom:2".into(), ..Variant::default() }.objects().unwrap();
    let agent = other.iter().find(|object| name(object) == "DaemonSet/fathom-agent").unwrap();
    assert_eq!(apply(&client, agent, false).await.unwrap(), Outcome::Changed);
}

#[tokio::test]
async fn waiting_ends_when_all_are_ready_and_names_what_is_not() {
    let (server, client) = cluster().await;
    let parts = look(&client, NAMESPACE).await.unwrap();
    assert!(parts.iter().all(|part| part.pods.is_none()), "{parts:?}");
    installed(&client).await;
    set_status(&client, "fathom-agent", agents(1)).await;
    set_relays(&client, 2).await;
    server.put(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "fathom-agent-x7k2p", "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": "fathom-agent", "app.kubernetes.io/part-of": "fathom"}},
        "spec": {"nodeName": "node-2", "containers": [{"name": "agent", "image": "x"}]},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "agent", "image": "x", "imageID": "",
            "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]},
    }))
    .unwrap();
    let error = wait(&client, NAMESPACE, Duration::from_millis(600), |_| ()).await.unwrap_err().to_string();
    for words in [
        "DaemonSet/fathom-agent: 1 of 2 ready",
        "fathom-agent-x7k2p on node-2: agent: ImagePullBackOff: no such image",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!error.contains("fathom-relay"), "{error}");

    let mut heard = Vec::new();
    let later = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        set_status(&client, "fathom-agent", agents(2)).await;
    };
    let waiting = wait(&client, NAMESPACE, LONG, |parts| {
        heard.push(parts.iter().map(state::lines).collect::<Vec<_>>())
    });
    let (done, ()) = tokio::join!(waiting, later);
    done.unwrap();
    assert!(
        heard.len() >= 2 && heard.last().unwrap()[0].starts_with("DaemonSet/fathom-agent: 2 of 2 ready"),
        "{heard:?}"
    );
}

#[tokio::test]
async fn nodes_are_made_clean_before_objects_go_and_definitions_stay() {
    let (_server, client) = cluster().await;
    let objects = installed(&client).await;
    let controller = async {
        use k8s_openapi::api::apps::v1::DaemonSet;
        let sets: kube::Api<DaemonSet> = kube::Api::namespaced(client.clone(), NAMESPACE);
        while sets.get_opt("fathom-cleanup").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        set_status(&client, "fathom-cleanup", agents(2)).await;
    };
    let (nodes, ()) = tokio::join!(remove::clean_nodes(&client, NAMESPACE, LONG), controller);
    assert_eq!(nodes.unwrap(), 2);
    assert_eq!(remove::clean_nodes(&client, NAMESPACE, LONG).await.unwrap(), 0, "nothing is left to clean");
    for object in objects.iter().rev().filter(|object| !remove::is_kept(object)) {
        let there = name(object) != "DaemonSet/fathom-agent";
        assert_eq!(remove::remove(&client, object).await.unwrap(), there, "{}", name(object));
    }
    let definition = objects.iter().find(|object| remove::is_kept(object)).unwrap();
    assert!(remove::remove(&client, definition).await.unwrap(), "it was still there");
}
