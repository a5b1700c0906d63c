//! The filter flags of `observe`: their names, what each one narrows, and which exclude each other.

/// Which end of a flow an endpoint flag speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `--pod`: the endpoint may be either end.
    Either,
    /// `--from-pod`: the source.
    From,
    /// `--to-pod`: the destination.
    To,
}

/// What is known about one end of a flow and can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointField {
    Pod,
    Ip,
    Label,
    Namespace,
    AllNamespaces,
    Service,
    Port,
    Identity,
    Workload,
    Fqdn,
    Cluster,
}

/// What is known about a flow as a whole and can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowField {
    Verdict,
    DropReason,
    Type,
    Protocol,
    HttpStatus,
    HttpMethod,
    HttpPath,
    HttpUrl,
    HttpHeader,
    DnsQuery,
    TcpFlags,
    TrafficDirection,
    NodeName,
    NodeLabel,
    Interface,
    Uuid,
    TraceId,
    IpTraceId,
    IpVersion,
    Ipv4,
    Ipv6,
    SnatIp,
    Encrypted,
    Unencrypted,
    Reply,
    NotReply,
    Cel,
}

impl FlowField {
    /// Only flows of type l7 have it.
    pub fn is_of_messages(self) -> bool {
        use FlowField::*;
        matches!(self, HttpStatus | HttpMethod | HttpPath | HttpUrl | HttpHeader | DnsQuery | TraceId)
    }
}

/// The meaning of one flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// `--not`: the next filter flag excludes instead of selecting.
    Not,
    Endpoint(Side, EndpointField),
    Flow(FlowField),
}

/// One filter flag as it is typed.
#[derive(Debug)]
pub struct Flag {
    /// Without the dashes.
    pub long: &'static str,
    pub short: Option<char>,
    pub meaning: Meaning,
    /// Placeholder of the value in the help; `None` for a switch.
    pub value: Option<&'static str>,
    pub help: &'static str,
}

