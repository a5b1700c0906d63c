//! From filter flags, in the order they were typed, to the filters of a request.
//!
//! Flags about one end of the flow describe *one* endpoint: `--pod web --label tier=front` asks for
//! flows that have, on one side, a pod that is both. So they compile to two filters, one with the
//! endpoint as source and one with it as destination, as in Hubble's command line.
//!
//! `--port` is different, and here we leave Hubble's rule: a port is a fact of the connection, and
//! whoever types `--pod web --port 5432` means "web and port 5432", not "web listening on 5432".
//! Hubble pairs pod and port on the same side and silently leaves out what web sends to 5432. We
//! match the port on either side, independently of where the endpoint is: four filters, whose
//! result contains everything that Hubble's two would give.

use fathom_api::flow::{FlowFilter, flow_filter};
use fathom_api::names::event;

use super::flag::{CONFLICTS, EndpointField, Flag, FlowField, Meaning, Side};
use super::l7_value;
use super::namespace;
use super::value::{self, Refusal};

/// The filters of a request: a flow passes when any of `allow` matches (or there is none) and
/// none of `deny` does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    pub allow: Vec<FlowFilter>,
    pub deny: Vec<FlowFilter>,
}

/// The filter flags on the command line mean nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterFlagError {
    #[error("invalid argument {value:?} for {:?} flag: {refusal}", flag)]
    Value { flag: String, value: String, refusal: Refusal },
    #[error("trailing --not found in the arguments: it inverts the filter flag after it, and there is none")]
    TrailingNot,
    #[error(
        "--{0} is about events of type l7, and --type asks for others only: leave --type out, or add --type l7"
    )]
    OtherTypes(&'static str),
}

/// One end of a flow, as the fields of a filter are grouped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

/// What one list (allow or deny) has collected.
#[derive(Default)]
pub(super) struct List {
    /// The endpoint asked for by either-side flags is the source here …
    pub left: FlowFilter,
    /// … and the destination here.
    pub right: FlowFilter,
    /// Either-side ports.
    ports: Vec<String>,
    /// Namespaces from `-n`/`-A` (an empty one is any), to be merged into pods and services.
    pub namespaces: Vec<String>,
    pub source_namespaces: Vec<String>,
    pub destination_namespaces: Vec<String>,
    given: Vec<&'static str>,
}

/// Compiles filter flags with their values, in the order they were typed.
pub fn compile<'a>(
    typed: impl IntoIterator<Item = (&'static Flag, &'a str)>,
) -> Result<Filters, FilterFlagError> {
    let (mut allow, mut deny) = (List::default(), List::default());
    let mut not = false;
    for (flag, value) in typed {
        let refused =
            |refusal| FilterFlagError::Value { flag: flag.display(), value: value.to_owned(), refusal };
        if flag.value.is_none() && value != "true" {
            return Err(refused("the flag is on when given, and takes no value".to_owned()));
        }
        if flag.meaning == Meaning::Not {
            if not {
                return Err(refused("consecutive --not statements".to_owned()));
            }
            not = true;
            continue;
        }
        let list = if std::mem::take(&mut not) { &mut deny } else { &mut allow };
        list.take(flag, value).map_err(refused)?;
    }
    if not {
        return Err(FilterFlagError::TrailingNot);
    }
    if let Some(flag) = allow.flag_without_event().or(deny.flag_without_event()) {
        return Err(FilterFlagError::OtherTypes(flag));
    }
    Ok(Filters { allow: allow.filters(), deny: deny.filters() })
}

impl List {
    fn take(&mut self, flag: &'static Flag, value: &str) -> Result<(), Refusal> {
        if !self.given.contains(&flag.long) {
            self.given.push(flag.long);
        }
        self.check_conflicts()?;
        match flag.meaning {
            Meaning::Not => {}
            Meaning::Flow(field) => {
                put_flow_field(&mut self.left, field, value)?;
                put_flow_field(&mut self.right, field, value)?;
            }
            Meaning::Endpoint(side, EndpointField::Namespace) => {
                self.namespaces_of(side).push(value.to_owned())
            }
            Meaning::Endpoint(side, EndpointField::AllNamespaces) => {
                self.namespaces_of(side).push(String::new())
            }
            Meaning::Endpoint(Side::Either, EndpointField::Port) => self.ports.push(value::port(value)?),
            Meaning::Endpoint(side, field) => {
                let (left, right) = match side {
                    Side::Either => (End::Source, End::Destination),
                    Side::From => (End::Source, End::Source),
                    Side::To => (End::Destination, End::Destination),
                };
                put_endpoint_field(&mut self.left, left, field, value)?;
                put_endpoint_field(&mut self.right, right, field, value)?;
            }
        }
        namespace::check(self)
    }

