//! What is aimed at, and what the system we follow is known to need.
//!
//! Reference figures were measured by others, elsewhere, on a machine of this kind: they are shown
//! beside ours, never computed with.

use serde::Serialize;

/// Which side of a bound is good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Aim {
    /// Name of the figure.
    pub figure: &'static str,
    pub about: &'static str,
    /// `None`: no bound was set, the figure is shown all the same.
    pub bound: Option<Bound>,
    /// The reference's figure; empty when none is known.
    pub reference: &'static str,
}

const fn at_most(figure: &'static str, about: &'static str, bound: f64, reference: &'static str) -> Aim {
    Aim { figure, about, bound: Some(Bound::AtMost(bound)), reference }
}

const fn at_least(figure: &'static str, about: &'static str, bound: f64, reference: &'static str) -> Aim {
    Aim { figure, about, bound: Some(Bound::AtLeast(bound)), reference }
}

const fn shown(figure: &'static str, about: &'static str, reference: &'static str) -> Aim {
    Aim { figure, about, bound: None, reference }
}

/// The table, in its order.
pub const AIMS: [Aim; 72] = [
    at_most("datapath.established.from_pod.v4", "established TCP packet, from_pod", 100.0, ""),
    at_most("datapath.established.to_pod.v4", "established TCP packet, to_pod", 100.0, ""),
    shown("datapath.established.from_pod.v6", "the same, IPv6, from_pod", ""),
    shown("datapath.established.to_pod.v6", "the same, IPv6, to_pod", ""),
    shown("datapath.flows_4096.from_pod.v4", "4,096 flows in turn, from_pod", ""),
    at_most("datapath.new_flow.from_pod.v4", "new flow, connection table full, from_pod", 1200.0, ""),
    at_most("datapath.new_flow.to_pod.v4", "new flow, connection table full, to_pod", 1200.0, ""),
    shown("datapath.new_flow.from_pod.v6", "the same, IPv6, from_pod", ""),
    shown("datapath.new_flow.to_pod.v6", "the same, IPv6, to_pod", ""),
    shown("datapath.new_flow_table_empty.from_pod.v4", "new flow, connection table empty", ""),
    at_most("datapath.added_by_l7.from_pod.v4", "added by L7 to a packet of no protocol, from_pod", 20.0, ""),
    at_most("datapath.added_by_l7.to_pod.v4", "added by L7 to a packet of no protocol, to_pod", 20.0, ""),
    shown("messages.http1.browser.request", "HTTP/1 request of a browser, its packet and record in it", ""),
    shown("messages.http1.browser.response", "HTTP/1 response of nginx", ""),
    shown("messages.http1.body.response", "1,448 bytes of an HTTP/1 body", ""),
    shown("messages.http2.indexed.request", "HTTP/2 request, all fields in the table", ""),
    shown("messages.http2.indexed.response", "HTTP/2 response, all fields in the table", ""),
    shown("messages.http2.nginx.response", "HTTP/2 response of nginx, six fields inserted", ""),
    shown("messages.grpc.unary.request", "gRPC request, one message", ""),
    shown("messages.grpc.unary.response", "gRPC response, one message, trailers", ""),
    shown("messages.dns.request", "DNS question", ""),
    shown("messages.dns.response", "DNS answer, three addresses", ""),
    shown("messages.kafka.produce.request", "Kafka Produce request", ""),
    shown("messages.kafka.produce.response", "Kafka Produce response", ""),
    shown("messages.kafka.fetch.request", "Kafka Fetch request", ""),
    shown("messages.kafka.fetch.response", "Kafka Fetch response", ""),
    shown("messages.tls.hello", "TLS ClientHello", ""),
    at_least("l7.http1.ratio", "wrk, nginx, HTTP/1 requests/s, L7 on : off", 0.95, ""),
    shown("l7.http1.cpu_ratio", "the same, CPU time of both pods, on : off", ""),
    at_least("l7.http2.ratio", "h2load -m 100, nginx, requests/s, L7 on : off", 0.93, ""),
    shown("l7.http2.cpu_ratio", "the same, CPU time of both pods, on : off", ""),
    at_least("l7.http2_nghttpd.ratio", "h2load -m 100, nghttpd, requests/s, L7 on : off", 0.93, ""),
    shown("l7.http2_nghttpd.cpu_ratio", "the same, CPU time of both pods, on : off", ""),
    at_least("l7.bulk.ratio", "bulk throughput, L7 on : off", 0.99, ""),
    shown("l7.bulk.cpu_ratio", "the same, CPU time of both pods, on : off", ""),
    shown("l7.crr.ratio", "connect/request/close, L7 on : off", ""),
    shown("l7.crr.cpu_ratio", "the same, CPU time of both pods, on : off", ""),
    shown("l7.http1.agent_all", "agent CPU per HTTP/1 request and its response", ""),
    at_most("l7.messages_lost", "messages lost during all that", 0.0, ""),
    at_least("traffic.rr.ratio", "TCP request/response p50, with : without", 0.95, "0.98"),
    at_least("traffic.crr.ratio", "connect/request/close, with : without", 0.90, "0.40–0.48"),
    shown("traffic.crr_p50.ratio", "the same by the median connection's time", ""),
    at_least("traffic.bulk.ratio", "bulk throughput, with : without", 0.95, ""),
    shown("agent.cpu_per_connection", "agent CPU per connection", "173–220 µs"),
    shown("agent.rss", "agent memory, resident", "180–210 MB"),
    at_most("agent.events_lost", "events lost during all that", 0.0, ""),
    shown("follow.relay.p50", "event to client through the relay, 2 connections/s, p50", "1–10 s"),
    shown("follow.relay.p99", "the same, p99", "1–10 s"),
    shown("services.ours.1", "connect to a ClusterIP among 1, socket hook", ""),
    shown("services.ours.100", "among 100", ""),
    shown("services.ours.5000", "among 5,000", ""),
    at_most("services.ours.growth", "5,000 services : 1, socket hook", 1.10, ""),
    shown("services.iptables.1", "connect to a ClusterIP among 1, kube-proxy's rules", ""),
    shown("services.iptables.100", "among 100", ""),
    shown("services.iptables.5000", "among 5,000", ""),
    shown("services.iptables.growth", "5,000 services : 1, kube-proxy's rules", ""),
    at_most("scale.first_start.ready_after", "agent in a cluster of 5,000 pods, start to ready", 10.0, ""),
    at_most("scale.restart.ready_after", "the same, all in the kernel already", 10.0, ""),
    at_most("scale.rss", "its memory, resident", 256.0, ""),
    shown("scale.enforced.p50", "from a policy's edit to the first packet it decides, p50", ""),
    at_most("scale.enforced.p99", "the same, p99", 500.0, ""),
    shown("scale.cpu_per_edit", "agent CPU per edit", ""),
    at_most("ingest.ns_per_event.median", "agent, record → store, per event", 400.0, "9,700 ns"),
    shown("ingest.ns_per_message.median", "agent, record → store, per HTTP message", ""),
    shown("ingest.allocations_per_message", "allocations per HTTP message", ""),
    at_most("ingest.allocations_per_event", "allocations per event", 0.001, "48 (4.7 kB)"),
    at_most("store.bytes_per_flow.with_allocator", "memory per stored flow", 300.0, ""),
    at_least(
        "get_flows.decoding.store_4096.flows_per_second",
        "GetFlows, client decodes",
        350e3,
        "79,000 /s",
    ),
    at_least("get_flows.raw.store_4096.flows_per_second", "GetFlows, client keeps the bytes", 800e3, ""),
    at_most("relay.merge.cpu_per_flow", "relay over 50 nodes, CPU per flow", 2.0, "13–60 µs"),
    shown("relay.merge.rate", "relay over 50 nodes, merged", ""),
    at_most("relay.follow.added_p99", "latency a relay adds at 2 flows/s, p99", 150.0, "waits for 100 flows"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_figure_has_two_aims() {
        let mut names: Vec<_> = AIMS.iter().map(|aim| aim.figure).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), AIMS.len());
    }

    #[test]
    fn a_bound_is_met_exactly_at_the_bound() {
        assert!(Bound::AtMost(1.0).holds(1.0) && !Bound::AtMost(1.0).holds(1.01));
        assert!(Bound::AtLeast(1.0).holds(1.0) && !Bound::AtLeast(1.0).holds(0.99));
    }
}
