//! GetFlows as a decoding client sees it, over a unix socket: one test per rule.

mod support;

use std::time::Duration;

use fathom_api::flow::{
    DropReason, FlowFilter, FlowType, LostEventSource, TraceObservationPoint, TraceReason, TrafficDirection,
    Verdict,
};
use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::time::timestamp;
use fathom_bpf::abi::{self, Event};
use fathom_node_agent::pipeline::PipelineConfig;
use prost_types::FieldMask;
use support::{Agent, PATIENCE, RULE, S, agent, agent_with, back, denial, event, source_port};
use tokio::time::timeout;
use tonic::Code;

fn dropped() -> Vec<FlowFilter> {
    vec![FlowFilter { verdict: vec![Verdict::Dropped.into()], ..Default::default() }]
}

fn port(text: &str) -> FlowFilter {
    FlowFilter { source_port: vec![text.into()], ..Default::default() }
}

async fn filled(flows: u16) -> Agent {
    let mut agent = agent(1024, 1024).await;
    agent.take((1..=flows).map(|n| if n % 10 == 0 { denial(n) } else { event(n) }));
    agent
}

fn numbers(range: impl IntoIterator<Item = u32>) -> Vec<u32> {
    range.into_iter().collect()
}

#[tokio::test]
async fn without_a_number_everything_comes_in_order_and_the_newest_flow_too() {
    let agent = filled(300).await;
    let answer = agent.flows(GetFlowsRequest::default()).await;
    assert_eq!(answer.ports(), numbers(1..=300));
    assert_eq!(answer.lost, []);
    let single = filled(1).await;
    let answer = single.flows(GetFlowsRequest { number: 1, ..Default::default() }).await;
    assert_eq!((answer.ports(), answer.lost.len()), (vec![1], 0));
}

#[tokio::test]
async fn last_n_are_the_newest_n_that_match_and_first_n_the_oldest() {
    let agent = filled(300).await;
    let last = GetFlowsRequest { number: 3, ..Default::default() };
    assert_eq!(agent.flows(last.clone()).await.ports(), [298, 299, 300]);
    let last_dropped = GetFlowsRequest { whitelist: dropped(), ..last.clone() };
    assert_eq!(agent.flows(last_dropped.clone()).await.ports(), [280, 290, 300]);
    let not_dropped = GetFlowsRequest { blacklist: dropped(), ..last.clone() };
    assert_eq!(agent.flows(not_dropped).await.ports(), [297, 298, 299]);
    let first = GetFlowsRequest { first: true, ..last };
    assert_eq!(agent.flows(first).await.ports(), [1, 2, 3]);
    let first_dropped = GetFlowsRequest { first: true, ..last_dropped };
    assert_eq!(agent.flows(first_dropped).await.ports(), [10, 20, 30]);
}

#[tokio::test]
async fn any_of_the_whitelist_and_none_of_the_blacklist() {
    let agent = filled(30).await;
    let request = GetFlowsRequest {
        whitelist: vec![port("5"), port("10"), port("15")],
        blacklist: [dropped(), vec![port("15")]].concat(),
        ..Default::default()
    };
    let answer = agent.flows(request).await;
    assert_eq!(answer.ports(), [5]);
    assert_eq!(answer.trailer("fathom-flows-examined"), Some("30"));
    assert_eq!(answer.trailer("fathom-flows-sent"), Some("1"));
    assert_eq!(answer.trailer("fathom-flows-lost"), Some("0"));
}

#[tokio::test]
async fn since_and_until_bound_an_answer_inclusively() {
    let mut agent = agent(1024, 0).await;
    let events: Vec<Event> = (1..=50).map(event).collect();
    agent.take(events.clone());
    let time = |n: usize| agent.wall(&events[n - 1]);
    let all = agent.flows(GetFlowsRequest::default()).await;
    let time_of = |n: usize| all.flows[n - 1].time;
    assert!((fathom_api::time::unix_ns(&time_of(7).unwrap()) - time(7)).abs() < S / 100);
    let request = GetFlowsRequest { since: time_of(11), until: time_of(20), ..Default::default() };
    assert_eq!(agent.flows(request.clone()).await.ports(), numbers(11..=20));
    let last = GetFlowsRequest { number: 4, ..request.clone() };
    assert_eq!(agent.flows(last.clone()).await.ports(), numbers(17..=20), "the last four of them");
    let first = GetFlowsRequest { first: true, ..last };
    assert_eq!(agent.flows(first).await.ports(), numbers(11..=14));
    let future = GetFlowsRequest { since: Some(timestamp(time(50) + S)), ..Default::default() };
    assert_eq!(agent.flows(future).await.ports(), [0_u32; 0]);
}

