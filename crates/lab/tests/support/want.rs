//! Flows described by what people see in them.

use fathom_api::flow::layer4::Protocol as L4;
use fathom_api::flow::{Endpoint, Flow, IpVersion, TrafficDirection, Verdict};

/// Fields that are `None` match anything.
#[derive(Debug, Clone, Default)]
pub struct Want {
    from: Option<String>,
    to: Option<String>,
    verdict: Option<Verdict>,
    protocol: Option<&'static str>,
    node: Option<String>,
    direction: Option<TrafficDirection>,
    reply: Option<bool>,
    v6: Option<bool>,
    port: Option<u32>,
}

impl Want {
    /// Opening direction of a forwarded connection. A side is a pod's name, or a reserved label.
    pub fn forwarded(from: &str, to: &str) -> Self {
        Self {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            verdict: Some(Verdict::Forwarded),
            reply: Some(false),
            ..Self::default()
        }
    }

    pub fn dropped(from: &str, to: &str) -> Self {
        Self { verdict: Some(Verdict::Dropped), reply: None, ..Self::forwarded(from, to) }
    }

    pub fn protocol(self, protocol: &'static str) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    pub fn at(self, node: &str) -> Self {
        Self { node: Some(node.to_owned()), ..self }
    }

    pub fn egress(self) -> Self {
        Self { direction: Some(TrafficDirection::Egress), ..self }
    }

    pub fn ingress(self) -> Self {
        Self { direction: Some(TrafficDirection::Ingress), ..self }
    }

    pub fn family(self, v6: bool) -> Self {
        Self { v6: Some(v6), ..self }
    }

    pub fn port(self, port: u32) -> Self {
        Self { port: Some(port), ..self }
    }

    pub fn matches(&self, flow: &Flow) -> bool {
        let is = |wanted: &Option<String>, side: Option<&Endpoint>| {
            wanted
                .as_ref()
                .is_none_or(|w| side.is_some_and(|e| e.pod_name == *w || e.labels.iter().any(|l| l == w)))
        };
        let version = flow.ip.as_ref().map(|ip| ip.ip_version() == IpVersion::IPv6);
        let (protocol, port) = l4(flow);
        is(&self.from, flow.source.as_ref())
            && is(&self.to, flow.destination.as_ref())
            && self.verdict.is_none_or(|v| flow.verdict() == v)
            && self.protocol.is_none_or(|p| protocol == p)
            && self.node.as_ref().is_none_or(|n| flow.node_name.rsplit('/').next() == Some(n))
            && self.direction.is_none_or(|d| flow.traffic_direction() == d)
            && self.reply.is_none_or(|r| flow.is_reply.is_none_or(|is| is == r))
            && self.v6.is_none_or(|v6| version == Some(v6))
            && self.port.is_none_or(|p| port == p)
    }
}

/// Protocol and destination port.
pub fn l4(flow: &Flow) -> (&'static str, u32) {
    match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(L4::Tcp(tcp)) => ("TCP", tcp.destination_port),
        Some(L4::Udp(udp)) => ("UDP", udp.destination_port),
        Some(L4::IcmPv4(_)) => ("ICMPv4", 0),
        Some(L4::IcmPv6(_)) => ("ICMPv6", 0),
        _ => ("", 0),
    }
}
