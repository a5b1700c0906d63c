//! One field of a compiled filter, and how it is decided.

use super::address::Address;
use super::glob::{Glob, NodeGlob};
use super::http::{Status, path_matches};
use super::namespaced::NamePrefix;
use super::selector::Selector;
use super::view::{Application, FlowView, Side};
use crate::flow::{EventTypeFilter, HttpHeader, NetworkInterface, Verdict, Workload};
use crate::names::event;
use crate::names::protocol::Protocol;

/// Values of a field: any may match.
#[derive(Debug)]
pub(super) enum Test {
    Verdict(Vec<i32>),
    DropReason(Vec<i32>),
    EventType(Vec<EventTypeFilter>, Carried),
    Direction(Vec<i32>),
    IpVersion(Vec<i32>),
    Reply(Vec<bool>),
    Encrypted(Vec<bool>),
    Protocol(Vec<Protocol>),
    /// Each a set of bits that must all be there.
    TcpFlags(Vec<u16>),
    Identity(Side, Vec<u32>),
    Port(Side, Vec<u16>),
    IpTraceId(Vec<u64>),
    Interface(Vec<NetworkInterface>),
    Address(Side, Vec<Address>),
    AddressXlated(Vec<Address>),
    Pod(Side, Vec<NamePrefix>),
    Service(Side, Vec<NamePrefix>),
    Workload(Side, Vec<Workload>),
    Cluster(Side, Vec<Glob>),
    NodeName(Vec<NodeGlob>),
    Uuid(Vec<String>),
    TraceId(Vec<String>),
    Label(Side, Vec<Selector>),
    NodeLabel(Vec<Selector>),
    Fqdn(Side, Vec<Glob>),
    HttpStatus(Vec<Status>),
    HttpMethod(Vec<String>),
    HttpHeader(Vec<HttpHeader>),
    HttpPath(Vec<regex::bytes::Regex>),
    HttpUrl(Vec<regex::bytes::Regex>),
    DnsQuery(Vec<regex::bytes::Regex>),
}

impl Test {
    pub(super) fn matches<F: FlowView>(&self, flow: &F) -> bool {
        match self {
            Self::Verdict(any) => any.contains(&flow.verdict()),
            Self::DropReason(any) => dropped(flow) && any.contains(&flow.drop_reason()),
            Self::EventType(any, carried) => {
                any.iter().any(|wanted| event_type_matches(wanted, *carried, flow))
            }
            Self::Direction(any) => any.contains(&flow.direction()),
            Self::IpVersion(any) => any.contains(&flow.ip_version()),
            // A drop of which nothing is known happened on the way there, not back.
            Self::Reply(any) => {
                flow.reply().or(dropped(flow).then_some(false)).is_some_and(|reply| any.contains(&reply))
            }
            Self::Encrypted(any) => any.contains(&flow.encrypted()),
            Self::Protocol(any) => any.iter().any(|wanted| protocol_matches(*wanted, flow)),
            Self::TcpFlags(any) => {
                flow.tcp_flags().is_some_and(|flags| any.iter().any(|set| flags & set == *set))
            }
            Self::Identity(side, any) => any.contains(&flow.identity(*side)),
            Self::Port(side, any) => flow.port(*side).is_some_and(|port| any.contains(&port)),
            Self::IpTraceId(any) => any.contains(&flow.ip_trace_id()),
            Self::Interface(any) => {
                flow.interface().is_some_and(|has| any.iter().any(|w| interface_matches(w, has)))
            }
            Self::Address(side, any) => {
                flow.ip(*side).is_some_and(|ip| any.iter().any(|wanted| wanted.contains(ip)))
            }
            Self::AddressXlated(any) => {
                flow.source_ip_xlated().is_some_and(|ip| any.iter().any(|wanted| wanted.contains(ip)))
            }
            Self::Pod(side, any) => {
                let (namespace, name) = (flow.namespace(*side), flow.pod_name(*side));
                any.iter().any(|wanted| wanted.matches(namespace, name))
            }
            Self::Service(side, any) => flow
                .service(*side)
                .is_some_and(|(namespace, name)| any.iter().any(|wanted| wanted.matches(namespace, name))),
            Self::Workload(side, any) => {
                flow.workloads(*side).any(|has| any.iter().any(|wanted| workload_matches(wanted, has)))
            }
            Self::Cluster(side, any) => {
                let name = flow.cluster_name(*side);
                !name.is_empty() && any.iter().any(|wanted| wanted.matches(name))
            }
            Self::NodeName(any) => any.iter().any(|wanted| wanted.matches(flow.node_name())),
            Self::Uuid(any) => any.iter().any(|wanted| flow.has_uuid(wanted)),
            Self::TraceId(any) => any.iter().any(|wanted| wanted.eq_ignore_ascii_case(flow.trace_id())),
            Self::Label(side, any) => any.iter().any(|wanted| wanted.matches(|| flow.labels(*side))),
            Self::NodeLabel(any) => any.iter().any(|wanted| wanted.matches(|| flow.node_labels())),
            Self::Fqdn(side, any) => {
                flow.names(*side).any(|name| any.iter().any(|wanted| wanted.matches(name)))
            }
            Self::HttpStatus(any) => {
                flow.http().is_some_and(|http| any.iter().any(|wanted| wanted.matches(http.code)))
            }
            Self::HttpMethod(any) => flow
                .http()
                .is_some_and(|http| any.iter().any(|wanted| wanted.eq_ignore_ascii_case(http.method))),
            Self::HttpHeader(any) => {
                flow.http_headers().any(|has| any.iter().any(|w| header_matches(w, has)))
            }
            Self::HttpPath(any) => flow.http().is_some_and(|http| {
                path_matches(http.url, |path| any.iter().any(|wanted| wanted.is_match(path)))
            }),
            Self::HttpUrl(any) => {
                flow.http().is_some_and(|http| any.iter().any(|wanted| wanted.is_match(http.url.as_bytes())))
            }
            Self::DnsQuery(any) => flow
                .dns_query()
                .is_some_and(|query| any.iter().any(|wanted| wanted.is_match(query.as_bytes()))),
        }
    }
}

