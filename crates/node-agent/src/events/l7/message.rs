//! A message as a stored flow keeps it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use fathom_api::names::grpc;
use fathom_bpf::abi::{L7Head, l7_flag, l7_protocol};

use crate::events::flow::Names;

/// What a flow tells beyond its packet.
#[derive(Debug)]
pub enum Payload {
    /// The flow is a message, not a packet.
    Message(Message),
    /// The flow is a packet of a connection nobody can look into.
    Encrypted(Encrypted),
}

/// A message of an application protocol.
#[derive(Debug)]
pub struct Message {
    pub head: L7Head,
    pub content: Content,
}

/// What it says. A response shares what its request said.
#[derive(Debug)]
pub enum Content {
    Http {
        request: Arc<HttpRequest>,
        /// Of this message: (name, value).
        headers: Box<[(Box<str>, Box<str>)]>,
        /// The protocol a 101 changes to.
        upgrade: Box<str>,
    },
    Dns(Dns),
    Kafka(Arc<KafkaRequest>),
}

/// What a response repeats of its request; empty when that was not seen.
#[derive(Debug, Default)]
pub struct HttpRequest {
    pub method: Cow<'static, str>,
    pub url: Box<str>,
    /// Where the path begins in `url`.
    pub path_at: usize,
    /// Hex; empty when there is none.
    pub trace_id: Box<str>,
    pub grpc: bool,
    pub truncated: bool,
}

#[derive(Debug, Default)]
pub struct Dns {
    /// With its final dot, like `cnames`.
    pub query: Box<str>,
    pub qtype: Option<u16>,
    pub ips: Box<[IpAddr]>,
    pub cnames: Box<[Arc<str>]>,
    /// One per answer.
    pub rrtypes: Box<[u16]>,
    /// The lowest of the answers.
    pub ttl: u32,
    /// Why the parser refused the message.
    pub problem: Box<str>,
}

/// See [`HttpRequest`].
#[derive(Debug, Default)]
pub struct KafkaRequest {
    pub api_key: u16,
    pub api_version: u16,
    pub client_id: Box<str>,
    pub topics: Box<[Box<str>]>,
    pub topic_count: u32,
    pub no_response: bool,
    pub truncated: bool,
}

/// What is known of a connection that is encrypted.
#[derive(Debug, Default)]
pub struct Encrypted {
    /// "TLS" or "QUIC".
    pub protocol: &'static str,
    pub server_name: Box<str>,
    pub alpn: Box<[Box<str>]>,
    pub truncated: bool,
    /// What the server is called by this: the server name, and what its address was looked up by.
    pub names: Option<Names>,
}

impl Message {
    /// Whether the head has this flag of [`l7_flag`].
    pub fn has(&self, flag: u16) -> bool {
        self.head.flags & flag != 0
    }

    /// The status, where there was one.
    pub fn status(&self) -> Option<u16> {
        self.has(l7_flag::STATUS).then_some(self.head.status)
    }

    /// The code, where there was one.
    pub fn code(&self) -> Option<u16> {
        self.has(l7_flag::CODE).then_some(self.head.code)
    }

    /// The request that an HTTP message belongs to.
    pub fn http_request(&self) -> Option<&HttpRequest> {
        match &self.content {
            Content::Http { request, .. } => Some(request),
            _ => None,
        }
    }

    /// Whether an HTTP message is gRPC's.
    pub fn is_grpc(&self) -> bool {
        self.has(l7_flag::GRPC) || self.http_request().is_some_and(|request| request.grpc)
    }

    /// HTTP's version, as clients name it.
    pub fn http_version(&self) -> &'static str {
        match (self.head.version, self.head.proto) {
            (10, _) => "HTTP/1.0",
            (20, _) | (_, l7_protocol::HTTP2) => "HTTP/2",
            _ => "HTTP/1.1",
        }
    }
}

impl HttpRequest {
    /// "package.Service" and "Method".
    pub fn grpc_method(&self) -> (&str, &str) {
        grpc::split_path(self.url.get(self.path_at..).unwrap_or_default())
    }
}
