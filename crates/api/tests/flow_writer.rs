//! The hand writer's bytes are prost's bytes, masked or not.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fathom_api::fathom_v1::{self, FlowFacts, RuleRef};
use fathom_api::flow::{self, Flow, layer4, layer7};
use fathom_api::names::l7_summary::L7Summary;
use fathom_api::names::summary::Summary;
use fathom_api::names::{dns, kafka, tcp_flag};
use fathom_api::observer::GetFlowsResponse;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::time::timestamp;
use fathom_api::uuid::UuidSpace;
use fathom_api::write::{
    Dns, EncryptedFacts, Facts, FlowParts, Grpc, Http, Kafka, KafkaFacts, L4, L7, L7Facts, L7Record, Mask,
    NodeFields, Policies, flow_response,
};
use proptest::prelude::*;
use prost::Message;
use prost_types::{Any, FieldMask};

/// What a test chose, owned: parts borrow from it, the expectation is built from it.
#[derive(Clone, Debug)]
struct Chosen {
    time_ns: i64,
    numbers: [i32; 9],
    wide: [u64; 6],
    ip: Option<(IpAddr, IpAddr)>,
    xlated: Option<IpAddr>,
    flags: [bool; 4],
    l4: L4,
    ethertype: u16,
    endpoints: [Option<flow::Endpoint>; 2],
    services: [Option<flow::Service>; 2],
    names: [Vec<String>; 2],
    reply: Option<bool>,
    interface: Option<(u32, String)>,
    policies: Vec<flow::Policy>,
    rules: Vec<RuleRef>,
    node: (String, Vec<String>),
    message: Option<Message7>,
}

/// A message a test chose: texts and numbers for whatever it has of them.
#[derive(Clone, Debug)]
struct Message7 {
    protocol: u8,
    texts: [String; 4],
    list: Vec<Box<str>>,
    ips: Vec<IpAddr>,
    wide: [u64; 5],
    small: [u16; 4],
    flags: [bool; 8],
}

impl Message7 {
    fn headers(&self) -> Vec<(Box<str>, Box<str>)> {
        self.list.iter().map(|name| (name.clone(), self.texts[3].as_str().into())).collect()
    }

    fn cnames(&self) -> Vec<Arc<str>> {
        self.list.iter().map(|name| Arc::from(&**name)).collect()
    }
}

fn message() -> impl Strategy<Value = Message7> {
    let texts = proptest::array::uniform4("[a-z/:.]{0,150}");
    let list = proptest::collection::vec("[a-z]{0,9}".prop_map(Box::from), 0..4);
    let ips = proptest::collection::vec(any::<IpAddr>(), 0..4);
    let wide = proptest::array::uniform5(prop_oneof![Just(0), any::<u64>()]);
    let small = proptest::array::uniform4(prop_oneof![Just(0), any::<u16>()]);
    (0u8..3, texts, list, ips, wide, small, any::<[bool; 8]>()).prop_map(
        |(protocol, texts, list, ips, wide, small, flags)| Message7 {
            protocol,
            texts,
            list,
            ips,
            wide,
            small,
            flags,
        },
    )
}

fn l4() -> impl Strategy<Value = L4> {
    prop_oneof![
        Just(L4::None),
        (any::<u16>(), any::<u16>(), proptest::option::of(0u16..512)).prop_map(
            |(source_port, destination_port, flags)| L4::Tcp { source_port, destination_port, flags }
        ),
        (any::<u16>(), any::<u16>())
            .prop_map(|(source_port, destination_port)| L4::Udp { source_port, destination_port }),
        (any::<u16>(), any::<u16>(), 0i32..7).prop_map(|(source_port, destination_port, chunk_type)| {
            L4::Sctp { source_port, destination_port, chunk_type }
        }),
        (any::<u8>(), any::<u8>()).prop_map(|(kind, code)| L4::Icmpv4 { kind, code }),
        (any::<u8>(), any::<u8>()).prop_map(|(kind, code)| L4::Icmpv6 { kind, code }),
    ]
}

