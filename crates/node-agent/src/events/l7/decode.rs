//! From a record's head and texts to a message that can be kept.

use std::borrow::Cow;
use std::net::SocketAddr;

use fathom_bpf::abi::{Event, l7_flag, l7_method, l7_protocol, l7_text, l7_text_flag};
use fathom_bpf::decode::{self, Text};

use super::http::{Target, url};
use super::message::{Encrypted, HttpRequest, KafkaRequest};
use super::redact::{REDACTED, Redaction};
use super::text::{printable, topic_id, trace_id};

/// A request's method, URL and trace.
pub fn http_request(event: &Event, message: &decode::Message<'_>, redaction: &Redaction) -> HttpRequest {
    let head = message.head;
    let has = |flag| head.flags & flag != 0;
    let (target, host) = (message.text(l7_text::PATH), message.text(l7_text::HOST));
    let is_cut = |text: Option<Text<'_>>| text.is_some_and(|t| t.flags & l7_text_flag::TRUNCATED != 0);
    let parts = Target {
        target: target.map(|text| text.bytes),
        truncated: is_cut(target),
        host: host.map(|text| text.bytes).filter(|bytes| !bytes.is_empty()),
        host_truncated: is_cut(host),
        host_unknown: host.is_none() && has(l7_flag::UNKNOWN),
        connect: head.method == l7_method::CONNECT,
        server: SocketAddr::new(event.destination(), event.dport()),
    };
    let (url, path_at) = url(&parts, redaction);
    let trace = message.text(l7_text::TRACEPARENT).and_then(|text| trace_id(text.bytes));
    HttpRequest {
        method: method(message),
        url,
        path_at,
        trace_id: trace.unwrap_or_default().into(),
        grpc: has(l7_flag::GRPC),
        truncated: has(l7_flag::TRUNCATED),
    }
}

fn method(message: &decode::Message<'_>) -> Cow<'static, str> {
    Cow::Borrowed(match message.head.method {
        l7_method::GET => "GET",
        l7_method::HEAD => "HEAD",
        l7_method::POST => "POST",
        l7_method::PUT => "PUT",
        l7_method::DELETE => "DELETE",
        l7_method::CONNECT => "CONNECT",
        l7_method::OPTIONS => "OPTIONS",
        l7_method::TRACE => "TRACE",
        l7_method::PATCH => "PATCH",
        _ => match message.text(l7_text::METHOD) {
            Some(text) => return Cow::Owned(printable(text.bytes).into()),
            None => "",
        },
    })
}

/// Captured headers as (name, value).
pub fn headers(message: &decode::Message<'_>, redaction: &Redaction) -> Box<[(Box<str>, Box<str>)]> {
    let texts = message.texts().filter(|text| text.kind == l7_text::HEADER);
    texts.map(|text| header(&text, redaction)).collect()
}

fn header(text: &Text<'_>, redaction: &Redaction) -> (Box<str>, Box<str>) {
    let at = text.bytes.iter().position(|byte| *byte == b':').unwrap_or(text.bytes.len());
    let name: Box<str> = printable(&text.bytes[..at]).to_ascii_lowercase().into();
    let value = text.bytes.get(at + 1..).unwrap_or_default().trim_ascii();
    let value = if redaction.hides(&name) { REDACTED.into() } else { printable(value) };
    (name, value)
}

/// What a Kafka request asks for.
pub fn kafka_request(message: &decode::Message<'_>) -> KafkaRequest {
    let head = message.head;
    let topic = |text: Text<'_>| match text.flags & l7_text_flag::ID {
        0 => printable(text.bytes),
        _ => topic_id(text.bytes),
    };
    let topics = message.texts().filter(|text| text.kind == l7_text::KAFKA_TOPIC);
    KafkaRequest {
        api_key: head.code,
        api_version: head.version,
        client_id: message.text(l7_text::KAFKA_CLIENT).map(|text| printable(text.bytes)).unwrap_or_default(),
        topics: topics.map(topic).collect(),
        topic_count: head.detail,
        no_response: head.flags & l7_flag::NO_REPLY != 0,
        truncated: head.flags & l7_flag::TRUNCATED != 0,
    }
}

/// What a ClientHello or a QUIC packet shows.
pub fn encrypted(message: &decode::Message<'_>) -> Encrypted {
    let alpn = message.text(l7_text::ALPN).map(|text| text.bytes).unwrap_or_default();
    let alpn = alpn.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    Encrypted {
        protocol: if message.head.proto == l7_protocol::QUIC { "QUIC" } else { "TLS" },
        server_name: message.text(l7_text::SNI).map(|text| printable(text.bytes)).unwrap_or_default(),
        alpn: alpn.map(printable).collect(),
        truncated: message.head.flags & l7_flag::TRUNCATED != 0,
        names: None,
    }
}

/// The protocol that a connection changes to.
pub fn upgrade(message: &decode::Message<'_>) -> Box<str> {
    message.text(l7_text::UPGRADE).map(|text| printable(text.bytes)).unwrap_or_default()
}
