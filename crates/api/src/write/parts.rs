//! A flow as the writer takes it: borrowed facts, and sub-messages somebody encoded once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::l7::{EncryptedFacts, L7, L7Facts};
use crate::uuid::Uuid;
use crate::wire::{put_bytes, put_text};

/// `Flow.emitter.name`.
const EMITTER: &str = "Fathom";

/// The transport header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L4 {
    /// Not known, or not a transport the contract has a message for.
    #[default]
    None,
    /// Flags as in [`crate::names::tcp_flag`]; `None` when no packet was seen (socket events).
    Tcp {
        source_port: u16,
        destination_port: u16,
        flags: Option<u16>,
    },
    Udp {
        source_port: u16,
        destination_port: u16,
    },
    /// `chunk_type` is a number of [`crate::flow::SctpChunkType`].
    Sctp {
        source_port: u16,
        destination_port: u16,
        chunk_type: i32,
    },
    Icmpv4 {
        kind: u8,
        code: u8,
    },
    Icmpv6 {
        kind: u8,
        code: u8,
    },
}

/// The policies that decided. Bodies of `flow.Policy` messages, as `RuleInfo::encoded_policies` holds them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'a> {
    /// The direction that was judged; with an unknown one nothing is written.
    pub direction: i32,
    pub denied: bool,
    pub bodies: &'a [Bytes],
}

/// The content of the `fathom.v1.FlowFacts` extension, for clients that [asked](crate::facts::asked);
/// zero values are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    pub rule_id: u32,
    /// Bodies of `fathom.v1.RuleRef` messages.
    pub rules: &'a [Bytes],
    pub packets: u64,
    pub bytes: u64,
    pub handshake_ns: u64,
    /// Number of [`crate::fathom_v1::ConntrackState`].
    pub conntrack_state: i32,
    /// Number of [`crate::fathom_v1::Trigger`].
    pub trigger: i32,
    pub frontend: Option<SocketAddr>,
    pub cpu: u32,
    pub seq: u32,
    pub l7: Option<L7Facts<'a>>,
    pub encrypted: Option<EncryptedFacts<'a>>,
}

/// What every flow of a node says about it, encoded once per node.
#[derive(Clone, Debug, Default)]
pub struct NodeFields {
    pub(super) node_name: Box<str>,
    /// The run of `Flow.node_labels` fields.
    pub(super) labels: Bytes,
    /// Body of `Flow.emitter`.
    pub(super) emitter: Bytes,
    /// The `GetFlowsResponse.node_name` field.
    pub(super) response_name: Bytes,
}

impl NodeFields {
    /// `node_name` as peers know it (`cluster/node` unless the cluster is "default"), `labels` each as
    /// `key=value`, `version` of the program that writes the flows.
    pub fn new<'a>(node_name: &str, labels: impl IntoIterator<Item = &'a str>, version: &str) -> Self {
        let bytes = |write: &dyn Fn(&mut BytesMut)| {
            let mut out = BytesMut::new();
            write(&mut out);
            out.freeze()
        };
        let mut label_run = BytesMut::new();
        labels.into_iter().for_each(|label| put_bytes(&mut label_run, 37, label.as_bytes()));
        Self {
            node_name: node_name.into(),
            labels: label_run.freeze(),
            emitter: bytes(&|out| {
                put_text(out, 1, EMITTER);
                put_text(out, 2, version);
            }),
            response_name: bytes(&|out| put_text(out, 1000, node_name)),
        }
    }
}

/// One flow. Zero, `None` and empty values are left out, as proto3 leaves defaults out.
#[derive(Clone, Copy, Debug)]
pub struct FlowParts<'a> {
    pub node: &'a NodeFields,
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    pub uuid: Option<Uuid>,
    /// Number of [`crate::flow::Verdict`].
    pub verdict: i32,
    /// Number of [`crate::flow::DropReason`]; written to both fields that carry it.
    pub drop_reason: i32,
    /// Source and destination MAC address.
    pub ethernet: Option<([u8; 6], [u8; 6])>,
    /// Source and destination address; their family gives `ipVersion`.
    pub ip: Option<(IpAddr, IpAddr)>,
    pub source_xlated: Option<IpAddr>,
    pub encrypted: bool,
    pub l4: L4,
    /// Names a packet without a transport header in the summary; 0 = not known.
    pub ethertype: u16,
    /// Body of a `flow.Endpoint` message.
    pub source: Option<&'a [u8]>,
    pub destination: Option<&'a [u8]>,
    /// Number of [`crate::flow::FlowType`].
    pub flow_type: i32,
    pub source_names: &'a [Arc<str>],
    pub destination_names: &'a [Arc<str>],
    /// With it, `Summary` tells of the message and not of the transport.
    pub l7: Option<L7<'a>>,
    /// (type, sub type).
    pub event_type: (i32, i32),
    /// Body of a `flow.Service` message.
    pub source_service: Option<&'a [u8]>,
    pub destination_service: Option<&'a [u8]>,
    /// Number of [`crate::flow::TrafficDirection`].
    pub direction: i32,
    pub policy_match_type: u32,
    /// Number of [`crate::flow::TraceObservationPoint`].
    pub trace_observation_point: i32,
    pub is_reply: Option<bool>,
    /// (index, name).
    pub interface: Option<(u32, &'a str)>,
    /// W3C trace id, hex; empty when there is none.
    pub trace_id: &'a str,
    /// Number of [`crate::flow::SocketTranslationPoint`].
    pub sock_xlate_point: i32,
    pub socket_cookie: u64,
    pub cgroup_id: u64,
    /// Number of [`crate::flow::TraceReason`].
    pub trace_reason: i32,
    pub policies: Policies<'a>,
    pub facts: Option<Facts<'a>>,
}

impl<'a> FlowParts<'a> {
    /// A flow of which nothing is known but its node and time.
    pub fn new(node: &'a NodeFields, time_ns: i64) -> Self {
        Self {
            node,
            time_ns,
            uuid: None,
            verdict: 0,
            drop_reason: 0,
            ethernet: None,
            ip: None,
            source_xlated: None,
            encrypted: false,
            l4: L4::None,
            ethertype: 0,
            source: None,
            destination: None,
            flow_type: 0,
            source_names: &[],
            destination_names: &[],
            l7: None,
            event_type: (0, 0),
            source_service: None,
            destination_service: None,
            direction: 0,
            policy_match_type: 0,
            trace_observation_point: 0,
            is_reply: None,
            interface: None,
            trace_id: "",
            sock_xlate_point: 0,
            socket_cookie: 0,
            cgroup_id: 0,
            trace_reason: 0,
            policies: Policies::default(),
            facts: None,
        }
    }
}