fn endpoint() -> impl Strategy<Value = flow::Endpoint> {
    let texts = proptest::collection::vec("[a-z:=/-]{0,40}", 0..9);
    (any::<u32>(), any::<u32>(), "[a-z]{0,9}", texts, "[a-z0-9-]{0,60}", "[A-Za-z]{0,9}").prop_map(
        |(id, identity, namespace, labels, pod_name, kind)| flow::Endpoint {
            id,
            identity,
            namespace: namespace.clone(),
            labels,
            pod_name,
            workloads: if kind.is_empty() { vec![] } else { vec![flow::Workload { name: namespace, kind }] },
            cluster_name: "default".into(),
        },
    )
}

fn chosen() -> impl Strategy<Value = Chosen> {
    let service =
        ("[a-z]{0,9}", "[a-z]{0,9}").prop_map(|(name, namespace)| flow::Service { name, namespace });
    let policy =
        ("[a-z]{0,20}", proptest::collection::vec("[a-z=]{0,9}", 0..3)).prop_map(|(name, labels)| {
            flow::Policy { name, labels, kind: "NetworkPolicy".into(), ..Default::default() }
        });
    let rule = ("[a-z]{0,9}", proptest::option::of(any::<u32>())).prop_map(|(name, index)| RuleRef {
        name,
        index,
        direction: 1,
        ..Default::default()
    });
    let names = || proptest::collection::vec("[a-z.]{0,20}", 0..3);
    let two_ips = prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
    ];
    let packet = (
        any::<i64>(),
        proptest::array::uniform9(prop_oneof![Just(0), 0i32..250]),
        proptest::array::uniform6(prop_oneof![Just(0), any::<u64>()]),
        proptest::option::of(two_ips),
        proptest::option::of(any::<[u8; 4]>().prop_map(IpAddr::from)),
        any::<[bool; 4]>(),
        l4(),
        prop_oneof![Just(0), any::<u16>()],
    );
    let who = (
        [proptest::option::of(endpoint()), proptest::option::of(endpoint())],
        [proptest::option::of(service.clone()), proptest::option::of(service)],
        [names(), names()],
        any::<Option<bool>>(),
        proptest::option::of((any::<u32>(), "[a-z0-9]{0,15}")),
        proptest::collection::vec(policy, 0..3),
        proptest::collection::vec(rule, 0..3),
        ("[a-z/]{0,20}", proptest::collection::vec("[a-z=]{1,9}", 0..3)),
        proptest::option::of(message()),
    );
    (packet, who).prop_map(|(packet, who)| {
        let (time_ns, numbers, wide, ip, xlated, flags, l4, ethertype) = packet;
        let (endpoints, services, names, reply, interface, policies, rules, node, message) = who;
        Chosen {
            time_ns,
            numbers,
            wide,
            ip,
            xlated,
            flags,
            l4,
            ethertype,
            endpoints,
            services,
            names,
            reply,
            interface,
            policies,
            rules,
            node,
            message,
        }
    })
}

const MAC: [u8; 6] = [0x0a, 0x58, 0x0a, 0xf4, 1, 7];

fn uuids() -> UuidSpace {
    UuidSpace::from_seed(1, 2)
}

fn conntrack_and_trigger(chosen: &Chosen) -> (i32, i32) {
    (chosen.numbers[5] % 6, chosen.numbers[6] % 9)
}