#[tokio::test]
async fn follow_begins_with_now_or_with_the_last_n_and_goes_on() {
    let mut agent = filled(20).await;
    let request = GetFlowsRequest { follow: true, ..Default::default() };
    let mut from_now = agent.client().get_flows(request.clone()).await.unwrap().into_inner();
    let with_history = GetFlowsRequest { number: 2, ..request };
    let mut with_history = agent.client().get_flows(with_history).await.unwrap().into_inner();
    for expected in [19, 20] {
        let flow = timeout(PATIENCE, with_history.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(port_of(&flow), expected);
    }
    for n in 21..=25 {
        agent.take([event(n)]);
        for stream in [&mut from_now, &mut with_history] {
            let flow = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
            assert_eq!(port_of(&flow), u32::from(n));
        }
    }
}

#[tokio::test]
async fn follow_with_all_of_the_history_begins_with_the_oldest() {
    let mut agent = filled(20).await;
    let request = GetFlowsRequest { follow: true, number: u64::MAX, ..Default::default() };
    let mut stream = agent.client().get_flows(request).await.unwrap().into_inner();
    for n in 1..=21 {
        if n == 21 {
            agent.take([event(n)]);
        }
        let flow = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(port_of(&flow), u32::from(n));
    }
}

fn port_of(response: &fathom_api::observer::GetFlowsResponse) -> u32 {
    match &response.response_types {
        Some(ResponseTypes::Flow(flow)) => source_port(flow),
        other => panic!("{other:?} is no flow"),
    }
}

#[tokio::test]
async fn until_ends_a_follower_even_when_nothing_happens() {
    let mut agent = filled(5).await;
    let now = fathom_api::time::now();
    let request = GetFlowsRequest { follow: true, until: Some(timestamp(now + S / 5)), ..Default::default() };
    let answer = agent.flows(request).await;
    assert_eq!(answer.ports(), [0_u32; 0]);
    let until = agent.flows(GetFlowsRequest { number: 1, ..Default::default() }).await.flows[0].time;
    agent.take((6..=9).map(event));
    let request = GetFlowsRequest { follow: true, number: 100, until, ..Default::default() };
    assert_eq!(agent.flows(request).await.ports(), numbers(1..=5));
}

#[tokio::test]
async fn first_with_follow_and_senseless_filters_and_masks_are_refused() {
    let agent = filled(1).await;
    let mask = |path: &str| Some(FieldMask { paths: vec![path.into()] });
    let nonsense = FlowFilter { source_ip: vec!["not an address".into()], ..Default::default() };
    for (request, named) in [
        (GetFlowsRequest { first: true, follow: true, ..Default::default() }, "first"),
        (
            GetFlowsRequest { whitelist: vec![nonsense.clone()], ..Default::default() },
            "whitelist[0].source_ip",
        ),
        (GetFlowsRequest { blacklist: vec![nonsense], ..Default::default() }, "blacklist[0].source_ip"),
        (GetFlowsRequest { field_mask: mask("no.such.field"), ..Default::default() }, "no.such.field"),
    ] {
        let status = agent.client().get_flows(request).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(named), "{}", status.message());
    }
}

#[tokio::test]
async fn a_mask_leaves_the_responses_own_time_and_node_name() {
    let agent = filled(1).await;
    let field_mask = Some(FieldMask { paths: vec!["verdict".into(), "source.pod_name".into()] });
    let answer = agent.flows(GetFlowsRequest { field_mask, ..Default::default() }).await;
    let (flow, response) = (&answer.flows[0], &answer.responses[0]);
    assert_eq!(flow.verdict(), Verdict::Forwarded);
    let source = flow.source.clone().unwrap();
    assert_eq!((source.pod_name.as_str(), source.identity), ("web", 0));
    assert_eq!((flow.time, flow.uuid.as_str(), flow.destination.as_ref()), (None, "", None));
    assert!(response.time.is_some());
    assert_eq!(response.node_name, "node-a");
}

