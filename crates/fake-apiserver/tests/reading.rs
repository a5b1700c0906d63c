//! Lists and watches through a client.

mod support;

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::api::{DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;
use support::{client, config_maps, is, refused, server};

use fathom_fake_apiserver::ApiServer;

fn put(server: &ApiServer, name: &str, app: &str) {
    let metadata = json!({"name": name, "namespace": "default", "labels": {"app": app}});
    server.put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).unwrap();
}

fn remove(server: &ApiServer, name: &str) {
    server.remove("v1", "ConfigMap", "default", name).unwrap();
}

type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Send>>;

async fn watch(api: &Api<DynamicObject>, params: &WatchParams, version: &str) -> Events {
    Box::pin(api.watch(params, version).await.unwrap())
}

/// The next event: "ADDED a".
async fn next(events: &mut Events) -> String {
    let event = tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("no event came");
    let name = |object: &DynamicObject| object.metadata.name.clone().unwrap();
    match event {
        None => "end".to_owned(),
        Some(Err(error)) => format!("broken: {error}"),
        Some(Ok(WatchEvent::Added(object))) => format!("ADDED {}", name(&object)),
        Some(Ok(WatchEvent::Modified(object))) => format!("MODIFIED {}", name(&object)),
        Some(Ok(WatchEvent::Deleted(object))) => format!("DELETED {}", name(&object)),
        Some(Ok(WatchEvent::Bookmark(mark))) => {
            let ends = mark.metadata.annotations.contains_key("k8s.io/initial-events-end");
            (if ends { "BOOKMARK of the state" } else { "BOOKMARK" }).to_owned()
        }
        Some(Ok(WatchEvent::Error(status))) => format!("ERROR {}", status.code),
    }
}

#[tokio::test]
async fn pages_are_of_one_state_and_a_forgotten_one_says_how_to_go_on() {
    let server = server().await;
    for name in ["a", "b", "c", "d", "e"] {
        put(&server, name, "x");
    }
    let api = config_maps(client(&server, None));
    let names = |list: &kube::core::ObjectList<DynamicObject>| -> Vec<String> {
        list.items.iter().map(|object| object.metadata.name.clone().unwrap()).collect()
    };
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!((names(&first), first.metadata.remaining_item_count), (vec!["a".into(), "b".into()], Some(3)));
    remove(&server, "d");
    put(&server, "bb", "x");
    let token = first.metadata.continue_.clone().unwrap();
    let second = api.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
    assert_eq!(names(&second), ["c", "d"], "as it was");
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    server.shared().store().compact();
    let third = ListParams::default().limit(2).continue_token(&second.metadata.continue_.clone().unwrap());
    let Err(kube::Error::Api(status)) = api.list(&third).await else { panic!("it is gone") };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let fresh = status.metadata.as_ref().and_then(|m| m.continue_.clone()).expect("a token to go on with");
    let rest = api.list(&ListParams::default().limit(2).continue_token(&fresh)).await.unwrap();
    assert_eq!(names(&rest), ["e"], "what comes behind, as it is now");
    let metadata = api.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(metadata.items.len(), 5);
    assert_eq!(refused(api.list(&ListParams::default().continue_token("x")).await), is(400, "BadRequest"));
}

#[tokio::test]
async fn a_watch_tells_what_changed_since_and_what_enters_and_leaves_the_selection() {
    let server = server().await;
    put(&server, "a", "x");
    let api = config_maps(client(&server, None));
    let version = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    put(&server, "b", "y");
    let mut events = watch(&api, &WatchParams::default().labels("app=x"), &version).await;
    put(&server, "c", "x");
    assert_eq!(next(&mut events).await, "ADDED c");
    put(&server, "b", "x");
    assert_eq!(next(&mut events).await, "ADDED b");
    put(&server, "a", "y");
    assert_eq!(next(&mut events).await, "DELETED a");
    remove(&server, "c");
    assert_eq!(next(&mut events).await, "DELETED c");
}

#[tokio::test]
async fn a_watch_may_begin_with_the_state_and_says_where_that_ends() {
    let server = server().await;
    put(&server, "a", "x");
    server.shared().settings().bookmark_every = Duration::from_millis(50);
    let api = config_maps(client(&server, None));
    let mut events = watch(&api, &WatchParams::default().initial_events(), "0").await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(next(&mut events).await);
    }
    assert_eq!(told, ["ADDED a", "BOOKMARK of the state", "BOOKMARK"]);
    put(&server, "b", "x");
    loop {
        match next(&mut events).await.as_str() {
            "BOOKMARK" => {}
            other => break assert_eq!(other, "ADDED b"),
        }
    }
}

#[tokio::test]
async fn a_watch_from_too_old_a_version_is_gone_as_an_event_or_as_a_status() {
    let server = server().await;
    put(&server, "a", "x");
    let api = config_maps(client(&server, None));
    let old = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut running = watch(&api, &WatchParams::default(), &old).await;
    put(&server, "b", "x");
    assert_eq!(next(&mut running).await, "ADDED b");
    server.shared().expire();
    assert_eq!((next(&mut running).await.as_str(), next(&mut running).await.as_str()), ("ERROR 410", "end"));
    let mut anew = watch(&api, &WatchParams::default(), &old).await;
    assert_eq!((next(&mut anew).await.as_str(), next(&mut anew).await.as_str()), ("ERROR 410", "end"));
    server.shared().settings().expired_as_status = true;
    assert_eq!(refused(api.watch(&WatchParams::default(), &old).await.map(drop)), is(410, "Expired"));
}

#[tokio::test]
async fn a_server_that_comes_back_empty_cached_makes_everybody_list_again() {
    let server = server().await;
    put(&server, "a", "x");
    let api = config_maps(client(&server, None));
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    let mut next = async || {
        loop {
            let event =
                tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("no event came");
            match event {
                Some(Ok(Event::Apply(object) | Event::InitApply(object))) => {
                    break format!("is {}", object.metadata.name.unwrap());
                }
                Some(Ok(Event::Delete(object))) => break format!("gone {}", object.metadata.name.unwrap()),
                Some(Ok(Event::InitDone)) => break "listed".to_owned(),
                Some(Ok(Event::Init)) | Some(Err(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                None => panic!("the watch ended"),
            }
        }
    };
    assert_eq!((next().await.as_str(), next().await.as_str()), ("is a", "listed"));
    server.stop().await;
    put(&server, "b", "x");
    server.start_again_empty().await.unwrap();
    assert_eq!(
        (next().await.as_str(), next().await.as_str(), next().await.as_str()),
        ("is a", "is b", "listed")
    );
    server.shared().drop_connections();
    put(&server, "c", "x");
    assert_eq!(next().await, "is c", "a dropped connection is no reason to list");
    server.stop().await;
    put(&server, "d", "x");
    server.start_again().await.unwrap();
    assert_eq!(next().await, "is d", "nor is a server that remembers");
}
