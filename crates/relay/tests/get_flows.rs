//! GetFlows through the relay, over real sockets.

mod cluster;

use std::time::{Duration, Instant};

use cluster::{Script, next, next_flow, start_agent, start_relay, until_connected};
use fathom_api::observer::{GetFlowsRequest, get_flows_response::ResponseTypes};
use fathom_api::relay::NodeState;

fn history(times: impl IntoIterator<Item = i64>) -> Script {
    Script { history: times.into_iter().collect(), ..Default::default() }
}

async fn all_flows(relay: &mut cluster::Relay, request: GetFlowsRequest) -> Vec<String> {
    let mut stream = relay.client.get_flows(request).await.unwrap().into_inner();
    let mut flows = Vec::new();
    while let Some(flow) = next_flow(&mut stream).await {
        flows.push(flow);
    }
    flows
}

#[tokio::test]
async fn flows_of_two_nodes_come_as_one_stream_in_order_of_time() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history([1, 4, 5])).await;
    let b = start_agent(dir.path(), "b", history([2, 3, 6])).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket)]).await;
    let flows = all_flows(&mut relay, GetFlowsRequest::default()).await;
    assert_eq!(flows, ["a-1", "b-2", "b-3", "a-4", "a-5", "b-6"]);
}

#[tokio::test]
async fn last_n_and_first_n_mean_n_of_all_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history(0..100)).await;
    let b = start_agent(dir.path(), "b", history([200, 201, 202])).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket)]).await;
    let last = all_flows(&mut relay, GetFlowsRequest { number: 4, ..Default::default() }).await;
    assert_eq!(last, ["a-99", "b-200", "b-201", "b-202"]);
    let first = all_flows(&mut relay, GetFlowsRequest { number: 2, first: true, ..Default::default() }).await;
    assert_eq!(first, ["a-0", "a-1"]);
}

#[tokio::test]
async fn a_loss_told_before_the_history_does_not_move_it() {
    let dir = tempfile::tempdir().unwrap();
    let lossy = Script { loss_first: true, ..history([1, 4, 7]) };
    let a = start_agent(dir.path(), "a", lossy).await;
    let b = start_agent(dir.path(), "b", history([2, 3, 8])).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket)]).await;
    let all = all_flows(&mut relay, GetFlowsRequest::default()).await;
    assert_eq!(all, ["a-1", "b-2", "b-3", "a-4", "a-7", "b-8"]);
    let last = all_flows(&mut relay, GetFlowsRequest { number: 2, ..Default::default() }).await;
    assert_eq!(last, ["a-7", "b-8"]);
}

#[tokio::test]
async fn a_node_is_resumed_after_its_newest_flow_not_after_its_newest_loss() {
    let dir = tempfile::tempdir().unwrap();
    let lossy = || Script { loss_first: true, ..Default::default() };
    let a = start_agent(dir.path(), "a", lossy()).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket)]).await;
    let request = GetFlowsRequest { follow: true, ..Default::default() };
    let mut stream = relay.client.get_flows(request).await.unwrap().into_inner();
    while a.agent.live.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    let seen = fathom_api::time::now() - 3_600_000_000_000;
    a.agent.live.send(seen).unwrap();
    assert_eq!(next_flow(&mut stream).await, Some(format!("a-{seen}")));
    drop(a);
    until_connected(&relay.pool, "a", false).await;
    let a = start_agent(dir.path(), "a", Script { history: vec![seen, seen + 1], ..lossy() }).await;
    assert_eq!(next_flow(&mut stream).await, Some(format!("a-{}", seen + 1)));
    drop(a);
}

#[tokio::test]
async fn a_dead_node_is_named_and_stalls_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history([1])).await;
    let nowhere = dir.path().join("nowhere.sock");
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("dead", &nowhere)]).await;
    let started = Instant::now();
    let mut stream = relay.client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(response) = next(&mut stream).await {
        match response {
            ResponseTypes::NodeStatus(status) => seen.push((status.state_change(), status.node_names)),
            ResponseTypes::Flow(flow) => assert_eq!(flow.uuid, "a-1"),
            ResponseTypes::LostEvents(lost) => panic!("{lost:?}"),
        }
    }
    let want = [
        (NodeState::NodeConnected, vec!["a".to_owned()]),
        (NodeState::NodeUnavailable, vec!["dead".to_owned()]),
    ];
    assert_eq!(seen, want);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_node_that_never_finishes_ends_in_an_error_note_and_its_flows_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history([2, 3])).await;
    let slow =
        start_agent(dir.path(), "slow", Script { history: vec![1], hang: true, ..Default::default() }).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("slow", &slow.socket)]).await;
    let mut stream = relay.client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    let (mut flows, mut errors) = (Vec::new(), Vec::new());
    while let Some(response) = next(&mut stream).await {
        match response {
            ResponseTypes::NodeStatus(status) if status.state_change() == NodeState::NodeError => {
                errors.extend(status.node_names);
            }
            ResponseTypes::Flow(flow) => flows.push(flow.uuid),
            _ => {}
        }
    }
    assert_eq!(flows, ["slow-1", "a-2", "a-3"]);
    assert_eq!(errors, ["slow"]);
}

