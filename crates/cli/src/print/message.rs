//! An application message in words: `HTTP/1.1 200 3ms (GET http://api:8080/x)`.
//!
//! The line is built from the record and not taken from the server, so that latencies are as fine as
//! they were measured. Where Hubble has a shape for it, it begins with that shape.

use std::fmt;
use std::time::Duration;

use fathom_api::fathom_v1::{EncryptedFacts, FlowFacts, Grpc, L7Facts};
use fathom_api::flow::layer7::Record;
#[allow(deprecated)]
use fathom_api::flow::{Dns, Http, Kafka, L7FlowType, Layer7};
use fathom_api::names;

use super::codes;
use crate::terminal::colour::{Ink, Palette};
use crate::terminal::escape::{self, Escaped};
use crate::terminal::quantity::{counted, grouped, latency};

/// `http-request`, `grpc-response`, `dns-response`, `kafka-sample`; DNS also says where it was seen, if
/// not in packets.
pub fn kind(l7: &Layer7, facts: Option<&FlowFacts>) -> String {
    let kind = L7FlowType::try_from(l7.r#type).map_or("unknown", |kind| match kind {
        L7FlowType::Request => "request",
        L7FlowType::Response => "response",
        L7FlowType::Sample => "sample",
        L7FlowType::UnknownL7Type => "unknown_l7_type",
    });
    match &l7.record {
        Some(Record::Http(_)) if grpc(facts).is_some() => format!("grpc-{kind}"),
        Some(Record::Http(_)) => format!("http-{kind}"),
        Some(Record::Dns(dns)) if dns.observation_source.is_empty() => format!("dns-{kind}"),
        Some(Record::Dns(dns)) => format!("dns-{kind} {}", Escaped(&dns.observation_source)),
        #[allow(deprecated)]
        Some(Record::Kafka(_)) => format!("kafka-{kind}"),
        None => format!("l7-{kind}"),
    }
}

fn grpc(facts: Option<&FlowFacts>) -> Option<&Grpc> {
    facts?.l7.as_ref()?.grpc.as_ref()
}

/// The words; `None` when the flow has no record that is known here.
pub struct Message<'a> {
    record: &'a Record,
    kind: L7FlowType,
    latency_ns: u64,
    l7: L7Facts,
    palette: Palette,
}

