//! `flow.Layer7`, and our own facts about the message: as the writer takes them, and written.

use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;

use super::address::put_ip;
use crate::names::{dns, kafka};
use crate::wire::{put_bytes, put_int32, put_nested, put_number, put_text};

/// A message of an application protocol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct L7<'a> {
    /// Number of [`crate::flow::L7FlowType`].
    pub kind: i32,
    /// 0 = not known.
    pub latency_ns: u64,
    pub record: L7Record<'a>,
}

/// What the protocol says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum L7Record<'a> {
    Http(Http<'a>),
    Dns(Dns<'a>),
    Kafka(Kafka<'a>),
}

/// `flow.HTTP`. A response has the method and URL of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Http<'a> {
    /// 0 on a request.
    pub code: u32,
    pub method: &'a str,
    /// Absolute.
    pub url: &'a str,
    /// "HTTP/1.1".
    pub protocol: &'a str,
    /// (name, value).
    pub headers: &'a [(Box<str>, Box<str>)],
    /// Of a gRPC response; told by the summary and by [`L7Facts`].
    pub grpc_status: Option<u16>,
}

/// `flow.DNS`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dns<'a> {
    /// With its final dot, like `cnames`.
    pub query: &'a str,
    pub ips: &'a [IpAddr],
    /// The lowest of the answers.
    pub ttl: u32,
    pub cnames: &'a [Arc<str>],
    pub rcode: u32,
    pub qtypes: &'a [u16],
    /// One per answer.
    pub rrtypes: &'a [u16],
}

/// `flow.Kafka`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kafka<'a> {
    /// Known on responses that have one at their top.
    pub error_code: Option<i16>,
    pub api_version: i16,
    /// Not known of a response whose request was not seen.
    pub api_key: Option<u16>,
    pub correlation_id: i32,
    /// The first one.
    pub topic: &'a str,
}

/// `fathom.v1.L7Facts`.
#[derive(Clone, Copy, Debug, Default)]
pub struct L7Facts<'a> {
    pub connection: u64,
    pub exchange: u32,
    pub duration_ns: u64,
    pub handshake_ns: u64,
    pub client_bytes: u64,
    pub server_bytes: u64,
    pub truncated: bool,
    pub unknown: bool,
    pub unmatched: bool,
    pub joined: bool,
    pub ended: bool,
    pub upgraded_to: &'a str,
    pub reset_code: Option<u32>,
    pub grpc: Option<Grpc<'a>>,
    pub kafka: Option<KafkaFacts<'a>>,
    pub problem: &'a str,
    pub client_frames: u32,
    pub server_frames: u32,
}

/// `fathom.v1.Grpc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grpc<'a> {
    pub service: &'a str,
    pub method: &'a str,
    pub status: Option<u16>,
    pub client_messages: u32,
    pub server_messages: u32,
}

/// `fathom.v1.KafkaFacts`.
#[derive(Clone, Copy, Debug, Default)]
pub struct KafkaFacts<'a> {
    pub client_id: &'a str,
    pub topics: &'a [Box<str>],
    pub topic_count: u32,
    pub no_response: bool,
}

/// `fathom.v1.EncryptedFacts`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EncryptedFacts<'a> {
    /// "TLS" or "QUIC".
    pub protocol: &'a str,
    pub server_name: &'a str,
    pub alpn: &'a [Box<str>],
    pub truncated: bool,
}

/// The body of a `flow.Layer7`.
pub(super) fn put_l7(out: &mut BytesMut, l7: &L7<'_>) {
    put_int32(out, 1, l7.kind);
    put_number(out, 2, l7.latency_ns);
    match &l7.record {
        L7Record::Dns(dns) => put_nested(out, 100, |out| put_dns(out, dns)),
        L7Record::Http(http) => put_nested(out, 101, |out| put_http(out, http)),
        L7Record::Kafka(kafka) => put_nested(out, 102, |out| put_kafka(out, kafka)),
    }
}

