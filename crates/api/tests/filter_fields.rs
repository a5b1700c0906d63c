//! Every field of FlowFilter: what it matches, what it does not, and how nonsense is refused.

use fathom_api::Filter;
use fathom_api::fathom_v1::{FlowFacts, Grpc, L7Facts};
use fathom_api::flow::{self, Flow, FlowFilter, flow_filter, layer4, layer7};
use fathom_api::names::{event, tcp_flag};
use prost::Message;
use prost_types::Any;

fn matches(filter: FlowFilter, flow: &Flow) -> bool {
    Filter::compile(&[filter], &[]).expect("a valid filter").matches(flow)
}

fn refused(filter: FlowFilter) -> (&'static str, String) {
    let error = Filter::compile(&[], &[FlowFilter::default(), filter]).expect_err("must be refused");
    assert_eq!((error.list, error.index), ("blacklist", 1));
    let status = tonic::Status::from(error.clone());
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains(&format!("blacklist[1].{}", error.field)), "{}", status.message());
    (error.field, error.problem)
}

fn texts<const N: usize>(values: [&str; N]) -> Vec<String> {
    values.map(String::from).to_vec()
}

fn l7(record: layer7::Record) -> Option<flow::Layer7> {
    Some(flow::Layer7 { record: Some(record), ..Default::default() })
}