impl<'a> Message<'a> {
    pub fn of(l7: &'a Layer7, facts: Option<&FlowFacts>, palette: Palette) -> Option<Self> {
        let record = l7.record.as_ref()?;
        let kind = L7FlowType::try_from(l7.r#type).unwrap_or_default();
        let facts = facts.and_then(|facts| facts.l7.clone()).unwrap_or_default();
        Some(Self { record, kind, latency_ns: l7.latency_ns, l7: facts, palette })
    }

    fn is_request(&self) -> bool {
        self.kind == L7FlowType::Request
    }

    /// ` 3ms`, ` so far 12s`; nothing on requests, and where the request was not seen.
    fn latency(&self) -> String {
        match self.kind {
            L7FlowType::Sample if self.l7.duration_ns > 0 => {
                format!(" so far {}", latency(self.l7.duration_ns))
            }
            L7FlowType::Response if self.latency_ns > 0 => format!(" {}", latency(self.latency_ns)),
            _ => String::new(),
        }
    }

    fn http(&self, f: &mut fmt::Formatter<'_>, http: &Http) -> fmt::Result {
        let protocol = if http.protocol.is_empty() { "HTTP" } else { &http.protocol };
        let target = format!("{} {}", Escaped(&http.method), Escaped(&http.url));
        let target = target.trim();
        if self.is_request() {
            return write!(f, "{} {target}", Escaped(protocol));
        }
        write!(f, "{} ", Escaped(protocol))?;
        match http.code {
            0 if self.l7.ended => write!(f, "{}", self.palette.paint(Ink::Bad, "no response"))?,
            0 => write!(f, "no status")?,
            code => write!(f, "{}", self.palette.paint(ink(code), code))?,
        }
        match target {
            "" => write!(f, "{}", self.latency()),
            target => write!(f, "{} ({target})", self.latency()),
        }
    }

    fn grpc(&self, f: &mut fmt::Formatter<'_>, http: &Http, grpc: &Grpc) -> fmt::Result {
        let called = match (grpc.service.as_str(), grpc.method.as_str()) {
            ("", "") => "?".to_owned(),
            ("", method) => Escaped(method).to_string(),
            (service, method) => format!("{}/{}", Escaped(service), Escaped(method)),
        };
        if self.is_request() {
            return write!(f, "gRPC {called}");
        }
        write!(f, "gRPC")?;
        match grpc.status {
            Some(0) => write!(f, " OK")?,
            Some(status) => match names::grpc::status(status) {
                Some(name) => write!(f, " {}", self.palette.paint(Ink::Bad, name))?,
                None => write!(f, " {}", self.palette.paint(Ink::Bad, format_args!("status {status}")))?,
            },
            None if self.l7.ended => write!(f, " {}", self.palette.paint(Ink::Bad, "no response"))?,
            None if self.kind == L7FlowType::Sample => {}
            None => write!(f, " no status")?,
        }
        if !matches!(http.code, 0 | 200) {
            write!(f, " HTTP {}", self.palette.paint(ink(http.code), http.code))?;
        }
        let (client, server) = (grpc.client_messages.into(), grpc.server_messages.into());
        write!(f, "{} ({called}; {} to server, ", self.latency(), counted(client, "message"))?;
        write!(f, "{} to client)", grouped(server))
    }

    fn dns(&self, f: &mut fmt::Formatter<'_>, dns: &Dns) -> fmt::Result {
        let question = format!("{} {}", Escaped(&dns.query), escape::join(&dns.qtypes, ","));
        let question = question.trim_end();
        if self.is_request() {
            let gap = if question.is_empty() { "" } else { " " };
            return write!(f, "DNS Query{gap}{question}");
        }
        write!(f, "DNS Answer ")?;
        if dns.rcode != 0 {
            write!(f, "RCode: {} ", self.palette.paint(Ink::Notable, names::dns::Rcode(dns.rcode)))?;
        } else {
            match (dns.ips.is_empty(), dns.cnames.is_empty()) {
                (true, true) if dns.rrtypes.is_empty() => write!(f, "empty ")?,
                (true, true) => write!(f, "{} ", escape::join(&dns.rrtypes, ","))?,
                (true, false) => {}
                (false, _) => write!(f, "\"{}\" ", escape::join(&dns.ips, ","))?,
            }
            if !dns.cnames.is_empty() {
                write!(f, "CNAMEs: \"{}\" ", escape::join(&dns.cnames, ","))?;
            }
        }
        write!(f, "TTL: {} (", dns.ttl)?;
        let mut source = dns.observation_source.chars();
        match source.next() {
            Some(first) => {
                let word = format!("{}{}", first.to_uppercase(), source.as_str());
                write!(f, "{} ", Escaped(&word))?;
            }
            None => write!(f, "Query ")?,
        }
        write!(f, "{question})")?;
        match self.latency() {
            // Hubble has none here; it goes where no reader of the known shape looks.
            latency if latency.is_empty() => Ok(()),
            latency => write!(f, ";{latency}"),
        }
    }

    #[allow(deprecated)]
    fn kafka(&self, f: &mut fmt::Formatter<'_>, kafka: &Kafka) -> fmt::Result {
        write!(f, "Kafka {}", Escaped(&kafka.api_key))?;
        if self.l7.ended && !self.is_request() {
            write!(f, " {}", self.palette.paint(Ink::Bad, "no response"))?;
        }
        write!(f, "{}", self.latency())?;
        let facts = self.l7.kafka.as_ref();
        let topics = facts.map_or(&[][..], |facts| facts.topics.as_slice());
        match topics {
            [] if kafka.topic.is_empty() => {}
            [] => write!(f, " topic {}", Escaped(&kafka.topic))?,
            [topic] => write!(f, " topic {}", Escaped(topic))?,
            topics => write!(f, " topics {}", escape::join(topics, ","))?,
        }
        let more = facts.map_or(0, |facts| u64::from(facts.topic_count)).saturating_sub(topics.len() as u64);
        if more > 0 && !topics.is_empty() {
            write!(f, " and {more} more")?;
        }
        write!(f, " correlation id {}", kafka.correlation_id)?;
        if let Some(facts) = facts.filter(|facts| !facts.client_id.is_empty()) {
            write!(f, " client {}", Escaped(&facts.client_id))?;
        }
        if kafka.error_code != 0 && !self.is_request() {
            let error = format!("error {}{}", kafka.error_code, codes::kafka(kafka.error_code));
            write!(f, "; {}", self.palette.paint(Ink::Bad, error))?;
        }
        if facts.is_some_and(|facts| facts.no_response) {
            write!(f, "; asks for no response")?;
        }
        Ok(())
    }

    /// What is not as it should be, or not as it seems, each in a few words.
    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.l7;
        if !facts.upgraded_to.is_empty() {
            write!(f, "; from here on {}", Escaped(&facts.upgraded_to))?;
        }
        if facts.client_frames > 0 || facts.server_frames > 0 {
            let client = counted(facts.client_frames.into(), "frame");
            write!(f, "; {client} to server, {} to client", facts.server_frames)?;
        }
        if let Some(code) = facts.reset_code {
            write!(f, "; reset {}", self.palette.paint(Ink::Notable, codes::http2(code)))?;
        }
        if !facts.problem.is_empty() {
            write!(f, "; refused: {}", Escaped(&facts.problem))?;
        }
        for (noted, words) in [
            (facts.ended, "connection ended first"),
            (facts.unmatched, "request not seen"),
            (facts.unknown, "partly unknown"),
            (facts.truncated, "truncated"),
        ] {
            if noted {
                write!(f, "; {words}")?;
            }
        }
        Ok(())
    }
}

