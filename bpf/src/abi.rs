//! The Rust mirror of `bpf/include/abi.h`: records, map keys and values, enums.
//!
//! Layouts are compared with the object's BTF by a test. Addresses are 16 bytes, IPv4 as
//! `::ffff:a.b.c.d`; ports are in network order and named `_be`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version every record starts with.
pub const ABI_VERSION: u8 = 2;

/// One decision of the kernel, 128 bytes; `struct event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    pub version: u8,
    pub kind: u8,
    pub len: u16,
    pub seq: u32,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub time_ns: u64,
    pub saddr: [u8; 16],
    pub daddr: [u8; 16],
    pub sport_be: [u8; 2],
    pub dport_be: [u8; 2],
    pub src_identity: u32,
    pub dst_identity: u32,
    pub ifindex: u32,
    pub rule_id: u32,
    pub handshake_us: u32,
    pub cpu: u16,
    pub proto: u8,
    pub family: u8,
    pub direction: u8,
    pub obs_point: u8,
    pub verdict: u8,
    pub reason: u8,
    pub ct_state: u8,
    pub tcp_flags: u8,
    pub icmp_type: u8,
    pub icmp_code: u8,
    pub flags: u16,
    pub match_type: u8,
    /// `trigger` in the low bits, [`TRIGGER_LANE_DROPS`] on top.
    pub trigger: u8,
    pub cookie: u64,
    pub packets: u32,
    pub service_id: u32,
    /// Bytes from L3 up since the last event of this direction; the cgroup id on a socket event.
    pub bytes: u64,
    pub smac: [u8; 6],
    pub dmac: [u8; 6],
    pub l3_proto_be: [u8; 2],
    pub frontend_port_be: [u8; 2],
}

const _: () = assert!(size_of::<Event>() == 128);

impl Event {
    /// Source port, 0 when there is none.
    pub fn sport(&self) -> u16 {
        u16::from_be_bytes(self.sport_be)
    }

    /// Destination port, 0 when there is none.
    pub fn dport(&self) -> u16 {
        u16::from_be_bytes(self.dport_be)
    }

    /// Source address in its own family.
    pub fn source(&self) -> IpAddr {
        ip_from_bytes(self.saddr)
    }

    /// Destination address in its own family.
    pub fn destination(&self) -> IpAddr {
        ip_from_bytes(self.daddr)
    }
}