fn dropped<F: FlowView>(flow: &F) -> bool {
    flow.verdict() == Verdict::Dropped as i32
}

/// Whether a policy verdict that a flow of another type carries counts as its type.
///
/// Verdicts are not shown a second time as flows of their own: who asks for them means the flows that carry
/// them. Who asks not to be shown them wants to be spared the second time, not the flow: taken alike, a
/// blacklist of policy verdicts would hide every denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    Counts,
    DoesNot,
}

/// Type 0 is any type. Policy verdicts have no sub types, so where a flow of another type carries
/// one, it carries sub type 0.
fn event_type_matches<F: FlowView>(wanted: &EventTypeFilter, carried: Carried, flow: &F) -> bool {
    let (event_type, sub_type) = flow.event_type();
    let itself = (wanted.r#type == event::UNSPECIFIED || wanted.r#type == event_type)
        && (!wanted.match_sub_type || wanted.sub_type == sub_type);
    let carried = carried == Carried::Counts
        && wanted.r#type == event::POLICY_VERDICT
        && event_type != event::POLICY_VERDICT
        && (!wanted.match_sub_type || wanted.sub_type == 0)
        && flow.judged_by_policy();
    itself || carried
}

fn protocol_matches<F: FlowView>(wanted: Protocol, flow: &F) -> bool {
    use super::view::Transport::{Icmpv4, Icmpv6};
    match wanted {
        Protocol::Transport(transport) => flow.transport() == Some(transport),
        Protocol::Icmp => matches!(flow.transport(), Some(Icmpv4 | Icmpv6)),
        Protocol::Application(Application::Http) => {
            matches!(flow.application(), Some(Application::Http | Application::Grpc))
        }
        Protocol::Application(application) => flow.application() == Some(application),
    }
}

/// Index 0 and an empty name are any.
fn interface_matches(wanted: &NetworkInterface, (index, name): (u32, &str)) -> bool {
    (wanted.index == 0 || wanted.index == index) && (wanted.name.is_empty() || wanted.name == name)
}

/// An empty name or kind is any.
fn workload_matches(wanted: &Workload, (name, kind): (&str, &str)) -> bool {
    (wanted.name.is_empty() || wanted.name == name) && (wanted.kind.is_empty() || wanted.kind == kind)
}

/// An empty key or value is any; keys are compared without case (RFC 9110 section 5.1).
fn header_matches(wanted: &HttpHeader, (key, value): (&str, &str)) -> bool {
    (wanted.key.is_empty() || wanted.key.eq_ignore_ascii_case(key))
        && (wanted.value.is_empty() || wanted.value == value)
}
