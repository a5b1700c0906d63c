//! A node with 64 pods in a cluster of 5,000, and the records its kernel writes.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use fathom_api::fathom_v1;
use fathom_api::flow::{Endpoint, Policy, Service, Workload};
use fathom_bpf::abi::{self, Event, L7Head, l7_flag, l7_text, l7_type};
use fathom_bpf::decode::Record;
use fathom_node_agent::cluster::snapshot::{Device, EndpointInfo, RuleInfo, RuleRef, ServiceInfo, Snapshot};
use fathom_node_agent::events::StoreSize;
use fathom_node_agent::events::clock::boot_ns;
use fathom_node_agent::events::source::{KernelCounts, KernelLedger, Traffic};
use fathom_node_agent::pipeline::{Pipeline, PipelineConfig};
use nix::time::{ClockId, clock_gettime};
use prost::Message;
use zerocopy::IntoBytes as _;

pub const LOCAL: u32 = 64;
pub const REMOTE: u32 = 5_000;
const SERVICES: u32 = 200;
const RULES: u32 = 50;

/// One figure per line: name, value, unit.
pub fn figure(name: &str, value: f64, unit: &str) {
    println!("{name} {value:.1} {unit}");
}

/// CPU time of this thread or of the whole process, nanoseconds.
pub fn cpu_ns(clock: ClockId) -> u64 {
    Duration::from(clock_gettime(clock).expect("the clock exists")).as_nanos() as u64
}

struct Quiet;

impl KernelLedger for Quiet {
    fn counts(&self) -> anyhow::Result<KernelCounts> {
        Ok(KernelCounts::default())
    }

    fn traffic(&self) -> anyhow::Result<Vec<Traffic>> {
        Ok(Vec::new())
    }
}

pub fn pipeline(flows: usize) -> Pipeline {
    let mut config = PipelineConfig::new("default", "node-a");
    config.size = StoreSize { flows, denials: 4096 };
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot()));
    Pipeline::new(config, snapshot, Arc::new(Quiet)).expect("a power of two")
}

fn local_ip(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0af4_0100 + n % LOCAL).into()
}

fn remote_ip(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0af5_0000 + n % REMOTE).into()
}

fn pod(n: u32, id: u32) -> Arc<EndpointInfo> {
    let message = Endpoint {
        id,
        identity: 1_000 + n,
        namespace: format!("team-{}", n % 20),
        labels: (0..6).map(|i| format!("k8s:app.example/label-{i}=value-{n}-{i}")).collect(),
        pod_name: format!("commentary-fanout-7d9c5b8f6d-{n:05}"),
        workloads: vec![Workload { name: "commentary-fanout".into(), kind: "Deployment".into() }],
        cluster_name: "default".into(),
    };
    Arc::new(EndpointInfo {
        id,
        identity: message.identity,
        namespace: message.namespace.as_str().into(),
        pod_name: message.pod_name.as_str().into(),
        labels: message.labels.iter().map(|label| label.as_str().into()).collect(),
        workload: Some(("commentary-fanout".into(), "Deployment".into())),
        cluster_name: "default".into(),
        node_name: "node-a".into(),
        encoded: message.encode_to_vec().into(),
    })
}

pub fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot {
        revision: 1,
        node_labels: vec!["kubernetes.io/hostname=node-a".into(), "topology.kubernetes.io/zone=a".into()],
        ..Default::default()
    };
    for n in 0..LOCAL {
        let endpoint = pod(n, n + 1);
        snapshot.by_ip.insert(local_ip(n), Arc::clone(&endpoint));
        snapshot.by_ifindex.insert(n + 10, Arc::new(Device { name: format!("fathom{n}").into(), endpoint }));
    }
    for n in 0..REMOTE {
        snapshot.by_ip.insert(remote_ip(n), pod(LOCAL + n, 0));
    }
    for n in 1..=SERVICES {
        let message = Service { name: format!("service-{n}"), namespace: "team-0".into() };
        let service = ServiceInfo {
            id: n,
            name: message.name.as_str().into(),
            namespace: "team-0".into(),
            encoded: message.encode_to_vec().into(),
        };
        let (service, frontend) = (Arc::new(service), Ipv4Addr::from(0x0a60_0000 + n).into());
        snapshot.services.insert((frontend, 80, 6), Arc::clone(&service));
        snapshot.services_by_id.insert(n, (service, frontend));
    }
    for id in 1..=RULES {
        snapshot.rules.insert(id, Arc::new(rule(id)));
    }
    snapshot
}

fn rule(id: u32) -> RuleInfo {
    let name = format!("policy-{id}");
    let (kind, namespace) = ("NetworkPolicy".to_owned(), "team-0".to_owned());
    let policy =
        Policy { name: name.clone(), namespace: namespace.clone(), kind: kind.clone(), ..Default::default() };
    let wire = fathom_v1::RuleRef { kind, namespace, name: name.clone(), direction: 2, index: Some(0) };
    let rule_ref = RuleRef {
        kind: "NetworkPolicy".into(),
        namespace: "team-0".into(),
        name: name.into(),
        direction: abi::direction::EGRESS,
        index: Some(0),
        labels: Vec::new(),
    };
    RuleInfo {
        id,
        default_deny: false,
        refs: vec![rule_ref],
        encoded_policies: vec![policy.encode_to_vec().into()],
        encoded_refs: vec![wire.encode_to_vec().into()],
    }
}

