//! Joins payloads: a response with its request, an address with its names, a packet with the ClientHello
//! of its connection.

use std::sync::Arc;
use std::time::Duration;

use fathom_bpf::abi::{self, Event, kind, l7_flag, l7_protocol, l7_text, l7_type};
use fathom_bpf::decode;

use super::decode as read;
use super::dns;
use super::encrypted::{Connections, Server};
use super::message::{Content, HttpRequest, KafkaRequest, Message, Payload};
use super::names::Names;
use super::pairs::{Asked, Pairs};
use super::redact::Redaction;
use super::text::host_name;
use crate::events::enrich::LocalAddresses;
use crate::events::flow::{self, Flow, ServiceEnd};

/// Requests that wait for their response.
const PAIRS: usize = 16_384;
/// Pairs of a client and an address it has names for.
const NAMES: usize = 8_192;
/// Encrypted connections.
const CONNECTIONS: usize = 16_384;

/// What is remembered between records. Owned by the reader's thread.
pub struct Join {
    redaction: Redaction,
    pairs: Pairs,
    names: Names,
    connections: Connections,
    no_request: Arc<HttpRequest>,
    no_kafka_request: Arc<KafkaRequest>,
}

/// How full the tables are, and what made room so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub pairs: u64,
    pub pairs_evicted: u64,
    pub names: u64,
    pub names_evicted: u64,
    pub connections: u64,
    pub connections_evicted: u64,
}

impl Join {
    pub fn new(redaction: Redaction) -> Self {
        Self {
            redaction,
            pairs: Pairs::new(PAIRS),
            names: Names::new(NAMES),
            connections: Connections::new(CONNECTIONS),
            no_request: Arc::default(),
            no_kafka_request: Arc::default(),
        }
    }

    pub fn sizes(&self) -> Sizes {
        Sizes {
            pairs: self.pairs.len() as u64,
            pairs_evicted: self.pairs.evicted(),
            names: self.names.len() as u64,
            names_evicted: self.names.evicted(),
            connections: self.connections.len() as u64,
            connections_evicted: self.connections.evicted(),
        }
    }

    /// The cache of names.
    pub fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    /// Adds to a flow what its record's payload says, and what is known of its ends and connection.
    #[inline]
    pub fn complete(
        &mut self,
        flow: &mut Flow,
        message: Option<decode::Message<'_>>,
        local: &LocalAddresses,
    ) {
        if let Some(message) = &message {
            self.names_of(flow);
            self.take(flow, message, local);
        } else if !self.names.is_empty() || !self.connections.is_empty() {
            self.names_of(flow);
            self.connection_of(flow);
        }
    }

    fn names_of(&mut self, flow: &mut Flow) {
        let Event { saddr, daddr, time_ns, family, .. } = flow.event;
        if family == 0 || self.names.is_empty() {
            return;
        }
        (flow.source_names, flow.destination_names) = self.names.of(saddr, daddr, time_ns);
        if flow.frontend == [0; 16] {
            return;
        }
        // A client looks up the service's address, not that of the backend it gets.
        let (place, asked) = match flow.service_end {
            ServiceEnd::Destination => {
                (&mut flow.destination_names, self.names.of(saddr, flow.frontend, time_ns).1)
            }
            ServiceEnd::Source => (&mut flow.source_names, self.names.of(flow.frontend, daddr, time_ns).0),
        };
        if asked.is_some() {
            *place = asked;
        }
    }

    fn connection_of(&mut self, flow: &mut Flow) {
        if flow.event.kind == kind::SOCK || self.connections.is_empty() {
            return;
        }
        if let Some((payload, server)) = self.connections.of(&flow.event) {
            show(flow, payload, server);
        }
    }

    fn take(&mut self, flow: &mut Flow, message: &decode::Message<'_>, local: &LocalAddresses) {
        let content = match message.head.proto {
            l7_protocol::HTTP1 | l7_protocol::HTTP2 | l7_protocol::WEBSOCKET => {
                self.http(&flow.event, message)
            }
            l7_protocol::DNS => self.dns(flow, message, local),
            l7_protocol::KAFKA => Content::Kafka(self.kafka(message)),
            l7_protocol::TLS | l7_protocol::QUIC => return self.encrypted(flow, message),
            // A newer kernel object's: the flow is a packet's, with nothing beyond.
            _ => return,
        };
        let mut head = *message.head;
        if !self.is_matched(&content, head.kind) {
            head.flags |= l7_flag::UNMATCHED;
        }
        flow.payload = Some(Arc::new(Payload::Message(Message { head, content })));
    }

