//! `observer.GetFlowsResponse { flow, node_name, time }`, field by field in the order of their numbers.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;

use super::address::{put_ip, put_mac, put_socket};
use super::l7::{put_encrypted, put_l7, put_l7_facts};
use super::mask::Mask;
use super::parts::{Facts, FlowParts, L4, Policies};
use crate::facts::FACTS_TYPE;
use crate::flow::{IpVersion, TrafficDirection};
use crate::names::l7_summary::L7Summary;
use crate::names::summary::Summary;
use crate::wire::{put_byte, put_bytes, put_int32, put_nested, put_number, put_sized, put_text};

/// Bytes that a flow's length usually takes: 128 bytes to 16 KiB.
const FLOW_LEN_BYTES: usize = 2;

/// Appends the bytes of `observer.GetFlowsResponse { flow, node_name, time }` to `out`: what prost
/// would write for the same message. `mask` chooses the flow's fields; the response's own `node_name`
/// and `time` are always there. Allocates only when `out` must grow.
pub fn flow_response(out: &mut BytesMut, flow: &FlowParts<'_>, mask: &Mask) {
    put_byte(out, 1 << 3 | 2);
    put_sized(out, FLOW_LEN_BYTES, |out| put_flow(out, flow, mask));
    out.extend_from_slice(&flow.node.response_name);
    put_nested(out, 1001, |out| put_time(out, flow.time_ns));
}

fn put_flow(out: &mut BytesMut, flow: &FlowParts<'_>, mask: &Mask) {
    let mut fields = Fields { out, mask };
    put_packet(&mut fields, flow);
    put_ends(&mut fields, flow);
    put_event(&mut fields, flow);
    put_decision(&mut fields, flow);
}

/// Fields 1–6.
fn put_packet(to: &mut Fields<'_>, flow: &FlowParts<'_>) {
    to.nested(1, |out| put_time(out, flow.time_ns));
    to.int32(2, flow.verdict);
    to.number(3, u64::try_from(flow.drop_reason).unwrap_or(0));
    if let Some((source, destination)) = flow.ethernet {
        to.nested(4, |out| {
            put_nested(out, 1, |out| put_mac(out, source));
            put_nested(out, 2, |out| put_mac(out, destination));
        });
    }
    if flow.ip.is_some() || flow.source_xlated.is_some() || flow.encrypted {
        to.nested(5, |out| {
            if let Some((source, destination)) = flow.ip {
                put_nested(out, 1, |out| put_ip(out, source));
                put_nested(out, 2, |out| put_ip(out, destination));
                let version = if matches!(source, IpAddr::V4(_)) { IpVersion::IPv4 } else { IpVersion::IPv6 };
                put_int32(out, 3, version.into());
            }
            put_number(out, 4, flow.encrypted.into());
            if let Some(xlated) = flow.source_xlated {
                put_nested(out, 5, |out| put_ip(out, xlated));
            }
        });
    }
    if flow.l4 != L4::None {
        to.nested(6, |out| put_l4(out, flow.l4));
    }
}

/// Fields 8–16: who.
fn put_ends(to: &mut Fields<'_>, flow: &FlowParts<'_>) {
    to.message(8, flow.source);
    to.message(9, flow.destination);
    to.int32(10, flow.flow_type);
    to.text(11, &flow.node.node_name);
    to.texts(13, flow.source_names);
    to.texts(14, flow.destination_names);
    if let Some(l7) = &flow.l7 {
        to.nested(15, |out| put_l7(out, l7));
    }
    to.number(16, (flow.is_reply == Some(true)).into());
}

/// Fields 19–36: what was seen, and where.
fn put_event(to: &mut Fields<'_>, flow: &FlowParts<'_>) {
    let (event_type, sub_type) = flow.event_type;
    if flow.event_type != (0, 0) {
        to.nested(19, |out| {
            put_int32(out, 1, event_type);
            put_int32(out, 2, sub_type);
        });
    }
    to.message(20, flow.source_service);
    to.message(21, flow.destination_service);
    to.int32(22, flow.direction);
    to.number(23, flow.policy_match_type.into());
    to.int32(24, flow.trace_observation_point);
    to.int32(25, flow.drop_reason);
    if let Some(is_reply) = flow.is_reply {
        to.nested(26, |out| put_number(out, 1, is_reply.into()));
    }
    if let Some((index, name)) = flow.interface {
        to.nested(28, |out| {
            put_number(out, 1, index.into());
            put_text(out, 2, name);
        });
    }
    if !flow.trace_id.is_empty() {
        to.nested(30, |out| put_nested(out, 1, |out| put_text(out, 1, flow.trace_id)));
    }
    to.int32(31, flow.sock_xlate_point);
    to.number(32, flow.socket_cookie);
    to.number(33, flow.cgroup_id);
    if let Some(uuid) = flow.uuid {
        to.nested(34, |out| out.extend_from_slice(&uuid.text()));
    }
    to.int32(36, flow.trace_reason);
}

/// Fields from 37 up: the node, the policies, the text, the extension.
fn put_decision(to: &mut Fields<'_>, flow: &FlowParts<'_>) {
    if to.mask.wants(37) {
        to.out.extend_from_slice(&flow.node.labels);
    }
    to.message(41, Some(&flow.node.emitter));
    put_policies(to, &flow.policies);
    // Writing to a buffer that grows can't fail.
    if let Some(l7) = &flow.l7 {
        to.nested(100_000, |out| _ = write!(out, "{}", L7Summary(l7)));
    } else if flow.l4 != L4::None || flow.ethertype != 0 {
        let summary = Summary { l4: flow.l4, ethertype: flow.ethertype };
        to.nested(100_000, |out| _ = write!(out, "{summary}"));
    }
    if let Some(facts) = &flow.facts {
        to.nested(150_000, |out| put_extension(out, facts));
    }
}