/// `count` records: connections of local pods to random peers, every second one through a service,
/// every twentieth denied.
pub fn records(count: u32) -> Vec<Event> {
    let mut random = 1_u32;
    let mut next = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random >> 8
    };
    let begin = boot_ns();
    (0..count).map(|n| record(n, begin + u64::from(n) * 1_000, next(), next())).collect()
}

fn record(n: u32, time_ns: u64, local: u32, remote: u32) -> Event {
    let denied = n.is_multiple_of(20);
    Event {
        version: abi::ABI_VERSION,
        kind: abi::kind::FLOW,
        len: 128,
        seq: n,
        time_ns,
        saddr: abi::ip_to_bytes(local_ip(local)),
        daddr: abi::ip_to_bytes(remote_ip(remote)),
        sport_be: (32_768 + (n % 28_000) as u16).to_be_bytes(),
        dport_be: [0, 80],
        src_identity: 1_000 + local % LOCAL,
        dst_identity: 1_000 + LOCAL + remote % REMOTE,
        ifindex: local % LOCAL + 10,
        rule_id: n % RULES + 1,
        handshake_us: if n % 4 == 1 { 250 } else { 0 },
        cpu: (n % 4) as u16,
        proto: 6,
        family: 4,
        direction: abi::direction::EGRESS,
        obs_point: abi::obs_point::TO_STACK,
        verdict: if denied { abi::verdict::DROPPED } else { abi::verdict::FORWARDED },
        reason: if denied { abi::drop_reason::POLICY_DENIED } else { 0 },
        ct_state: abi::ct_state::NEW,
        tcp_flags: [0x02, 0x12, 0x10, 0x11][n as usize % 4],
        icmp_type: 0,
        icmp_code: 0,
        flags: abi::flag::REPLY_KNOWN | abi::flag::POLICY,
        match_type: 2,
        trigger: if denied { abi::trigger::DROP | abi::TRIGGER_LANE_DROPS } else { abi::trigger::NEW },
        cookie: 0,
        packets: 1,
        service_id: if n.is_multiple_of(2) { n % SERVICES + 1 } else { 0 },
        bytes: 60,
        smac: [0x0a, 0x58, 0x0a, 0xf4, 1, 2],
        dmac: [0x0a, 0x58, 0x0a, 0xf4, 1, 3],
        l3_proto_be: [8, 0],
        frontend_port_be: [0, 80],
    }
}

/// The bytes of `count` records of messages, as they lie in a ring: requests and responses of HTTP in turns.
pub fn messages(count: u32) -> Vec<Vec<u64>> {
    let events = records(count);
    let half = (0..count / 2).map(|n| (n, &events[n as usize]));
    half.flat_map(|(n, event)| [request(n, event), response(n, event)]).collect()
}

fn request(exchange: u32, event: &Event) -> Vec<u64> {
    let head =
        L7Head { conn: 7, exchange, proto: 1, version: 11, kind: l7_type::REQUEST, ..L7Head::default() };
    let path = format!("/api/items/{}?colour=blue", exchange % 100);
    let method = L7Head { method: 1, ..head };
    message(event, method, &[(l7_text::PATH, path.as_bytes()), (l7_text::HOST, b"shop.example")])
}

fn response(exchange: u32, event: &Event) -> Vec<u64> {
    let head =
        L7Head { conn: 7, exchange, proto: 1, version: 11, kind: l7_type::RESPONSE, ..L7Head::default() };
    let head = L7Head { flags: l7_flag::STATUS, status: 200, latency_ns: 250_000, ..head };
    let answer = Event {
        saddr: event.daddr,
        daddr: event.saddr,
        sport_be: event.dport_be,
        dport_be: event.sport_be,
        src_identity: event.dst_identity,
        dst_identity: event.src_identity,
        direction: abi::direction::INGRESS,
        flags: event.flags | abi::flag::REPLY,
        ..*event
    };
    message(&answer, head, &[])
}

fn message(event: &Event, head: L7Head, texts: &[(u8, &[u8])]) -> Vec<u64> {
    let mut bytes = L7Head { texts: texts.len() as u8, ..head }.as_bytes().to_vec();
    for (kind, text) in texts {
        bytes.extend([*kind, 0]);
        bytes.extend((text.len() as u16).to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(*text);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let len = (size_of::<Event>() + bytes.len()) as u16;
    let event = Event {
        kind: abi::kind::L7,
        len,
        verdict: abi::verdict::FORWARDED,
        reason: 0,
        trigger: abi::trigger::NEW,
        ..*event
    };
    let mut words = vec![0; usize::from(len) / 8];
    words.as_mut_bytes()[..size_of::<Event>()].copy_from_slice(event.as_bytes());
    words.as_mut_bytes()[size_of::<Event>()..].copy_from_slice(&bytes);
    words
}

/// The record of a packet's event.
pub fn packet(event: &Event) -> Record<'_> {
    Record { event, message: None }
}
