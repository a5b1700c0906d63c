//! Synthetic records and snapshots for unit tests.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fathom_bpf::abi::{self, Event};
use prost::Message;

use super::enrich::Enricher;
use super::flow::{Flow, proto};
use crate::cluster::snapshot::{Device, EndpointInfo, RuleInfo, ServiceInfo, Snapshot};

/// Interface of the local pod in [`snapshot`].
pub const IFINDEX: u32 = 7;
pub const LOCAL: &str = "10.244.1.7";
pub const LOCAL6: &str = "fd00:10:244:1::7";
pub const REMOTE: &str = "10.244.2.9";
pub const FRONTEND: &str = "10.96.0.10";
pub const OUTSIDE: &str = "93.184.216.34";

/// A forwarded TCP packet of the local pod.
pub fn event() -> Event {
    Event {
        version: abi::ABI_VERSION,
        kind: abi::kind::FLOW,
        len: 128,
        seq: 0,
        time_ns: 0,
        saddr: address(LOCAL),
        daddr: address(REMOTE),
        sport_be: 40_000_u16.to_be_bytes(),
        dport_be: 80_u16.to_be_bytes(),
        src_identity: 1000,
        dst_identity: 2000,
        ifindex: IFINDEX,
        rule_id: 0,
        handshake_us: 0,
        cpu: 0,
        proto: proto::TCP,
        family: 4,
        direction: abi::direction::EGRESS,
        obs_point: abi::obs_point::TO_STACK,
        verdict: abi::verdict::FORWARDED,
        reason: 0,
        ct_state: abi::ct_state::NEW,
        tcp_flags: 2,
        icmp_type: 0,
        icmp_code: 0,
        flags: abi::flag::REPLY_KNOWN,
        match_type: 0,
        trigger: abi::trigger::NEW,
        cookie: 0,
        packets: 1,
        service_id: 0,
        bytes: 60,
        smac: [2, 0, 0, 0, 0, 1],
        dmac: [2, 0, 0, 0, 0, 2],
        l3_proto_be: [8, 0],
        frontend_port_be: [0, 0],
    }
}

/// The same, denied.
pub fn denial() -> Event {
    Event {
        verdict: abi::verdict::DROPPED,
        reason: abi::drop_reason::POLICY_DENIED,
        trigger: abi::trigger::DROP | abi::TRIGGER_LANE_DROPS,
        ..event()
    }
}

pub fn address(text: &str) -> [u8; 16] {
    abi::ip_to_bytes(text.parse().expect("an address"))
}

/// An endpoint with its wire form; `id` 0 = not on this node.
pub fn pod(name: &str, identity: u32, id: u32) -> Arc<EndpointInfo> {
    endpoint(EndpointInfo {
        id,
        pod_name: name.into(),
        namespace: "shop".into(),
        cluster_name: "default".into(),
        labels: vec![format!("k8s:app={name}").into()],
        identity,
        ..Default::default()
    })
}

pub fn endpoint(mut info: EndpointInfo) -> Arc<EndpointInfo> {
    let message = fathom_api::flow::Endpoint {
        id: info.id,
        identity: info.identity,
        namespace: info.namespace.to_string(),
        labels: info.labels.iter().map(ToString::to_string).collect(),
        pod_name: info.pod_name.to_string(),
        ..Default::default()
    };
    info.encoded = message.encode_to_vec().into();
    Arc::new(info)
}

/// One local pod "web", one remote pod "db" behind the service "database", the world.
pub fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let (web, db) = (pod("web", 1000, 17), pod("db", 2000, 0));
    let world = EndpointInfo { identity: 2, labels: vec!["reserved:world".into()], ..Default::default() };
    snapshot.by_ip.insert(ip(LOCAL), Arc::clone(&web));
    snapshot.by_ip.insert(ip(LOCAL6), Arc::clone(&web));
    snapshot.by_ip.insert(ip(REMOTE), db);
    snapshot.by_identity.insert(2, endpoint(world));
    snapshot.by_ifindex.insert(IFINDEX, Arc::new(Device { name: "fathom7".into(), endpoint: web }));
    let service =
        ServiceInfo { id: 5, name: "database".into(), namespace: "shop".into(), ..Default::default() };
    let service = Arc::new(service);
    snapshot.services.insert((ip(FRONTEND), 5432, proto::TCP), Arc::clone(&service));
    snapshot.services_by_id.insert(5, (service, ip(FRONTEND)));
    snapshot.rules.insert(9, Arc::new(RuleInfo { id: 9, ..Default::default() }));
    snapshot
}

pub fn enricher(snapshot: Snapshot) -> Enricher {
    Enricher::new(Arc::new(ArcSwap::from_pointee(snapshot)))
}

/// A flow of this record at this wall clock, joined with nothing.
pub fn flow_at(event: Event, time_ns: i64) -> Flow {
    thread_local! {
        static NOBODY: Arc<EndpointInfo> = Arc::default();
    }
    let nobody = NOBODY.with(Arc::clone);
    Flow {
        event,
        seq: 0,
        time_ns,
        source: Arc::clone(&nobody),
        destination: nobody,
        service: None,
        rule: None,
        device: None,
        source_names: None,
        destination_names: None,
        payload: None,
        frontend: [0; 16],
        service_end: Default::default(),
    }
}
