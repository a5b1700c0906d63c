//! What a filter asks of a flow.

use std::net::IpAddr;

/// Which end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Source,
    Destination,
}

/// The transport of a flow, as far as filters tell transports apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Udp,
    Icmpv4,
    Icmpv6,
    Sctp,
    Vrrp,
    Igmp,
}

/// The application record a flow carries, for `protocol: dns` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Application {
    Dns,
    Http,
    /// HTTP as well: who asks for HTTP gets these too.
    Grpc,
    Kafka,
}

/// The HTTP part of a flow; absent values are empty or zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpView<'a> {
    /// Response status, 0 on a request.
    pub code: u32,
    pub method: &'a str,
    /// As observed: absolute ("http://host/path?q") or origin form ("/path?q").
    pub url: &'a str,
}

/// A flow as filters see it. Implemented by the stored compact record (nothing is decoded) and by
/// the decoded [`crate::flow::Flow`].
///
/// Every method is cheap and allocates nothing. Methods with a body say what a flow without that
/// part answers, so an implementor writes only what it has.
pub trait FlowView {
    /// Number of [`crate::flow::Verdict`].
    fn verdict(&self) -> i32;

    /// Number of [`crate::flow::DropReason`]; 0 when nothing was dropped.
    fn drop_reason(&self) -> i32;

    /// (type, sub type): `event_type` as on the wire, see [`crate::names::event`].
    fn event_type(&self) -> (i32, i32);

    /// An enforced policy decided about this packet: what `event_type: policy-verdict` asks for.
    fn judged_by_policy(&self) -> bool {
        self.event_type().0 == crate::names::event::POLICY_VERDICT
    }

    /// `None` when the packet broke off before its addresses, or is not IP.
    fn ip(&self, side: Side) -> Option<IpAddr>;

    /// `None` without ports (ICMP, a fragment whose ports are unknown).
    fn port(&self, side: Side) -> Option<u16>;

    fn identity(&self, side: Side) -> u32;

    /// Empty when the end is not in a namespace.
    fn namespace(&self, side: Side) -> &str;

    /// Empty when the end is not a pod.
    fn pod_name(&self, side: Side) -> &str;

    /// Each as `source:key=value` ("k8s:app=web", "reserved:world").
    fn labels(&self, side: Side) -> impl Iterator<Item = &str>;

    /// Each as (name, kind).
    fn workloads(&self, side: Side) -> impl Iterator<Item = (&str, &str)>;

    fn cluster_name(&self, side: Side) -> &str;

    /// DNS names the address resolved to.
    fn names(&self, side: Side) -> impl Iterator<Item = &str>;

    /// (namespace, name) of the Service whose frontend this end is.
    fn service(&self, side: Side) -> Option<(&str, &str)>;

    fn transport(&self) -> Option<Transport>;

    /// Bits as in [`crate::names::tcp_flag`]; `None` when the flow is not TCP or carries none.
    fn tcp_flags(&self) -> Option<u16>;

    /// `None` when it is not known which way the connection was opened.
    fn reply(&self) -> Option<bool>;

    /// Number of [`crate::flow::TrafficDirection`].
    fn direction(&self) -> i32;

    /// `cluster/node`, or `node` in the cluster named "default".
    fn node_name(&self) -> &str;

    /// Each as `key=value`.
    fn node_labels(&self) -> impl Iterator<Item = &str>;

    /// (index, name) of the device.
    fn interface(&self) -> Option<(u32, &str)>;

    /// Whether this is the flow's UUID, in its text form.
    fn has_uuid(&self, text: &str) -> bool;

    /// Number of [`crate::flow::IpVersion`].
    fn ip_version(&self) -> i32;

    /// W3C trace id in hex; empty when there is none.
    fn trace_id(&self) -> &str {
        ""
    }

    fn application(&self) -> Option<Application> {
        None
    }

    fn http(&self) -> Option<HttpView<'_>> {
        None
    }

    /// Header fields of [`FlowView::http`], as (name, value).
    fn http_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::empty()
    }

    fn dns_query(&self) -> Option<&str> {
        None
    }

    /// Source address after source NAT.
    fn source_ip_xlated(&self) -> Option<IpAddr> {
        None
    }

    fn encrypted(&self) -> bool {
        false
    }

    /// 0 when the packet carries none.
    fn ip_trace_id(&self) -> u64 {
        0
    }
}