/// Sixteen bytes to an address: v4-mapped ones become IPv4.
pub fn ip_from_bytes(bytes: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(bytes);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

/// An address to sixteen bytes: IPv4 becomes v4-mapped.
pub fn ip_to_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// `Ipv4Addr` as the kernel's `__be32`, byte for byte.
pub fn be32(ip: Ipv4Addr) -> [u8; 4] {
    ip.octets()
}

/// `event.kind`.
pub mod kind {
    pub const FLOW: u8 = 1;
    pub const SOCK: u8 = 2;
    /// As FLOW: what a connection that ended in silence still held.
    pub const ENDED: u8 = 3;
    /// A message of an application protocol: [`L7Head`](super::L7Head) and texts follow.
    pub const L7: u8 = 4;
}

/// `l7_head.proto`: what a connection speaks. gRPC is HTTP/2 with [`l7_flag::GRPC`].
pub mod l7_protocol {
    pub const NONE: u8 = 0;
    pub const HTTP1: u8 = 1;
    pub const HTTP2: u8 = 2;
    pub const DNS: u8 = 3;
    pub const KAFKA: u8 = 4;
    /// A ClientHello; never a message of what is inside.
    pub const TLS: u8 = 5;
    pub const QUIC: u8 = 6;
    pub const WEBSOCKET: u8 = 7;
}

/// `l7_head.type`, the public numbers of L7FlowType.
pub mod l7_type {
    pub const UNKNOWN: u8 = 0;
    pub const REQUEST: u8 = 1;
    pub const RESPONSE: u8 = 2;
    /// Counts so far of an exchange that goes on.
    pub const SAMPLE: u8 = 3;
}

/// `l7_head.method`.
pub mod l7_method {
    /// Its name is a text.
    pub const OTHER: u8 = 0;
    pub const GET: u8 = 1;
    pub const HEAD: u8 = 2;
    pub const POST: u8 = 3;
    pub const PUT: u8 = 4;
    pub const DELETE: u8 = 5;
    pub const CONNECT: u8 = 6;
    pub const OPTIONS: u8 = 7;
    pub const TRACE: u8 = 8;
    pub const PATCH: u8 = 9;
}

/// `l7_text.kind`.
pub mod l7_text {
    pub const PATH: u8 = 1;
    pub const HOST: u8 = 2;
    pub const METHOD: u8 = 3;
    /// "name: value", as it was sent.
    pub const HEADER: u8 = 4;
    pub const TRACEPARENT: u8 = 5;
    pub const UPGRADE: u8 = 6;
    pub const DNS_NAME: u8 = 7;
    pub const DNS_A: u8 = 8;
    pub const DNS_AAAA: u8 = 9;
    pub const DNS_CNAME: u8 = 10;
    /// Two bytes: the answer's type in network order.
    pub const DNS_OTHER: u8 = 11;
    pub const KAFKA_CLIENT: u8 = 12;
    pub const KAFKA_TOPIC: u8 = 13;
    pub const SNI: u8 = 14;
    /// Protocol names, commas between.
    pub const ALPN: u8 = 15;
}

/// Bits of `l7_head.flags`.
pub mod l7_flag {
    pub const GRPC: u16 = 1 << 0;
    /// The response record was written at the end of the exchange.
    pub const STREAMED: u16 = 1 << 1;
    /// Some field can't be known: the part that told it was not seen.
    pub const UNKNOWN: u16 = 1 << 2;
    /// A response whose request was not seen, or not kept.
    pub const UNMATCHED: u16 = 1 << 3;
    /// First exchange of its connection: `handshake_us` is set.
    pub const FIRST: u16 = 1 << 4;
    /// After this message the connection speaks something else.
    pub const UPGRADED: u16 = 1 << 5;
    /// Ended by RST_STREAM; `status` is its error code.
    pub const RESET: u16 = 1 << 6;
    /// `status` was there.
    pub const STATUS: u16 = 1 << 7;
    /// `code` was there.
    pub const CODE: u16 = 1 << 8;
    /// There was more: of texts, answers or topics.
    pub const TRUNCATED: u16 = 1 << 9;
    /// A request that asks for no response.
    pub const NO_REPLY: u16 = 1 << 10;
    /// The connection was joined after its beginning.
    pub const JOINED: u16 = 1 << 11;
    /// The connection ended before the response, or in the middle of it.
    pub const ENDED: u16 = 1 << 12;
    /// Refused: `detail` says what was wrong; WebSocket: what came then was no frame.
    pub const MALFORMED: u16 = 1 << 13;
    /// The DNS message has an OPT record.
    pub const EDNS: u16 = 1 << 14;
}

/// `l7_head.detail` of a DNS message with [`l7_flag::MALFORMED`].
pub mod l7_dns_fault {
    /// Not exactly one question; `code` says how many.
    pub const QUESTIONS: u32 = 1;
    /// A name that is none.
    pub const NAME: u32 = 2;
    /// Breaks off.
    pub const SHORT: u32 = 3;
}

/// Bits of `l7_text.flags`.
pub mod l7_text_flag {
    pub const TRUNCATED: u8 = 1 << 0;
    /// The bytes are an id and not a name.
    pub const ID: u8 = 1 << 1;
}

/// Bytes of the longest L7 record.
pub const L7_RECORD_MAX: usize = 1280;
/// Bytes of the longest text.
pub const L7_TEXT_MAX: usize = 256;
/// Answers of one DNS message that are told.
pub const L7_ANSWERS: usize = 8;
/// Header names that can be captured.
pub const L7_HEADERS: usize = 8;

/// `event.direction`, relative to the local endpoint.
pub mod direction {
    pub const UNKNOWN: u8 = 0;
    pub const INGRESS: u8 = 1;
    pub const EGRESS: u8 = 2;
}

/// `event.verdict`, the public numbers.
pub mod verdict {
    pub const UNKNOWN: u8 = 0;
    pub const FORWARDED: u8 = 1;
    pub const DROPPED: u8 = 2;
    pub const TRANSLATED: u8 = 7;
}

/// `event.obs_point`, the public raw numbers.
pub mod obs_point {
    pub const TO_ENDPOINT: u8 = 0;
    pub const TO_STACK: u8 = 3;
    pub const FROM_ENDPOINT: u8 = 5;
    /// An uplink of the node, coming in.
    pub const FROM_NETWORK: u8 = 10;
    /// An uplink of the node, going out.
    pub const TO_NETWORK: u8 = 11;
    /// Socket events: the choice of a backend.
    pub const SOCK_POST_FWD: u8 = 2;
}

/// `event.ct_state`.
pub mod ct_state {
    pub const UNKNOWN: u8 = 0;
    pub const NEW: u8 = 1;
    pub const ESTABLISHED: u8 = 2;
    pub const REPLY: u8 = 3;
    pub const RELATED: u8 = 4;
    pub const REOPENED: u8 = 5;
}

/// Low bits of `event.trigger`.
pub mod trigger {
    pub const NONE: u8 = 0;
    pub const NEW: u8 = 1;
    pub const FLAGS: u8 = 2;
    pub const CLOSE: u8 = 3;
    pub const TIMEOUT: u8 = 4;
    pub const INTERVAL: u8 = 5;
    pub const PACKET: u8 = 6;
    pub const DROP: u8 = 7;
    pub const REJUDGED: u8 = 8;
}

/// Top bit of `event.trigger`: the record came through the drop lane.
pub const TRIGGER_LANE_DROPS: u8 = 0x80;

/// Bits of `event.flags`.
pub mod flag {
    pub const REPLY: u16 = 1 << 0;
    pub const REPLY_KNOWN: u16 = 1 << 1;
    pub const FRAGMENT: u16 = 1 << 2;
    pub const TRANSLATED: u16 = 1 << 3;
    pub const POLICY: u16 = 1 << 4;
    pub const NO_L4: u16 = 1 << 5;
    pub const LOCAL_HOST: u16 = 1 << 6;
    pub const NO_IP: u16 = 1 << 7;
    /// A process of this node sent it: `cookie` is its cgroup's id.
    pub const SENDER: u16 = 1 << 8;
}

/// Drop reasons, the public numbers.
pub mod drop_reason {
    pub const INVALID_SOURCE_IP: u8 = 132;
    pub const POLICY_DENIED: u8 = 133;
    pub const INVALID_PACKET: u8 = 134;
    pub const CT_TRUNCATED: u8 = 135;
    pub const CT_UNKNOWN_L4: u8 = 137;
    pub const UNSUPPORTED_L3: u8 = 139;
    pub const WRITE_ERROR: u8 = 141;
    pub const UNKNOWN_ICMP4_CODE: u8 = 143;
    pub const UNKNOWN_ICMP4_TYPE: u8 = 144;
    pub const UNKNOWN_ICMP6_CODE: u8 = 145;
    pub const UNKNOWN_ICMP6_TYPE: u8 = 146;
    pub const CSUM_L3: u8 = 153;
    pub const CSUM_L4: u8 = 154;
    pub const CT_INSERT_FAILED: u8 = 155;
    pub const INVALID_EXT_HEADER: u8 = 156;
    pub const FRAG_UNSUPPORTED: u8 = 157;
    pub const NO_BACKEND: u8 = 158;
    pub const NO_POLICY_CONFIG: u8 = 165;
    pub const UNSUPPORTED_L2: u8 = 166;
    pub const NAT_NO_MAPPING: u8 = 167;
    pub const NAT_UNSUPPORTED_PROTO: u8 = 168;
    pub const FRAG_NOT_FOUND: u8 = 175;
    pub const FORBIDDEN_ICMP6: u8 = 176;
    pub const POLICY_DENY: u8 = 181;
    pub const VLAN_FILTERED: u8 = 182;
    pub const EP_NOT_READY: u8 = 203;
}

/// Stages of the kernel's ledger: index into the per-CPU array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LedgerStage {
    PacketsSeen = 0,
    PacketsAggregated = 1,
    PacketsPassedUntracked = 2,
    EventsEmitted = 3,
    EventsLost = 4,
    DropsEmitted = 5,
    DropsLost = 6,
    CtCreated = 7,
    CtInsertFailed = 8,
    CtExpired = 9,
    CtRejudged = 10,
    SockTranslated = 11,
    SockNoBackend = 12,
    TcTranslated = 13,
    TcReversed = 14,
    SockRevFailed = 15,
    PacketsReported = 16,
    EventsTimeout = 17,
    SockEmitted = 18,
    CtReplaced = 19,
    L7Emitted = 20,
    L7Lost = 21,
    L7Requests = 22,
    L7Responses = 23,
    L7Opened = 24,
    L7Evicted = 25,
    L7Untracked = 26,
    L7NotOurs = 27,
    L7Gaps = 28,
    L7Held = 29,
    L7Repeated = 30,
    L7Malformed = 31,
    L7Unknown = 32,
    L7Unmatched = 33,
    UplinkEmitted = 34,
    UplinkTranslated = 35,
}