fn put_http(out: &mut BytesMut, http: &Http<'_>) {
    put_number(out, 1, http.code.into());
    put_text(out, 2, http.method);
    put_text(out, 3, http.url);
    put_text(out, 4, http.protocol);
    for (name, value) in http.headers {
        put_nested(out, 5, |out| {
            put_text(out, 1, name);
            put_text(out, 2, value);
        });
    }
}

fn put_dns(out: &mut BytesMut, dns: &Dns<'_>) {
    put_text(out, 1, dns.query);
    for ip in dns.ips {
        put_nested(out, 2, |out| put_ip(out, *ip));
    }
    put_number(out, 3, dns.ttl.into());
    dns.cnames.iter().for_each(|name| put_bytes(out, 4, name.as_bytes()));
    put_number(out, 6, dns.rcode.into());
    dns.qtypes.iter().for_each(|kind| put_display(out, 7, dns::Type(*kind)));
    dns.rrtypes.iter().for_each(|kind| put_display(out, 8, dns::Type(*kind)));
}

fn put_kafka(out: &mut BytesMut, kafka: &Kafka<'_>) {
    put_int32(out, 1, kafka.error_code.unwrap_or(0).into());
    put_int32(out, 2, kafka.api_version.into());
    if let Some(api_key) = kafka.api_key {
        put_display(out, 3, kafka::ApiKey(api_key));
    }
    put_int32(out, 4, kafka.correlation_id);
    put_text(out, 5, kafka.topic);
}

/// The body of a `fathom.v1.L7Facts`.
pub(super) fn put_l7_facts(out: &mut BytesMut, facts: &L7Facts<'_>) {
    let flags = [facts.truncated, facts.unknown, facts.unmatched, facts.joined, facts.ended];
    put_number(out, 1, facts.connection);
    put_number(out, 2, facts.exchange.into());
    put_number(out, 3, facts.duration_ns);
    put_number(out, 4, facts.handshake_ns);
    put_number(out, 5, facts.client_bytes);
    put_number(out, 6, facts.server_bytes);
    for (flag, field) in flags.into_iter().zip(7..) {
        put_number(out, field, flag.into());
    }
    put_text(out, 12, facts.upgraded_to);
    if let Some(code) = facts.reset_code {
        put_present(out, 13, code);
    }
    if let Some(grpc) = &facts.grpc {
        put_nested(out, 14, |out| put_grpc(out, grpc));
    }
    if let Some(kafka) = &facts.kafka {
        put_nested(out, 15, |out| put_kafka_facts(out, kafka));
    }
    put_text(out, 16, facts.problem);
    put_number(out, 17, facts.client_frames.into());
    put_number(out, 18, facts.server_frames.into());
}

fn put_grpc(out: &mut BytesMut, grpc: &Grpc<'_>) {
    put_text(out, 1, grpc.service);
    put_text(out, 2, grpc.method);
    if let Some(status) = grpc.status {
        put_present(out, 3, status.into());
    }
    put_number(out, 4, grpc.client_messages.into());
    put_number(out, 5, grpc.server_messages.into());
}

fn put_kafka_facts(out: &mut BytesMut, kafka: &KafkaFacts<'_>) {
    put_text(out, 1, kafka.client_id);
    kafka.topics.iter().for_each(|topic| put_bytes(out, 2, topic.as_bytes()));
    put_number(out, 3, kafka.topic_count.into());
    put_number(out, 4, kafka.no_response.into());
}

/// The body of a `fathom.v1.EncryptedFacts`.
pub(super) fn put_encrypted(out: &mut BytesMut, facts: &EncryptedFacts<'_>) {
    put_text(out, 1, facts.protocol);
    put_text(out, 2, facts.server_name);
    facts.alpn.iter().for_each(|name| put_bytes(out, 3, name.as_bytes()));
    put_number(out, 4, facts.truncated.into());
}

/// An `optional` number, whose 0 is told.
fn put_present(out: &mut BytesMut, field: u32, value: u32) {
    put_number(out, field, value.into());
    if value == 0 {
        crate::wire::put_zero(out, field);
    }
}

fn put_display(out: &mut BytesMut, field: u32, value: impl Display) {
    // Writing to a buffer that grows can't fail.
    put_nested(out, field, |out| _ = write!(out, "{value}"));
}
