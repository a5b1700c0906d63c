//! A decoded flow, as filters see it: for files, tests and clients.

use std::net::IpAddr;

use super::view::{Application, FlowView, HttpView, Side, Transport};
use crate::flow::layer4::Protocol;
use crate::flow::layer7::Record;
use crate::flow::{DropReason, Endpoint, Flow, Http, HttpHeader, Service};
use crate::names::{event, tcp_flag};

impl Flow {
    fn endpoint(&self, side: Side) -> Option<&Endpoint> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Destination => self.destination.as_ref(),
        }
    }

    fn l4_protocol(&self) -> Option<&Protocol> {
        self.l4.as_ref()?.protocol.as_ref()
    }

    fn l7_record(&self) -> Option<&Record> {
        self.l7.as_ref()?.record.as_ref()
    }
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

/// The facts say so, or the content type does where it was captured.
fn is_grpc(flow: &Flow, http: &Http) -> bool {
    let by_header = |header: &HttpHeader| {
        header.key.eq_ignore_ascii_case("content-type") && header.value.starts_with("application/grpc")
    };
    crate::facts::say_grpc(flow) || http.headers.iter().any(by_header)
}

impl FlowView for Flow {
    fn verdict(&self) -> i32 {
        self.verdict
    }

    #[allow(deprecated)] // Flows of old servers have only the numeric field.
    fn drop_reason(&self) -> i32 {
        if self.drop_reason_desc != 0 {
            self.drop_reason_desc
        } else {
            self.drop_reason.try_into().unwrap_or(0)
        }
    }

    fn event_type(&self) -> (i32, i32) {
        self.event_type.map_or((0, 0), |kind| (kind.r#type, kind.sub_type))
    }

    fn judged_by_policy(&self) -> bool {
        const DENIED: [i32; 2] = [DropReason::PolicyDenied as i32, DropReason::PolicyDeny as i32];
        let event_type = FlowView::event_type(self).0;
        // A message names the rule of its connection; the packet that was judged has a flow of its own.
        if event_type == event::L7 {
            return false;
        }
        event_type == event::POLICY_VERDICT
            || self.policy_match_type != 0
            || DENIED.contains(&FlowView::drop_reason(self))
            || [
                &self.egress_allowed_by,
                &self.ingress_allowed_by,
                &self.egress_denied_by,
                &self.ingress_denied_by,
            ]
            .iter()
            .any(|policies| !policies.is_empty())
    }

    fn ip(&self, side: Side) -> Option<IpAddr> {
        let ip = self.ip.as_ref()?;
        address(match side {
            Side::Source => &ip.source,
            Side::Destination => &ip.destination,
        })
    }

    fn port(&self, side: Side) -> Option<u16> {
        let (source, destination) = match self.l4_protocol()? {
            Protocol::Tcp(l4) => (l4.source_port, l4.destination_port),
            Protocol::Udp(l4) => (l4.source_port, l4.destination_port),
            Protocol::Sctp(l4) => (l4.source_port, l4.destination_port),
            _ => return None,
        };
        u16::try_from(if side == Side::Source { source } else { destination }).ok()
    }

    fn identity(&self, side: Side) -> u32 {
        self.endpoint(side).map_or(0, |end| end.identity)
    }

    fn namespace(&self, side: Side) -> &str {
        self.endpoint(side).map_or("", |end| &end.namespace)
    }

    fn pod_name(&self, side: Side) -> &str {
        self.endpoint(side).map_or("", |end| &end.pod_name)
    }

    fn labels(&self, side: Side) -> impl Iterator<Item = &str> {
        self.endpoint(side).into_iter().flat_map(|end| end.labels.iter().map(String::as_str))
    }

    fn workloads(&self, side: Side) -> impl Iterator<Item = (&str, &str)> {
        let workloads = self.endpoint(side).into_iter().flat_map(|end| &end.workloads);
        workloads.map(|workload| (workload.name.as_str(), workload.kind.as_str()))
    }

    fn cluster_name(&self, side: Side) -> &str {
        self.endpoint(side).map_or("", |end| &end.cluster_name)
    }

    fn names(&self, side: Side) -> impl Iterator<Item = &str> {
        let names = if side == Side::Source { &self.source_names } else { &self.destination_names };
        names.iter().map(String::as_str)
    }

    fn service(&self, side: Side) -> Option<(&str, &str)> {
        let service: &Option<Service> =
            if side == Side::Source { &self.source_service } else { &self.destination_service };
        service.as_ref().map(|service| (service.namespace.as_str(), service.name.as_str()))
    }

    fn transport(&self) -> Option<Transport> {
        Some(match self.l4_protocol()? {
            Protocol::Tcp(_) => Transport::Tcp,
            Protocol::Udp(_) => Transport::Udp,
            Protocol::IcmPv4(_) => Transport::Icmpv4,
            Protocol::IcmPv6(_) => Transport::Icmpv6,
            Protocol::Sctp(_) => Transport::Sctp,
            Protocol::Vrrp(_) => Transport::Vrrp,
            Protocol::Igmp(_) => Transport::Igmp,
        })
    }

    fn tcp_flags(&self) -> Option<u16> {
        match self.l4_protocol()? {
            Protocol::Tcp(tcp) => tcp.flags.as_ref().map(tcp_flag::bits),
            _ => None,
        }
    }

    fn reply(&self) -> Option<bool> {
        self.is_reply
    }

    fn direction(&self) -> i32 {
        self.traffic_direction
    }

    fn node_name(&self) -> &str {
        &self.node_name
    }

    fn node_labels(&self) -> impl Iterator<Item = &str> {
        self.node_labels.iter().map(String::as_str)
    }

    fn interface(&self) -> Option<(u32, &str)> {
        self.interface.as_ref().map(|interface| (interface.index, interface.name.as_str()))
    }

    fn has_uuid(&self, text: &str) -> bool {
        self.uuid.eq_ignore_ascii_case(text)
    }

    fn ip_version(&self) -> i32 {
        self.ip.as_ref().map_or(0, |ip| ip.ip_version)
    }

    fn trace_id(&self) -> &str {
        let parent = self.trace_context.as_ref().and_then(|context| context.parent.as_ref());
        parent.map_or("", |parent| &parent.trace_id)
    }

    fn application(&self) -> Option<Application> {
        Some(match self.l7_record()? {
            Record::Dns(_) => Application::Dns,
            Record::Http(http) if is_grpc(self, http) => Application::Grpc,
            Record::Http(_) => Application::Http,
            #[allow(deprecated)]
            Record::Kafka(_) => Application::Kafka,
        })
    }

    fn http(&self) -> Option<HttpView<'_>> {
        match self.l7_record()? {
            Record::Http(http) => Some(HttpView { code: http.code, method: &http.method, url: &http.url }),
            _ => None,
        }
    }

    fn http_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = match self.l7_record() {
            Some(Record::Http(http)) => http.headers.as_slice(),
            _ => &[],
        };
        headers.iter().map(|header| (header.key.as_str(), header.value.as_str()))
    }

    fn dns_query(&self) -> Option<&str> {
        match self.l7_record()? {
            Record::Dns(dns) => Some(&dns.query),
            _ => None,
        }
    }

    fn source_ip_xlated(&self) -> Option<IpAddr> {
        address(&self.ip.as_ref()?.source_xlated)
    }

    fn encrypted(&self) -> bool {
        self.ip.as_ref().is_some_and(|ip| ip.encrypted)
    }

    fn ip_trace_id(&self) -> u64 {
        self.ip_trace_id.as_ref().map_or(0, |id| id.trace_id)
    }
}
