//! A fixed set of responses, one of each shape that output has to cope with.

use fathom_api::Raw;
use fathom_api::flow::*;
use fathom_api::names::event;
use fathom_api::observer::GetFlowsResponse;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::relay::{NodeState, NodeStatusEvent};
use prost::Message;
use prost_types::Timestamp;

/// 2006-01-02T03:04:05 UTC and `millis` after it.
pub fn at(millis: i64) -> Timestamp {
    Timestamp { seconds: 1_136_171_045 + millis / 1_000, nanos: (millis % 1_000 * 1_000_000) as i32 }
}

pub fn pod(namespace: &str, name: &str, identity: u32) -> Option<Endpoint> {
    Some(Endpoint {
        id: 7,
        identity,
        namespace: namespace.into(),
        pod_name: name.into(),
        labels: vec![format!("k8s:app={name}")],
        ..Default::default()
    })
}

pub fn reserved(identity: u32) -> Option<Endpoint> {
    Some(Endpoint { identity, ..Default::default() })
}

fn ip(source: &str, destination: &str) -> Option<Ip> {
    let version = if source.contains(':') { IpVersion::IPv6 } else { IpVersion::IPv4 };
    Some(Ip {
        source: source.into(),
        destination: destination.into(),
        ip_version: version.into(),
        ..Default::default()
    })
}

pub fn tcp(source_port: u32, destination_port: u32, flags: TcpFlags) -> Option<Layer4> {
    let tcp = Tcp { source_port, destination_port, flags: Some(flags) };
    Some(Layer4 { protocol: Some(layer4::Protocol::Tcp(tcp)) })
}

fn udp(source_port: u32, destination_port: u32) -> Option<Layer4> {
    Some(Layer4 { protocol: Some(layer4::Protocol::Udp(Udp { source_port, destination_port })) })
}