impl Flag {
    /// The flag as error messages name it: `--verdict`, `-t, --type`.
    pub fn display(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}

const fn flag(
    long: &'static str,
    short: Option<char>,
    meaning: Meaning,
    value: Option<&'static str>,
    help: &'static str,
) -> Flag {
    Flag { long, short, meaning, value, help }
}

/// Three flags of one endpoint field: either side, from, to.
macro_rules! sides {
    ($field:ident, $short:expr, $value:expr, $long:literal, $help:literal) => {
        [
            flag(
                $long,
                $short,
                Meaning::Endpoint(Side::Either, EndpointField::$field),
                $value,
                concat!($help, "; --from-", $long, " and --to-", $long, " name the end"),
            ),
            flag(
                concat!("from-", $long),
                None,
                Meaning::Endpoint(Side::From, EndpointField::$field),
                $value,
                concat!("Source: ", $help),
            ),
            flag(
                concat!("to-", $long),
                None,
                Meaning::Endpoint(Side::To, EndpointField::$field),
                $value,
                concat!("Destination: ", $help),
            ),
        ]
    };
}

/// Flags about one end of the flow, by field: either side, source, destination.
pub static ENDPOINT_FLAGS: [[Flag; 3]; 11] = [
    sides!(
        Pod,
        None,
        Some("[NS/]PREFIX"),
        "pod",
        "a pod whose name begins so, in namespace \"default\" unless given"
    ),
    sides!(Namespace, Some('n'), Some("NS"), "namespace", "in this Kubernetes namespace"),
    sides!(AllNamespaces, Some('A'), None, "all-namespaces", "in any Kubernetes namespace"),
    sides!(
        Service,
        None,
        Some("[NS/]PREFIX"),
        "service",
        "a service whose name begins so, in namespace \"default\" unless given"
    ),
    sides!(
        Workload,
        None,
        Some("[KIND/]NAME"),
        "workload",
        "a pod of this workload (\"Deployment/api\", \"DaemonSet/\", \"api\")"
    ),
    sides!(
        Label,
        Some('l'),
        Some("SELECTOR"),
        "label",
        "with these labels (\"app=api\", \"tier in (a,b)\", \"reserved:world\")"
    ),
    sides!(Identity, None, Some("ID"), "identity", "with this security identity, by number or reserved name"),
    sides!(Ip, None, Some("ADDRESS|CIDR"), "ip", "this address, or any in this CIDR"),
    sides!(Port, None, Some("PORT"), "port", "this TCP, UDP or SCTP port"),
    sides!(Fqdn, None, Some("PATTERN"), "fqdn", "an address known by this DNS name (\"*.example.com\")"),
    sides!(Cluster, None, Some("PATTERN"), "cluster", "in this cluster (\"prod-*\")"),
];

/// Flags about the flow as a whole, and `--not`.
pub static FLOW_FLAGS: [Flag; 28] = {
    use FlowField as F;
    use Meaning::{Flow, Not};
    [
        flag(
            "not",
            None,
            Not,
            None,
            "Exclude what the next filter flag matches; it inverts that one flag only",
        ),
        flag(
            "verdict",
            None,
            Flow(F::Verdict),
            Some("VERDICT"),
            "This verdict: FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED, TRANSLATED",
        ),
        flag(
            "drop-reason-desc",
            None,
            Flow(F::DropReason),
            Some("REASON"),
            "Dropped for this reason (\"POLICY_DENIED\", \"INVALID_SOURCE_IP\")",
        ),
        flag(
            "type",
            Some('t'),
            Flow(F::Type),
            Some("TYPE[:SUBTYPE]"),
            "This kind of event: drop, trace, policy-verdict, trace-sock, l7, capture, or its number; subtypes of trace by name (\"trace:to-endpoint\"), else by number",
        ),
        flag(
            "protocol",
            None,
            Flow(F::Protocol),
            Some("PROTOCOL"),
            "This protocol: tcp, udp, sctp, icmp, icmpv4, icmpv6, vrrp, igmp; or messages of one: http (gRPC too), grpc, dns, kafka",
        ),
        flag(
            "tcp-flags",
            None,
            Flow(F::TcpFlags),
            Some("FLAG[,FLAG]"),
            "TCP with all of these flags set (\"syn\", \"syn,ack\")",
        ),
        flag(
            "traffic-direction",
            None,
            Flow(F::TrafficDirection),
            Some("DIRECTION"),
            "Seen in this direction: ingress or egress of the local endpoint",
        ),
        flag("reply", None, Flow(F::Reply), None, "Replies only"),
        flag("not-reply", None, Flow(F::NotReply), None, "Everything but replies"),
        flag("ipv4", Some('4'), Flow(F::Ipv4), None, "IPv4 only"),
        flag("ipv6", Some('6'), Flow(F::Ipv6), None, "IPv6 only"),
        flag(
            "ip-version",
            None,
            Flow(F::IpVersion),
            Some("VERSION"),
            "This IP version: v4, v6, or none (ARP, for example)",
        ),
        flag(
            "snat-ip",
            None,
            Flow(F::SnatIp),
            Some("ADDRESS|CIDR"),
            "Source rewritten to this address, or to any in this CIDR",
        ),
        flag(
            "dns-query",
            None,
            Flow(F::DnsQuery),
            Some("REGEX"),
            "DNS message about a name that matches this regular expression",
        ),
        flag(
            "http-status",
            None,
            Flow(F::HttpStatus),
            Some("CODE"),
            "HTTP response with this status (\"404\"), or any that begins so (\"5xx\" or \"5+\", \"40x\" or \"40+\")",
        ),
        flag(
            "http-method",
            None,
            Flow(F::HttpMethod),
            Some("METHOD"),
            "HTTP request with this method, or the response to one; in any case",
        ),
        flag(
            "http-path",
            None,
            Flow(F::HttpPath),
            Some("REGEX"),
            "HTTP path, without the query, that matches this regular expression (\"^/api/\"); of gRPC: /package.Service/Method",
        ),
        flag(
            "http-url",
            None,
            Flow(F::HttpUrl),
            Some("REGEX"),
            "HTTP URL, host and query included, that matches this regular expression",
        ),
        flag(
            "http-header",
            None,
            Flow(F::HttpHeader),
            Some("NAME:VALUE"),
            "HTTP header with exactly this value, where the agents capture it",
        ),
        flag(
            "node-name",
            None,
            Flow(F::NodeName),
            Some("PATTERN"),
            "Observed on this node (\"k8s*\", \"cluster/node\")",
        ),
        flag(
            "node-label",
            None,
            Flow(F::NodeLabel),
            Some("SELECTOR"),
            "Observed on a node with these labels",
        ),
        flag("interface", None, Flow(F::Interface), Some("NAME"), "Observed at this network interface"),
        flag("uuid", None, Flow(F::Uuid), Some("UUID"), "The one flow with this identifier"),
        flag(
            "trace-id",
            None,
            Flow(F::TraceId),
            Some("ID"),
            "HTTP with this W3C trace id (or the traceparent header that holds it)",
        ),
        flag(
            "ip-trace-id",
            None,
            Flow(F::IpTraceId),
            Some("ID"),
            "Packets that carry this IP trace id (greater than 0)",
        ),
        flag("encrypted", None, Flow(F::Encrypted), None, "Encrypted traffic only"),
        flag("unencrypted", None, Flow(F::Unencrypted), None, "Unencrypted traffic only"),
        flag(
            "cel-expression",
            None,
            Flow(F::Cel),
            Some("CEL"),
            "Flows for which this CEL expression over _flow is true, where the server evaluates CEL",
        ),
    ]
};

/// Every filter flag.
pub fn all() -> impl Iterator<Item = &'static Flag> {
    FLOW_FLAGS.iter().chain(ENDPOINT_FLAGS.iter().flatten())
}

