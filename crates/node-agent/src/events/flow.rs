//! A flow as the store keeps it: the kernel's record, and references to what it meant at that time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use fathom_bpf::abi::{self, Event, flag, kind, l7_type};

use super::l7::{Encrypted, Message, Payload};
use crate::cluster::snapshot::{Device, EndpointInfo, RuleInfo, ServiceInfo};

/// Names an address resolved to.
pub type Names = Arc<[Arc<str>]>;

/// Which end of a flow is the service's frontend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceEnd {
    /// Replies come from the service.
    Source,
    /// Requests go to it.
    #[default]
    Destination,
}

/// One flow: compact, and cheap to let go of. Everything behind an `Arc` is shared with the snapshot
/// of the moment the flow happened.
#[derive(Debug)]
pub struct Flow {
    pub event: Event,
    /// Number of the flow in the store, from 0, without gaps. Given by the store's writer.
    pub seq: u64,
    /// Wall clock, nanoseconds since the Unix epoch.
    pub time_ns: i64,
    pub source: Arc<EndpointInfo>,
    pub destination: Arc<EndpointInfo>,
    pub service: Option<Arc<ServiceInfo>>,
    pub rule: Option<Arc<RuleInfo>>,
    /// Device of the local endpoint.
    pub device: Option<Arc<Device>>,
    pub source_names: Option<Names>,
    pub destination_names: Option<Names>,
    /// The message that this flow is, or what is known of its connection's payload.
    pub payload: Option<Arc<Payload>>,
    /// Address of `service` as the client used it, as 16 bytes; zero when not known.
    pub frontend: [u8; 16],
    pub service_end: ServiceEnd,
}

/// What a stored flow costs beside shared snapshots: the flow, its reference counts, the slot that
/// points to it and the allocator's header. A message's texts come on top.
pub const BYTES_PER_FLOW: usize = size_of::<Flow>() + 2 * size_of::<usize>() + size_of::<usize>() + 16;
const _: () = assert!(BYTES_PER_FLOW <= 300, "a stored flow must stay within 300 bytes");

impl Flow {
    /// The kernel dropped the packet, or the socket call failed.
    pub fn is_drop(&self) -> bool {
        self.event.verdict == abi::verdict::DROPPED
    }

    /// The message that this flow is; `None` on a packet's.
    pub fn message(&self) -> Option<&Message> {
        match self.payload.as_deref()? {
            Payload::Message(message) => Some(message),
            Payload::Encrypted(_) => None,
        }
    }

    /// What is known of the connection's payload when it is encrypted.
    pub fn encrypted(&self) -> Option<&Encrypted> {
        match self.payload.as_deref()? {
            Payload::Encrypted(encrypted) => Some(encrypted),
            Payload::Message(_) => None,
        }
    }

    /// `None` when conntrack could not say which way the connection was opened.
    pub fn reply(&self) -> Option<bool> {
        match self.message().map(|message| message.head.kind) {
            Some(l7_type::REQUEST) => return Some(false),
            Some(l7_type::RESPONSE) => return Some(true),
            _ => {}
        }
        has(&self.event, flag::REPLY_KNOWN).then(|| has(&self.event, flag::REPLY))
    }

    /// `abi::direction` of the *connection*, seen from the local endpoint: a reply that leaves the pod
    /// belongs to an ingress connection. It is also the direction whose policy decided.
    pub fn connection_direction(&self) -> u8 {
        match (self.event.direction, self.reply()) {
            (abi::direction::INGRESS, Some(true)) => abi::direction::EGRESS,
            (abi::direction::EGRESS, Some(true)) => abi::direction::INGRESS,
            (direction, _) => direction,
        }
    }

    /// `None` when the packet broke off before its addresses, or a socket had none yet.
    pub fn source_ip(&self) -> Option<IpAddr> {
        self.address(self.event.saddr)
    }

    /// See [`Flow::source_ip`].
    pub fn destination_ip(&self) -> Option<IpAddr> {
        self.address(self.event.daddr)
    }

    fn address(&self, bytes: [u8; 16]) -> Option<IpAddr> {
        let known = self.event.family != 0 && !has(&self.event, flag::NO_IP);
        // A socket that is not bound has the unspecified address: nothing to show.
        let absent = self.event.kind == kind::SOCK && is_unspecified(bytes);
        (known && !absent).then(|| abi::ip_from_bytes(bytes))
    }

    /// Ports are known, and the protocol has them.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let known = !has(&self.event, flag::NO_L4) && !has(&self.event, flag::NO_IP);
        (known && has_ports(self.event.proto)).then(|| (self.event.sport(), self.event.dport()))
    }

    /// The service's address as the client used it.
    pub fn frontend(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(self.event.frontend_port_be);
        (self.frontend != [0; 16]).then(|| SocketAddr::new(abi::ip_from_bytes(self.frontend), port))
    }

    /// (source, destination) MAC addresses; `None` on devices without and on socket events.
    pub fn ethernet(&self) -> Option<([u8; 6], [u8; 6])> {
        let (source, destination) = (self.event.smac, self.event.dmac);
        (source != [0; 6] || destination != [0; 6]).then_some((source, destination))
    }

    /// The record came through the lane for drops.
    pub fn in_drop_lane(&self) -> bool {
        self.event.trigger & abi::TRIGGER_LANE_DROPS != 0
    }

    /// Bytes since the last event of this direction; socket events carry none.
    pub fn bytes(&self) -> u64 {
        if self.event.kind == kind::SOCK { 0 } else { self.event.bytes }
    }

    /// The cgroup of the socket's owner: of whoever calls, or of the process of this node that sent the
    /// packet; 0 when it is not known.
    pub fn cgroup_id(&self) -> u64 {
        cgroup_id(&self.event)
    }

    /// 0 when it is not known.
    pub fn socket_cookie(&self) -> u64 {
        if has(&self.event, flag::SENDER) { 0 } else { self.event.cookie }
    }
}

/// See [`Flow::cgroup_id`].
pub(super) fn cgroup_id(event: &Event) -> u64 {
    match event.kind {
        kind::SOCK => event.bytes,
        _ if has(event, flag::SENDER) => event.cookie,
        _ => 0,
    }
}

/// Whether the record has this flag of `abi::flag`.
pub(super) fn has(event: &Event, flag: u16) -> bool {
    event.flags & flag != 0
}

/// TCP, UDP or SCTP.
pub(super) fn has_ports(proto: u8) -> bool {
    matches!(proto, proto::TCP | proto::UDP | proto::SCTP)
}

/// `::`, or `0.0.0.0` in its v4-mapped form.
fn is_unspecified(bytes: [u8; 16]) -> bool {
    let address = Ipv6Addr::from(bytes);
    address.is_unspecified() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_unspecified())
}

/// IANA protocol numbers.
pub mod proto {
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
    pub const VRRP: u8 = 112;
    pub const SCTP: u8 = 132;
}
