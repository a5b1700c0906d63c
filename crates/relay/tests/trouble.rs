//! Nodes that freeze, fail, come late or are slow, and clients that take their time.

mod cluster;

use std::time::{Duration, Instant};

use cluster::{Running, Script, Wire, next, next_flow, start_agent, start_relay, until_connected};
use fathom_api::observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes};
use fathom_api::relay::{NodeState, NodeStatusEvent};
use fathom_api::time::{now, timestamp};
use tonic::Streaming;

fn history(times: impl IntoIterator<Item = i64>) -> Script {
    Script { history: times.into_iter().collect(), ..Default::default() }
}

fn follow() -> GetFlowsRequest {
    GetFlowsRequest { follow: true, ..Default::default() }
}

/// Flows, and the nodes of each state that was told, until the stream ends.
async fn answer(stream: &mut Streaming<GetFlowsResponse>) -> (Vec<String>, Vec<(NodeState, String)>) {
    let (mut flows, mut told) = (Vec::new(), Vec::new());
    while let Some(response) = next(stream).await {
        match response {
            ResponseTypes::Flow(flow) => flows.push(flow.uuid),
            ResponseTypes::NodeStatus(status) => {
                told.extend(status.node_names.iter().map(|node| (status.state_change(), node.clone())));
            }
            ResponseTypes::LostEvents(_) => {}
        }
    }
    (flows, told)
}

async fn next_status(stream: &mut Streaming<GetFlowsResponse>) -> NodeStatusEvent {
    loop {
        if let Some(ResponseTypes::NodeStatus(status)) = next(stream).await {
            return status;
        }
    }
}

async fn until_followed(agent: &Running) {
    while agent.agent.live.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_node_that_froze_is_named_and_the_rest_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history([1, 2])).await;
    let b = start_agent(dir.path(), "b", history([3])).await;
    let wire = Wire::to(&b);
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &wire.socket)]).await;
    wire.freeze(true);
    let started = Instant::now();
    let mut stream = relay.client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    let (flows, told) = answer(&mut stream).await;
    assert_eq!(flows, ["a-1", "a-2"]);
    assert_eq!(told.last(), Some(&(NodeState::NodeError, "b".to_owned())));
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_followed_node_that_freezes_is_named_and_named_again_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let b = start_agent(dir.path(), "b", Script::default()).await;
    let wire = Wire::to(&b);
    let mut relay = start_relay(dir.path(), &[("b", &wire.socket)]).await;
    let mut stream = relay.client.get_flows(follow()).await.unwrap().into_inner();
    assert_eq!(next_status(&mut stream).await.state_change(), NodeState::NodeConnected);
    until_followed(&b).await;
    wire.freeze(true);
    let lost = next_status(&mut stream).await;
    assert_eq!(
        (lost.state_change(), lost.node_names.as_slice()),
        (NodeState::NodeUnavailable, &["b".to_owned()][..])
    );
    assert!(lost.message.contains("health check"), "{lost:?}");
    wire.freeze(false);
    let back = next_status(&mut stream).await;
    assert_eq!(
        (back.state_change(), back.node_names.as_slice()),
        (NodeState::NodeConnected, &["b".to_owned()][..])
    );
    until_followed(&b).await;
    let time = now();
    b.agent.live.send(time).unwrap();
    assert_eq!(next_flow(&mut stream).await, Some(format!("b-{time}")));
}

#[tokio::test]
async fn a_socket_that_only_accepts_is_no_connection() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("mute.sock");
    let _mute = tokio::net::UnixListener::bind(&socket).unwrap();
    let relay = start_relay(dir.path(), &[("mute", &socket)]).await;
    until_connected(&relay.pool, "mute", false).await;
    let nodes = relay.pool.nodes();
    let fathom_relay::pool::State::Unavailable(why) = &nodes["mute"].state else { panic!("{nodes:?}") };
    assert!(why.contains("no answer to a health check"), "{why}");
    assert_eq!(nodes["mute"].generation, 0);
}

