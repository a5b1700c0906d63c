//! Application messages, one of each shape that output has to cope with.
#![allow(deprecated)]

use fathom_api::fathom_v1::{EncryptedFacts, FlowFacts, Grpc, KafkaFacts, L7Facts};
use fathom_api::flow::layer7::Record;
use fathom_api::flow::*;
use fathom_api::names::event;
use prost::Message;
use prost_types::Any;

use super::flows::{at, forwarded, tcp};

pub use fathom_api::flow::L7FlowType::{Request, Response, Sample};

/// A message as a server reports it: a request from web to api, or the way back.
pub fn flow(millis: i64, kind: L7FlowType, latency_ns: u64, record: Record) -> Flow {
    let request = forwarded();
    let end = |namespace: &str, pod: &str, workload: &str, identity| {
        let workload = Workload { name: workload.into(), kind: "Deployment".into() };
        let end = super::flows::pod(namespace, pod, identity);
        end.map(|end| Endpoint { workloads: vec![workload], ..end })
    };
    let flow = Flow {
        time: Some(at(millis)),
        source: end("shop", "web-1", "web", 1001),
        destination: end("shop", "api-1", "api", 1003),
        l4: tcp(40_000, 8080, TcpFlags::default()),
        r#type: FlowType::L7.into(),
        event_type: Some(CiliumEventType { r#type: event::L7, sub_type: 0 }),
        is_reply: Some(kind == Response),
        l7: Some(Layer7 { r#type: kind.into(), latency_ns, record: Some(record) }),
        // What a server says; the command line has its own words.
        summary: "(the server's words)".into(),
        ingress_allowed_by: Vec::new(),
        ..request
    };
    if kind != Response {
        return flow;
    }
    let ip = flow.ip.clone().map(|ip| Ip { source: ip.destination, destination: ip.source, ..ip });
    Flow {
        ip,
        l4: tcp(8080, 40_000, TcpFlags::default()),
        source: flow.destination.clone(),
        destination: flow.source.clone(),
        ..flow
    }
}

/// The same with facts of the message.
pub fn with(flow: Flow, l7: L7Facts) -> Flow {
    with_facts(flow, FlowFacts { l7: Some(l7), ..Default::default() })
}

pub fn with_facts(flow: Flow, facts: FlowFacts) -> Flow {
    let facts = Any { type_url: fathom_api::facts::FACTS_TYPE.into(), value: facts.encode_to_vec() };
    Flow { extensions: Some(facts), ..flow }
}

pub fn http(code: u32, method: &str, url: &str) -> Record {
    Record::Http(Http {
        code,
        method: method.into(),
        url: url.into(),
        protocol: "HTTP/1.1".into(),
        headers: Vec::new(),
    })
}

fn http2(code: u32, method: &str, url: &str) -> Record {
    let Record::Http(http) = http(code, method, url) else { unreachable!() };
    Record::Http(Http { protocol: "HTTP/2".into(), ..http })
}

pub fn dns(query: &str, qtype: &str) -> Dns {
    Dns { query: query.into(), qtypes: vec![qtype.into()], ..Default::default() }
}

pub fn kafka(api_key: &str, topic: &str, error_code: i32) -> Record {
    Record::Kafka(Kafka {
        error_code,
        api_version: 9,
        api_key: api_key.into(),
        correlation_id: 7,
        topic: topic.into(),
    })
}

/// A gRPC call of shop.Cart, with its facts.
pub fn grpc(kind: L7FlowType, method: &str, status: Option<u32>, millis: i64, latency_ns: u64) -> Flow {
    let path = format!("/shop.Cart/{method}");
    let code = if kind == Request { 0 } else { 200 };
    let call = Grpc {
        service: "shop.Cart".into(),
        method: method.into(),
        status,
        client_messages: 1,
        server_messages: if kind == Request { 0 } else { 10_000 },
    };
    let facts = L7Facts {
        connection: 41,
        exchange: 3,
        duration_ns: if kind == Request { 0 } else { 12_000_000_000 },
        grpc: Some(call),
        ..Default::default()
    };
    with(flow(millis, kind, latency_ns, http2(code, "POST", &format!("http://api:8080{path}"))), facts)
}

/// A connection whose first bytes were a TLS ClientHello.
pub fn tls() -> Flow {
    let hello = EncryptedFacts {
        protocol: "TLS".into(),
        server_name: "shop.example".into(),
        alpn: vec!["h2".into(), "http/1.1".into()],
        truncated: false,
    };
    let flags = TcpFlags { ack: true, psh: true, ..Default::default() };
    let flow = Flow {
        time: Some(at(900)),
        l4: tcp(31793, 443, flags),
        summary: "TCP Flags: ACK, PSH".into(),
        ..forwarded()
    };
    with_facts(flow, FlowFacts { encrypted: Some(hello), ..Default::default() })
}

/// A connection that began with QUIC.
pub fn quic() -> Flow {
    let hello = EncryptedFacts { protocol: "QUIC".into(), truncated: true, ..Default::default() };
    let l4 =
        Layer4 { protocol: Some(layer4::Protocol::Udp(Udp { source_port: 31793, destination_port: 443 })) };
    let flow = Flow { time: Some(at(901)), l4: Some(l4), summary: "UDP".into(), ..forwarded() };
    with_facts(flow, FlowFacts { encrypted: Some(hello), ..Default::default() })
}

/// Every shape, in the order of time.
pub fn all() -> Vec<Flow> {
    let url = "http://api:8080/x?page=2";
    let facts = L7Facts::default;
    let answer = Dns { ips: vec!["10.0.0.1".into(), "fd00::1".into()], ttl: 30, ..dns("api.shop.svc.", "A") };
    let alias = Dns { cnames: vec!["lb.example.".into()], ..answer.clone() };
    let bare_text = Dns { rrtypes: vec!["TXT".into()], ttl: 5, ..dns("api.shop.svc.", "TXT") };
    let nothing = Dns { rcode: 3, ..dns("nope.", "AAAA") };
    let proxied = Dns { observation_source: "proxy".into(), ..answer.clone() };
    let topics = KafkaFacts {
        client_id: "billing".into(),
        topics: vec!["orders".into(), "refunds".into()],
        topic_count: 5,
        no_response: false,
    };
    let unanswered =
        KafkaFacts { topics: vec!["orders".into()], topic_count: 1, no_response: true, ..Default::default() };
    vec![
        flow(1, Request, 0, http(0, "GET", url)),
        with(
            flow(4, Response, 3_214_567, http(200, "GET", url)),
            L7Facts {
                connection: 40,
                exchange: 1,
                duration_ns: 5_000_000,
                handshake_ns: 81_000,
                client_bytes: 1_200,
                server_bytes: 34_567,
                ..facts()
            },
        ),
        flow(5, Response, 412_345, http(404, "GET", "/y")),
        flow(6, Response, 1_500_000_000, http(503, "POST", "/z")),
        with(flow(7, Response, 0, http(0, "GET", "/gone")), L7Facts { ended: true, joined: true, ..facts() }),
        with(
            flow(8, Response, 0, http(200, "", "")),
            L7Facts { unmatched: true, unknown: true, truncated: true, ..facts() },
        ),
        with(
            flow(9, Response, 900_000, http(101, "GET", "/chat")),
            L7Facts { upgraded_to: "websocket".into(), ..facts() },
        ),
        with(
            flow(10, Sample, 0, http(101, "GET", "/chat")),
            L7Facts { duration_ns: 12_000_000_000, client_frames: 1, server_frames: 250, ..facts() },
        ),
        flow(11, Request, 0, http(0, "GET", "/\x1b[2J\r\nDROPPED")),
        flow(12, Request, 0, http2(0, "POST", "http://api:8080/shop.Cart/Add")),
        grpc(Request, "Add", None, 13, 0),
        grpc(Response, "Add", Some(0), 14, 800_000),
        grpc(Response, "Add", Some(14), 15, 20_400_000),
        grpc(Sample, "Watch", None, 16, 0),
        with(
            flow(17, Response, 100_000, http2(0, "GET", "/slow")),
            L7Facts { reset_code: Some(8), ..facts() },
        ),
        flow(20, Request, 0, Record::Dns(dns("api.shop.svc.", "A"))),
        flow(21, Response, 420_000, Record::Dns(answer)),
        flow(22, Response, 420_000, Record::Dns(alias)),
        flow(23, Response, 0, Record::Dns(proxied)),
        flow(24, Response, 77_000, Record::Dns(bare_text)),
        flow(25, Response, 90_000, Record::Dns(nothing)),
        flow(26, Response, 90_000, Record::Dns(dns("api.shop.svc.", "AAAA"))),
        with(
            flow(27, Request, 0, Record::Dns(Dns::default())),
            L7Facts { problem: "2 questions".into(), ..facts() },
        ),
        flow(30, Request, 0, kafka("produce", "orders", 0)),
        flow(31, Response, 2_000_000, kafka("produce", "orders", 6)),
        with(flow(32, Request, 0, kafka("fetch", "orders", 0)), L7Facts { kafka: Some(topics), ..facts() }),
        with(
            flow(33, Request, 0, kafka("produce", "orders", 0)),
            L7Facts { kafka: Some(unanswered), ..facts() },
        ),
        flow(34, Response, 300_000, kafka("apiversions", "", 0)),
        with(
            flow(35, Response, 0, kafka("fetch", "orders", 0)),
            L7Facts { ended: true, duration_ns: 90_000_000, ..facts() },
        ),
        tls(),
        quic(),
    ]
}
