//! Messages of application protocols as clients of the stream see them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fathom_api::facts;
use fathom_api::fathom_v1::L7Facts;
use fathom_api::flow::layer4::Protocol as L4;
use fathom_api::flow::layer7::Record;
use fathom_api::flow::{Dns, Flow, Http, Kafka, L7FlowType};

/// One L7 flow.
#[derive(Debug, Clone)]
pub struct Message {
    pub kind: L7FlowType,
    /// "TCP" or "UDP".
    pub transport: &'static str,
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub latency_ns: u64,
    /// Hex; empty when there is none.
    pub trace: String,
    pub record: Record,
    pub facts: L7Facts,
}

impl Message {
    /// `None` for a flow that is no message.
    #[track_caller]
    pub fn of(flow: &Flow) -> Option<Self> {
        let l7 = flow.l7.clone()?;
        let ip = flow.ip.as_ref().expect("a message has addresses");
        let (transport, from, to) = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
            Some(L4::Tcp(tcp)) => ("TCP", tcp.source_port, tcp.destination_port),
            Some(L4::Udp(udp)) => ("UDP", udp.source_port, udp.destination_port),
            other => panic!("a message over {other:?}"),
        };
        let at = |ip: &str, port: u32| SocketAddr::new(ip.parse().unwrap(), port.try_into().unwrap());
        let (source, destination) = (at(&ip.source, from), at(&ip.destination, to));
        let reply = flow.is_reply.expect("a message's direction is known");
        let (client, server) = if reply { (destination, source) } else { (source, destination) };
        let trace = flow.trace_context.as_ref().and_then(|trace| trace.parent.as_ref());
        let facts = facts::of(flow).and_then(|facts| facts.l7).expect("facts were asked for");
        Some(Self {
            kind: l7.r#type(),
            transport,
            client,
            server,
            latency_ns: l7.latency_ns,
            trace: trace.map(|parent| parent.trace_id.clone()).unwrap_or_default(),
            record: l7.record.clone().expect("a message has a record"),
            facts,
        })
    }

    #[track_caller]
    pub fn http(&self) -> &Http {
        match &self.record {
            Record::Http(http) => http,
            other => panic!("no HTTP: {other:?}"),
        }
    }

    #[track_caller]
    pub fn dns(&self) -> &Dns {
        match &self.record {
            Record::Dns(dns) => dns,
            other => panic!("no DNS: {other:?}"),
        }
    }

    #[track_caller]
    #[allow(deprecated)] // by Hubble, which stopped reading Kafka; the message stayed
    pub fn kafka(&self) -> &Kafka {
        match &self.record {
            Record::Kafka(kafka) => kafka,
            other => panic!("no Kafka: {other:?}"),
        }
    }
}

/// A request, its response, and what was told in between.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    pub request: Option<Message>,
    pub response: Option<Message>,
    pub samples: Vec<Message>,
}

impl Exchange {
    /// Whatever was told of it.
    #[track_caller]
    pub fn either(&self) -> &Message {
        let told = self.request.as_ref().or(self.response.as_ref()).or(self.samples.first());
        told.expect("an exchange has a message")
    }

    #[track_caller]
    pub fn asked(&self) -> &Message {
        self.request.as_ref().unwrap_or_else(|| panic!("a response whose request was not told: {self:?}"))
    }

    #[track_caller]
    pub fn answered(&self) -> &Message {
        self.response.as_ref().unwrap_or_else(|| panic!("a request whose response was not told: {self:?}"))
    }
}

/// By connection and number: the order of a connection's exchanges.
pub type Exchanges = BTreeMap<(u64, u32), Exchange>;

/// Pairs messages of one node. Each may be there once.
#[track_caller]
pub fn exchanges(messages: &[Message]) -> Exchanges {
    let mut all = Exchanges::new();
    for message in messages {
        let exchange = all.entry((message.facts.connection, message.facts.exchange)).or_default();
        let place = match message.kind {
            L7FlowType::Request => &mut exchange.request,
            L7FlowType::Response => &mut exchange.response,
            L7FlowType::Sample => {
                exchange.samples.push(message.clone());
                continue;
            }
            L7FlowType::UnknownL7Type => panic!("a message of no kind: {message:?}"),
        };
        if let Some(before) = place.replace(message.clone()) {
            panic!("told twice: {before:?}\nand {message:?}");
        }
    }
    all
}