/// The response as the hand writer makes it.
fn written(chosen: &Chosen, mask: &Mask) -> BytesMut {
    let encoded = |message: Option<Vec<u8>>| message.map(Bytes::from);
    let [source, destination] =
        [0, 1].map(|i| encoded(chosen.endpoints[i].as_ref().map(Message::encode_to_vec)));
    let services = [0, 1].map(|i| encoded(chosen.services[i].as_ref().map(Message::encode_to_vec)));
    let names =
        [0, 1].map(|i| chosen.names[i].iter().map(|n| Arc::from(n.as_str())).collect::<Vec<Arc<str>>>());
    let policies: Vec<Bytes> = chosen.policies.iter().map(|p| p.encode_to_vec().into()).collect();
    let rules: Vec<Bytes> = chosen.rules.iter().map(|r| r.encode_to_vec().into()).collect();
    let node = NodeFields::new(&chosen.node.0, chosen.node.1.iter().map(String::as_str), "1.2.3");
    let (conntrack_state, trigger) = conntrack_and_trigger(chosen);
    let [ethernet, has_uuid, denied, has_facts] = chosen.flags;
    let n = &chosen.numbers;
    let message = chosen.message.as_ref();
    let (headers, cnames) =
        (message.map_or(vec![], Message7::headers), message.map_or(vec![], Message7::cnames));
    let parts = FlowParts {
        l7: message.map(|message| l7(message, &headers, &cnames)),
        trace_id: message.map_or("", |message| &message.texts[3]),
        uuid: has_uuid.then(|| uuids().at(chosen.wide[0])),
        verdict: n[0] % 8,
        drop_reason: n[1],
        ethernet: ethernet.then_some((MAC, MAC)),
        ip: chosen.ip,
        source_xlated: chosen.xlated,
        encrypted: denied,
        l4: chosen.l4,
        ethertype: chosen.ethertype,
        source: source.as_deref(),
        destination: destination.as_deref(),
        flow_type: n[2] % 4,
        source_names: &names[0],
        destination_names: &names[1],
        event_type: (n[3], n[4]),
        source_service: services[0].as_deref(),
        destination_service: services[1].as_deref(),
        direction: n[5] % 3,
        policy_match_type: n[6] as u32,
        trace_observation_point: n[7] % 14,
        is_reply: chosen.reply,
        interface: chosen.interface.as_ref().map(|(index, name)| (*index, name.as_str())),
        sock_xlate_point: n[8] % 5,
        socket_cookie: chosen.wide[1],
        cgroup_id: chosen.wide[2],
        trace_reason: n[8] % 9,
        policies: Policies { direction: n[5] % 3, denied, bodies: &policies },
        facts: has_facts.then(|| Facts {
            rule_id: n[1] as u32,
            rules: &rules,
            packets: chosen.wide[3],
            bytes: chosen.wide[4],
            handshake_ns: chosen.wide[5],
            conntrack_state,
            trigger,
            frontend: chosen.xlated.map(|ip| (ip, 80).into()),
            cpu: n[2] as u32,
            seq: n[3] as u32,
            l7: message.map(l7_facts),
            encrypted: message.map(|message| EncryptedFacts {
                protocol: &message.texts[0],
                server_name: &message.texts[1],
                alpn: &message.list,
                truncated: message.flags[0],
            }),
        }),
        ..FlowParts::new(&node, chosen.time_ns)
    };
    let mut out = BytesMut::new();
    flow_response(&mut out, &parts, mask);
    out
}

/// The message as the writer takes it.
fn l7<'a>(m: &'a Message7, headers: &'a [(Box<str>, Box<str>)], cnames: &'a [Arc<str>]) -> L7<'a> {
    let [one, two, three, _] = &m.texts;
    let record = match m.protocol {
        0 => L7Record::Http(Http {
            code: m.small[0].into(),
            method: one,
            url: two,
            protocol: three,
            headers,
            grpc_status: m.flags[0].then_some(m.small[1]),
        }),
        1 => L7Record::Dns(Dns {
            query: one,
            ips: &m.ips,
            ttl: m.small[0].into(),
            cnames,
            rcode: m.small[1].into(),
            qtypes: &m.small[2..3],
            rrtypes: &m.small[..2],
        }),
        _ => L7Record::Kafka(Kafka {
            error_code: m.flags[0].then_some(m.small[0] as i16),
            api_version: m.small[1] as i16,
            api_key: m.flags[1].then_some(m.small[2]),
            correlation_id: m.wide[1] as i32,
            topic: one,
        }),
    };
    L7 { kind: i32::from(m.small[3] % 4), latency_ns: m.wide[0], record }
}

