//! A stored message as filters see it and as the writer takes it.

use fathom_api::filter::{Application, HttpView};
use fathom_api::write::{Dns, EncryptedFacts, Grpc, Http, Kafka, KafkaFacts, L7, L7Facts, L7Record};
use fathom_bpf::abi::{l7_flag, l7_protocol, l7_type};

use crate::events::l7::{Content, Encrypted, Message};

/// Which protocol filters know it by.
pub fn application(message: &Message) -> Application {
    match &message.content {
        Content::Http { .. } if message.is_grpc() => Application::Grpc,
        Content::Http { .. } => Application::Http,
        Content::Dns(_) => Application::Dns,
        Content::Kafka(_) => Application::Kafka,
    }
}

/// The HTTP part.
pub fn http(message: &Message) -> Option<HttpView<'_>> {
    let request = message.http_request()?;
    Some(HttpView { code: http_code(message), method: &request.method, url: &request.url })
}

/// Status of a response. What a reset stream has is no status.
fn http_code(message: &Message) -> u32 {
    let is_response = message.head.kind != l7_type::REQUEST && !message.has(l7_flag::RESET);
    message.status().filter(|_| is_response).unwrap_or(0).into()
}

fn grpc_status(message: &Message) -> Option<u16> {
    message.code().filter(|_| message.is_grpc())
}

/// Headers of an HTTP message.
pub fn headers(message: &Message) -> &[(Box<str>, Box<str>)] {
    match &message.content {
        Content::Http { headers, .. } => headers,
        _ => &[],
    }
}

/// The name a DNS message is about.
pub fn dns_query(message: &Message) -> Option<&str> {
    match &message.content {
        Content::Dns(dns) => Some(&dns.query),
        _ => None,
    }
}

/// W3C trace id, or nothing; a response has its request's.
pub fn trace_id(message: &Message) -> &str {
    message.http_request().map_or("", |request| &request.trace_id)
}

/// `flow.Layer7`.
pub fn l7(message: &Message) -> L7<'_> {
    let head = &message.head;
    let record = match &message.content {
        Content::Http { request, headers, .. } => L7Record::Http(Http {
            code: http_code(message),
            method: &request.method,
            url: &request.url,
            protocol: message.http_version(),
            headers,
            grpc_status: grpc_status(message),
        }),
        Content::Dns(dns) => L7Record::Dns(Dns {
            query: &dns.query,
            ips: &dns.ips,
            ttl: dns.ttl,
            cnames: &dns.cnames,
            rcode: message.status().unwrap_or(0).into(),
            qtypes: dns.qtype.as_slice(),
            rrtypes: &dns.rrtypes,
        }),
        Content::Kafka(request) => {
            // Of a request whose record is not here the kernel may know this much.
            let (api_key, api_version) = if message.has(l7_flag::UNMATCHED) {
                (message.code(), head.version)
            } else {
                (Some(request.api_key), request.api_version)
            };
            L7Record::Kafka(Kafka {
                // Kafka's numbers are signed.
                error_code: message.status().map(u16::cast_signed),
                api_version: api_version.cast_signed(),
                api_key,
                correlation_id: head.exchange.cast_signed(),
                topic: request.topics.first().map_or("", |topic| topic),
            })
        }
    };
    let latency_ns = if head.kind == l7_type::RESPONSE { head.latency_ns } else { 0 };
    L7 { kind: head.kind.into(), latency_ns, record }
}

/// `fathom.v1.L7Facts`.
pub fn facts(message: &Message, handshake_us: u32) -> L7Facts<'_> {
    let head = &message.head;
    let frames = if head.proto == l7_protocol::WEBSOCKET { head.messages } else { [0, 0] };
    let truncated = match &message.content {
        Content::Http { request, .. } => request.truncated,
        Content::Kafka(request) => request.truncated,
        Content::Dns(_) => false,
    };
    L7Facts {
        connection: head.conn,
        exchange: head.exchange,
        duration_ns: head.duration_ns,
        handshake_ns: if message.has(l7_flag::FIRST) { u64::from(handshake_us) * 1000 } else { 0 },
        client_bytes: head.bytes[0],
        server_bytes: head.bytes[1],
        truncated: truncated || message.has(l7_flag::TRUNCATED),
        unknown: message.has(l7_flag::UNKNOWN),
        unmatched: message.has(l7_flag::UNMATCHED),
        joined: message.has(l7_flag::JOINED),
        ended: message.has(l7_flag::ENDED),
        upgraded_to: upgraded_to(message),
        reset_code: message.has(l7_flag::RESET).then_some(head.status.into()),
        grpc: grpc(message),
        kafka: kafka(message),
        problem: match &message.content {
            Content::Dns(dns) => &dns.problem,
            _ => "",
        },
        client_frames: frames[0],
        server_frames: frames[1],
    }
}

/// What the connection speaks after the message. CONNECT says no name.
fn upgraded_to(message: &Message) -> &str {
    match &message.content {
        Content::Http { upgrade, .. } if !upgrade.is_empty() => upgrade,
        Content::Http { .. } if message.has(l7_flag::UPGRADED) => "tunnel",
        _ => "",
    }
}

fn grpc(message: &Message) -> Option<Grpc<'_>> {
    let request = message.http_request().filter(|_| message.is_grpc())?;
    let (service, method) = request.grpc_method();
    let [client_messages, server_messages] = message.head.messages;
    Some(Grpc { service, method, status: grpc_status(message), client_messages, server_messages })
}

fn kafka(message: &Message) -> Option<KafkaFacts<'_>> {
    let Content::Kafka(request) = &message.content else { return None };
    Some(KafkaFacts {
        client_id: &request.client_id,
        topics: &request.topics,
        topic_count: request.topic_count,
        no_response: request.no_response,
    })
}

/// `fathom.v1.EncryptedFacts`.
pub fn encrypted(encrypted: &Encrypted) -> EncryptedFacts<'_> {
    EncryptedFacts {
        protocol: encrypted.protocol,
        server_name: &encrypted.server_name,
        alpn: &encrypted.alpn,
        truncated: encrypted.truncated,
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
