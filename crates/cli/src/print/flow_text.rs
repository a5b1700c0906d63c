//! The words a flow is described with, the same in every text format.

use std::fmt::{self, Write as _};

use fathom_api::fathom_v1::FlowFacts;
use fathom_api::flow::{
    AuthType, DebugCapturePoint, Flow, Policy, Service, SocketTranslationPoint, TrafficDirection, Verdict,
    layer4,
};
use fathom_api::names::{self, event};

use super::message::{self, Message};
use super::{Style, facts};
use crate::observe::typed::Output;
use crate::terminal::colour::{Ink, Painted};
use crate::terminal::escape::{self, Escaped};

/// One end of a flow: who, and where known on which port.
pub struct Host {
    name: String,
    port: Option<u16>,
}

/// Source and destination.
pub fn hosts(flow: &Flow, style: &Style) -> (Host, Host) {
    let Some(ip) = &flow.ip else {
        let mac = |mac: &str| Host { name: Escaped(mac).to_string(), port: None };
        return match &flow.ethernet {
            Some(ethernet) => (mac(&ethernet.source), mac(&ethernet.destination)),
            None => (mac(""), mac("")),
        };
    };
    let (source_port, destination_port) = ports(flow);
    let name = |address: &str,
                end: &Option<fathom_api::flow::Endpoint>,
                service: &Option<Service>,
                names: &[String]| {
        let translated = style.translate.then(|| match (service, end) {
            (Some(service), _) if !service.name.is_empty() => {
                Some(qualified(&service.namespace, &service.name))
            }
            (_, Some(end)) if !end.pod_name.is_empty() => Some(qualified(&end.namespace, &end.pod_name)),
            _ if !names.is_empty() => Some(escape::join(names, ",")),
            _ => None,
        });
        translated.flatten().unwrap_or_else(|| Escaped(address).to_string())
    };
    let source = name(&ip.source, &flow.source, &flow.source_service, &flow.source_names);
    let destination =
        name(&ip.destination, &flow.destination, &flow.destination_service, &flow.destination_names);
    (Host { name: source, port: source_port }, Host { name: destination, port: destination_port })
}

fn qualified(namespace: &str, name: &str) -> String {
    match namespace {
        "" => Escaped(name).to_string(),
        namespace => format!("{}/{}", Escaped(namespace), Escaped(name)),
    }
}

/// Ports of source and destination; 0 counts as none.
fn ports(flow: &Flow) -> (Option<u16>, Option<u16>) {
    let ports = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(layer4::Protocol::Tcp(tcp)) => (tcp.source_port, tcp.destination_port),
        Some(layer4::Protocol::Udp(udp)) => (udp.source_port, udp.destination_port),
        Some(layer4::Protocol::Sctp(sctp)) => (sctp.source_port, sctp.destination_port),
        _ => return (None, None),
    };
    let known = |port: u32| u16::try_from(port).ok().filter(|port| *port != 0);
    (known(ports.0), known(ports.1))
}

impl Host {
    /// `name:port`, IPv6 addresses in brackets.
    pub fn show(&self, style: &Style) -> String {
        let paint = style.palette;
        let Some(port) = self.port else { return paint.paint(Ink::Host, &self.name).to_string() };
        let name = match self.name.contains(':') {
            true => format!("[{}]:", self.name),
            false => format!("{}:", self.name),
        };
        format!("{}{}", paint.paint(Ink::Host, name), paint.paint(Ink::Port, port))
    }
}

/// `(ID:1234)`, `(world)`.
pub fn identity(endpoint: Option<&fathom_api::flow::Endpoint>, style: &Style) -> Painted<String> {
    let identity = endpoint.map_or(0, |endpoint| endpoint.identity);
    let text = match names::identity::reserved_name(identity) {
        Some(name) => format!("({name})"),
        None => format!("(ID:{identity})"),
    };
    style.palette.paint(Ink::Identity, text)
}

