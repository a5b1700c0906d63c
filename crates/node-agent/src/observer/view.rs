//! A stored flow as filters see it and as the writer takes it. Nothing is decoded or copied.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use fathom_api::filter::{Application, FlowView, HttpView, Side, Transport};
use fathom_api::flow::{FlowType, IpVersion, SctpChunkType, TraceReason};
use fathom_api::names;
use fathom_api::write::{Facts, FlowParts, L4, Policies};
use fathom_bpf::abi::{TRIGGER_LANE_DROPS, ct_state, drop_reason, flag, kind};

use super::message;
use super::node::Node;
use crate::cluster::snapshot::EndpointInfo;
use crate::events::Flow;
use crate::events::flow::{Names, ServiceEnd, proto};
use crate::events::l7::Message;

/// A flow of this node.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub flow: &'a Flow,
    pub node: &'a Node,
}

impl<'a> View<'a> {
    fn end(&self, side: Side) -> &'a EndpointInfo {
        match side {
            Side::Source => &self.flow.source,
            Side::Destination => &self.flow.destination,
        }
    }

    fn flag(&self, flag: u16) -> bool {
        self.flow.event.flags & flag != 0
    }

    fn is_sock(&self) -> bool {
        self.flow.event.kind == kind::SOCK
    }

    fn message(&self) -> Option<&'a Message> {
        self.flow.message()
    }

    fn l4(&self) -> L4 {
        let event = &self.flow.event;
        if let Some((source_port, destination_port)) = self.flow.ports() {
            return match event.proto {
                // A socket call comes before the packet, and a message may have many: there are no flags to show.
                proto::TCP => {
                    let is_packet = !self.is_sock() && self.message().is_none();
                    let flags = is_packet.then_some(event.tcp_flags.into());
                    L4::Tcp { source_port, destination_port, flags }
                }
                proto::UDP => L4::Udp { source_port, destination_port },
                _ => {
                    L4::Sctp { source_port, destination_port, chunk_type: sctp_chunk(event.icmp_type).into() }
                }
            };
        }
        match event.proto {
            _ if self.flag(flag::NO_L4) || self.flag(flag::NO_IP) => L4::None,
            proto::ICMP => L4::Icmpv4 { kind: event.icmp_type, code: event.icmp_code },
            proto::ICMPV6 => L4::Icmpv6 { kind: event.icmp_type, code: event.icmp_code },
            _ => L4::None,
        }
    }

    /// Both addresses; an end that has none is the unspecified address of the other's family.
    fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match (self.flow.source_ip(), self.flow.destination_ip()) {
            (Some(source), Some(destination)) => Some((source, destination)),
            (Some(source), None) => Some((source, unspecified_like(source))),
            (None, Some(destination)) => Some((unspecified_like(destination), destination)),
            (None, None) => None,
        }
    }

    fn service_body(&self, end: ServiceEnd) -> Option<&'a [u8]> {
        let service = self.flow.service.as_deref().filter(|_| self.flow.service_end == end);
        service.map(|service| &*service.encoded)
    }

    /// The policies that decided, or nothing where none was asked: a packet dropped for its checksum
    /// was not denied by anybody.
    fn policies(&self) -> Policies<'a> {
        let denied = self.flow.is_drop();
        let by_policy =
            matches!(self.flow.event.reason, drop_reason::POLICY_DENIED | drop_reason::POLICY_DENY);
        match &self.flow.rule {
            Some(rule) if !denied || by_policy => {
                let direction = rule.refs.first().map(|rule| rule.direction);
                let direction = direction.unwrap_or_else(|| self.flow.connection_direction());
                Policies { direction: direction.into(), denied, bodies: &rule.encoded_policies }
            }
            _ => Policies::default(),
        }
    }

    fn device(&self) -> Option<(u32, &'a str)> {
        let index = self.flow.event.ifindex;
        let name = self.flow.device.as_deref().map_or("", |device| &*device.name);
        (index != 0).then_some((index, name))
    }

    fn facts(&self) -> Facts<'a> {
        let event = &self.flow.event;
        Facts {
            rule_id: event.rule_id,
            rules: self.flow.rule.as_ref().map_or(&[], |rule| &rule.encoded_refs),
            packets: event.packets.into(),
            bytes: self.flow.bytes(),
            handshake_ns: u64::from(event.handshake_us) * 1000,
            conntrack_state: event.ct_state.into(),
            trigger: (event.trigger & !TRIGGER_LANE_DROPS).into(),
            frontend: self.flow.frontend(),
            cpu: event.cpu.into(),
            seq: event.seq,
            l7: self.message().map(|message| message::facts(message, event.handshake_us)),
            encrypted: self.flow.encrypted().map(message::encrypted),
        }
    }

    fn flow_type(&self) -> FlowType {
        match (self.is_sock(), self.message()) {
            (true, _) => FlowType::Sock,
            (_, Some(_)) => FlowType::L7,
            _ => FlowType::L3L4,
        }
    }

    /// The flow as the writer takes it, with or without our own facts.
    pub fn parts(&self, facts: bool) -> FlowParts<'a> {
        let (flow, event) = (self.flow, &self.flow.event);
        let message = self.message();
        let trace = !flow.is_drop() && !self.is_sock() && message.is_none();
        let point = names::trace_point::public(event.obs_point.into());
        FlowParts {
            uuid: Some(self.node.identity.uuids.at(flow.seq)),
            verdict: event.verdict.into(),
            drop_reason: FlowView::drop_reason(self),
            ethernet: flow.ethernet(),
            ip: self.addresses(),
            l4: self.l4(),
            ethertype: u16::from_be_bytes(event.l3_proto_be),
            source: Some(&flow.source.encoded),
            destination: Some(&flow.destination.encoded),
            flow_type: self.flow_type().into(),
            source_names: list(&flow.source_names),
            destination_names: list(&flow.destination_names),
            l7: message.map(message::l7),
            event_type: self.event_type(),
            source_service: self.service_body(ServiceEnd::Source),
            destination_service: self.service_body(ServiceEnd::Destination),
            direction: flow.connection_direction().into(),
            policy_match_type: event.match_type.into(),
            trace_observation_point: if trace { point.into() } else { 0 },
            is_reply: flow.reply(),
            interface: self.device(),
            trace_id: message.map_or("", message::trace_id),
            sock_xlate_point: if self.is_sock() { event.obs_point.into() } else { 0 },
            socket_cookie: flow.socket_cookie(),
            cgroup_id: flow.cgroup_id(),
            trace_reason: if trace { trace_reason(event.ct_state).into() } else { 0 },
            policies: self.policies(),
            facts: facts.then(|| self.facts()),
            ..FlowParts::new(&self.node.fields, flow.time_ns)
        }
    }
}