fn put_policies(to: &mut Fields<'_>, policies: &Policies<'_>) {
    const EGRESS: i32 = TrafficDirection::Egress as i32;
    const INGRESS: i32 = TrafficDirection::Ingress as i32;
    let field = match (policies.direction, policies.denied) {
        (EGRESS, false) => 21001,
        (INGRESS, false) => 21002,
        (EGRESS, true) => 21004,
        (INGRESS, true) => 21005,
        _ => return,
    };
    for body in policies.bodies {
        to.message(field, Some(body));
    }
}

fn put_time(out: &mut BytesMut, time_ns: i64) {
    let time = crate::time::timestamp(time_ns);
    put_number(out, 1, time.seconds as u64);
    put_int32(out, 2, time.nanos);
}

fn put_l4(out: &mut BytesMut, l4: L4) {
    let ports = |out: &mut BytesMut, source: u16, destination: u16| {
        put_number(out, 1, source.into());
        put_number(out, 2, destination.into());
    };
    let pair = |out: &mut BytesMut, kind: u8, code: u8| {
        put_number(out, 1, kind.into());
        put_number(out, 2, code.into());
    };
    match l4 {
        L4::None => {}
        L4::Tcp { source_port, destination_port, flags } => put_nested(out, 1, |out| {
            ports(out, source_port, destination_port);
            if let Some(flags) = flags {
                put_nested(out, 3, |out| {
                    for field in 1..=9 {
                        put_number(out, field, (flags >> (field - 1) & 1).into());
                    }
                });
            }
        }),
        L4::Udp { source_port, destination_port } => {
            put_nested(out, 2, |out| ports(out, source_port, destination_port));
        }
        L4::Icmpv4 { kind, code } => put_nested(out, 3, |out| pair(out, kind, code)),
        L4::Icmpv6 { kind, code } => put_nested(out, 4, |out| pair(out, kind, code)),
        L4::Sctp { source_port, destination_port, chunk_type } => put_nested(out, 5, |out| {
            ports(out, source_port, destination_port);
            put_int32(out, 3, chunk_type);
        }),
    }
}

/// `google.protobuf.Any { type_url, value }`.
fn put_extension(out: &mut BytesMut, facts: &Facts<'_>) {
    put_text(out, 1, FACTS_TYPE);
    let before = out.len();
    let mut empty = false;
    put_nested(out, 2, |out| {
        let start = out.len();
        put_facts(out, facts);
        empty = out.len() == start;
    });
    if empty {
        out.truncate(before);
    }
}

fn put_facts(out: &mut BytesMut, facts: &Facts<'_>) {
    put_number(out, 1, facts.rule_id.into());
    for rule in facts.rules {
        put_bytes(out, 2, rule);
    }
    put_number(out, 3, facts.packets);
    put_number(out, 4, facts.bytes);
    put_number(out, 5, facts.handshake_ns);
    put_int32(out, 6, facts.conntrack_state);
    put_int32(out, 7, facts.trigger);
    if let Some(frontend) = facts.frontend {
        put_nested(out, 8, |out| put_socket(out, frontend));
    }
    put_number(out, 9, facts.cpu.into());
    put_number(out, 10, facts.seq.into());
    if let Some(l7) = &facts.l7 {
        put_nested(out, 11, |out| put_l7_facts(out, l7));
    }
    if let Some(encrypted) = &facts.encrypted {
        put_nested(out, 12, |out| put_encrypted(out, encrypted));
    }
}

/// Writes those fields that the mask wants, and of messages the part it wants.
struct Fields<'a> {
    out: &'a mut BytesMut,
    mask: &'a Mask,
}

impl Fields<'_> {
    #[inline]
    fn number(&mut self, field: u32, value: u64) {
        if value != 0 && self.mask.wants(field) {
            put_number(self.out, field, value);
        }
    }

    #[inline]
    fn int32(&mut self, field: u32, value: i32) {
        self.number(field, i64::from(value) as u64);
    }

    #[inline]
    fn text(&mut self, field: u32, value: &str) {
        if self.mask.wants(field) {
            put_text(self.out, field, value);
        }
    }

    fn texts(&mut self, field: u32, values: &[Arc<str>]) {
        if self.mask.wants(field) {
            values.iter().for_each(|value| put_bytes(self.out, field, value.as_bytes()));
        }
    }

    /// A message somebody encoded before.
    #[inline]
    fn message(&mut self, field: u32, body: Option<&[u8]>) {
        let Some(body) = body else { return };
        if !self.mask.wants(field) {
            return;
        }
        match self.mask.part(field) {
            None => put_bytes(self.out, field, body),
            Some(_) => self.nested(field, |out| out.extend_from_slice(body)),
        }
    }

    #[inline]
    fn nested(&mut self, field: u32, write: impl FnOnce(&mut BytesMut)) {
        if !self.mask.wants(field) {
            return;
        }
        let part = self.mask.part(field);
        put_nested(self.out, field, |out| {
            let start = out.len();
            write(out);
            // A body that somebody encoded wrongly is left out, so that the response stays readable.
            if part.is_some_and(|part| part.cut(out, start).is_err()) {
                out.truncate(start);
            }
        });
    }
}