/// 5xx is bad, 4xx worth a look.
fn ink(code: u32) -> Ink {
    match code {
        500.. => Ink::Bad,
        400.. => Ink::Notable,
        _ => Ink::Plain,
    }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.record, &self.l7.grpc) {
            (Record::Http(http), Some(grpc)) => self.grpc(f, http, grpc)?,
            (Record::Http(http), None) => self.http(f, http)?,
            (Record::Dns(dns), _) => self.dns(f, dns)?,
            #[allow(deprecated)]
            (Record::Kafka(kafka), _) => self.kafka(f, kafka)?,
        }
        self.notes(f)
    }
}

/// `TLS SNI shop.example ALPN h2,http/1.1`, `QUIC`.
pub fn encrypted(facts: &EncryptedFacts) -> String {
    let mut words = vec![Escaped(&facts.protocol).to_string()];
    if !facts.server_name.is_empty() {
        words.push(format!("SNI {}", Escaped(&facts.server_name)));
    }
    if !facts.alpn.is_empty() {
        words.push(format!("ALPN {}", escape::join(&facts.alpn, ",")));
    }
    if facts.truncated {
        words.push("(hello truncated)".to_owned());
    }
    words.join(" ")
}

/// What else is known of a message, for `--facts`.
pub fn facts(facts: &L7Facts) -> Vec<(&'static str, String)> {
    let mut named = Vec::new();
    if facts.connection != 0 || facts.exchange != 0 {
        named.push(("exchange", format!("{} of connection {}", facts.exchange, facts.connection)));
    }
    if facts.client_bytes != 0 || facts.server_bytes != 0 {
        let client = counted(facts.client_bytes, "byte");
        named.push(("payload", format!("{client} to server, {} to client", grouped(facts.server_bytes))));
    }
    for (name, nanoseconds) in [("duration", facts.duration_ns), ("handshake", facts.handshake_ns)] {
        if nanoseconds != 0 {
            named.push((name, format!("{:.1?}", Duration::from_nanos(nanoseconds))));
        }
    }
    if facts.joined {
        named.push(("connection", "joined after its beginning".to_owned()));
    }
    named
}
