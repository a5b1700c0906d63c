//! Agent events, debug events and lists through the relay.

mod cluster;

use std::time::Duration;

use cluster::{Script, Wire, start_agent, start_relay, until_connected};
use fathom_api::fathom_v1::ListRulesRequest;
use fathom_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetNamespacesRequest,
};
use fathom_api::time::{now, timestamp, unix_ns};
use tonic::metadata::MetadataMap;
use tonic::{Code, Streaming};

fn events(times: impl IntoIterator<Item = i64>) -> Script {
    Script { events: times.into_iter().collect(), ..Default::default() }
}

fn missing(metadata: &MetadataMap) -> Vec<String> {
    metadata.get_all("fathom-nodes-missing").iter().map(|v| v.to_str().unwrap().to_owned()).collect()
}

async fn next(stream: &mut Streaming<GetAgentEventsResponse>) -> Option<String> {
    let event = tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("in time");
    event.unwrap().map(|event| format!("{}-{}", event.node_name, unix_ns(&event.time.unwrap())))
}

#[tokio::test]
async fn the_last_three_are_three_of_all_nodes_and_who_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", events([1, 4, 5, 8])).await;
    let b = start_agent(dir.path(), "b", events([2, 6, 7])).await;
    let dead = dir.path().join("dead.sock");
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket), ("dead", &dead)]).await;
    let request = GetAgentEventsRequest { number: 3, ..Default::default() };
    let response = relay.client.get_agent_events(request).await.unwrap();
    let named = missing(response.metadata());
    assert!(named.len() == 1 && named[0].starts_with("dead: "), "{named:?}");
    let mut stream = response.into_inner();
    let mut seen = Vec::new();
    while let Some(event) = next(&mut stream).await {
        seen.push(event);
    }
    assert_eq!(seen, ["b-6", "b-7", "a-8"]);
    assert_eq!(missing(&stream.trailers().await.unwrap().unwrap()), named);
}

#[tokio::test]
async fn a_node_that_fails_during_the_answer_is_named_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", events([1])).await;
    let b = start_agent(dir.path(), "b", events([2])).await;
    let wire = Wire::to(&b);
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &wire.socket)]).await;
    wire.freeze(true);
    let response = relay.client.get_agent_events(GetAgentEventsRequest::default()).await.unwrap();
    let mut stream = response.into_inner();
    assert_eq!(next(&mut stream).await.unwrap(), "a-1");
    assert_eq!(next(&mut stream).await, None);
    let named = missing(&stream.trailers().await.unwrap().unwrap());
    assert!(named.len() == 1 && named[0].starts_with("b: "), "{named:?}");
}

#[tokio::test]
async fn a_node_that_restarts_is_followed_on_from_where_it_broke_off() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", Script::default()).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket)]).await;
    let request = GetAgentEventsRequest { follow: true, ..Default::default() };
    let mut stream = relay.client.get_agent_events(request).await.unwrap().into_inner();
    while a.agent.live.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    let seen = now();
    a.agent.live.send(seen).unwrap();
    assert_eq!(next(&mut stream).await, Some(format!("a-{seen}")));
    drop(a);
    until_connected(&relay.pool, "a", false).await;
    let a = start_agent(dir.path(), "a", events([seen, seen + 5])).await;
    assert_eq!(next(&mut stream).await, Some(format!("a-{}", seen + 5)));
    assert_eq!(a.agent.event_requests.lock().unwrap()[0].since, Some(timestamp(seen + 1)));
}

#[tokio::test]
async fn requests_for_events_that_mean_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", events([1])).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket)]).await;
    let both = GetAgentEventsRequest { first: true, follow: true, ..Default::default() };
    assert_eq!(relay.client.get_agent_events(both).await.unwrap_err().code(), Code::InvalidArgument);
    let since = Some(prost_types::Timestamp { seconds: 1, nanos: -5 });
    let bad = GetDebugEventsRequest { since, ..Default::default() };
    assert_eq!(relay.client.get_debug_events(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_no_node_can_answer_is_said_instead_of_an_empty_answer() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", Script::default()).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket)]).await;
    let mut stream =
        relay.client.get_debug_events(GetDebugEventsRequest::default()).await.unwrap().into_inner();
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "no node answered: a: no debug events");
}

#[tokio::test]
async fn lists_name_the_nodes_they_are_without_and_fail_when_nobody_answered() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", Script::default()).await;
    let dead = dir.path().join("dead.sock");
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("dead", &dead)]).await;
    let response = relay.client.get_namespaces(GetNamespacesRequest {}).await.unwrap();
    let named = missing(response.metadata());
    assert!(named.len() == 1 && named[0].starts_with("dead: "), "{named:?}");
    assert_eq!(response.get_ref().namespaces.len(), 2);
    // The agents of these tests have no rules to list.
    let status = relay.agent.list_rules(ListRulesRequest {}).await.unwrap_err();
    assert!(status.message().starts_with("no node answered: a: "), "{status}");
    assert_eq!(missing(status.metadata()).len(), 2);
}