#[tokio::test]
async fn a_forwarded_flow_tells_everything_known_of_it() {
    let agent = filled(9).await;
    let mut request = GetFlowsRequest { number: 1, ..Default::default() };
    fathom_api::facts::ask(&mut request);
    let flow = agent.flows(request).await.flows.remove(0);
    assert_eq!((flow.verdict(), flow.r#type()), (Verdict::Forwarded, FlowType::L3L4));
    assert_eq!(flow.node_name, "node-a");
    assert_eq!(flow.node_labels, ["zone=a"]);
    assert_eq!(flow.uuid.len(), 36);
    assert_eq!(flow.emitter.clone().unwrap().name, "Fathom");
    let (source, destination) = (flow.source.clone().unwrap(), flow.destination.clone().unwrap());
    assert_eq!((source.id, source.identity, source.namespace.as_str()), (17, 1000, "shop"));
    assert_eq!((destination.pod_name.as_str(), destination.labels), ("db", vec!["k8s:app=db".to_owned()]));
    assert_eq!(flow.destination_names, ["db.internal"]);
    assert_eq!(flow.destination_service.clone().unwrap().name, "database");
    assert_eq!(flow.source_service, None);
    let ip = flow.ip.clone().unwrap();
    assert_eq!((ip.source.as_str(), ip.destination.as_str(), ip.ip_version), (support::WEB, support::DB, 1));
    assert_eq!(flow.ethernet.clone().unwrap().source, "02:00:00:00:00:01");
    let event_type = flow.event_type.unwrap();
    assert_eq!((event_type.r#type, event_type.sub_type), (4, 3));
    assert_eq!(flow.trace_observation_point(), TraceObservationPoint::ToStack);
    assert_eq!(flow.trace_reason(), TraceReason::New);
    assert_eq!((flow.traffic_direction(), flow.is_reply), (TrafficDirection::Egress, Some(false)));
    assert_eq!((flow.policy_match_type, flow.socket_cookie), (2, 77));
    assert_eq!(flow.interface.clone().unwrap().name, "fathom7");
    assert_eq!(flow.egress_allowed_by[0].name, "web-out");
    assert_eq!((flow.ingress_allowed_by.len(), flow.egress_denied_by.len()), (0, 0));
    #[allow(deprecated)]
    let summary = flow.summary.clone();
    assert_eq!(summary, "TCP Flags: SYN");
    let facts = fathom_api::facts::of(&flow).expect("asked for");
    assert_eq!((facts.rule_id, facts.packets, facts.bytes, facts.cpu, facts.seq), (RULE, 1, 60, 1, 8));
    assert_eq!((facts.frontend.as_str(), facts.rules[0].index), ("10.96.0.10:5432", Some(0)));
}

#[tokio::test]
async fn a_drop_knows_its_reason_its_policies_and_its_direction() {
    let agent = filled(10).await;
    let flow = agent.flows(GetFlowsRequest { number: 1, ..Default::default() }).await.flows.remove(0);
    assert_eq!((flow.verdict(), flow.drop_reason_desc()), (Verdict::Dropped, DropReason::PolicyDenied));
    #[allow(deprecated)]
    let (reason, reply) = (flow.drop_reason, flow.reply);
    assert_eq!((reason, reply, flow.is_reply), (133, false, Some(false)));
    let event_type = flow.event_type.unwrap();
    assert_eq!((event_type.r#type, event_type.sub_type), (1, 133));
    assert_eq!(flow.egress_denied_by[0].name, "web-out");
    assert_eq!(flow.egress_allowed_by.len(), 0);
    assert_eq!(flow.traffic_direction(), TrafficDirection::Egress);
    assert!(flow.extensions.is_none(), "nobody asked");
}

#[tokio::test]
async fn a_socket_translation_is_told_as_one() {
    let mut agent = agent(8, 8).await;
    agent.take([Event {
        kind: abi::kind::SOCK,
        obs_point: abi::obs_point::SOCK_POST_FWD,
        verdict: abi::verdict::TRANSLATED,
        flags: 0,
        saddr: [0; 16],
        smac: [0; 6],
        dmac: [0; 6],
        bytes: 4242,
        rule_id: 0,
        ct_state: 0,
        ..event(1)
    }]);
    let flow = agent.flows(GetFlowsRequest::default()).await.flows.remove(0);
    assert_eq!((flow.r#type(), flow.verdict()), (FlowType::Sock, Verdict::Translated));
    let event_type = flow.event_type.unwrap();
    assert_eq!((event_type.r#type, event_type.sub_type, flow.sock_xlate_point), (7, 2, 2));
    assert_eq!((flow.cgroup_id, flow.socket_cookie, flow.is_reply), (4242, 77, None));
    assert_eq!((flow.ethernet.clone(), flow.ip.clone().unwrap().source.as_str()), (None, support::WEB));
    assert_eq!(flow.source.unwrap().pod_name, "web");
    assert_eq!(flow.trace_observation_point, 0);
}

#[tokio::test]
async fn the_same_flow_has_the_same_uuid_and_is_found_by_it() {
    let agent = filled(30).await;
    let uuid = agent.flows(GetFlowsRequest { number: 1, first: true, ..Default::default() }).await.flows[0]
        .uuid
        .clone();
    let by_uuid = FlowFilter { uuid: vec![uuid], ..Default::default() };
    let answer = agent.flows(GetFlowsRequest { whitelist: vec![by_uuid], ..Default::default() }).await;
    assert_eq!(answer.ports(), [1]);
}

#[tokio::test]
async fn denials_outlive_a_flood_for_who_asks_for_drops() {
    let mut agent = agent(64, 64).await;
    agent.take((1..=30).map(|n| if n % 10 == 0 { denial(n) } else { event(n) }));
    agent.take((31..=1030).map(event));
    let answer = agent.flows(GetFlowsRequest { whitelist: dropped(), ..Default::default() }).await;
    assert_eq!((answer.ports(), answer.lost.len()), (vec![10, 20, 30], 0));
    let last = GetFlowsRequest { whitelist: dropped(), number: 2, ..Default::default() };
    assert_eq!(agent.flows(last).await.ports(), [20, 30]);
    let all = agent.flows(GetFlowsRequest::default()).await;
    assert_eq!((all.ports(), all.lost.len()), (numbers(967..=1030), 0), "what is gone is history, not loss");
}

#[tokio::test]
async fn a_slow_client_gets_the_denials_it_missed_and_the_exact_rest_as_one_loss() {
    let mut agent = agent(64, 1024).await;
    let request = GetFlowsRequest { follow: true, number: 64, ..Default::default() };
    let client = agent.client();
    let mut stream = client.max_decoding_message_size(1 << 20).get_flows(request).await.unwrap().into_inner();
    // Far more than the connection's windows hold (about 5 MB) while the client does not read.
    let total: u32 = 40_000;
    for start in (1..=total).step_by(1000) {
        agent.take(
            (start..start + 1000).map(|n| if n % 100 == 0 { denial(n as u16) } else { event(n as u16) }),
        );
        tokio::task::yield_now().await;
    }
    let (mut flows, mut denials, mut lost) = (0, 0, Vec::new());
    while flows + lost_sum(&lost) < u64::from(total) {
        let response = timeout(PATIENCE, stream.message()).await.expect("more comes").unwrap().unwrap();
        match response.response_types.unwrap() {
            ResponseTypes::Flow(flow) => {
                flows += 1;
                denials += u32::from(flow.verdict() == Verdict::Dropped);
            }
            ResponseTypes::LostEvents(event) => lost.push(event),
            ResponseTypes::NodeStatus(_) => unreachable!("an agent has no nodes"),
        }
    }
    assert_eq!(flows + lost_sum(&lost), u64::from(total));
    assert_eq!(denials, total / 100);
    assert!(!lost.is_empty() && lost.len() < 10, "{} loss messages", lost.len());
    for event in &lost {
        assert_eq!(event.source(), LostEventSource::HubbleRingBuffer);
        assert!(event.first.is_some() && event.last.is_some());
    }
}

fn lost_sum(lost: &[fathom_api::flow::LostEvent]) -> u64 {
    lost.iter().map(|event| event.num_events_lost).sum()
}

#[tokio::test]
async fn a_short_answer_tells_its_losses_before_it_ends() {
    let mut agent = filled(5).await;
    agent.kernel.set(|counts| counts.events.lost += 41);
    let answer = agent.flows(GetFlowsRequest { number: 2, ..Default::default() }).await;
    assert_eq!(answer.ports(), [4, 5]);
    assert_eq!(answer.lost.len(), 1);
    assert_eq!(
        (answer.lost[0].source(), answer.lost[0].num_events_lost),
        (LostEventSource::PerfEventRingBuffer, 41)
    );
    // More flows later the loss is history that this answer does not reach back to.
    agent.take((6..=9).map(event));
    let answer = agent.flows(GetFlowsRequest { number: 2, ..Default::default() }).await;
    assert_eq!(answer.lost, []);
    let answer = agent.flows(GetFlowsRequest { number: 6, ..Default::default() }).await;
    assert_eq!(answer.lost.len(), 1);
}

#[tokio::test]
async fn a_follower_is_told_losses_once_per_interval_and_merged() {
    let mut agent = agent_with(64, 0, |mut config| {
        config.lost_interval = Duration::from_millis(300);
        config
    })
    .await;
    let request = GetFlowsRequest { follow: true, ..Default::default() };
    let mut stream = agent.client().get_flows(request).await.unwrap().into_inner();
    agent.take([event(1)]);
    stream.message().await.unwrap().expect("the flow");
    let shared = std::sync::Arc::clone(agent.pipeline.shared());
    let mut told = Vec::new();
    for _ in 0..10 {
        agent.kernel.set(|counts| counts.events.lost += 5);
        shared.collect_kernel_losses();
        tokio::task::yield_now().await;
    }
    while lost_sum(&told) < 50 {
        let response = timeout(PATIENCE, stream.message()).await.expect("untold losses come by themselves");
        match response.unwrap().unwrap().response_types {
            Some(ResponseTypes::LostEvents(event)) => told.push(event),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(lost_sum(&told), 50);
    assert!(told.len() <= 3, "{} messages", told.len());
}

#[tokio::test]
async fn followers_end_when_the_agent_stops() {
    let agent = filled(5).await;
    let request = GetFlowsRequest { follow: true, number: 1, ..Default::default() };
    let mut stream = agent.client().get_flows(request).await.unwrap().into_inner();
    stream.message().await.unwrap().expect("history");
    agent.shutdown.send(true).unwrap();
    let status = timeout(PATIENCE, stream.message()).await.expect("it ends").expect_err("and says why");
    assert_eq!(status.code(), Code::Unavailable);
    timeout(PATIENCE, agent.served).await.expect("the server ends").unwrap().unwrap();
    assert!(!agent.socket.exists(), "the socket is removed");
}

/// An exchange over HTTP, among packets.
fn exchange(agent: &mut Agent) {
    let head = abi::L7Head { conn: 1, exchange: 1, proto: 1, version: 11, method: 1, ..Default::default() };
    let asked = [(abi::l7_text::PATH, "/rooms?key=secret"), (abi::l7_text::HOST, "chat")];
    agent.take([event(1)]);
    agent.take_message(event(1), abi::L7Head { kind: abi::l7_type::REQUEST, ..head }, &asked);
    let answer = abi::L7Head {
        kind: abi::l7_type::RESPONSE,
        status: 503,
        flags: abi::l7_flag::STATUS,
        latency_ns: 5_000_000,
        ..head
    };
    agent.take_message(back(event(1)), answer, &[]);
    agent.take([event(2)]);
}

#[tokio::test]
async fn messages_are_flows_among_others_and_found_by_what_they_say() {
    let mut agent =
        agent_with(64, 8, |config| PipelineConfig { redaction: "url-query".parse().unwrap(), ..config })
            .await;
    exchange(&mut agent);
    let all = agent.flows(GetFlowsRequest::default()).await;
    let kinds: Vec<_> = all.flows.iter().map(|flow| flow.r#type()).collect();
    assert_eq!(kinds, [FlowType::L3L4, FlowType::L7, FlowType::L7, FlowType::L3L4]);
    let filter = FlowFilter { http_status_code: vec!["5+".into()], ..Default::default() };
    // As Hubble's command line asks: with a mask, and without facts.
    let paths = ["time", "l7", "Summary", "is_reply", "source.pod_name", "event_type"];
    let request = GetFlowsRequest {
        whitelist: vec![filter],
        field_mask: Some(FieldMask { paths: paths.map(str::to_owned).to_vec() }),
        ..Default::default()
    };
    let found = agent.flows(request).await;
    let [flow] = &found.flows[..] else { panic!("{:?}", found.flows) };
    #[allow(deprecated)] // What the command line prints.
    let summary = &flow.summary;
    assert_eq!(summary, "HTTP/1.1 503 5ms (GET http://chat/rooms?REDACTED)");
    assert_eq!((flow.is_reply, flow.extensions.is_none()), (Some(true), true));
    assert_eq!(flow.source.as_ref().map(|end| &*end.pod_name), Some("db"));
    assert_eq!(flow.l7.as_ref().map(|l7| l7.latency_ns), Some(5_000_000));
}

#[tokio::test]
async fn our_own_clients_get_a_message_s_facts() {
    let mut agent = agent(64, 8).await;
    exchange(&mut agent);
    let mut request = GetFlowsRequest {
        whitelist: vec![FlowFilter { protocol: vec!["http".into()], ..Default::default() }],
        ..Default::default()
    };
    fathom_api::facts::ask(&mut request);
    let flows = agent.flows(request).await.flows;
    let facts: Vec<_> = flows.iter().filter_map(fathom_api::facts::of).collect();
    let paired: Vec<_> =
        facts.iter().filter_map(|f| f.l7.as_ref()).map(|l7| (l7.connection, l7.exchange)).collect();
    assert_eq!(paired, [(1, 1), (1, 1)]);
    assert!(facts.iter().all(|facts| facts.rule_id == RULE), "linked to its connection's rule");
    assert!(agent.pipeline.shared().ledger.sheet().balanced);
}
