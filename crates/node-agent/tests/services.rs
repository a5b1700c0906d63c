//! Everything but GetFlows that the agent serves.

mod support;

use std::time::Duration;

use fathom_api::fathom_v1::agent_client::AgentClient;
use fathom_api::fathom_v1::{GetFeaturesRequest, GetLedgerRequest, ListEndpointsRequest, ListRulesRequest};
use fathom_api::flow::AgentEventType;
use fathom_api::observer::{
    GetAgentEventsRequest, GetDebugEventsRequest, GetFlowsRequest, GetNamespacesRequest, GetNodesRequest,
    ServerStatusRequest,
};
use fathom_api::peer::peer_client::PeerClient;
use fathom_api::peer::{ChangeNotificationType, NotifyRequest};
use fathom_api::relay::NodeState;
use fathom_api::time::timestamp;
use fathom_node_agent::http;
use fathom_node_agent::observer::peer::Peer;
use support::{PATIENCE, RULE, S, agent, agent_with, denial, event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test]
async fn the_status_counts_flows_and_every_answer_names_the_version() {
    let mut agent = agent(64, 0).await;
    agent.take((0..100).map(event));
    let answer = agent.client().server_status(ServerStatusRequest {}).await.unwrap();
    let version = answer.metadata().get("hubble-server-version").unwrap().to_str().unwrap().to_owned();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let status = answer.into_inner();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (64, 64, 100));
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (None, None));
    assert!(status.flows_rate > 1.0 && status.uptime_ns > 0, "{status:?}");
    let flows = agent.client().get_flows(GetFlowsRequest::default()).await.unwrap();
    assert_eq!(flows.metadata().get("hubble-server-version").unwrap(), version.as_str());
}

#[tokio::test]
async fn a_local_agent_answers_get_nodes_with_itself() {
    let agent = agent_with(64, 0, |mut config| {
        config.cluster_name = "east".into();
        config
    })
    .await;
    let nodes = agent.client().get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(nodes.len(), 1);
    assert_eq!((nodes[0].name.as_str(), nodes[0].state()), ("east/node-a", NodeState::NodeConnected));
    assert_eq!((nodes[0].address.as_str(), nodes[0].max_flows), ("192.0.2.7:4244", 64));
}

#[tokio::test]
async fn namespaces_are_those_of_flows_that_were_seen() {
    let mut agent = agent(64, 0).await;
    let empty = agent.client().get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner();
    assert_eq!(empty.namespaces, []);
    agent.take([event(1)]);
    let seen = agent.client().get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    assert_eq!((seen[0].cluster.as_str(), seen[0].namespace.as_str()), ("default", "shop"));
}