impl FlowView for View<'_> {
    fn verdict(&self) -> i32 {
        self.flow.event.verdict.into()
    }

    fn drop_reason(&self) -> i32 {
        if self.flow.is_drop() { self.flow.event.reason.into() } else { 0 }
    }

    fn event_type(&self) -> (i32, i32) {
        let event = &self.flow.event;
        match (self.flow.is_drop(), event.kind) {
            _ if self.message().is_some() => (names::event::L7, 0),
            (true, _) => (names::event::DROP, event.reason.into()),
            (false, kind::SOCK) => (names::event::TRACE_SOCK, event.obs_point.into()),
            _ => (names::event::TRACE, event.obs_point.into()),
        }
    }

    fn judged_by_policy(&self) -> bool {
        // A message names the rule of its connection; the packet that was judged has a flow of its own.
        self.flag(flag::POLICY) && self.message().is_none()
    }

    fn ip(&self, side: Side) -> Option<IpAddr> {
        match side {
            Side::Source => self.flow.source_ip(),
            Side::Destination => self.flow.destination_ip(),
        }
    }

    fn port(&self, side: Side) -> Option<u16> {
        let (source, destination) = self.flow.ports()?;
        Some(if side == Side::Source { source } else { destination })
    }

    fn identity(&self, side: Side) -> u32 {
        self.end(side).identity
    }

    fn namespace(&self, side: Side) -> &str {
        &self.end(side).namespace
    }

    fn pod_name(&self, side: Side) -> &str {
        &self.end(side).pod_name
    }

    fn labels(&self, side: Side) -> impl Iterator<Item = &str> {
        self.end(side).labels.iter().map(|label| &**label)
    }

    fn workloads(&self, side: Side) -> impl Iterator<Item = (&str, &str)> {
        self.end(side).workload.iter().map(|(name, kind)| (&**name, &**kind))
    }

    fn cluster_name(&self, side: Side) -> &str {
        &self.end(side).cluster_name
    }

    fn names(&self, side: Side) -> impl Iterator<Item = &str> {
        let names = match side {
            Side::Source => &self.flow.source_names,
            Side::Destination => &self.flow.destination_names,
        };
        list(names).iter().map(|name| &**name)
    }

    fn service(&self, side: Side) -> Option<(&str, &str)> {
        let end = if side == Side::Source { ServiceEnd::Source } else { ServiceEnd::Destination };
        let service = self.flow.service.as_deref().filter(|_| self.flow.service_end == end);
        service.map(|service| (&*service.namespace, &*service.name))
    }

    fn transport(&self) -> Option<Transport> {
        if self.flag(flag::NO_IP) { None } else { Transport::from_iana(self.flow.event.proto) }
    }

    fn tcp_flags(&self) -> Option<u16> {
        match self.l4() {
            L4::Tcp { flags, .. } => flags,
            _ => None,
        }
    }

    fn reply(&self) -> Option<bool> {
        self.flow.reply()
    }

    fn direction(&self) -> i32 {
        self.flow.connection_direction().into()
    }

    fn node_name(&self) -> &str {
        &self.node.identity.name
    }

    fn node_labels(&self) -> impl Iterator<Item = &str> {
        self.node.labels.iter().map(|label| &**label)
    }

    fn interface(&self) -> Option<(u32, &str)> {
        self.device()
    }

    fn has_uuid(&self, text: &str) -> bool {
        self.node.identity.uuids.at(self.flow.seq).is(text)
    }

    fn ip_version(&self) -> i32 {
        match self.addresses() {
            Some((IpAddr::V4(_), _)) => IpVersion::IPv4.into(),
            Some((IpAddr::V6(_), _)) => IpVersion::IPv6.into(),
            None => IpVersion::IpNotUsed.into(),
        }
    }

    fn trace_id(&self) -> &str {
        self.message().map_or("", message::trace_id)
    }

    fn application(&self) -> Option<Application> {
        self.message().map(message::application)
    }

    fn http(&self) -> Option<HttpView<'_>> {
        self.message().and_then(message::http)
    }

    fn http_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.message().map_or(&[][..], message::headers);
        headers.iter().map(|(name, value)| (&**name, &**value))
    }

    fn dns_query(&self) -> Option<&str> {
        self.message().and_then(message::dns_query)
    }
}

fn list(names: &Option<Names>) -> &[Arc<str>] {
    names.as_deref().unwrap_or_default()
}

fn unspecified_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn trace_reason(state: u8) -> TraceReason {
    match state {
        ct_state::NEW => TraceReason::New,
        // The public number for it is deprecated, and clients print nothing for it.
        ct_state::REOPENED => TraceReason::New,
        ct_state::ESTABLISHED => TraceReason::Established,
        ct_state::REPLY => TraceReason::Reply,
        ct_state::RELATED => TraceReason::Related,
        _ => TraceReason::Unknown,
    }
}

/// Chunk types of RFC 9260 section 3.2 that the contract names.
fn sctp_chunk(chunk: u8) -> SctpChunkType {
    match chunk {
        1 => SctpChunkType::Init,
        2 => SctpChunkType::InitAck,
        6 => SctpChunkType::Abort,
        7 => SctpChunkType::Shutdown,
        8 => SctpChunkType::ShutdownAck,
        14 => SctpChunkType::ShutdownComplete,
        _ => SctpChunkType::Unsupported,
    }
}