#[tokio::test]
async fn a_followed_stream_with_an_end_ends_without_blaming_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let prompt = Script { ends_in_time: true, ..Default::default() };
    let a = start_agent(dir.path(), "a", prompt).await;
    // As Hubble's agents, which notice the end when a later event comes.
    let b = start_agent(dir.path(), "b", Script::default()).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket)]).await;
    let until = Some(timestamp(now() + 300_000_000));
    let mut stream =
        relay.client.get_flows(GetFlowsRequest { until, ..follow() }).await.unwrap().into_inner();
    let started = Instant::now();
    until_followed(&a).await;
    let time = now();
    a.agent.live.send(time).unwrap();
    let (flows, told) = answer(&mut stream).await;
    assert_eq!(flows, [format!("a-{time}")]);
    assert!(told.iter().all(|(state, _)| *state == NodeState::NodeConnected), "{told:?}");
    assert!(started.elapsed() > Duration::from_millis(300), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_that_takes_its_time_gets_everything_in_order_and_nobody_is_blamed() {
    const FLOWS: i64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let big = |times: Vec<i64>| Script { padding: 400, ..history(times) };
    let a = start_agent(dir.path(), "a", big((0..FLOWS).map(|n| n * 2 + 1).collect())).await;
    let b = start_agent(dir.path(), "b", big((0..FLOWS).map(|n| n * 2 + 2).collect())).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket)]).await;
    let mut stream = relay.client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    assert_eq!(next_flow(&mut stream).await.unwrap(), "a-1");
    tokio::time::sleep(4 * cluster::TIMING.slow_node_wait).await;
    let (flows, told) = answer(&mut stream).await;
    assert_eq!(told, []);
    assert_eq!(flows.len() as i64, 2 * FLOWS - 1);
    let times: Vec<i64> = flows.iter().map(|flow| flow[2..].parse().unwrap()).collect();
    assert!(times.is_sorted());
}

#[tokio::test]
async fn clients_that_do_not_read_starve_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let big = Script { padding: 2000, ..history(1..20_000) };
    let a = start_agent(dir.path(), "a", big).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket)]).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        // Each client with a connection of its own, as in life.
        let mut client = relay.another_client().await;
        let mut stream = client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
        assert_eq!(next_flow(&mut stream).await.unwrap(), "a-1");
        idle.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let request = GetFlowsRequest { number: 1, ..Default::default() };
    let mut stream = relay.client.get_flows(request).await.unwrap().into_inner();
    let (flows, told) = answer(&mut stream).await;
    assert_eq!(flows, ["a-19999"]);
    assert_eq!(told, [(NodeState::NodeConnected, "a".to_owned())]);
    assert_eq!(relay.pool.nodes()["a"].generation, 1, "the agent was reachable all the time");
}

#[tokio::test]
async fn a_followed_stream_that_fails_while_its_connection_stays_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", Script { failures: 1, ..Default::default() }).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket)]).await;
    let mut stream = relay.client.get_flows(follow()).await.unwrap().into_inner();
    let states = [
        next_status(&mut stream).await.state_change(),
        next_status(&mut stream).await.state_change(),
        next_status(&mut stream).await.state_change(),
    ];
    assert_eq!(states, [NodeState::NodeConnected, NodeState::NodeError, NodeState::NodeConnected]);
    let time = now();
    a.agent.live.send(time).unwrap();
    assert_eq!(next_flow(&mut stream).await, Some(format!("a-{time}")));
    assert_eq!(a.agent.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_node_that_comes_late_is_asked_for_all_that_the_client_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history([5])).await;
    let late = dir.path().join("late.sock");
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("late", &late)]).await;
    let since = Some(timestamp(3));
    let mut stream =
        relay.client.get_flows(GetFlowsRequest { since, ..follow() }).await.unwrap().into_inner();
    assert_eq!(next_flow(&mut stream).await.unwrap(), "a-5");
    let _late = start_agent(dir.path(), "late", history([1, 4])).await;
    assert_eq!(next_flow(&mut stream).await.unwrap(), "late-4");
}