#[tokio::test]
async fn a_followed_trickle_arrives_within_the_merge_wait() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", Script::default()).await;
    let idle = start_agent(dir.path(), "idle", Script::default()).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("idle", &idle.socket)]).await;
    let request = GetFlowsRequest { follow: true, ..Default::default() };
    let mut stream = relay.client.get_flows(request).await.unwrap().into_inner();
    while a.agent.live.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        let now = fathom_api::time::now();
        a.agent.live.send(now).unwrap();
        assert_eq!(next_flow(&mut stream).await, Some(format!("a-{now}")));
        let lag = Duration::from_nanos((fathom_api::time::now() - now) as u64);
        assert!(lag < Duration::from_millis(1500), "{lag:?}");
    }
}

#[tokio::test]
async fn a_followed_last_n_shows_the_newest_history_then_what_happens() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history([1, 2, 3])).await;
    let b = start_agent(dir.path(), "b", history([10])).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket)]).await;
    let request = GetFlowsRequest { follow: true, number: 2, ..Default::default() };
    let mut stream = relay.client.get_flows(request).await.unwrap().into_inner();
    assert_eq!(next_flow(&mut stream).await.unwrap(), "a-3");
    assert_eq!(next_flow(&mut stream).await.unwrap(), "b-10");
    let now = fathom_api::time::now();
    b.agent.live.send(now).unwrap();
    assert_eq!(next_flow(&mut stream).await, Some(format!("b-{now}")));
}

#[tokio::test]
async fn a_node_that_comes_back_is_resumed_where_it_broke_off() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", Script::default()).await;
    let b = start_agent(dir.path(), "b", Script::default()).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket)]).await;
    let request = GetFlowsRequest { follow: true, ..Default::default() };
    let mut stream = relay.client.get_flows(request).await.unwrap().into_inner();
    while b.agent.live.receiver_count() == 0 || a.agent.live.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    let seen = fathom_api::time::now();
    b.agent.live.send(seen).unwrap();
    assert_eq!(next_flow(&mut stream).await, Some(format!("b-{seen}")));

    drop(b);
    until_connected(&relay.pool, "b", false).await;
    let now = fathom_api::time::now();
    a.agent.live.send(now).unwrap();
    assert_eq!(next_flow(&mut stream).await, Some(format!("a-{now}")), "the rest goes on");

    // While the relay was away the node saw one more; what was seen already must not come twice.
    let missed = seen + 5;
    let b = start_agent(dir.path(), "b", history([seen, missed])).await;
    assert_eq!(next_flow(&mut stream).await, Some(format!("b-{missed}")));
    assert_eq!(b.agent.requests.lock().unwrap()[0].since, Some(fathom_api::time::timestamp(seen + 1)));
}

#[tokio::test]
async fn nonsense_is_refused_before_any_node_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", Script::default()).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket)]).await;
    let request = GetFlowsRequest { first: true, follow: true, ..Default::default() };
    let status = relay.client.get_flows(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let filter =
        fathom_api::flow::FlowFilter { source_ip: vec!["not an address".into()], ..Default::default() };
    let request = GetFlowsRequest { whitelist: vec![filter], ..Default::default() };
    let status = relay.client.get_flows(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("source_ip"), "{}", status.message());
    assert!(a.agent.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn status_nodes_and_namespaces_speak_for_all_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history([1, 2])).await;
    let b = start_agent(dir.path(), "b", history([3])).await;
    let nowhere = dir.path().join("nowhere.sock");
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket), ("dead", &nowhere)]).await;
    let status =
        relay.client.server_status(fathom_api::observer::ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (3, 200, 6));
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (Some(2), Some(1)));
    assert_eq!(status.unavailable_nodes, ["dead"]);
    let nodes =
        relay.client.get_nodes(fathom_api::observer::GetNodesRequest {}).await.unwrap().into_inner().nodes;
    let states: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.state())).collect();
    let want = [
        ("a", NodeState::NodeConnected),
        ("b", NodeState::NodeConnected),
        ("dead", NodeState::NodeUnavailable),
    ];
    assert_eq!(states, want);
    let spaces = relay
        .client
        .get_namespaces(fathom_api::observer::GetNamespacesRequest {})
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = spaces.namespaces.iter().map(|n| n.namespace.as_str()).collect();
    assert_eq!(names, ["a", "b", "shared"]);
}