/// The TYPE column: what kind of event this is.
pub fn event_type(flow: &Flow, facts: Option<&FlowFacts>) -> String {
    if let Some(l7) = &flow.l7 {
        return message::kind(l7, facts);
    }
    let (kind, sub_type) = flow.event_type.as_ref().map_or((0, 0), |e| (e.r#type, e.sub_type));
    match kind {
        event::TRACE => {
            names::trace_point::name(sub_type).map_or_else(|| sub_type.to_string(), str::to_owned)
        }
        event::DROP => names::drop_reason::Text(sub_type).to_string(),
        event::POLICY_VERDICT => {
            let direction = TrafficDirection::try_from(flow.traffic_direction).unwrap_or_default();
            let matched = names::policy_match::name(flow.policy_match_type);
            format!("policy-verdict:{matched} {}", direction.as_str_name())
        }
        event::CAPTURE => {
            let point = DebugCapturePoint::try_from(flow.debug_capture_point).unwrap_or_default();
            point.as_str_name().to_owned()
        }
        event::TRACE_SOCK => {
            let unknown = SocketTranslationPoint::SockXlatePointUnknown;
            let point = SocketTranslationPoint::try_from(flow.sock_xlate_point).unwrap_or(unknown);
            // A mask may have left the point out; the sub type says the same.
            let number = if point == unknown { sub_type } else { point as i32 };
            match names::event::sock_point(number) {
                Some(name) if number != 0 => name.to_owned(),
                _ => unknown.as_str_name().to_owned(),
            }
        }
        _ => "UNKNOWN".to_owned(),
    }
}

/// The VERDICT column, with the policies behind it where asked for.
pub fn verdict(flow: &Flow, style: &Style) -> String {
    let judged = flow.event_type.as_ref().is_some_and(|e| e.r#type == event::POLICY_VERDICT);
    let known = Verdict::try_from(flow.verdict);
    let (ink, of_policy) = match known {
        Ok(Verdict::Forwarded | Verdict::Redirected) => (Ink::Good, Some("ALLOWED")),
        Ok(Verdict::Dropped | Verdict::Error) => (Ink::Bad, Some("DENIED")),
        Ok(Verdict::Audit) => (Ink::Notable, Some("AUDITED")),
        Ok(Verdict::Traced | Verdict::Translated) => (Ink::Notable, None),
        Ok(Verdict::Unknown) | Err(_) => (Ink::Plain, None),
    };
    let word = match (known, of_policy) {
        (_, Some(word)) if judged => word.to_owned(),
        (Ok(verdict), _) => verdict.as_str_name().to_owned(),
        (Err(_), _) => flow.verdict.to_string(),
    };
    let mut text = style.palette.paint(ink, word).to_string();
    if style.policy_names {
        text.push_str(&policies(flow, matches!(known, Ok(Verdict::Dropped | Verdict::Error))));
    }
    text
}

/// ` BY allow-web (NetworkPolicy), …`
fn policies(flow: &Flow, denied: bool) -> String {
    let lists = match denied {
        true => [&flow.egress_denied_by, &flow.ingress_denied_by],
        false => [&flow.egress_allowed_by, &flow.ingress_allowed_by],
    };
    let names: Vec<String> = lists.into_iter().flatten().map(policy).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(" BY {}", names.join(", ")),
    }
}

fn policy(policy: &Policy) -> String {
    match policy.kind.as_str() {
        "" => Escaped(&policy.name).to_string(),
        kind => format!("{} ({})", Escaped(&policy.name), Escaped(kind)),
    }
}

/// The SUMMARY column: the message in words, or else the server's words about the packet, and what
/// belongs beside them.
pub struct Summary<'a>(pub &'a Flow, pub Option<&'a FlowFacts>, pub &'a Style);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary(flow, facts, style) = *self;
        if let Some(trace) = flow.ip_trace_id.as_ref().filter(|trace| trace.trace_id > 0) {
            write!(f, "IP Trace ID: {}; ", trace.trace_id)?;
        }
        match flow.l7.as_ref().and_then(|l7| Message::of(l7, facts, style.palette)) {
            Some(message) => write!(f, "{message}")?,
            #[allow(deprecated)]
            None => write!(f, "{}", Escaped(&flow.summary))?,
        }
        if let Some(encrypted) = facts.and_then(|facts| facts.encrypted.as_ref()) {
            write!(f, "; {}", message::encrypted(encrypted))?;
        }
        match AuthType::try_from(flow.auth_type) {
            Ok(AuthType::Disabled) => {}
            Ok(auth) => {
                let ink = if auth == AuthType::TestAlwaysFail { Ink::Bad } else { Ink::Good };
                write!(f, "; Auth: {}", style.palette.paint(ink, auth.as_str_name()))?;
            }
            Err(_) => write!(f, "; Auth: {}", flow.auth_type)?,
        }
        if let Some(facts) = facts.filter(|_| style.facts && style.output != Output::Dict) {
            for (name, fact) in facts::named(facts) {
                write!(f, "; {name} {fact}")?;
            }
        }
        Ok(())
    }
}

/// ` [node]` in formats that put the node behind the time.
pub fn node_suffix(node: &str, style: &Style) -> String {
    let mut text = String::new();
    if style.node_name {
        let _ = write!(text, " [{}]", Escaped(node));
    }
    text
}