/// The same as a prost struct.
#[allow(deprecated)]
fn layer7(m: &Message7) -> flow::Layer7 {
    let list = || m.list.iter().map(ToString::to_string);
    let kinds = |kinds: &[u16]| kinds.iter().map(|kind| dns::Type(*kind).to_string()).collect();
    let record = match m.protocol {
        0 => layer7::Record::Http(flow::Http {
            code: m.small[0].into(),
            method: m.texts[0].clone(),
            url: m.texts[1].clone(),
            protocol: m.texts[2].clone(),
            headers: list().map(|key| flow::HttpHeader { key, value: m.texts[3].clone() }).collect(),
        }),
        1 => layer7::Record::Dns(flow::Dns {
            query: m.texts[0].clone(),
            ips: m.ips.iter().map(ToString::to_string).collect(),
            ttl: m.small[0].into(),
            cnames: list().collect(),
            rcode: m.small[1].into(),
            qtypes: kinds(&m.small[2..3]),
            rrtypes: kinds(&m.small[..2]),
            ..Default::default()
        }),
        _ => layer7::Record::Kafka(flow::Kafka {
            error_code: if m.flags[0] { i32::from(m.small[0] as i16) } else { 0 },
            api_version: i32::from(m.small[1] as i16),
            api_key: if m.flags[1] { kafka::ApiKey(m.small[2]).to_string() } else { String::new() },
            correlation_id: m.wide[1] as i32,
            topic: m.texts[0].clone(),
        }),
    };
    flow::Layer7 { r#type: i32::from(m.small[3] % 4), latency_ns: m.wide[0], record: Some(record) }
}

fn l7_facts(m: &Message7) -> L7Facts<'_> {
    let [truncated, unknown, unmatched, joined, ended, grpc, kafka, reset] = m.flags;
    L7Facts {
        connection: m.wide[0],
        exchange: m.wide[1] as u32,
        duration_ns: m.wide[2],
        handshake_ns: m.wide[3],
        client_bytes: m.wide[4],
        server_bytes: m.wide[0],
        truncated,
        unknown,
        unmatched,
        joined,
        ended,
        upgraded_to: &m.texts[0],
        reset_code: reset.then_some(m.small[0].into()),
        grpc: grpc.then(|| Grpc {
            service: &m.texts[1],
            method: &m.texts[2],
            status: kafka.then_some(m.small[1]),
            client_messages: m.wide[2] as u32,
            server_messages: m.wide[3] as u32,
        }),
        kafka: kafka.then(|| KafkaFacts {
            client_id: &m.texts[1],
            topics: &m.list,
            topic_count: m.small[2].into(),
            no_response: reset,
        }),
        problem: &m.texts[3],
        client_frames: m.small[0].into(),
        server_frames: m.small[1].into(),
    }
}

/// The same as a prost struct.
fn expected_l7_facts(m: &Message7) -> fathom_v1::L7Facts {
    let facts = l7_facts(m);
    let list = || m.list.iter().map(ToString::to_string).collect();
    fathom_v1::L7Facts {
        connection: facts.connection,
        exchange: facts.exchange,
        duration_ns: facts.duration_ns,
        handshake_ns: facts.handshake_ns,
        client_bytes: facts.client_bytes,
        server_bytes: facts.server_bytes,
        truncated: facts.truncated,
        unknown: facts.unknown,
        unmatched: facts.unmatched,
        joined: facts.joined,
        ended: facts.ended,
        upgraded_to: facts.upgraded_to.into(),
        reset_code: facts.reset_code,
        grpc: facts.grpc.map(|grpc| fathom_v1::Grpc {
            service: grpc.service.into(),
            method: grpc.method.into(),
            status: grpc.status.map(Into::into),
            client_messages: grpc.client_messages,
            server_messages: grpc.server_messages,
        }),
        kafka: facts.kafka.map(|kafka| fathom_v1::KafkaFacts {
            client_id: kafka.client_id.into(),
            topics: list(),
            topic_count: kafka.topic_count,
            no_response: kafka.no_response,
        }),
        problem: facts.problem.into(),
        client_frames: facts.client_frames,
        server_frames: facts.server_frames,
    }
}

