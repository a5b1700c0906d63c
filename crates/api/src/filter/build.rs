//! From a `FlowFilter` to its tests: what each field takes, and how it is refused.

use super::address::Address;
use super::error::FilterError;
use super::glob::{Glob, NodeGlob};
use super::http::Status;
use super::namespaced::NamePrefix;
use super::selector::Selector;
use super::test::{Carried, Test};
use super::view::Side::{self, Destination, Source};
use crate::flow::{DropReason, FlowFilter, IpVersion, TrafficDirection, Verdict};
use crate::names::{event, protocol, tcp_flag};

/// The list whose filters hide flows, as errors name it.
pub(super) const BLACKLIST: &str = "blacklist";

/// Compiles one filter, cheap tests first.
pub(super) fn tests(list: &'static str, index: usize, filter: &FlowFilter) -> Result<Vec<Test>, FilterError> {
    let mut build = Build { list, index, tests: Vec::new() };
    build.refuse_cel(filter)?;
    build.refuse_http_without_l7(filter)?;
    build.packet(filter)?;
    build.side(filter, Source)?;
    build.side(filter, Destination)?;
    build.place(filter)?;
    build.l7(filter)?;
    Ok(build.tests)
}

struct Build {
    list: &'static str,
    index: usize,
    tests: Vec<Test>,
}

impl Build {
    fn fail<T>(&self, field: &'static str, problem: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError { list: self.list, index: self.index, field, problem: problem.into() })
    }

    /// Adds the test of a field that has values, each read by `read`.
    fn field<V, T>(
        &mut self,
        field: &'static str,
        values: &[V],
        read: impl Fn(&V) -> Result<T, String>,
        test: impl FnOnce(Vec<T>) -> Test,
    ) -> Result<(), FilterError> {
        if values.is_empty() {
            return Ok(());
        }
        match values.iter().map(read).collect::<Result<Vec<_>, _>>() {
            Ok(values) => self.tests.push(test(values)),
            Err(problem) => return self.fail(field, problem),
        }
        Ok(())
    }

    /// The Common Expression Language costs microseconds and allocations per flow; its uses are
    /// covered by the other fields.
    fn refuse_cel(&self, filter: &FlowFilter) -> Result<(), FilterError> {
        match &filter.experimental {
            Some(experimental) if !experimental.cel_expression.is_empty() => self.fail(
                "experimental.cel_expression",
                format!("{:?}: CEL expressions are not supported", experimental.cel_expression[0]),
            ),
            _ => Ok(()),
        }
    }