    /// Only l7 events have messages: a flag about one next to other types could never match.
    fn flag_without_event(&self) -> Option<&'static str> {
        const ABOUT_MESSAGES: [&str; 6] =
            ["http-status", "http-method", "http-path", "http-url", "http-header", "dns-query"];
        let types = &self.left.event_type;
        let others = !types.is_empty() && !types.iter().any(|wanted| matches!(wanted.r#type, 0 | event::L7));
        self.given.iter().copied().find(|flag| others && ABOUT_MESSAGES.contains(flag))
    }

    fn namespaces_of(&mut self, side: Side) -> &mut Vec<String> {
        match side {
            Side::Either => &mut self.namespaces,
            Side::From => &mut self.source_namespaces,
            Side::To => &mut self.destination_namespaces,
        }
    }

    fn check_conflicts(&self) -> Result<(), Refusal> {
        for group in CONFLICTS {
            let mut given = group.iter().filter(|name| self.given.contains(name));
            if let (Some(one), Some(other)) = (given.next(), given.next()) {
                return Err(format!("filters --{one} and --{other} cannot be combined"));
            }
        }
        Ok(())
    }

    fn filters(mut self) -> Vec<FlowFilter> {
        if self.given.is_empty() {
            return Vec::new();
        }
        namespace::apply(&mut self);
        let mut filters = if self.left == self.right { vec![self.left] } else { vec![self.left, self.right] };
        if !self.ports.is_empty() {
            filters = filters
                .into_iter()
                .flat_map(|filter| {
                    let mut to = filter.clone();
                    to.destination_port.clone_from(&self.ports);
                    let mut from = filter;
                    from.source_port.clone_from(&self.ports);
                    [from, to]
                })
                .collect();
        }
        filters
    }
}

fn put_endpoint_field(
    filter: &mut FlowFilter,
    end: End,
    field: EndpointField,
    value: &str,
) -> Result<(), Refusal> {
    let source = end == End::Source;
    macro_rules! end {
        ($source:ident, $destination:ident) => {
            if source { &mut filter.$source } else { &mut filter.$destination }
        };
    }
    match field {
        EndpointField::Pod => end!(source_pod, destination_pod).push(value.to_owned()),
        EndpointField::Ip => end!(source_ip, destination_ip).push(value::address(value)?),
        EndpointField::Label => end!(source_label, destination_label).push(value.to_owned()),
        EndpointField::Service => end!(source_service, destination_service).push(value.to_owned()),
        EndpointField::Port => end!(source_port, destination_port).push(value::port(value)?),
        EndpointField::Identity => end!(source_identity, destination_identity).push(value::identity(value)?),
        EndpointField::Workload => end!(source_workload, destination_workload).push(value::workload(value)?),
        EndpointField::Fqdn => end!(source_fqdn, destination_fqdn).push(value.to_owned()),
        EndpointField::Cluster => {
            end!(source_cluster_name, destination_cluster_name).push(value.to_owned());
        }
        // Kept aside by `List::take` until pods and services are all known.
        EndpointField::Namespace | EndpointField::AllNamespaces => {}
    }
    Ok(())
}

fn put_flow_field(filter: &mut FlowFilter, field: FlowField, value: &str) -> Result<(), Refusal> {
    let text = || value.to_owned();
    match field {
        FlowField::Verdict => filter.verdict.push(value::verdict(value)?),
        FlowField::DropReason => filter.drop_reason_desc.push(value::drop_reason(value)?),
        FlowField::Type => filter.event_type.push(value::event_type(value)?),
        FlowField::Protocol => filter.protocol.push(l7_value::protocol(value)?),
        FlowField::HttpStatus => filter.http_status_code.push(l7_value::http_status(value)?),
        FlowField::HttpMethod => filter.http_method.push(l7_value::http_method(value)?),
        FlowField::HttpPath => filter.http_path.push(l7_value::regex(value)?),
        FlowField::HttpUrl => filter.http_url.push(l7_value::regex(value)?),
        FlowField::HttpHeader => filter.http_header.push(l7_value::http_header(value)?),
        FlowField::DnsQuery => filter.dns_query.push(l7_value::regex(value)?),
        FlowField::TcpFlags => filter.tcp_flags.push(value::tcp_flags(value)?),
        FlowField::TrafficDirection => filter.traffic_direction.push(value::traffic_direction(value)?),
        FlowField::NodeName => filter.node_name.push(text()),
        FlowField::NodeLabel => filter.node_labels.push(text()),
        FlowField::Interface => filter.interface.push(value::interface(value)),
        FlowField::Uuid => filter.uuid.push(text()),
        FlowField::TraceId => filter.trace_id.push(l7_value::trace_id(value)?),
        FlowField::IpTraceId => filter.ip_trace_id.push(value::ip_trace_id(value)?),
        FlowField::IpVersion => filter.ip_version.push(value::ip_version(value)?),
        FlowField::Ipv4 => filter.ip_version.push(value::ip_version("v4")?),
        FlowField::Ipv6 => filter.ip_version.push(value::ip_version("v6")?),
        FlowField::SnatIp => filter.source_ip_xlated.push(value::address(value)?),
        FlowField::Encrypted => filter.encrypted.push(true),
        FlowField::Unencrypted => filter.encrypted.push(false),
        FlowField::Reply => filter.reply.push(true),
        FlowField::NotReply => filter.reply.push(false),
        FlowField::Cel => {
            let experimental = filter.experimental.get_or_insert_with(flow_filter::Experimental::default);
            experimental.cel_expression.push(text());
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