/// Slots of the ledger array.
pub const LEDGER_SLOTS: usize = 48;
/// Slots of the counters array: direction × 256 + reason.
pub const COUNTER_SLOTS: usize = 768;

macro_rules! pod {
    ($(#[$doc:meta])* $name:ident, $size:literal, { $($(#[$fdoc:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }
        const _: () = assert!(size_of::<$name>() == $size);
    };
}

pod!(/** `struct l7_head`: what follows the [`Event`] of kind L7. Index 0 of a pair is from the client. */ L7Head, 72, {
    conn: u64, latency_ns: u64, duration_ns: u64, bytes: [u64; 2], messages: [u32; 2], exchange: u32,
    detail: u32, flags: u16, status: u16, code: u16, version: u16, proto: u8, kind: u8, method: u8,
    texts: u8, pad: [u8; 4],
});
pod!(/** `struct l7_text`: its `len` bytes follow, padded to a multiple of 8. */ L7Text, 8, {
    kind: u8, flags: u8, len: u16, number: u32,
});
/// `struct l7_header`: the name of a header that is captured. No `pod!`: arrays of 40 have no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct L7Header {
    pub name: [u64; 4],
    pub mask: [u64; 4],
    pub label: [u8; 40],
    pub len: u32,
    pub pad: u32,
}
const _: () = assert!(size_of::<L7Header>() == 112);
pod!(/** `struct endpoint`. */ Endpoint, 32, {
    identity: u32, id: u32, flags: u32, ipv4_be: [u8; 4], ipv6: [u8; 16],
});
/// `endpoint.flags`: without it every packet of the endpoint is dropped.
pub const ENDPOINT_READY: u32 = 1;
/// `endpoint.flags`: application protocols of this pod are not looked at.
pub const ENDPOINT_L7_OFF: u32 = 2;