    /// HTTP fields exist on L7 events only: with other event types nothing could ever match.
    fn refuse_http_without_l7(&self, filter: &FlowFilter) -> Result<(), FilterError> {
        let http = [
            ("http_status_code", filter.http_status_code.is_empty()),
            ("http_method", filter.http_method.is_empty()),
            ("http_path", filter.http_path.is_empty()),
            ("http_url", filter.http_url.is_empty()),
            ("http_header", filter.http_header.is_empty()),
        ];
        let l7 = |wanted: i32| wanted == event::L7 || wanted == event::UNSPECIFIED;
        let possible =
            filter.event_type.is_empty() || filter.event_type.iter().any(|wanted| l7(wanted.r#type));
        match http.into_iter().find(|(_, empty)| !empty) {
            Some((field, _)) if !possible => {
                self.fail(field, "needs an event_type of l7 (129), and event_type asks for others only")
            }
            _ => Ok(()),
        }
    }

    fn packet(&mut self, filter: &FlowFilter) -> Result<(), FilterError> {
        self.field("verdict", &filter.verdict, known::<Verdict>("verdict"), Test::Verdict)?;
        self.field(
            "drop_reason_desc",
            &filter.drop_reason_desc,
            known::<DropReason>("drop reason"),
            Test::DropReason,
        )?;
        let carried = if self.list == BLACKLIST { Carried::DoesNot } else { Carried::Counts };
        let event_type = |any| Test::EventType(any, carried);
        self.field("event_type", &filter.event_type, |wanted| Ok(*wanted), event_type)?;
        let direction = known::<TrafficDirection>("traffic direction");
        self.field("traffic_direction", &filter.traffic_direction, direction, Test::Direction)?;
        self.field("ip_version", &filter.ip_version, known::<IpVersion>("IP version"), Test::IpVersion)?;
        self.field("reply", &filter.reply, |wanted| Ok(*wanted), Test::Reply)?;
        self.field("encrypted", &filter.encrypted, |wanted| Ok(*wanted), Test::Encrypted)?;
        let parse = |text: &String| protocol::parse(text).map_err(|error| error.to_string());
        self.field("protocol", &filter.protocol, parse, Test::Protocol)?;
        self.field("tcp_flags", &filter.tcp_flags, |flags| Ok(tcp_flag::bits(flags)), Test::TcpFlags)?;
        let trace_id = |id: &u64| if *id == 0 { Err("0 is not a trace id".to_owned()) } else { Ok(*id) };
        self.field("ip_trace_id", &filter.ip_trace_id, trace_id, Test::IpTraceId)?;
        self.field("interface", &filter.interface, |wanted| Ok(wanted.clone()), Test::Interface)?;
        self.field("source_ip_xlated", &filter.source_ip_xlated, |s| Address::parse(s), Test::AddressXlated)
    }

    fn side(&mut self, f: &FlowFilter, side: Side) -> Result<(), FilterError> {
        let pick = |source, destination| if side == Source { source } else { destination };
        let (field, values) = match side {
            Source => ("source_identity", &f.source_identity),
            Destination => ("destination_identity", &f.destination_identity),
        };
        self.field(field, values, |id| Ok(*id), |any| Test::Identity(side, any))?;
        let (field, values) =
            pick(("source_port", &f.source_port), ("destination_port", &f.destination_port));
        self.field(field, values, |s| port(s), |any| Test::Port(side, any))?;
        let (field, values) = pick(("source_ip", &f.source_ip), ("destination_ip", &f.destination_ip));
        self.field(field, values, |s| Address::parse(s), |any| Test::Address(side, any))?;
        let (field, values) = pick(("source_pod", &f.source_pod), ("destination_pod", &f.destination_pod));
        self.field(field, values, |s| NamePrefix::parse(s), |any| Test::Pod(side, any))?;
        let (field, values) =
            pick(("source_service", &f.source_service), ("destination_service", &f.destination_service));
        self.field(field, values, |s| NamePrefix::parse(s), |any| Test::Service(side, any))?;
        let (field, values) = match side {
            Source => ("source_workload", &f.source_workload),
            Destination => ("destination_workload", &f.destination_workload),
        };
        self.field(field, values, |w| Ok(w.clone()), |any| Test::Workload(side, any))?;
        let (field, values) = pick(
            ("source_cluster_name", &f.source_cluster_name),
            ("destination_cluster_name", &f.destination_cluster_name),
        );
        self.field(field, values, |s| Glob::parse(s), |any| Test::Cluster(side, any))?;
        let (field, values) =
            pick(("source_label", &f.source_label), ("destination_label", &f.destination_label));
        self.field(field, values, |s| Selector::parse(s), |any| Test::Label(side, any))?;
        let (field, values) =
            pick(("source_fqdn", &f.source_fqdn), ("destination_fqdn", &f.destination_fqdn));
        self.field(field, values, |s| Glob::parse(s), |any| Test::Fqdn(side, any))
    }

    fn place(&mut self, filter: &FlowFilter) -> Result<(), FilterError> {
        self.field("node_name", &filter.node_name, |s| NodeGlob::parse(s), Test::NodeName)?;
        self.field("node_labels", &filter.node_labels, |s| Selector::parse(s), Test::NodeLabel)?;
        self.field("uuid", &filter.uuid, |s| not_empty(s), Test::Uuid)?;
        self.field("trace_id", &filter.trace_id, |s| not_empty(s), Test::TraceId)
    }

    fn l7(&mut self, filter: &FlowFilter) -> Result<(), FilterError> {
        self.field("http_status_code", &filter.http_status_code, |s| Status::parse(s), Test::HttpStatus)?;
        self.field("http_method", &filter.http_method, |s| not_empty(s), Test::HttpMethod)?;
        self.field("http_header", &filter.http_header, |header| Ok(header.clone()), Test::HttpHeader)?;
        self.field("http_path", &filter.http_path, |s| regex(s), Test::HttpPath)?;
        self.field("http_url", &filter.http_url, |s| regex(s), Test::HttpUrl)?;
        self.field("dns_query", &filter.dns_query, |s| regex(s), Test::DnsQuery)
    }
}

/// Reads the number of an enum. A number that this version has no name for is refused: no flow here
/// can carry it, and an empty answer would not say so.
fn known<E: TryFrom<i32>>(what: &'static str) -> impl Fn(&i32) -> Result<i32, String> {
    move |number| match E::try_from(*number) {
        Ok(_) => Ok(*number),
        Err(_) => Err(format!("{number} is not a {what} known here")),
    }
}

fn port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| format!("{text:?} is not a port number from 0 to 65535"))
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("an empty value".to_owned()) } else { Ok(text.to_owned()) }
}

/// RE2 syntax, found anywhere in the text unless the expression is anchored by `^` and `$`.
fn regex(text: &str) -> Result<regex::bytes::Regex, String> {
    regex::bytes::Regex::new(text).map_err(|error| {
        // The library's text shows the expression over several lines; its last one says why.
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("{text:?} is not a regular expression: {reason}")
    })
}