fn kind(r#type: i32, sub_type: i32) -> Option<CiliumEventType> {
    Some(CiliumEventType { r#type, sub_type })
}

fn policy(name: &str) -> Policy {
    Policy {
        name: name.into(),
        namespace: "default".into(),
        kind: "NetworkPolicy".into(),
        ..Default::default()
    }
}

fn syn() -> TcpFlags {
    TcpFlags { syn: true, ..Default::default() }
}

/// A pod opens a connection to another: forwarded.
#[allow(deprecated)]
pub fn forwarded() -> Flow {
    Flow {
        time: Some(at(123)),
        verdict: Verdict::Forwarded.into(),
        ip: ip("10.244.1.5", "10.244.2.9"),
        l4: tcp(31793, 8080, syn()),
        source: pod("default", "xwing", 1001),
        destination: pod("default", "deathstar", 1003),
        r#type: FlowType::L3L4.into(),
        node_name: "node-1".into(),
        event_type: kind(event::TRACE, 0),
        traffic_direction: TrafficDirection::Ingress.into(),
        trace_observation_point: TraceObservationPoint::ToEndpoint.into(),
        is_reply: Some(false),
        ingress_allowed_by: vec![policy("allow-xwing")],
        summary: "TCP Flags: SYN".into(),
        uuid: "00000000-0000-4000-8000-000000000001".into(),
        ..Default::default()
    }
}

/// The same from a server that was asked for facts.
pub fn with_facts() -> Flow {
    use fathom_api::fathom_v1::{ConntrackState, Direction, FlowFacts, RuleRef, Trigger};
    let rule = RuleRef {
        kind: "NetworkPolicy".into(),
        namespace: "default".into(),
        name: "allow-xwing".into(),
        direction: Direction::Ingress.into(),
        index: Some(2),
    };
    let facts = FlowFacts {
        rule_id: 12,
        rules: vec![rule],
        packets: 3,
        bytes: 1_800,
        handshake_ns: 412_345,
        conntrack_state: ConntrackState::New.into(),
        trigger: Trigger::New.into(),
        frontend: "10.96.0.10:80".into(),
        cpu: 1,
        seq: 4_711,
        ..Default::default()
    };
    let extensions =
        prost_types::Any { type_url: fathom_api::facts::FACTS_TYPE.into(), value: facts.encode_to_vec() };
    Flow { extensions: Some(extensions), ..forwarded() }
}

/// The answer to it.
#[allow(deprecated)]
pub fn reply() -> Flow {
    let request = forwarded();
    Flow {
        time: Some(at(124)),
        ip: ip("10.244.2.9", "10.244.1.5"),
        l4: tcp(8080, 31793, TcpFlags { syn: true, ack: true, ..Default::default() }),
        source: request.destination.clone(),
        destination: request.source.clone(),
        event_type: kind(event::TRACE, 3),
        traffic_direction: TrafficDirection::Ingress.into(),
        is_reply: Some(true),
        ingress_allowed_by: Vec::new(),
        summary: "TCP Flags: SYN, ACK".into(),
        ..request
    }
}

/// Denied on the way to the world, which way round it was opened not known.
#[allow(deprecated)]
pub fn dropped() -> Flow {
    Flow {
        time: Some(at(878)),
        verdict: Verdict::Dropped.into(),
        drop_reason: 133,
        drop_reason_desc: DropReason::PolicyDenied.into(),
        ip: ip("10.244.1.5", "1.1.1.1"),
        l4: udp(31793, 53),
        source: pod("default", "xwing", 1001),
        destination: reserved(2),
        r#type: FlowType::L3L4.into(),
        node_name: "node-1".into(),
        event_type: kind(event::DROP, 133),
        traffic_direction: TrafficDirection::Egress.into(),
        egress_denied_by: vec![policy("default-deny"), policy("only-dns")],
        summary: "UDP".into(),
        uuid: "00000000-0000-4000-8000-000000000003".into(),
        ..Default::default()
    }
}

/// A policy verdict of its own, as other servers send it.
#[allow(deprecated)]
pub fn policy_verdict() -> Flow {
    Flow {
        time: Some(at(978)),
        ip: ip("10.244.1.5", "10.244.2.7"),
        l4: tcp(4000, 80, syn()),
        destination: pod("default", "db", 1003),
        event_type: kind(event::POLICY_VERDICT, 0),
        traffic_direction: TrafficDirection::Ingress.into(),
        is_reply: Some(false),
        egress_denied_by: Vec::new(),
        ingress_denied_by: vec![policy("db-ingress")],
        summary: "TCP Flags: SYN".into(),
        ..dropped()
    }
}

/// IPv6, from outside, by DNS name.
#[allow(deprecated)]
pub fn ipv6() -> Flow {
    Flow {
        time: Some(at(1_001)),
        ip: ip("2001:db8::1", "fd00:10:244:1::5"),
        l4: tcp(443, 50000, TcpFlags { ack: true, fin: true, ..Default::default() }),
        source: reserved(2),
        destination: pod("default", "xwing", 1001),
        is_reply: Some(true),
        summary: "TCP Flags: ACK, FIN".into(),
        ..forwarded()
    }
}

/// The same with the name its address is known by.
pub fn ipv6_named() -> Flow {
    Flow { source_names: vec!["api.example.com".into(), "www.example.com".into()], ..ipv6() }
}

/// No ports, an identity that is not known.
#[allow(deprecated)]
pub fn icmp() -> Flow {
    let icmp = IcmPv4 { r#type: 8, code: 0 };
    Flow {
        time: Some(at(1_100)),
        l4: Some(Layer4 { protocol: Some(layer4::Protocol::IcmPv4(icmp)) }),
        event_type: kind(event::TRACE, 3),
        source: pod("default", "xwing", 1001),
        destination: None,
        ip: ip("10.244.1.5", "192.0.2.77"),
        traffic_direction: TrafficDirection::Egress.into(),
        ingress_allowed_by: Vec::new(),
        summary: "ICMPv4 EchoRequest".into(),
        ..forwarded()
    }
}

/// A socket call for a service address, and its translation to a backend.
#[allow(deprecated)]
pub fn sockets() -> [Flow; 2] {
    let pre = Flow {
        time: Some(at(1_200)),
        verdict: Verdict::Traced.into(),
        ip: ip("10.244.1.5", "10.96.0.10"),
        l4: tcp(0, 80, TcpFlags::default()),
        source: pod("default", "xwing", 1001),
        destination: reserved(2),
        destination_service: Some(Service { name: "deathstar".into(), namespace: "empire".into() }),
        r#type: FlowType::Sock.into(),
        event_type: kind(event::TRACE_SOCK, 1),
        sock_xlate_point: SocketTranslationPoint::SockXlatePointPreDirectionFwd.into(),
        traffic_direction: TrafficDirection::Egress.into(),
        trace_observation_point: 0,
        ingress_allowed_by: Vec::new(),
        is_reply: None,
        socket_cookie: 4711,
        summary: "TCP".into(),
        ..forwarded()
    };
    let post = Flow {
        time: Some(at(1_201)),
        verdict: Verdict::Translated.into(),
        ip: ip("10.244.1.5", "10.244.2.9"),
        l4: tcp(0, 8080, TcpFlags::default()),
        destination: pod("empire", "deathstar-5f", 1003),
        destination_service: None,
        event_type: kind(event::TRACE_SOCK, 2),
        sock_xlate_point: SocketTranslationPoint::SockXlatePointPostDirectionFwd.into(),
        ..pre.clone()
    };
    [pre, post]
}

/// HTTP and DNS.
#[allow(deprecated)]
pub fn l7() -> [Flow; 2] {
    let http = Http {
        code: 200,
        method: "GET".into(),
        url: "http://deathstar/v1".into(),
        protocol: "HTTP/1.1".into(),
        headers: Vec::new(),
    };
    let dns = Dns {
        query: "deathstar.empire.svc.cluster.local.".into(),
        observation_source: "proxy".into(),
        qtypes: vec!["A".into()],
        ..Default::default()
    };
    let layer = |kind: L7FlowType, record| {
        Some(Layer7 { r#type: kind.into(), latency_ns: 4_000_000, record: Some(record) })
    };
    let base = Flow {
        r#type: FlowType::L7.into(),
        event_type: kind(event::L7, 0),
        ingress_allowed_by: Vec::new(),
        ..forwarded()
    };
    [
        Flow {
            time: Some(at(1_300)),
            l7: layer(L7FlowType::Response, layer7::Record::Http(http)),
            is_reply: Some(true),
            summary: "HTTP/1.1 200 4ms (GET http://deathstar/v1)".into(),
            ..base.clone()
        },
        Flow {
            time: Some(at(1_301)),
            l7: layer(L7FlowType::Request, layer7::Record::Dns(dns)),
            summary: "DNS Query deathstar.empire.svc.cluster.local. A".into(),
            ..base
        },
    ]
}

/// Not IP: only hardware addresses.
#[allow(deprecated)]
pub fn arp() -> Flow {
    Flow {
        time: Some(at(1_400)),
        ethernet: Some(Ethernet {
            source: "02:00:00:00:00:01".into(),
            destination: "ff:ff:ff:ff:ff:ff".into(),
        }),
        ip: None,
        l4: None,
        source: None,
        destination: None,
        egress_denied_by: Vec::new(),
        event_type: kind(event::DROP, 139),
        drop_reason_desc: DropReason::UnsupportedL3Protocol.into(),
        summary: "ARP".into(),
        ..dropped()
    }
}

/// Numbers from the future and text from an attacker.
#[allow(deprecated)]
pub fn odd() -> Flow {
    Flow {
        time: None,
        verdict: 99,
        event_type: kind(42, 0),
        source: pod("default", "evil\x1b[31m\nDROPPED", 16_777_300),
        auth_type: AuthType::Spire.into(),
        ip_trace_id: Some(IpTraceId { trace_id: 12, ip_option_type: 136 }),
        is_reply: None,
        ingress_allowed_by: Vec::new(),
        summary: "line\rfeed".into(),
        ..forwarded()
    }
}

pub fn lost() -> [LostEvent; 2] {
    [
        LostEvent {
            source: LostEventSource::PerfEventRingBuffer.into(),
            num_events_lost: 1_234,
            cpu: Some(3),
            first: Some(at(1_500)),
            last: Some(at(1_600)),
        },
        LostEvent {
            source: LostEventSource::HubbleRingBuffer.into(),
            num_events_lost: 5,
            ..Default::default()
        },
    ]
}

pub fn node_status(state: NodeState, nodes: &[&str], message: &str) -> NodeStatusEvent {
    NodeStatusEvent {
        state_change: state.into(),
        node_names: nodes.iter().map(|name| name.to_string()).collect(),
        message: message.into(),
    }
}

/// A response as it arrives.
pub fn response(member: ResponseTypes, node: &str, time: Option<Timestamp>) -> Raw {
    let response = GetFlowsResponse { response_types: Some(member), node_name: node.into(), time };
    Raw(response.encode_to_vec().into())
}

pub fn flow_response(flow: Flow) -> Raw {
    let (node, time) = (flow.node_name.clone(), flow.time);
    response(ResponseTypes::Flow(flow), &node, time)
}

/// Everything above, in the order of time.
pub fn everything() -> Vec<Raw> {
    let status = |state, nodes: &[&str], message: &str, millis| {
        response(ResponseTypes::NodeStatus(node_status(state, nodes, message)), "relay", Some(at(millis)))
    };
    let flows = |flows: Vec<Flow>| flows.into_iter().map(flow_response).collect::<Vec<_>>();
    let losses = lost().map(|event| response(ResponseTypes::LostEvents(event), "node-2", Some(at(1_700))));
    [
        vec![status(NodeState::NodeConnected, &["node-1", "node-2"], "", 0)],
        flows(vec![forwarded(), reply(), dropped(), policy_verdict(), ipv6(), ipv6_named(), icmp()]),
        flows(sockets().into()),
        flows(l7().into()),
        vec![
            status(NodeState::NodeUnavailable, &["node-3"], "", 1_350),
            status(NodeState::NodeError, &["node-2", "node-4"], "went \"away\"", 1_360),
        ],
        flows(vec![arp(), odd()]),
        losses.into(),
        vec![status(NodeState::NodeGone, &["node-3"], "", 1_800)],
    ]
    .concat()
}