pod!(/** `struct ipcache_lpm_key`; IPv4 prefixes are 96 + n. */ IpcacheLpmKey, 20, { prefixlen: u32, addr: [u8; 16] });
pod!(/** `struct ipcache_entry`. */ IpcacheEntry, 8, { identity: u32, flags: u32 });
/// `ipcache_entry.flags`: a pod of this node whose messages are reported at its own device.
pub const IPCACHE_L7_HERE: u32 = 1;

/// Remote identity that matches every peer.
pub const POLICY_ANY_IDENTITY: u32 = 0;
/// Key under which a table keeps one meta entry per direction.
pub const POLICY_META_IDENTITY: u32 = u32::MAX;
/// `policy_entry.verdict`.
pub mod policy_verdict {
    pub const ALLOW: u8 = 1;
    pub const DENY: u8 = 2;
    /// Meta entry: the direction is enforced.
    pub const ENFORCED: u8 = 3;
}
/// Meta entry flag: the table has denials, look at every level.
pub const POLICY_F_HAS_DENY: u8 = 1;

pod!(/** `struct policy_key`. */ PolicyKey, 12, {
    identity: u32, direction: u8, proto: u8, port_plen: u8, pad: u8, port_be: [u8; 2], pad2: [u8; 2],
});
pod!(/** `struct policy_entry`. */ PolicyEntry, 12, {
    rule_id: u32, plen_mask: u32, verdict: u8, flags: u8, pad: u16,
});
pod!(/** `struct service_key`. */ ServiceKey, 20, { addr: [u8; 16], port_be: [u8; 2], proto: u8, scope: u8 });
/// `service_key.scope`: whoever asks on this node, and what comes in through an uplink.
pub mod service_scope {
    pub const INSIDE: u8 = 0;
    pub const OUTSIDE: u8 = 1;
}
/// `service.flags`: ClientIP session affinity.
pub const SERVICE_F_AFFINITY: u32 = 1;
/// `service.flags`: this node's backends only; without one, silence.
pub const SERVICE_F_LOCAL: u32 = 2;
pod!(/** `struct service`. */ Service, 20, {
    id: u32, backend_set: u32, backend_count: u32, flags: u32, affinity_s: u32,
});
pod!(/** `struct backend_slot_key`. */ BackendSlotKey, 8, { set: u32, slot: u32 });
pod!(/** `struct backend`. */ Backend, 24, { addr: [u8; 16], port_be: [u8; 2], proto: u8, pad: u8, service_id: u32 });
pod!(/** `struct frontend`. */ Frontend, 20, { addr: [u8; 16], port_be: [u8; 2], proto: u8, pad: u8 });
pod!(/** `struct affinity_key`. */ AffinityKey, 24, { client: [u8; 16], service_id: u32, by_netns: u32 });
pod!(/** `struct affinity`; times are CLOCK_BOOTTIME. */ Affinity, 16, { last_used_ns: u64, backend_id: u32, pad: u32 });
pod!(/** `struct sock_rev_key`: the backend. */ SockRevKey, 32, { cookie: u64, addr: [u8; 16], port_be: [u8; 2], pad: [u8; 6] });
pod!(/** `struct sock_rev`: the frontend. */ SockRev, 24, { addr: [u8; 16], port_be: [u8; 2], pad: u16, backend_id: u32 });
pod!(/** `struct frag_key`. */ FragKey, 40, {
    saddr: [u8; 16], daddr: [u8; 16], id: u32, proto: u8, family: u8, ifindex_lo: u16,
});
pod!(/** `struct frag_ports`. */ FragPorts, 8, { sport_be: [u8; 2], dport_be: [u8; 2], tick: u32 });
pod!(/** `struct ct4_key`. */ Ct4Key, 16, {
    local: [u8; 4], remote: [u8; 4], lport_be: [u8; 2], rport_be: [u8; 2], proto: u8, kind: u8, pad: u16,
});
pod!(/** `struct ct6_key`. */ Ct6Key, 40, {
    local: [u8; 16], remote: [u8; 16], lport_be: [u8; 2], rport_be: [u8; 2], proto: u8, kind: u8, pad: u16,
});
pod!(/** `struct ct_entry`. */ CtEntry, 64, {
    bytes: [u64; 2], packets: [u32; 2], last_report: [u32; 2], last_seen: u32, revision: u32,
    remote_identity: u32, rule_id: u32, ifindex: u32, service_id: u32, syn_us: u32,
    tcp_flags: [u8; 2], flags: u8, match_type: u8,
});
/// `nat_key.kind`.
pub mod nat_kind {
    /// As a packet comes in: its destination is replaced.
    pub const IN: u8 = 0;
    /// As a packet goes out: its source is replaced.
    pub const OUT: u8 = 1;
}
/// Ports given to connections that leave under the node's address.
pub const NAT_PORTS: std::ops::Range<u16> = 1024..30_000;
pod!(/** `struct nat_key`. */ NatKey, 40, {
    src: [u8; 16], dst: [u8; 16], sport_be: [u8; 2], dport_be: [u8; 2], proto: u8, kind: u8, pad: u16,
});
pod!(/** `struct nat_entry`. */ NatEntry, 32, {
    addr: [u8; 16], port_be: [u8; 2], tcp_flags: u8, pad: u8, last_seen: u32, service_id: u32, backend_id: u32,
});
pod!(/** `struct uplink`: the sources that replace others; zero = none. */ Uplink, 32, { ipv4: [u8; 16], ipv6: [u8; 16] });
/// Values of `uplink_nets`: whoever talks to it keeps its own address.
pub const NET_INSIDE: u32 = 1;
/// Values of `uplink_nets`: pods of this node, who else leave under the node's address.
pub const NET_MASQUERADE: u32 = 2;

/// `struct ended_request`: a connection by the bytes of its key. No `pod!`: arrays of 40 have no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EndedRequest {
    pub family: u8,
    pub pad: [u8; 15],
    pub key: [u8; 40],
}
const _: () = assert!(size_of::<EndedRequest>() == 56);
pod!(/** `struct traffic_counter`. */ TrafficCounter, 16, { packets: u64, bytes: u64 });
pod!(/** `struct runtime`. */ Runtime, 8, { revision: u32, pad: u32 });
