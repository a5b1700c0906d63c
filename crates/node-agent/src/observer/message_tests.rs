//! Records → stored flows → bytes → what a client decodes; and filters, which must say the same of both forms.

use bytes::BytesMut;
use fathom_api::facts;
use fathom_api::filter::Filter;
use fathom_api::flow::{self as wire, FlowFilter, HttpHeader, layer7};
use fathom_api::observer::GetFlowsResponse;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::write::{Mask, flow_response};
use fathom_bpf::abi::{L7Head, l7_flag, l7_text, l7_type};
use proptest::prelude::*;
use prost::Message as _;

use crate::cluster::snapshot::Snapshot;
use crate::events::Flow;
use crate::events::l7::testing::{self, TextParts, Written, get, request, response, text};
use crate::events::l7::{Join, Redaction};
use crate::events::testing::{enricher, event, snapshot};
use crate::observer::node::{Node, NodeIdentity};
use crate::observer::view::View;

/// What an agent makes of these records.
fn stored(records: &[Written], redaction: &str) -> Vec<Flow> {
    let (mut enricher, mut join) = (enricher(snapshot()), Join::new(redaction.parse::<Redaction>().unwrap()));
    let store = |written: &Written| {
        let record = written.record();
        let mut flow = enricher.enrich(record.event);
        join.complete(&mut flow, record.message, enricher.local_addresses());
        flow
    };
    records.iter().map(store).collect()
}

fn node() -> Node {
    Node::new(NodeIdentity::new("default", "node-a", "0.1.0"), &Snapshot::default())
}

/// What a client that asks for facts decodes.
fn decoded(flow: &Flow, node: &Node) -> wire::Flow {
    let mut out = BytesMut::new();
    flow_response(&mut out, &View { flow, node }.parts(true), &Mask::all());
    match GetFlowsResponse::decode(&out[..]).unwrap().response_types {
        Some(ResponseTypes::Flow(flow)) => flow,
        other => panic!("{other:?}"),
    }
}

fn told(records: &[Written]) -> Vec<wire::Flow> {
    let node = node();
    stored(records, "").iter().map(|flow| decoded(flow, &node)).collect()
}

fn http(flow: &wire::Flow) -> &wire::Http {
    match flow.l7.as_ref().and_then(|l7| l7.record.as_ref()) {
        Some(layer7::Record::Http(http)) => http,
        other => panic!("{other:?} is not HTTP"),
    }
}

fn dns(flow: &wire::Flow) -> &wire::Dns {
    match flow.l7.as_ref().and_then(|l7| l7.record.as_ref()) {
        Some(layer7::Record::Dns(dns)) => dns,
        other => panic!("{other:?} is not DNS"),
    }
}

