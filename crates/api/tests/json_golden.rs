//! JSON lines as Hubble's command line prints them, written out by hand, both ways.

use fathom_api::fathom_v1::{self, EncryptedFacts, FlowFacts, Grpc, KafkaFacts, L7Facts, RuleRef};
use fathom_api::flow::{self, Flow, layer4, layer7};
use fathom_api::json;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::observer::{GetFlowsResponse, ServerStatusResponse};
use fathom_api::relay::{NodeState, NodeStatusEvent};
use prost::Message;
use prost_types::{Any, Timestamp};

/// 2026-01-02T03:04:05Z.
const SECONDS: i64 = 1_767_323_045;

fn time(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

fn l4(protocol: layer4::Protocol) -> Option<flow::Layer4> {
    Some(flow::Layer4 { protocol: Some(protocol) })
}

fn forwarded() -> Flow {
    let labels = ["k8s:app=commentary-fanout", "k8s:io.kubernetes.pod.namespace=live"];
    #[allow(deprecated)]
    Flow {
        time: time(SECONDS, 678_901_234),
        uuid: "6d5c1a5e-1f1b-4c0e-9b3b-3a3a3a3a3a3a".into(),
        emitter: Some(flow::Emitter { name: "Fathom".into(), version: "0.1.0".into() }),
        verdict: flow::Verdict::Forwarded.into(),
        ethernet: Some(flow::Ethernet {
            source: "0a:58:0a:f4:01:07".into(),
            destination: "0a:58:0a:f4:01:01".into(),
        }),
        ip: Some(flow::Ip {
            source: "10.244.1.7".into(),
            destination: "10.244.2.9".into(),
            ip_version: flow::IpVersion::IPv4.into(),
            ..Default::default()
        }),
        l4: l4(layer4::Protocol::Tcp(flow::Tcp {
            source_port: 42180,
            destination_port: 80,
            flags: Some(flow::TcpFlags { syn: true, ack: true, ..Default::default() }),
        })),
        source: Some(flow::Endpoint {
            id: 12,
            identity: 54321,
            cluster_name: "default".into(),
            namespace: "live".into(),
            labels: labels.map(String::from).to_vec(),
            pod_name: "commentary-fanout-0".into(),
            workloads: vec![flow::Workload { name: "commentary-fanout".into(), kind: "Deployment".into() }],
        }),
        destination: Some(flow::Endpoint {
            identity: 23456,
            namespace: "live".into(),
            pod_name: "chat-relay-1".into(),
            ..Default::default()
        }),
        r#type: flow::FlowType::L3L4.into(),
        node_name: "worker-1".into(),
        node_labels: vec!["kubernetes.io/hostname=worker-1".into()],
        destination_names: vec!["chat-relay.live.svc".into()],
        event_type: Some(flow::CiliumEventType { r#type: 4, sub_type: 3 }),
        destination_service: Some(flow::Service { name: "chat-relay".into(), namespace: "live".into() }),
        traffic_direction: flow::TrafficDirection::Egress.into(),
        policy_match_type: 2,
        trace_observation_point: flow::TraceObservationPoint::ToStack.into(),
        trace_reason: flow::TraceReason::New.into(),
        is_reply: Some(false),
        interface: Some(flow::NetworkInterface { index: 7, name: "fth3a".into() }),
        socket_cookie: u64::MAX,
        summary: "TCP Flags: SYN, ACK".into(),
        egress_allowed_by: vec![flow::Policy {
            name: "allow-out".into(),
            namespace: "live".into(),
            labels: vec!["k8s:team=<live>&co".into()],
            revision: 3,
            kind: "NetworkPolicy".into(),
        }],
        ..Default::default()
    }
}

fn dropped() -> Flow {
    let rule = RuleRef {
        kind: "NetworkPolicy".into(),
        namespace: "live".into(),
        name: "only-inside".into(),
        direction: fathom_v1::Direction::Egress.into(),
        index: Some(0),
    };
    let facts = FlowFacts {
        rule_id: 9,
        rules: vec![rule],
        packets: 1,
        bytes: 104,
        trigger: fathom_v1::Trigger::Drop.into(),
        ..Default::default()
    };
    #[allow(deprecated)]
    Flow {
        time: time(SECONDS, 0),
        verdict: flow::Verdict::Dropped.into(),
        drop_reason: 133,
        drop_reason_desc: flow::DropReason::PolicyDenied.into(),
        ip: Some(flow::Ip {
            source: "fd00::7".into(),
            destination: "2001:db8::1".into(),
            ip_version: flow::IpVersion::IPv6.into(),
            ..Default::default()
        }),
        l4: l4(layer4::Protocol::IcmPv6(flow::IcmPv6 { r#type: 128, code: 0 })),
        source: Some(flow::Endpoint::default()),
        destination: Some(flow::Endpoint {
            identity: 2,
            labels: vec!["reserved:world".into()],
            ..Default::default()
        }),
        r#type: flow::FlowType::L3L4.into(),
        event_type: Some(flow::CiliumEventType { r#type: 1, sub_type: 133 }),
        traffic_direction: flow::TrafficDirection::Egress.into(),
        summary: "ICMPv6 EchoRequest".into(),
        extensions: Some(Any {
            type_url: fathom_api::facts::FACTS_TYPE.into(),
            value: facts.encode_to_vec(),
        }),
        egress_denied_by: vec![flow::Policy {
            name: "only-inside".into(),
            namespace: "live".into(),
            kind: "NetworkPolicy".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn with_facts(facts: &FlowFacts) -> Option<Any> {
    Some(Any { type_url: fathom_api::facts::FACTS_TYPE.into(), value: facts.encode_to_vec() })
}

fn message(kind: flow::L7FlowType, latency_ns: u64, record: layer7::Record, facts: L7Facts) -> Flow {
    Flow {
        time: time(SECONDS, 0),
        verdict: flow::Verdict::Forwarded.into(),
        r#type: flow::FlowType::L7.into(),
        event_type: Some(flow::CiliumEventType { r#type: 129, sub_type: 0 }),
        is_reply: Some(kind == flow::L7FlowType::Response),
        l7: Some(flow::Layer7 { r#type: kind.into(), latency_ns, record: Some(record) }),
        extensions: with_facts(&FlowFacts { l7: Some(facts), ..Default::default() }),
        ..Default::default()
    }
}

fn grpc() -> Flow {
    let http = flow::Http {
        code: 200,
        method: "POST".into(),
        url: "http://chat:50051/chat.v1.Rooms/Join?a=<b>&c".into(),
        protocol: "HTTP/2".into(),
        headers: vec![flow::HttpHeader { key: "x-team".into(), value: "live".into() }],
    };
    let facts = L7Facts {
        connection: u64::MAX,
        exchange: 1,
        duration_ns: 5_000_000,
        handshake_ns: 120_000,
        client_bytes: 7,
        server_bytes: 1024,
        truncated: true,
        grpc: Some(Grpc {
            service: "chat.v1.Rooms".into(),
            method: "Join".into(),
            status: Some(0),
            client_messages: 1,
            server_messages: 10_000,
        }),
        ..Default::default()
    };
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736".into();
    Flow {
        trace_context: Some(flow::TraceContext { parent: Some(flow::TraceParent { trace_id }) }),
        ..message(flow::L7FlowType::Response, 4_200_000, layer7::Record::Http(http), facts)
    }
}

fn dns() -> Flow {
    let dns = flow::Dns {
        query: "db.shop.svc.".into(),
        ips: vec!["10.0.0.1".into(), "fd00::1".into()],
        ttl: 30,
        cnames: vec!["db-0.shop.svc.".into()],
        rcode: 0,
        qtypes: vec!["A".into()],
        rrtypes: vec!["CNAME".into(), "A".into(), "AAAA".into()],
        ..Default::default()
    };
    let facts = L7Facts { problem: "breaks off".into(), unmatched: true, ..Default::default() };
    message(flow::L7FlowType::Response, 1, layer7::Record::Dns(dns), facts)
}

#[allow(deprecated)] // The contract's word; we still tell of it.
fn kafka() -> Flow {
    let kafka = flow::Kafka {
        error_code: -1,
        api_version: 9,
        api_key: "produce".into(),
        correlation_id: 5,
        topic: "orders".into(),
    };
    let facts = L7Facts {
        kafka: Some(KafkaFacts {
            client_id: "producer-1".into(),
            topics: vec!["orders".into(), "audit".into()],
            topic_count: 3,
            no_response: true,
        }),
        reset_code: Some(0),
        ..Default::default()
    };
    message(flow::L7FlowType::Request, 0, layer7::Record::Kafka(kafka), facts)
}

fn encrypted() -> Flow {
    let facts = EncryptedFacts {
        protocol: "TLS".into(),
        server_name: "chat.example.org".into(),
        alpn: vec!["h2".into(), "http/1.1".into()],
        truncated: false,
    };
    Flow {
        destination_names: vec!["chat.example.org".into()],
        extensions: with_facts(&FlowFacts { encrypted: Some(facts), ..Default::default() }),
        ..Default::default()
    }
}

fn responses() -> [GetFlowsResponse; 10] {
    let response = |member, node_name: &str, time| GetFlowsResponse {
        response_types: Some(member),
        node_name: node_name.into(),
        time,
    };
    let strange = Flow {
        time: time(-1, 500_000_000),
        verdict: 99,
        l4: l4(layer4::Protocol::Tcp(flow::Tcp::default())),
        is_reply: Some(true),
        extensions: Some(Any { type_url: "example.com/unknown.Type".into(), value: vec![1, 2, 3] }),
        ..Default::default()
    };
    let lost = flow::LostEvent {
        source: flow::LostEventSource::HubbleRingBuffer.into(),
        num_events_lost: 1234,
        cpu: Some(0),
        first: time(SECONDS, 1_000),
        last: time(SECONDS + 1, 1_000_000),
    };
    let status = NodeStatusEvent {
        state_change: NodeState::NodeUnavailable.into(),
        node_names: vec!["worker-2".into(), "worker-3".into()],
        message: "connection refused".into(),
    };
    [
        response(ResponseTypes::Flow(forwarded()), "worker-1", time(SECONDS, 678_901_234)),
        response(ResponseTypes::Flow(dropped()), "other/worker-2", time(SECONDS, 0)),
        response(ResponseTypes::Flow(strange), "", None),
        response(ResponseTypes::LostEvents(lost), "worker-1", time(SECONDS + 2, 0)),
        response(ResponseTypes::NodeStatus(status), "relay", time(SECONDS + 2, 0)),
        GetFlowsResponse::default(),
        response(ResponseTypes::Flow(grpc()), "worker-1", None),
        response(ResponseTypes::Flow(dns()), "worker-1", None),
        response(ResponseTypes::Flow(kafka()), "worker-1", None),
        response(ResponseTypes::Flow(encrypted()), "worker-1", None),
    ]
}

const GOLDEN: &str = include_str!("golden/responses.jsonl");

fn printed(type_name: &str, message: &impl Message) -> String {
    let mut out = Vec::new();
    json::append(type_name, &message.encode_to_vec(), &mut out).expect("prints");
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[test]
fn responses_are_printed_as_hubble_prints_them() {
    assert_eq!(GOLDEN.lines().count(), responses().len());
    for (response, line) in responses().iter().zip(GOLDEN.lines()) {
        assert_eq!(printed("observer.GetFlowsResponse", response), line);
    }
}

#[test]
fn printed_responses_are_read_back() {
    for (response, line) in responses().iter().zip(GOLDEN.lines()) {
        if line.contains("unknown.Type") {
            // Nobody can read an Any back whose type is not known.
            assert!(json::parse_response(line).unwrap_err().to_string().contains("unknown.Type"));
            continue;
        }
        let parsed = json::parse_response(line).expect("reads");
        assert_eq!((&parsed.response, parsed.unknown_fields), (response, false));
    }
}

#[test]
fn lines_of_newer_and_older_versions_are_read() {
    let newer = r#"{"flow":{"verdict":"DROPPED","some_new_field":{"a":[1]}},"node_name":"n","newer":1}"#;
    let parsed = json::parse_response(newer).expect("unknown fields are passed over");
    assert!(parsed.unknown_fields);
    let Some(ResponseTypes::Flow(flow)) = parsed.response.response_types else { panic!("no flow") };
    assert_eq!(flow.verdict(), flow::Verdict::Dropped);

    let verdict = r#"{"flow":{"verdict":"POSTPONED","uuid":"u"}}"#;
    assert!(json::parse_response(verdict).expect("an unknown enum name is passed over").unknown_fields);

    let bare = r#"{"time":"2026-01-02T03:04:05Z","verdict":"FORWARDED","node_name":"n1","Summary":"UDP"}"#;
    let parsed = json::parse_response(bare).expect("a bare flow");
    assert_eq!((parsed.response.node_name.as_str(), parsed.response.time), ("n1", time(SECONDS, 0)));
    assert!(matches!(parsed.response.response_types, Some(ResponseTypes::Flow(_))) && !parsed.unknown_fields);

    for not_json in ["", "{", "[]", "{\"flow\":1}", "{} {}"] {
        assert!(json::parse_response(not_json).is_err(), "{not_json}");
    }
}

#[test]
fn filters_are_read_with_either_spelling_and_unknown_fields_are_named() {
    let filter = json::parse_filter(
        r#"{"source_pod":["live/"],"destinationPort":["80"],"verdict":["DROPPED",1],"tcp_flags":[{"SYN":true}],
            "ip_trace_id":["7"],"reply":[false]}"#,
    )
    .expect("a filter");
    assert_eq!(
        (filter.source_pod, filter.destination_port),
        (vec!["live/".to_owned()], vec!["80".to_owned()])
    );
    assert_eq!((filter.verdict, filter.ip_trace_id, filter.reply), (vec![2, 1], vec![7], vec![false]));
    assert!(filter.tcp_flags[0].syn);
    let error = json::parse_filter(r#"{"source_pot":["x"]}"#).unwrap_err().to_string();
    assert!(error.contains("source_pot"), "{error}");
    assert!(json::parse_filter("{} trailing").is_err());
}

#[test]
fn filters_are_printed_in_hubbles_order() {
    let filter = flow::FlowFilter {
        verdict: vec![2],
        source_pod: vec!["live/".into()],
        event_type: vec![flow::EventTypeFilter { r#type: 4, match_sub_type: true, sub_type: 0 }],
        reply: vec![false, true],
        source_identity: vec![1, 300],
        uuid: vec!["u".into()],
        ..Default::default()
    };
    let line = r#"{"uuid":["u"],"source_pod":["live/"],"verdict":["DROPPED"],"event_type":[{"type":4,"match_sub_type":true}],"reply":[false,true],"source_identity":[1,300]}"#;
    assert_eq!(printed("flow.FlowFilter", &filter), line);
}

#[test]
fn a_status_prints_its_wrappers_and_floats() {
    let status = ServerStatusResponse {
        num_flows: 4095,
        uptime_ns: 1,
        num_connected_nodes: Some(0),
        version: "1.0".into(),
        flows_rate: 23.46,
        ..Default::default()
    };
    let line =
        r#"{"num_flows":"4095","uptime_ns":"1","num_connected_nodes":0,"version":"1.0","flows_rate":23.46}"#;
    assert_eq!(printed("observer.ServerStatusResponse", &status), line);
}

#[test]
fn what_has_no_json_is_refused_and_leaves_the_output_as_it_was() {
    let refused = |type_name: &str, wire: &[u8]| {
        let mut out = b"before".to_vec();
        let error = json::append(type_name, wire, &mut out).unwrap_err();
        assert_eq!(out, b"before");
        error.to_string()
    };
    assert!(refused("flow.Nope", &[]).contains("\"flow.Nope\""));
    let year_10000 = Flow { time: time(253_402_300_800, 0), ..Default::default() };
    assert!(refused("flow.Flow", &year_10000.encode_to_vec()).contains("years 1 to 9999"));
    let bad_nanos = Flow { time: time(0, -1), ..Default::default() };
    assert!(refused("flow.Flow", &bad_nanos.encode_to_vec()).contains("timestamp"));
    let no_type =
        Flow { extensions: Some(Any { value: vec![1], ..Default::default() }), ..Default::default() };
    assert!(refused("flow.Flow", &no_type.encode_to_vec()).contains("no type"));
    assert!(refused("flow.Flow", &[0xe2, 0x01, 1, 0xff]).contains("protobuf"));
    // node_name holding a byte that is not UTF-8.
    assert!(refused("flow.Flow", &[0x5a, 1, 0xff]).contains("UTF-8"));
    let mut nested = Any::default();
    for _ in 0..200 {
        nested = Any { type_url: "x/google.protobuf.Any".into(), value: nested.encode_to_vec() };
    }
    let deep = Flow { extensions: Some(nested), ..Default::default() };
    assert!(refused("flow.Flow", &deep.encode_to_vec()).contains("nested"));
}