/// A TCP flow from a pod to a service's pod, with about everything set.
fn tcp_flow() -> Flow {
    Flow {
        verdict: flow::Verdict::Forwarded.into(),
        uuid: "0a0b0c0d-1111-4222-8333-444455556666".into(),
        ip: Some(flow::Ip {
            source: "10.1.2.3".into(),
            destination: "fd00:0::12".into(),
            source_xlated: "192.0.2.1".into(),
            ip_version: flow::IpVersion::IPv4.into(),
            encrypted: true,
        }),
        l4: Some(flow::Layer4 {
            protocol: Some(layer4::Protocol::Tcp(flow::Tcp {
                source_port: 40000,
                destination_port: 80,
                flags: Some(tcp_flag::message(tcp_flag::SYN | tcp_flag::ACK)),
            })),
        }),
        source: Some(flow::Endpoint {
            identity: 1000,
            namespace: "live".into(),
            pod_name: "fanout-7f".into(),
            cluster_name: "east".into(),
            labels: texts(["k8s:app=fanout", "k8s:tier=front"]),
            workloads: vec![flow::Workload { name: "fanout".into(), kind: "Deployment".into() }],
            ..Default::default()
        }),
        destination: Some(flow::Endpoint {
            identity: 2,
            labels: texts(["reserved:world"]),
            ..Default::default()
        }),
        destination_service: Some(flow::Service { name: "chat".into(), namespace: "live".into() }),
        destination_names: texts(["www.example.com", "edge.example.net."]),
        node_name: "east/worker-1".into(),
        node_labels: texts(["zone=a", "kubernetes.io/os=linux"]),
        interface: Some(flow::NetworkInterface { index: 7, name: "eth0".into() }),
        event_type: Some(flow::CiliumEventType { r#type: event::TRACE, sub_type: 3 }),
        traffic_direction: flow::TrafficDirection::Egress.into(),
        is_reply: Some(false),
        trace_context: Some(flow::TraceContext {
            parent: Some(flow::TraceParent { trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into() }),
        }),
        ip_trace_id: Some(flow::IpTraceId { trace_id: 99, ip_option_type: 136 }),
        ..Default::default()
    }
}

fn http_flow() -> Flow {
    Flow {
        event_type: Some(flow::CiliumEventType { r#type: event::L7, sub_type: 0 }),
        l7: l7(layer7::Record::Http(flow::Http {
            code: 404,
            method: "GET".into(),
            url: "http://chat.live/v1/rooms%2042?page=2".into(),
            protocol: "HTTP/1.1".into(),
            headers: vec![flow::HttpHeader { key: "X-Team".into(), value: "Live".into() }],
        })),
        ..tcp_flow()
    }
}

/// Two filters that differ in one field: the first matches `flow`, the second does not.
macro_rules! tells_apart {
    ($flow:expr, $field:ident: $yes:expr, not $no:expr) => {
        let (yes, no) = (
            FlowFilter { $field: $yes, ..Default::default() },
            FlowFilter { $field: $no, ..Default::default() },
        );
        assert!(matches(yes.clone(), &$flow), "{yes:?}");
        assert!(!matches(no.clone(), &$flow), "{no:?}");
    };
}

#[test]
fn each_field_matches_what_it_names_and_nothing_else() {
    let flow = tcp_flow();
    tells_apart!(flow, verdict: vec![2, 1], not vec![2]);
    tells_apart!(flow, source_ip: texts(["10.1.2.3"]), not texts(["10.1.2.30"]));
    tells_apart!(flow, source_ip: texts(["1.1.1.1", "10.0.0.0/8"]), not texts(["11.0.0.0/8"]));
    tells_apart!(flow, destination_ip: texts(["FD00:0000::0012"]), not texts(["fd00::13"]));
    tells_apart!(flow, source_ip_xlated: texts(["192.0.2.0/24"]), not texts(["10.1.2.3"]));
    tells_apart!(flow, source_port: texts(["40000"]), not texts(["80"]));
    tells_apart!(flow, destination_port: texts(["443", "80"]), not texts(["40000"]));
    tells_apart!(flow, source_identity: vec![1000], not vec![2]);
    tells_apart!(flow, destination_identity: vec![2], not vec![1000]);
    tells_apart!(flow, source_pod: texts(["live/fan"]), not texts(["fan"]));
    tells_apart!(flow, source_pod: texts(["/fan"]), not texts(["other/"]));
    tells_apart!(flow, source_pod: texts(["/"]), not texts(["live/fanout-7fx"]));
    tells_apart!(flow, destination_service: texts(["live/chat"]), not texts(["live/db"]));
    tells_apart!(flow, source_label: texts(["app in (fanout, x),!canary"]), not texts(["app=fanout,canary"]));
    tells_apart!(flow, destination_label: texts(["reserved:world"]), not texts(["k8s:world"]));
    tells_apart!(flow, node_labels: texts(["zone=a,kubernetes.io/os"]), not texts(["zone=b"]));
    tells_apart!(flow, destination_fqdn: texts(["*.EXAMPLE.com"]), not texts(["example.com"]));
    tells_apart!(flow, destination_fqdn: texts(["edge.example.net"]), not texts(["*.org"]));
    tells_apart!(flow, protocol: texts(["udp", "TCP"]), not texts(["icmp", "http"]));
    tells_apart!(flow, tcp_flags: vec![tcp_flag::message(tcp_flag::SYN)], not vec![tcp_flag::message(tcp_flag::SYN | tcp_flag::FIN)]);
    tells_apart!(flow, reply: vec![false], not vec![true]);
    tells_apart!(flow, encrypted: vec![true], not vec![false]);
    tells_apart!(flow, ip_version: vec![1], not vec![2]);
    tells_apart!(flow, traffic_direction: vec![2], not vec![1]);
    tells_apart!(flow, node_name: texts(["worker-*"]), not texts(["default/worker-1"]));
    tells_apart!(flow, node_name: texts(["east/"]), not texts(["west/*"]));
    tells_apart!(flow, source_cluster_name: texts(["e*"]), not texts(["default"]));
    tells_apart!(flow, interface: vec![flow::NetworkInterface { name: "eth0".into(), index: 0 }], not vec![flow::NetworkInterface { name: "eth0".into(), index: 8 }]);
    tells_apart!(flow, source_workload: vec![flow::Workload { name: String::new(), kind: "Deployment".into() }], not vec![flow::Workload { name: "fanout".into(), kind: "Job".into() }]);
    tells_apart!(flow, uuid: texts(["0A0B0C0D-1111-4222-8333-444455556666"]), not texts(["0a0b0c0d-1111-4222-8333-444455556667"]));
    tells_apart!(flow, trace_id: texts(["4bf92f3577b34da6a3ce929d0e0e4736"]), not texts(["0"]));
    tells_apart!(flow, ip_trace_id: vec![99], not vec![98]);
}

#[test]
fn the_other_side_of_a_flow_is_not_matched() {
    let flow = tcp_flow();
    tells_apart!(flow, source_label: texts(["app"]), not texts(["reserved:world"]));
    let swapped = Flow { source: flow.destination.clone(), destination: flow.source.clone(), ..flow };
    tells_apart!(swapped, destination_workload: vec![flow::Workload { name: "fanout".into(), ..Default::default() }], not vec![flow::Workload { name: "x".into(), ..Default::default() }]);
    tells_apart!(swapped, destination_pod: texts(["live/"]), not texts(["default/"]));
    tells_apart!(swapped, destination_cluster_name: texts(["east"]), not texts(["eas"]));
    assert!(!matches(FlowFilter { source_pod: texts(["/"]), ..Default::default() }, &swapped));
}

#[test]
fn http_and_dns_fields_match_l7_flows_only() {
    let flow = http_flow();
    tells_apart!(flow, http_status_code: texts(["4+"]), not texts(["5+", "400"]));
    tells_apart!(flow, http_method: texts(["get"]), not texts(["POST"]));
    tells_apart!(flow, http_path: texts(["^/v1/rooms 42$"]), not texts(["page"]));
    tells_apart!(flow, http_url: texts(["page=2$"]), not texts(["^/v1"]));
    tells_apart!(flow, http_header: vec![flow::HttpHeader { key: "x-team".into(), value: "Live".into() }], not vec![flow::HttpHeader { key: "x-team".into(), value: "live".into() }]);
    tells_apart!(flow, protocol: texts(["http"]), not texts(["dns"]));
    assert!(!matches(FlowFilter { http_method: texts(["GET"]), ..Default::default() }, &tcp_flow()));
    let dns = flow::Dns { query: "chat.live.svc.cluster.local.".into(), ..Default::default() };
    let flow = Flow { l7: l7(layer7::Record::Dns(dns)), ..tcp_flow() };
    tells_apart!(flow, dns_query: texts(["live\\.svc"]), not texts(["^live"]));
    tells_apart!(flow, protocol: texts(["dns"]), not texts(["http"]));
    #[allow(deprecated)]
    let kafka = layer7::Record::Kafka(flow::Kafka { topic: "orders".into(), ..Default::default() });
    let flow = Flow { l7: l7(kafka), ..tcp_flow() };
    tells_apart!(flow, protocol: texts(["kafka"]), not texts(["http", "grpc", "dns"]));
}

#[test]
fn grpc_is_http_that_says_so() {
    let plain = http_flow();
    tells_apart!(plain, protocol: texts(["http"]), not texts(["grpc"]));
    let facts = FlowFacts {
        l7: Some(L7Facts { grpc: Some(Grpc::default()), ..Default::default() }),
        ..Default::default()
    };
    let any = Any { type_url: fathom_api::facts::FACTS_TYPE.into(), value: facts.encode_to_vec() };
    let told = Flow { extensions: Some(any), ..http_flow() };
    tells_apart!(told, protocol: texts(["grpc"]), not texts(["dns"]));
    tells_apart!(told, protocol: texts(["http"]), not texts(["kafka"]));
    let header = flow::HttpHeader { key: "Content-Type".into(), value: "application/grpc+proto".into() };
    let http = flow::Http { headers: vec![header], ..Default::default() };
    let captured = Flow { l7: l7(layer7::Record::Http(http)), ..http_flow() };
    tells_apart!(captured, protocol: texts(["grpc"]), not texts(["dns"]));
}

#[test]
fn a_message_is_not_shown_as_the_verdict_of_its_connection() {
    let verdicts = flow::EventTypeFilter { r#type: event::POLICY_VERDICT, ..Default::default() };
    let verdicts = FlowFilter { event_type: vec![verdicts], ..Default::default() };
    let allowed = Flow { egress_allowed_by: vec![flow::Policy::default()], ..tcp_flow() };
    assert!(matches(verdicts.clone(), &allowed));
    let message = Flow { egress_allowed_by: vec![flow::Policy::default()], ..http_flow() };
    assert!(!matches(verdicts, &message));
}

#[test]
fn event_types_match_by_type_sub_type_and_judgement() {
    let event = |r#type, sub: Option<i32>| {
        vec![flow::EventTypeFilter { r#type, match_sub_type: sub.is_some(), sub_type: sub.unwrap_or(0) }]
    };
    let flow = tcp_flow();
    tells_apart!(flow, event_type: event(event::TRACE, None), not event(event::DROP, None));
    tells_apart!(flow, event_type: event(event::TRACE, Some(3)), not event(event::TRACE, Some(0)));
    tells_apart!(flow, event_type: event(0, Some(3)), not event(0, Some(4)));
    let judged = Flow { policy_match_type: 2, ..tcp_flow() };
    tells_apart!(judged, event_type: event(event::POLICY_VERDICT, None), not event(event::POLICY_VERDICT, Some(3)));
    assert!(!matches(
        FlowFilter { event_type: event(event::POLICY_VERDICT, None), ..Default::default() },
        &flow
    ));
}

#[test]
fn hiding_policy_verdicts_hides_no_denial() {
    let verdicts = flow::EventTypeFilter { r#type: event::POLICY_VERDICT, ..Default::default() };
    let verdicts = FlowFilter { event_type: vec![verdicts], ..Default::default() };
    let of = |r#type| Some(flow::CiliumEventType { r#type, sub_type: 0 });
    let denial = Flow { verdict: 2, drop_reason_desc: 133, event_type: of(event::DROP), ..tcp_flow() };
    let allowed = Flow { policy_match_type: 2, ..tcp_flow() };
    let verdict = Flow { event_type: of(event::POLICY_VERDICT), ..tcp_flow() };
    let hiding = Filter::compile(&[], std::slice::from_ref(&verdicts)).expect("a valid filter");
    for flow in [&denial, &allowed] {
        assert!(matches(verdicts.clone(), flow), "asked for, it is the flow that carries the verdict");
        assert!(hiding.matches(flow), "hidden is only what is nothing but a verdict: {flow:?}");
    }
    assert!(!hiding.matches(&verdict));
}

#[test]
fn drops_are_matched_by_reason_and_count_as_no_reply() {
    #[allow(deprecated)]
    let old = Flow { drop_reason: 133, verdict: 2, is_reply: None, ..tcp_flow() };
    let new = Flow { drop_reason_desc: 133, verdict: 2, is_reply: None, ..tcp_flow() };
    for flow in [old, new] {
        tells_apart!(flow, drop_reason_desc: vec![133], not vec![181]);
        tells_apart!(flow, reply: vec![false], not vec![true]);
    }
    let forwarded = Flow { drop_reason_desc: 133, is_reply: None, ..tcp_flow() };
    assert!(!matches(FlowFilter { drop_reason_desc: vec![133], ..Default::default() }, &forwarded));
    for reply in [true, false] {
        assert!(!matches(FlowFilter { reply: vec![reply], ..Default::default() }, &forwarded));
    }
}

#[test]
fn an_empty_flow_matches_no_field_but_the_empty_filter() {
    let empty = Flow::default();
    assert!(matches(FlowFilter::default(), &empty));
    for filter in [
        FlowFilter { source_pod: texts(["/"]), ..Default::default() },
        FlowFilter { source_service: texts(["/x", "/"]), ..Default::default() },
        FlowFilter { source_port: texts(["0"]), ..Default::default() },
        FlowFilter { source_ip: texts(["0.0.0.0/0", "::/0"]), ..Default::default() },
        FlowFilter { node_name: texts(["*"]), ..Default::default() },
        FlowFilter { source_cluster_name: texts(["*"]), ..Default::default() },
        FlowFilter { source_fqdn: texts(["*"]), ..Default::default() },
        FlowFilter { tcp_flags: vec![flow::TcpFlags::default()], ..Default::default() },
        FlowFilter { reply: vec![true, false], ..Default::default() },
        FlowFilter { http_url: texts([""]), ..Default::default() },
        FlowFilter { dns_query: texts([""]), ..Default::default() },
        FlowFilter { interface: vec![flow::NetworkInterface::default()], ..Default::default() },
        FlowFilter { source_workload: vec![flow::Workload::default()], ..Default::default() },
    ] {
        assert!(!matches(filter.clone(), &empty), "{filter:?}");
    }
    assert!(matches(FlowFilter { encrypted: vec![false], ..Default::default() }, &empty));
    assert!(matches(FlowFilter { source_label: texts(["!app", ""]), ..Default::default() }, &empty));
}

#[test]
fn lists_are_alternatives_and_fields_are_conditions() {
    let port = |port: &str| FlowFilter { destination_port: texts([port]), ..Default::default() };
    let flow = tcp_flow();
    let passes =
        |white: &[FlowFilter], black: &[FlowFilter]| Filter::compile(white, black).unwrap().matches(&flow);
    assert!(passes(&[], &[]));
    assert!(passes(&[port("1"), port("80")], &[]));
    assert!(!passes(&[port("1"), port("2")], &[]));
    assert!(!passes(&[], &[port("1"), port("80")]));
    assert!(!passes(&[port("80")], &[port("80")]));
    assert!(passes(&[port("80")], &[port("1")]));
    let both = FlowFilter { source_port: texts(["1"]), ..port("80") };
    assert!(!passes(std::slice::from_ref(&both), &[]) && passes(&[], &[both]));
    assert!(!passes(&[], &[FlowFilter::default()]));

    assert!(Filter::compile(&[], &[]).unwrap().passes_all());
    assert!(Filter::compile(&[port("1"), FlowFilter::default()], &[]).unwrap().passes_all());
    assert!(!Filter::compile(&[], &[port("1")]).unwrap().passes_all());
}

#[test]
fn nonsense_is_refused_by_field_and_value() {
    macro_rules! refuses {
        ($field:ident: $values:expr, $text:expr) => {
            let (field, problem) = refused(FlowFilter { $field: $values, ..Default::default() });
            assert_eq!(field, stringify!($field).trim_start_matches("r#"));
            assert!(problem.contains($text), "{problem}");
        };
    }
    refuses!(source_ip: texts(["10.0.0.1", "10.0.0.300"]), "\"10.0.0.300\"");
    refuses!(destination_ip: texts(["10.0.0.0/40"]), "\"10.0.0.0/40\"");
    refuses!(source_ip_xlated: texts(["x"]), "\"x\"");
    refuses!(source_pod: texts([""]), "empty");
    refuses!(destination_pod: texts(["a/b/c"]), "\"a/b/c\"");
    refuses!(source_service: texts([""]), "empty");
    refuses!(destination_service: texts([""]), "empty");
    refuses!(source_fqdn: texts(["exa mple"]), "\"exa mple\"");
    refuses!(destination_fqdn: texts([""]), "empty");
    refuses!(source_label: texts(["app in"]), "\"app in\"");
    refuses!(destination_label: texts(["=x"]), "\"=x\"");
    refuses!(node_labels: texts(["a=b=c"]), "\"a=b=c\"");
    refuses!(source_port: texts(["http"]), "\"http\"");
    refuses!(destination_port: texts(["65536"]), "\"65536\"");
    refuses!(destination_port: texts(["+80"]), "\"+80\"");
    refuses!(protocol: texts(["amqp"]), "\"amqp\"");
    refuses!(verdict: vec![99], "99");
    refuses!(drop_reason_desc: vec![1], "1 is not a drop reason");
    refuses!(traffic_direction: vec![3], "3");
    refuses!(ip_version: vec![4], "4");
    refuses!(node_name: texts(["a/b/c"]), "\"b/c\"");
    refuses!(source_cluster_name: texts([""]), "empty");
    refuses!(destination_cluster_name: texts(["a b"]), "\"a b\"");
    refuses!(uuid: texts([""]), "empty");
    refuses!(trace_id: texts([""]), "empty");
    refuses!(ip_trace_id: vec![0], "0");
    refuses!(http_status_code: texts(["600"]), "\"600\"");
    refuses!(http_method: texts([""]), "empty");
    refuses!(http_path: texts(["(unclosed"]), "\"(unclosed\"");
    refuses!(http_url: texts(["[z-a]"]), "\"[z-a]\"");
    refuses!(dns_query: texts(["a{1000000}{1000000}"]), "not a regular expression");
    let cel = flow_filter::Experimental { cel_expression: texts(["_flow.verdict == 2"]) };
    let (field, problem) = refused(FlowFilter { experimental: Some(cel), ..Default::default() });
    assert_eq!(field, "experimental.cel_expression");
    assert!(problem.contains("_flow.verdict == 2"));
    assert!(
        Filter::compile(&[FlowFilter { experimental: Some(Default::default()), ..Default::default() }], &[])
            .is_ok()
    );
}

#[test]
fn http_fields_need_an_event_type_that_can_carry_them() {
    let only = |types: &[i32]| FlowFilter {
        event_type: types
            .iter()
            .map(|r#type| flow::EventTypeFilter { r#type: *r#type, ..Default::default() })
            .collect(),
        ..Default::default()
    };
    for (field, filter) in [
        ("http_status_code", FlowFilter { http_status_code: texts(["200"]), ..only(&[event::DROP]) }),
        ("http_method", FlowFilter { http_method: texts(["GET"]), ..only(&[event::TRACE, event::DROP]) }),
        ("http_path", FlowFilter { http_path: texts(["/"]), ..only(&[event::DROP]) }),
        ("http_url", FlowFilter { http_url: texts(["/"]), ..only(&[event::DROP]) }),
        ("http_header", FlowFilter { http_header: vec![Default::default()], ..only(&[event::DROP]) }),
    ] {
        assert_eq!(refused(filter).0, field);
    }
    let possible = FlowFilter { http_method: texts(["GET"]), ..only(&[event::DROP, event::L7]) };
    assert!(matches(possible, &http_flow()));
}