    fn http(&mut self, event: &Event, message: &decode::Message<'_>) -> Content {
        let request = if message.head.kind == l7_type::REQUEST {
            let request = Arc::new(read::http_request(event, message, &self.redaction));
            self.ask(message, Asked::Http(Arc::clone(&request)));
            request
        } else {
            match self.answered(message) {
                Some(Asked::Http(request)) => request,
                _ => Arc::clone(&self.no_request),
            }
        };
        let headers = read::headers(message, &self.redaction);
        Content::Http { request, headers, upgrade: read::upgrade(message) }
    }

    fn kafka(&mut self, message: &decode::Message<'_>) -> Arc<KafkaRequest> {
        if message.head.kind == l7_type::REQUEST {
            let request = Arc::new(read::kafka_request(message));
            self.ask(message, Asked::Kafka(Arc::clone(&request)));
            return request;
        }
        match self.answered(message) {
            Some(Asked::Kafka(request)) => request,
            _ => Arc::clone(&self.no_kafka_request),
        }
    }

    /// Whether what the message answers is known, as far as it answers something.
    fn is_matched(&self, content: &Content, kind: u8) -> bool {
        match content {
            _ if kind == l7_type::REQUEST => true,
            Content::Http { request, .. } => !Arc::ptr_eq(request, &self.no_request),
            Content::Kafka(request) => !Arc::ptr_eq(request, &self.no_kafka_request),
            Content::Dns(_) => true,
        }
    }

    fn ask(&mut self, message: &decode::Message<'_>, asked: Asked) {
        if message.head.flags & l7_flag::NO_REPLY == 0 {
            self.pairs.insert((message.head.conn, message.head.exchange), asked);
        }
    }

    /// The request of a response or sample. It stays while more about it may come.
    fn answered(&mut self, message: &decode::Message<'_>) -> Option<Asked> {
        let key = (message.head.conn, message.head.exchange);
        let interim = (100..200).contains(&message.head.status)
            && message.head.flags & l7_flag::ENDED == 0
            && message.head.proto != l7_protocol::WEBSOCKET;
        if message.head.kind == l7_type::RESPONSE && !interim {
            self.pairs.remove(&key)
        } else {
            self.pairs.get(&key).cloned()
        }
    }

    fn dns(&mut self, flow: &Flow, message: &decode::Message<'_>, local: &LocalAddresses) -> Content {
        let event = &flow.event;
        let dns = dns::read(message);
        let head = message.head;
        let answers = head.kind == l7_type::RESPONSE && head.flags & l7_flag::STATUS != 0 && head.status == 0;
        // Nobody asked for an unmatched one: it may be made up.
        let trusted = head.flags & (l7_flag::MALFORMED | l7_flag::UNMATCHED) == 0;
        if answers && trusted && !dns.ips.is_empty() {
            let names = dns::host_names(message);
            let ttl = Duration::from_secs(dns.ttl.into());
            for ip in &dns.ips {
                // A pod goes to an IPv6 address from its own, whatever family it asked over.
                let family = if ip.is_ipv4() { 4 } else { 6 };
                let client = local.get(&(flow.destination.id, family)).copied().unwrap_or(event.daddr);
                self.names.learn(client, abi::ip_to_bytes(*ip), &names, ttl, event.time_ns);
            }
        }
        Content::Dns(dns)
    }

    fn encrypted(&mut self, flow: &mut Flow, message: &decode::Message<'_>) {
        let mut encrypted = read::encrypted(message);
        let server_name = message.text(l7_text::SNI).and_then(|text| host_name(&text));
        encrypted.names = called(server_name, flow.destination_names.as_ref());
        let payload = Arc::new(Payload::Encrypted(encrypted));
        self.connections.begin(&flow.event, Arc::clone(&payload));
        show(flow, payload, Server::Destination);
    }
}

/// What a server is called: by the name it was asked for, then by those its address was looked up by.
fn called(server_name: Option<String>, looked_up: Option<&flow::Names>) -> Option<flow::Names> {
    let Some(server_name) = server_name else { return looked_up.cloned() };
    let others = looked_up.iter().flat_map(|names| names.iter()).filter(|name| ***name != *server_name);
    Some(std::iter::once(server_name.as_str().into()).chain(others.cloned()).collect())
}

fn show(flow: &mut Flow, payload: Arc<Payload>, server: Server) {
    if let Payload::Encrypted(encrypted) = &*payload
        && encrypted.names.is_some()
    {
        let names = match server {
            Server::Source => &mut flow.source_names,
            Server::Destination => &mut flow.destination_names,
        };
        names.clone_from(&encrypted.names);
    }
    flow.payload = Some(payload);
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