#[tokio::test]
async fn history_of_a_slow_node_still_counts_when_another_is_live_already() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history([1, 3, 5])).await;
    let slow = Script { delay: Duration::from_millis(150), ..history([2, 4, 6]) };
    let b = start_agent(dir.path(), "b", slow).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket)]).await;
    let mut stream =
        relay.client.get_flows(GetFlowsRequest { number: 3, ..follow() }).await.unwrap().into_inner();
    until_followed(&a).await;
    let time = now();
    a.agent.live.send(time).unwrap();
    let mut flows = Vec::new();
    for _ in 0..4 {
        flows.push(next_flow(&mut stream).await.unwrap());
    }
    assert_eq!(flows, ["b-4", "a-5", "b-6", &format!("a-{time}")]);
}

#[tokio::test]
async fn an_answer_says_what_all_nodes_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let counting = |n| Script { examined: Some(n), ..history([1]) };
    let a = start_agent(dir.path(), "a", counting(30)).await;
    let b = start_agent(dir.path(), "b", counting(12)).await;
    let silent = start_agent(dir.path(), "c", history([1])).await;
    for (nodes, examined) in [
        (vec![("a", &*a.socket), ("b", &*b.socket)], Some("42")),
        (vec![("a", &*a.socket), ("c", &*silent.socket)], None),
        (vec![], None),
    ] {
        let mut relay = start_relay(dir.path(), &nodes).await;
        let mut stream = relay.client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
        answer(&mut stream).await;
        let trailers = stream.trailers().await.unwrap().unwrap_or_default();
        let said = trailers.get("fathom-flows-examined").map(|value| value.to_str().unwrap());
        assert_eq!(said, examined);
        std::fs::remove_file(dir.path().join("relay.sock")).unwrap();
    }
}

#[tokio::test]
async fn the_books_balance_with_what_was_left_out_and_held() {
    let dir = tempfile::tempdir().unwrap();
    let a = start_agent(dir.path(), "a", history((0..20).map(|n| n * 2))).await;
    let b = start_agent(dir.path(), "b", history((0..20).map(|n| n * 2 + 1))).await;
    let mut relay = start_relay(dir.path(), &[("a", &a.socket), ("b", &b.socket)]).await;
    let request = GetFlowsRequest { number: 20, ..Default::default() };
    let mut stream = relay.client.get_flows(request).await.unwrap().into_inner();
    assert_eq!(answer(&mut stream).await.0.len(), 20);
    let own = |nodes: Vec<fathom_api::fathom_v1::NodeLedger>| nodes.into_iter().next_back().unwrap();
    let ledger = relay.agent.get_ledger(fathom_api::fathom_v1::GetLedgerRequest {}).await.unwrap();
    let page = own(ledger.into_inner().nodes);
    let stage = &page.stages[0];
    assert_eq!((stage.r#in, stage.out, stage.aggregated, stage.held), (40, 20, 20, 0));
    assert!(page.balanced);

    // A client that leaves in the middle leaves nothing held.
    let big = Script { padding: 2000, ..history(1..20_000) };
    let c = start_agent(dir.path(), "c", big).await;
    let d = start_agent(dir.path(), "d", history(30_000..40_000)).await;
    std::fs::remove_file(dir.path().join("relay.sock")).unwrap();
    let mut relay = start_relay(dir.path(), &[("c", &c.socket), ("d", &d.socket)]).await;
    let mut stream = relay.client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    assert_eq!(next_flow(&mut stream).await.unwrap(), "c-1");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let books = relay.metrics.books();
    assert!(books.held > 0, "{books:?}");
    assert_eq!(books.received, books.sent + books.left_out + books.held);
    drop(stream);
    let gone = async {
        while relay.metrics.books().held > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    let books = relay.metrics.books();
    assert_eq!(books.received, books.sent + books.left_out);
}