#[allow(deprecated)] // Clients print it all the same.
fn summary(flow: &wire::Flow) -> &str {
    &flow.summary
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A request with a trace and a header, and its 404.
fn exchange() -> [Written; 2] {
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let head = L7Head { conn: 7, exchange: 3, proto: 1, version: 11, method: 1, ..Default::default() };
    let asked = [
        text(l7_text::PATH, "/v1/rooms%2042?page=2"),
        text(l7_text::HOST, "chat.live"),
        text(l7_text::HEADER, "x-team: Live"),
        text(l7_text::TRACEPARENT, &parent),
    ];
    let answer = L7Head {
        status: 404,
        flags: l7_flag::STATUS | l7_flag::FIRST,
        latency_ns: 4_200_000,
        duration_ns: 5_000_000,
        bytes: [0, 512],
        method: 0,
        ..head
    };
    [request(head, &asked), response(answer, &[text(l7_text::HEADER, "server: nginx")])]
}

/// A unary call that ends in NOT_FOUND.
fn call() -> [Written; 2] {
    let head =
        L7Head { conn: 8, exchange: 1, proto: 2, version: 20, flags: l7_flag::GRPC, ..Default::default() };
    let asked = [text(l7_text::PATH, "/chat.v1.Rooms/Join"), text(l7_text::HOST, "chat:50051")];
    let answer = L7Head {
        status: 200,
        code: 5,
        flags: l7_flag::GRPC | l7_flag::STREAMED | l7_flag::STATUS | l7_flag::CODE,
        messages: [1, 2],
        ..head
    };
    [request(L7Head { method: 3, ..head }, &asked), response(answer, &[])]
}

fn lookup() -> [Written; 2] {
    let head =
        L7Head { conn: 9, exchange: 77, proto: 3, flags: l7_flag::CODE, code: 28, ..Default::default() };
    let name = text(l7_text::DNS_NAME, "db.shop.svc");
    let answer = L7Head { flags: l7_flag::CODE | l7_flag::STATUS, status: 3, latency_ns: 100_000, ..head };
    [request(head, &[name]), response(answer, &[name])]
}

fn produce() -> [Written; 2] {
    let head = L7Head { conn: 10, exchange: 5, proto: 4, version: 9, detail: 2, ..Default::default() };
    let asked: [TextParts<'_>; 3] = [
        text(l7_text::KAFKA_CLIENT, "producer-1"),
        text(l7_text::KAFKA_TOPIC, "orders"),
        text(l7_text::KAFKA_TOPIC, "audit"),
    ];
    let answer = L7Head { status: u16::MAX, flags: l7_flag::STATUS, ..head };
    [request(L7Head { flags: l7_flag::CODE, ..head }, &asked), response(answer, &[])]
}

#[test]
fn an_http_exchange_is_told_in_hubbles_fields() {
    let flows = told(&exchange());
    let [asked, answer] = &flows[..] else { panic!("two flows") };
    for flow in [asked, answer] {
        assert_eq!(flow.r#type(), wire::FlowType::L7);
        assert_eq!(flow.event_type, Some(wire::CiliumEventType { r#type: 129, sub_type: 0 }));
        assert_eq!((flow.verdict(), flow.trace_observation_point), (wire::Verdict::Forwarded, 0));
        assert_eq!((&*http(flow).method, &*http(flow).url), ("GET", "http://chat.live/v1/rooms%2042?page=2"));
        assert_eq!(http(flow).protocol, "HTTP/1.1");
        let parent = flow.trace_context.as_ref().and_then(|context| context.parent.as_ref());
        assert_eq!(parent.map(|parent| &*parent.trace_id), Some(TRACE), "a response has its request's");
    }
    assert_eq!(asked.source, answer.destination, "the client");
    assert_eq!((asked.is_reply, answer.is_reply), (Some(false), Some(true)));
    let l7 = |flow: &wire::Flow| flow.l7.as_ref().map(|l7| (l7.r#type, l7.latency_ns));
    assert_eq!((l7(asked), l7(answer)), (Some((1, 0)), Some((2, 4_200_000))));
    assert_eq!((http(asked).code, http(answer).code), (0, 404));
    let header = |key: &str, value: &str| vec![HttpHeader { key: key.into(), value: value.into() }];
    assert_eq!(http(asked).headers, header("x-team", "Live"));
    assert_eq!(http(answer).headers, header("server", "nginx"));
    assert_eq!(summary(asked), "HTTP/1.1 GET http://chat.live/v1/rooms%2042?page=2");
    assert_eq!(summary(answer), "HTTP/1.1 404 4ms (GET http://chat.live/v1/rooms%2042?page=2)");
    let l4 = answer.l4.as_ref().and_then(|l4| l4.protocol.as_ref());
    assert!(
        matches!(l4, Some(wire::layer4::Protocol::Tcp(tcp)) if tcp.source_port == 80 && tcp.flags.is_none())
    );
    let facts = facts::of(answer).and_then(|facts| facts.l7).expect("facts");
    assert_eq!(
        (facts.connection, facts.exchange, facts.duration_ns, facts.server_bytes),
        (7, 3, 5_000_000, 512)
    );
    assert!(facts.grpc.is_none() && facts.kafka.is_none());
}

#[test]
fn grpc_is_http_with_facts_of_its_own() {
    let flows = told(&call());
    let facts: Vec<_> =
        flows.iter().map(|flow| facts::of(flow).and_then(|f| f.l7).and_then(|l7| l7.grpc).unwrap()).collect();
    assert_eq!((&*facts[1].service, &*facts[1].method), ("chat.v1.Rooms", "Join"));
    assert_eq!((facts[0].status, facts[1].status), (None, Some(5)));
    assert_eq!((facts[1].client_messages, facts[1].server_messages), (1, 2));
    assert_eq!(
        summary(&flows[1]),
        "HTTP/2 200 (POST http://chat:50051/chat.v1.Rooms/Join), gRPC 5 NOT_FOUND"
    );
    assert_eq!(http(&flows[0]).protocol, "HTTP/2");
}

#[test]
fn a_stream_that_was_reset_or_ended_has_no_status() {
    let [asked, _] = call();
    let head =
        L7Head { conn: 8, exchange: 1, proto: 2, version: 20, flags: l7_flag::GRPC, ..Default::default() };
    let reset = response(L7Head { flags: head.flags | l7_flag::RESET, status: 8, ..head }, &[]);
    let flows = told(&[asked, reset]);
    assert_eq!(http(&flows[1]).code, 0);
    let facts = facts::of(&flows[1]).and_then(|facts| facts.l7).expect("facts");
    assert_eq!((facts.reset_code, facts.grpc.and_then(|grpc| grpc.status)), (Some(8), None));
    let sample = response(L7Head { kind: l7_type::SAMPLE, messages: [1, 10_000], ..head }, &[]);
    let flows = told(&[call().into_iter().next().expect("a request"), sample]);
    assert_eq!(flows[1].l7.as_ref().map(|l7| l7.r#type()), Some(wire::L7FlowType::Sample));
    assert!(summary(&flows[1]).ends_with("/chat.v1.Rooms/Join (goes on)"), "{}", summary(&flows[1]));
}

#[test]
fn dns_has_final_dots_and_names_for_numbers() {
    let flows = told(&lookup());
    assert_eq!((&*dns(&flows[0]).query, &*dns(&flows[0]).qtypes[0]), ("db.shop.svc.", "AAAA"));
    assert_eq!((dns(&flows[1]).rcode, &*dns(&flows[1]).observation_source), (3, ""));
    assert_eq!(summary(&flows[0]), "DNS Query db.shop.svc. AAAA");
    assert_eq!(summary(&flows[1]), "DNS Answer RCode: Non-Existent Domain TTL: 0 (Query db.shop.svc. AAAA)");
}

#[test]
#[allow(deprecated)]
fn kafka_has_names_and_signed_numbers() {
    let flows = told(&produce());
    let Some(layer7::Record::Kafka(kafka)) = flows[1].l7.as_ref().and_then(|l7| l7.record.as_ref()) else {
        panic!("not Kafka")
    };
    assert_eq!((&*kafka.api_key, kafka.api_version, kafka.correlation_id), ("produce", 9, 5));
    assert_eq!((&*kafka.topic, kafka.error_code), ("orders", -1));
    let [_, stray] = produce();
    let Some(layer7::Record::Kafka(kafka)) = told(&[stray]).remove(0).l7.and_then(|l7| l7.record) else {
        panic!("not Kafka")
    };
    assert_eq!((&*kafka.api_key, &*kafka.topic), ("", ""), "nothing is guessed");
    let facts = facts::of(&flows[1]).and_then(|facts| facts.l7).and_then(|l7| l7.kafka).expect("facts");
    assert_eq!((&*facts.client_id, facts.topics.len(), facts.topic_count), ("producer-1", 2, 2));
}

#[test]
fn an_encrypted_connection_is_told_on_its_packets_flows() {
    let head = L7Head { proto: 5, ..Default::default() };
    let hello = request(head, &[text(l7_text::SNI, "chat.example.org"), text(l7_text::ALPN, "h2")]);
    let flow = told(&[hello]).remove(0);
    assert_eq!((flow.r#type(), flow.l7.is_none()), (wire::FlowType::L3L4, true));
    assert_eq!(flow.event_type.map(|kind| kind.r#type), Some(4));
    assert_eq!(flow.destination_names, ["chat.example.org"]);
    let facts = facts::of(&flow).and_then(|facts| facts.encrypted).expect("facts");
    assert_eq!((&*facts.protocol, &*facts.server_name, &*facts.alpn[0]), ("TLS", "chat.example.org", "h2"));
}

#[test]
fn what_is_redacted_is_in_no_flow() {
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let head = L7Head { conn: 7, exchange: 3, proto: 1, version: 11, method: 1, ..Default::default() };
    let secret = [
        text(l7_text::PATH, "http://me:secret@chat.live/x?token=secret"),
        text(l7_text::HEADER, "authorization: secret"),
        text(l7_text::TRACEPARENT, &parent),
    ];
    let flows = stored(&[request(head, &secret)], "url-query,user-info,headers:Authorization");
    let flow = decoded(&flows[0], &node());
    assert_eq!(http(&flow).url, "http://chat.live/x?REDACTED");
    assert_eq!(http(&flow).headers[0].value, "REDACTED");
    assert!(!format!("{flow:?} {:?}", flows[0]).contains("secret"));
}

#[test]
fn filters_say_the_same_of_both_forms() {
    let texts = |text: &str| vec![text.to_owned()];
    let header = |key: &str, value: &str| vec![HttpHeader { key: key.into(), value: value.into() }];
    let kind = |r#type| vec![wire::EventTypeFilter { r#type, ..Default::default() }];
    let none = FlowFilter::default;
    let filters = [
        FlowFilter { protocol: texts("http"), ..none() },
        FlowFilter { protocol: texts("grpc"), ..none() },
        FlowFilter { protocol: texts("dns"), ..none() },
        FlowFilter { protocol: texts("kafka"), ..none() },
        FlowFilter { http_status_code: texts("4+"), ..none() },
        FlowFilter { http_status_code: texts("200"), ..none() },
        FlowFilter { http_method: texts("get"), ..none() },
        FlowFilter { http_path: texts("^/v1/rooms 42$"), ..none() },
        FlowFilter { http_path: texts("^/chat"), ..none() },
        FlowFilter { http_url: texts("page=2$"), ..none() },
        FlowFilter { http_header: header("X-Team", "Live"), ..none() },
        FlowFilter { http_header: header("", "nginx"), ..none() },
        FlowFilter { dns_query: texts("shop\\.svc\\.$"), ..none() },
        FlowFilter { trace_id: texts(TRACE), ..none() },
        FlowFilter { event_type: kind(129), ..none() },
        FlowFilter { event_type: kind(5), ..none() },
        FlowFilter { event_type: kind(4), ..none() },
        FlowFilter { reply: vec![true], ..none() },
        FlowFilter { tcp_flags: vec![wire::TcpFlags { syn: true, ..Default::default() }], ..none() },
        FlowFilter { destination_fqdn: texts("*.example.org"), ..none() },
    ];
    let hello = request(L7Head { proto: 5, ..Default::default() }, &[text(l7_text::SNI, "chat.example.org")]);
    let judged = fathom_bpf::abi::Event { flags: event().flags | fathom_bpf::abi::flag::POLICY, ..event() };
    let other = testing::written(judged, *get(9).record().message.unwrap().head, &[]);
    let records: Vec<Written> =
        [exchange(), call(), lookup(), produce(), [hello, other]].into_iter().flatten().collect();
    let (flows, node) = (stored(&records, ""), node());
    for filter in filters {
        let compiled = Filter::compile(std::slice::from_ref(&filter), &[]).expect("valid");
        let compact: Vec<bool> =
            flows.iter().map(|flow| compiled.matches(&View { flow, node: &node })).collect();
        let full: Vec<bool> = flows.iter().map(|flow| compiled.matches(&decoded(flow, &node))).collect();
        assert_eq!(compact, full, "{filter:?}");
        let verdicts = filter.event_type.iter().any(|kind| kind.r#type == 5);
        assert_eq!(compact.contains(&true), !verdicts, "{filter:?}");
        assert!(compact.contains(&false), "{filter:?}");
    }
}

fn any_head() -> impl Strategy<Value = L7Head> {
    let small = || prop_oneof![0u16..4, any::<u16>()];
    (0u8..9, 0u8..5, any::<u16>(), small(), small(), small(), 0u32..4, 0u8..11).prop_map(
        |(proto, kind, flags, status, code, version, detail, method)| L7Head {
            conn: 1,
            exchange: 1,
            proto,
            kind,
            flags,
            status,
            code,
            version,
            detail,
            method,
            messages: [u32::MAX; 2],
            ..Default::default()
        },
    )
}

fn any_texts() -> impl Strategy<Value = Vec<(u8, u8, u32, Vec<u8>)>> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[a-z:/@?#. ,-]{0,40}".prop_map(String::into_bytes),
        Just(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec()),
    ];
    proptest::collection::vec((0u8..17, 0u8..4, any::<u32>(), bytes), 0..8)
}

proptest! {
    /// Whoever sends traffic writes these.
    #[test]
    fn whatever_a_record_holds_is_told_in_valid_words(
        records in proptest::collection::vec((any_head(), any_texts(), any::<bool>()), 1..6),
        redacted: bool,
    ) {
        let written: Vec<Written> = records.iter().map(|(head, texts, answers)| {
            let texts: Vec<TextParts<'_>> =
                texts.iter().map(|(kind, flags, number, bytes)| (*kind, *flags, *number, &bytes[..])).collect();
            let event = if *answers { *response(*head, &[]).record().event } else { event() };
            testing::written(event, *head, &texts)
        }).collect();
        let node = node();
        let what = if redacted { "url-query,user-info,headers:a" } else { "" };
        for flow in stored(&written, what) {
            let full = decoded(&flow, &node);
            let mut line = Vec::new();
            fathom_api::json::append("flow.Flow", &full.encode_to_vec(), &mut line).expect("prints");
            let bare = summary(&full).to_owned() + &format!("{:?}", full.l7);
            prop_assert!(!bare.contains(char::is_control), "{bare:?}");
            if let Some(layer7::Record::Http(http)) = full.l7.as_ref().and_then(|l7| l7.record.as_ref()) {
                prop_assert!(http.url.is_empty() || http.url.contains("://"), "{}", http.url);
                let authority = http.url.split_once("://").map_or("", |(_, rest)| rest);
                let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
                prop_assert!(!redacted || !authority.contains('@'), "{}", http.url);
            }
        }
    }
}