/// Flags of one group cannot be combined with each other: together they would select nothing, or say
/// the same thing twice in ways that look like they narrow. Repeating one flag is always fine.
/// The groups are those of Hubble's command line.
pub static CONFLICTS: &[&[&str]] = &[
    &[
        "from-fqdn",
        "from-ip",
        "ip",
        "fqdn",
        "from-namespace",
        "namespace",
        "from-all-namespaces",
        "all-namespaces",
    ],
    &["from-fqdn", "from-ip", "ip", "fqdn", "from-pod", "pod"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-namespace", "namespace", "to-all-namespaces", "all-namespaces"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-pod", "pod"],
    &["to-pod", "namespace", "all-namespaces"],
    &["from-pod", "namespace", "all-namespaces"],
    &["to-service", "namespace", "all-namespaces"],
    &["from-service", "namespace", "all-namespaces"],
    &["label", "from-label"],
    &["label", "to-label"],
    &["service", "from-service"],
    &["service", "to-service"],
    &["port", "to-port"],
    &["port", "from-port"],
    &["identity", "to-identity"],
    &["identity", "from-identity"],
    &["workload", "to-workload"],
    &["workload", "from-workload"],
    &["cluster", "to-cluster"],
    &["cluster", "from-cluster"],
    &["encrypted", "unencrypted"],
    &["reply", "not-reply"],
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn flag_names_and_shorts_are_unique() {
        let (mut longs, mut shorts) = (HashSet::new(), HashSet::new());
        for flag in all() {
            assert!(longs.insert(flag.long), "--{} twice", flag.long);
            assert!(flag.short.is_none_or(|s| shorts.insert(s)), "-{:?} twice", flag.short);
        }
    }

    #[test]
    fn conflict_groups_name_existing_flags() {
        let longs: HashSet<_> = all().map(|f| f.long).collect();
        for name in CONFLICTS.iter().copied().flatten() {
            assert!(longs.contains(name), "--{name} is in a conflict group but is no flag");
        }
    }
}