#[tokio::test]
async fn agent_events_are_a_history_and_a_stream() {
    let agent = agent(64, 0).await;
    let events = agent.pipeline.agent_events();
    events.agent_started();
    for revision in 1..=3 {
        events.policy_updated(&["k8s:name=web-out".into()], revision, 1);
    }
    let request = GetAgentEventsRequest { number: 2, ..Default::default() };
    let last = agent.client().get_agent_events(request).await.unwrap().into_inner();
    let last: Vec<_> = last.map(Result::unwrap).collect().await;
    assert_eq!(last.len(), 2);
    assert!(last.iter().all(|r| r.node_name == "node-a" && r.time.is_some()));
    assert_eq!(last[1].agent_event.clone().unwrap().r#type(), AgentEventType::PolicyUpdated);
    let first = GetAgentEventsRequest { number: 1, first: true, ..Default::default() };
    let mut first = agent.client().get_agent_events(first).await.unwrap().into_inner();
    let first = first.message().await.unwrap().unwrap().agent_event.unwrap();
    assert_eq!(first.r#type(), AgentEventType::AgentStarted);

    let follow = GetAgentEventsRequest { follow: true, ..Default::default() };
    let mut follow = agent.client().get_agent_events(follow).await.unwrap().into_inner();
    events.ipcache_upserted("10.244.1.7/32", 1000, None, None);
    let told = timeout(PATIENCE, follow.message()).await.unwrap().unwrap().unwrap().agent_event.unwrap();
    assert_eq!(told.r#type(), AgentEventType::IpcacheUpserted);
    let all = GetAgentEventsRequest { number: u64::MAX, follow: true, ..Default::default() };
    let mut all = agent.client().get_agent_events(all).await.unwrap().into_inner();
    let oldest = timeout(PATIENCE, all.message()).await.unwrap().unwrap().unwrap().agent_event.unwrap();
    assert_eq!(oldest.r#type(), AgentEventType::AgentStarted, "all of the history, then what comes");
    let refused = GetAgentEventsRequest { first: true, follow: true, ..Default::default() };
    let refused = agent.client().get_agent_events(refused).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    agent.shutdown.send(true).unwrap();
    let ended = timeout(PATIENCE, follow.message()).await.unwrap().expect_err("the agent stopped");
    assert_eq!(ended.code(), Code::Unavailable);
}

#[tokio::test]
async fn debug_events_are_an_empty_history_and_an_open_stream() {
    let agent = agent(64, 0).await;
    let mut history =
        agent.client().get_debug_events(GetDebugEventsRequest::default()).await.unwrap().into_inner();
    assert!(timeout(PATIENCE, history.message()).await.unwrap().unwrap().is_none());
    let until = Some(timestamp(fathom_api::time::now() + S / 10));
    let bounded = GetDebugEventsRequest { follow: true, until, ..Default::default() };
    let mut bounded = agent.client().get_debug_events(bounded).await.unwrap().into_inner();
    assert!(timeout(PATIENCE, bounded.message()).await.unwrap().unwrap().is_none());
    let follow = GetDebugEventsRequest { follow: true, ..Default::default() };
    let mut follow = agent.client().get_debug_events(follow).await.unwrap().into_inner();
    agent.shutdown.send(true).unwrap();
    let ended = timeout(PATIENCE, follow.message()).await.unwrap().expect_err("the agent stopped");
    assert_eq!(ended.code(), Code::Unavailable);
}

#[tokio::test]
async fn peers_are_told_as_they_are_and_as_they_change() {
    let agent = agent(64, 0).await;
    let peer = |name: &str, tls: Option<&str>| Peer {
        name: name.to_owned(),
        address: format!("{name}:4244"),
        tls_server_name: tls.map(str::to_owned),
    };
    let peers = agent.pipeline.peers();
    peers.send_replace(vec![peer("node-a", None), peer("node-b", Some("node-b.default"))]);
    let mut changes =
        PeerClient::new(agent.channel.clone()).notify(NotifyRequest {}).await.unwrap().into_inner();
    for (name, tls) in [("node-a", None), ("node-b", Some("node-b.default"))] {
        let change = timeout(PATIENCE, changes.message()).await.unwrap().unwrap().unwrap();
        assert_eq!((change.name.as_str(), change.r#type()), (name, ChangeNotificationType::PeerAdded));
        assert_eq!(change.tls.map(|tls| tls.server_name).as_deref(), tls);
    }
    peers.send_replace(vec![peer("node-a", None)]);
    let change = timeout(PATIENCE, changes.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((change.name.as_str(), change.r#type()), ("node-b", ChangeNotificationType::PeerDeleted));
}

#[tokio::test]
async fn the_ledger_balances_over_the_wire_and_names_what_does_not() {
    let mut agent = agent(64, 8).await;
    agent.take((0..100).map(|n| if n % 10 == 0 { denial(n) } else { event(n) }));
    agent.flows(GetFlowsRequest { number: 20, ..Default::default() }).await;
    let mut client = AgentClient::new(agent.channel.clone());
    let ledger = client.get_ledger(GetLedgerRequest {}).await.unwrap().into_inner().nodes.remove(0);
    assert_eq!((ledger.balanced, ledger.problem.as_str(), ledger.node_name.as_str()), (true, "", "node-a"));
    let names: Vec<_> = ledger.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(
        names,
        ["kernel.packets", "kernel.events", "kernel.drops", "kernel.l7", "reader", "store", "clients"]
    );
    let clients = &ledger.stages[6];
    assert_eq!((clients.r#in, clients.out, clients.lost), (20, 20, 0));
    agent.kernel.set(|counts| {
        counts.drops.emitted += 1;
        counts.other_records += 1;
    });
    let ledger = client.get_ledger(GetLedgerRequest {}).await.unwrap().into_inner().nodes.remove(0);
    assert!(!ledger.balanced && ledger.problem.contains("kernel.drops"), "{}", ledger.problem);
}

#[tokio::test]
async fn rules_and_endpoints_are_told_from_the_snapshot() {
    let agent = agent(64, 0).await;
    let mut client = AgentClient::new(agent.channel.clone());
    let rules = client.list_rules(ListRulesRequest {}).await.unwrap().into_inner().rules;
    assert_eq!((rules[0].id, rules[0].refs[0].name.as_str()), (RULE, "web-out"));
    let endpoints = client.list_endpoints(ListEndpointsRequest {}).await.unwrap().into_inner().endpoints;
    assert_eq!((endpoints[0].pod_name.as_str(), endpoints[0].interface.as_str()), ("web", "fathom7"));
    assert_eq!(
        (endpoints[0].addresses.as_slice(), endpoints[0].node_name.as_str()),
        (&["10.244.1.7".to_owned()][..], "node-a")
    );
    client.get_features(GetFeaturesRequest {}).await.unwrap();
}

#[tokio::test]
async fn health_and_both_reflections_answer() {
    let agent = agent(64, 0).await;
    for service in ["hubble.server.Observer", "observer.Observer", "peer.Peer", "fathom.v1.Agent", ""] {
        let request = HealthCheckRequest { service: service.into() };
        let health = HealthClient::new(agent.channel.clone()).check(request).await.unwrap().into_inner();
        assert_eq!(health.status, 1, "{service:?} is SERVING");
    }
    let names = ["observer.Observer", "peer.Peer", "fathom.v1.Agent", "grpc.health.v1.Health"];
    let listed = listed_v1(&agent).await;
    let listed_alpha = listed_v1alpha(&agent).await;
    assert_eq!((listed.len(), listed_alpha.len()), (5, 5), "these and itself: {listed:?} {listed_alpha:?}");
    for name in names {
        assert!(listed.iter().any(|n| n == name), "{name} is not in {listed:?}");
        assert!(listed_alpha.iter().any(|n| n == name), "{name} is not in {listed_alpha:?}");
    }
}

async fn listed_v1(agent: &support::Agent) -> Vec<String> {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(agent.channel.clone());
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    match answers.message().await.unwrap().unwrap().message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            list.service.into_iter().map(|s| s.name).collect()
        }
        other => panic!("{other:?} is no list"),
    }
}

async fn listed_v1alpha(agent: &support::Agent) -> Vec<String> {
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
    let request = tonic_reflection::pb::v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(agent.channel.clone());
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    match answers.message().await.unwrap().unwrap().message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            list.service.into_iter().map(|s| s.name).collect()
        }
        other => panic!("{other:?} is no list"),
    }
}

#[tokio::test]
async fn metrics_health_and_readiness_are_served_over_http() {
    let mut agent = agent(64, 0).await;
    agent.take([event(1), denial(2)]);
    agent.kernel.set(|counts| (counts.l7.emitted, counts.l7.lost, counts.l7.unmatched) = (9, 2, 1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(http::serve(listener, agent.pipeline.http(), agent.shutdown.subscribe()));
    let readiness = agent.pipeline.readiness();
    readiness.wait_for("objects", "first listing");
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let waiting = get(address, "/readyz").await;
    assert!(
        waiting.starts_with("HTTP/1.1 503") && waiting.contains("waiting for objects: first listing"),
        "{waiting}"
    );
    readiness.reached("objects");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(address, "/metrics").await;
    for line in [
        r#"hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED"} 1"#,
        r#"hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"} 1"#,
        r#"hubble_lost_events_total{source="hubble_ring_buffer"} 0"#,
        r#"fathom_datapath_packets_total{direction="EGRESS",reason="POLICY_DENIED"} 3"#,
        r#"fathom_datapath_bytes_total{direction="EGRESS",reason="POLICY_DENIED"} 180"#,
        r#"fathom_ledger_events_total{stage="reader",result="out"} 2"#,
        r#"fathom_ledger_events_total{stage="kernel.l7",result="lost"} 2"#,
        r#"fathom_l7_records_total 9"#,
        r#"fathom_l7_records_lost_total 2"#,
        r#"fathom_l7_responses_unmatched_total 1"#,
        r#"fathom_l7_pending_requests_evicted_total 0"#,
        r#"fathom_l7_names_addresses 1"#,
        r#"fathom_store_flows 2"#,
        concat!(r#"fathom_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn answers_under_way_get_the_time_to_finish() {
    let mut agent = agent(1024, 0).await;
    agent.take((0..1000).map(event));
    let mut stream = agent.client().get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().expect("the first");
    agent.shutdown.send(true).unwrap();
    let mut rest = 0;
    while timeout(PATIENCE, stream.message()).await.unwrap().unwrap().is_some() {
        rest += 1;
    }
    assert_eq!(rest, 999);
    let ended = timeout(Duration::from_secs(4), agent.served).await.expect("before the drain time is over");
    ended.unwrap().unwrap();
}