/// The same response as a prost struct.
#[allow(deprecated)]
fn expected(chosen: &Chosen) -> GetFlowsResponse {
    let [ethernet, has_uuid, denied, has_facts] = chosen.flags;
    let n = &chosen.numbers;
    let (conntrack_state, trigger) = conntrack_and_trigger(chosen);
    let mac = "0a:58:0a:f4:01:07".to_owned();
    let l4 = |protocol| Some(flow::Layer4 { protocol: Some(protocol) });
    let (egress, ingress) = (n[5] % 3 == 2, n[5] % 3 == 1);
    let policies = |wanted: bool| if wanted { chosen.policies.clone() } else { vec![] };
    let message = chosen.message.as_ref();
    let summary = match message {
        Some(message) => L7Summary(&l7(message, &message.headers(), &message.cnames())).to_string(),
        None => Summary { l4: chosen.l4, ethertype: chosen.ethertype }.to_string(),
    };
    let facts = FlowFacts {
        rule_id: n[1] as u32,
        rules: chosen.rules.clone(),
        packets: chosen.wide[3],
        bytes: chosen.wide[4],
        handshake_ns: chosen.wide[5],
        conntrack_state,
        trigger,
        frontend: chosen.xlated.map(|ip| format!("{ip}:80")).unwrap_or_default(),
        cpu: n[2] as u32,
        seq: n[3] as u32,
        l7: message.map(expected_l7_facts),
        encrypted: message.map(|message| fathom_v1::EncryptedFacts {
            protocol: message.texts[0].clone(),
            server_name: message.texts[1].clone(),
            alpn: message.list.iter().map(ToString::to_string).collect(),
            truncated: message.flags[0],
        }),
    };
    let extension =
        Any { type_url: "type.googleapis.com/fathom.v1.FlowFacts".into(), value: facts.encode_to_vec() };
    let flow = Flow {
        time: Some(timestamp(chosen.time_ns)),
        verdict: n[0] % 8,
        drop_reason: n[1] as u32,
        ethernet: ethernet.then(|| flow::Ethernet { source: mac.clone(), destination: mac.clone() }),
        ip: (chosen.ip.is_some() || chosen.xlated.is_some() || denied).then(|| flow::Ip {
            source: chosen.ip.map(|ip| ip.0.to_string()).unwrap_or_default(),
            destination: chosen.ip.map(|ip| ip.1.to_string()).unwrap_or_default(),
            ip_version: chosen.ip.map_or(0, |ip| if ip.0.is_ipv4() { 1 } else { 2 }),
            encrypted: denied,
            source_xlated: chosen.xlated.map(|ip| ip.to_string()).unwrap_or_default(),
        }),
        l4: match chosen.l4 {
            L4::None => None,
            L4::Tcp { source_port, destination_port, flags } => l4(layer4::Protocol::Tcp(flow::Tcp {
                source_port: source_port.into(),
                destination_port: destination_port.into(),
                flags: flags.map(tcp_flag::message),
            })),
            L4::Udp { source_port, destination_port } => l4(layer4::Protocol::Udp(flow::Udp {
                source_port: source_port.into(),
                destination_port: destination_port.into(),
            })),
            L4::Sctp { source_port, destination_port, chunk_type } => {
                l4(layer4::Protocol::Sctp(flow::Sctp {
                    source_port: source_port.into(),
                    destination_port: destination_port.into(),
                    chunk_type,
                }))
            }
            L4::Icmpv4 { kind, code } => {
                l4(layer4::Protocol::IcmPv4(flow::IcmPv4 { r#type: kind.into(), code: code.into() }))
            }
            L4::Icmpv6 { kind, code } => {
                l4(layer4::Protocol::IcmPv6(flow::IcmPv6 { r#type: kind.into(), code: code.into() }))
            }
        },
        source: chosen.endpoints[0].clone(),
        destination: chosen.endpoints[1].clone(),
        r#type: n[2] % 4,
        node_name: chosen.node.0.clone(),
        source_names: chosen.names[0].clone(),
        destination_names: chosen.names[1].clone(),
        l7: message.map(layer7),
        trace_context: message.filter(|message| !message.texts[3].is_empty()).map(|message| {
            flow::TraceContext { parent: Some(flow::TraceParent { trace_id: message.texts[3].clone() }) }
        }),
        reply: chosen.reply == Some(true),
        event_type: ((n[3], n[4]) != (0, 0))
            .then_some(flow::CiliumEventType { r#type: n[3], sub_type: n[4] }),
        source_service: chosen.services[0].clone(),
        destination_service: chosen.services[1].clone(),
        traffic_direction: n[5] % 3,
        policy_match_type: n[6] as u32,
        trace_observation_point: n[7] % 14,
        drop_reason_desc: n[1],
        is_reply: chosen.reply,
        interface: chosen.interface.clone().map(|(index, name)| flow::NetworkInterface { index, name }),
        sock_xlate_point: n[8] % 5,
        socket_cookie: chosen.wide[1],
        cgroup_id: chosen.wide[2],
        uuid: if has_uuid { uuids().at(chosen.wide[0]).to_string() } else { String::new() },
        trace_reason: n[8] % 9,
        node_labels: chosen.node.1.clone(),
        emitter: Some(flow::Emitter { name: "Fathom".into(), version: "1.2.3".into() }),
        egress_allowed_by: policies(egress && !denied),
        ingress_allowed_by: policies(ingress && !denied),
        egress_denied_by: policies(egress && denied),
        ingress_denied_by: policies(ingress && denied),
        summary,
        extensions: has_facts.then_some(extension),
        ..Default::default()
    };
    GetFlowsResponse {
        response_types: Some(ResponseTypes::Flow(flow)),
        node_name: chosen.node.0.clone(),
        time: Some(timestamp(chosen.time_ns)),
    }
}

fn mask(paths: &[&str]) -> Mask {
    Mask::compile(Some(&FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }))
        .expect("valid paths")
}

/// The fields that Hubble's command line asks for by default.
const CLI_MASK: &[&str] = &[
    "time",
    "verdict",
    "ethernet",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "Type",
    "node_name",
    "l7",
    "event_type",
    "source_service",
    "destination_service",
    "is_reply",
    "Summary",
    "traffic_direction",
    "policy_match_type",
    "egress_denied_by",
    "ingress_denied_by",
];

proptest! {
    #[test]
    fn written_bytes_are_the_bytes_prost_writes(chosen in chosen()) {
        let bytes = written(&chosen, &Mask::all());
        let expected = expected(&chosen);
        prop_assert_eq!(GetFlowsResponse::decode(&bytes[..]).expect("decodes"), expected.clone());
        prop_assert_eq!(&bytes[..], &expected.encode_to_vec()[..]);
    }

    #[test]
    fn a_mask_while_writing_equals_a_mask_afterwards(
        chosen in chosen(),
        paths in proptest::sample::subsequence(
            vec!["verdict", "IP.source", "l4.TCP.flags.SYN", "source.labels", "source", "destination.pod_name",
                 "uuid", "node_labels", "emitter.name", "ingress_denied_by", "Summary", "extensions", "time.seconds",
                 "is_reply", "destination_names", "interface.name", "l7.type", "l7.http.url", "l7.dns",
                 "trace_context"], 1..10),
    ) {
        let mask = mask(&paths);
        let bytes = written(&chosen, &mask);
        let whole = expected(&chosen);
        let Some(ResponseTypes::Flow(flow)) = &whole.response_types else { unreachable!() };
        let mut cut = BytesMut::from(&flow.encode_to_vec()[..]);
        mask.apply(&mut cut).expect("valid bytes");
        let cut = Flow::decode(&cut[..]).expect("decodes");
        let expected = GetFlowsResponse { response_types: Some(ResponseTypes::Flow(cut)), ..whole };
        prop_assert_eq!(&bytes[..], &expected.encode_to_vec()[..]);
    }

    #[test]
    fn the_response_keeps_its_time_and_node_under_the_default_mask(chosen in chosen()) {
        let bytes = written(&chosen, &mask(CLI_MASK));
        let peek = fathom_api::peek::peek(&bytes).expect("valid");
        prop_assert_eq!(peek.node_name, &chosen.node.0);
        prop_assert_eq!(peek.time_ns, Some(chosen.time_ns));
        let flow = Flow::decode(peek.body).expect("decodes");
        prop_assert!(flow.uuid.is_empty() && flow.node_labels.is_empty() && flow.extensions.is_none());
        prop_assert_eq!(flow.source.is_some(), chosen.endpoints[0].is_some());
        prop_assert!(flow.source.is_none_or(|source| source.labels.is_empty()));
    }
}
