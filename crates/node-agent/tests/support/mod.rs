//! An agent's data-out half over synthetic records, served on a unix socket.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use fathom_api::flow::{Endpoint, Flow, LostEvent, Policy, Service};
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::observer::observer_client::ObserverClient;
use fathom_api::observer::{GetFlowsRequest, GetFlowsResponse};
use fathom_api::serve::Listeners;
use fathom_bpf::abi::{self, Event, L7Head};
use fathom_bpf::decode::{Record, decode};
use fathom_node_agent::cluster::snapshot::{Device, EndpointInfo, RuleInfo, RuleRef, ServiceInfo, Snapshot};
use fathom_node_agent::events::StoreSize;
use fathom_node_agent::events::clock::{WallClock, boot_ns};
use fathom_node_agent::events::intake::Intake;
use fathom_node_agent::events::source::{KernelCounts, KernelLedger, Traffic};
use fathom_node_agent::pipeline::{Pipeline, PipelineConfig};
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint as Dial};
use zerocopy::IntoBytes as _;

/// No call of these tests takes longer.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const S: i64 = 1_000_000_000;
pub const WEB: &str = "10.244.1.7";
pub const DB: &str = "10.244.2.9";
pub const IFINDEX: u32 = 7;
pub const RULE: u32 = 9;

/// A kernel whose counts a test sets.
#[derive(Default)]
pub struct FakeKernel(pub Mutex<KernelCounts>);

impl KernelLedger for FakeKernel {
    fn counts(&self) -> anyhow::Result<KernelCounts> {
        Ok(*self.0.lock().unwrap())
    }

    fn traffic(&self) -> anyhow::Result<Vec<Traffic>> {
        Ok(vec![Traffic { direction: abi::direction::EGRESS, reason: 133, packets: 3, bytes: 180 }])
    }
}

impl FakeKernel {
    pub fn set(&self, change: impl FnOnce(&mut KernelCounts)) {
        change(&mut self.0.lock().unwrap());
    }
}

/// A served agent.
pub struct Agent {
    pub pipeline: Arc<Pipeline>,
    pub intake: Intake,
    pub kernel: Arc<FakeKernel>,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub channel: Channel,
    pub socket: std::path::PathBuf,
    pub shutdown: watch::Sender<bool>,
    pub served: JoinHandle<Result<(), fathom_api::serve::ServeError>>,
    clock: WallClock,
    _dir: tempfile::TempDir,
}

pub async fn agent(flows: usize, denials: usize) -> Agent {
    agent_with(flows, denials, |config| config).await
}

pub async fn agent_with(
    flows: usize,
    denials: usize,
    change: impl FnOnce(PipelineConfig) -> PipelineConfig,
) -> Agent {
    let mut config = PipelineConfig::new("default", "node-a");
    config.size = StoreSize { flows, denials };
    config.address = "192.0.2.7:4244".into();
    let kernel = Arc::new(FakeKernel::default());
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot()));
    let pipeline = Pipeline::new(change(config), Arc::clone(&snapshot), Arc::clone(&kernel) as _).unwrap();
    let pipeline = Arc::new(pipeline);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hubble.sock");
    let listeners = Listeners::bind(&[], std::slice::from_ref(&socket), None, false).await.unwrap();
    let (shutdown, down) = watch::channel(false);
    let served = tokio::spawn({
        let pipeline = Arc::clone(&pipeline);
        async move { pipeline.serve(listeners, down, Duration::from_secs(5)).await }
    });
    let dial = Dial::from_shared(format!("unix://{}", socket.display())).unwrap();
    let channel = dial.connect().await.unwrap();
    let mut intake = pipeline.intake().unwrap();
    // What WEB was told of DB.
    intake.names().learn(address(WEB), address(DB), &["db.internal".into()], PATIENCE, boot_ns());
    let clock = WallClock::new();
    Agent { pipeline, intake, kernel, snapshot, channel, socket, shutdown, served, clock, _dir: dir }
}

impl Agent {
    pub fn client(&self) -> ObserverClient<Channel> {
        ObserverClient::new(self.channel.clone())
    }

    /// Takes records in and publishes them; the kernel's books and numbers agree.
    pub fn take(&mut self, events: impl IntoIterator<Item = Event>) {
        self.intake.begin_batch();
        for mut event in events {
            let drops = event.trigger & abi::TRIGGER_LANE_DROPS != 0;
            self.kernel.set(|counts| {
                // Messages on the same lane have numbers of their own.
                let messages = if drops { 0 } else { counts.l7.emitted };
                let lane = if drops { &mut counts.drops } else { &mut counts.events };
                event.seq = (lane.taken - messages) as u32;
                lane.taken += 1;
                lane.emitted = lane.taken + lane.lost;
                counts.packets_reported += 1;
                counts.packets_seen += 1;
            });
            self.intake.take(Record { event: &event, message: None });
        }
        self.intake.publish();
    }

    /// Takes one record of a message in and publishes it; the kernel's books agree.
    pub fn take_message(&mut self, event: Event, head: L7Head, texts: &[(u8, &str)]) {
        let mut event = event;
        self.kernel.set(|counts| {
            event.seq = counts.l7.emitted as u32;
            counts.events.taken += 1;
            counts.events.emitted += 1;
            counts.other_records += 1;
            counts.l7.emitted += 1;
        });
        let words = message(event, head, texts);
        self.intake.begin_batch();
        self.intake.take(decode(words.as_bytes()).unwrap());
        self.intake.publish();
    }

    /// What a call brings until it ends.
    pub async fn flows(&self, request: GetFlowsRequest) -> Answer {
        let mut stream = self.client().get_flows(request).await.unwrap().into_inner();
        let mut answer = Answer::default();
        tokio::time::timeout(PATIENCE, async {
            while let Some(response) = stream.message().await.unwrap() {
                answer.add(response);
            }
            answer.trailers = stream.trailers().await.unwrap();
        })
        .await
        .expect("the answer ends");
        answer
    }

    /// Wall clock of a record's time.
    pub fn wall(&self, event: &Event) -> i64 {
        self.clock.wall_ns(event.time_ns)
    }
}

/// The parts of an answer.
#[derive(Debug, Default)]
pub struct Answer {
    pub flows: Vec<Flow>,
    pub lost: Vec<LostEvent>,
    pub responses: Vec<GetFlowsResponse>,
    pub trailers: Option<MetadataMap>,
}

impl Answer {
    pub fn add(&mut self, response: GetFlowsResponse) {
        match response.response_types.clone() {
            Some(ResponseTypes::Flow(flow)) => self.flows.push(flow),
            Some(ResponseTypes::LostEvents(lost)) => self.lost.push(lost),
            other => panic!("unexpected {other:?}"),
        }
        self.responses.push(response);
    }

    /// Source ports: tests number flows by them.
    pub fn ports(&self) -> Vec<u32> {
        self.flows.iter().map(source_port).collect()
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name)?.to_str().ok()
    }
}

/// The bytes of a message's record, aligned as in a ring.
fn message(event: Event, head: L7Head, texts: &[(u8, &str)]) -> Vec<u64> {
    let mut tail = L7Head { texts: texts.len() as u8, ..head }.as_bytes().to_vec();
    for (kind, text) in texts {
        tail.extend([*kind, 0, text.len() as u8, 0, 0, 0, 0, 0]);
        tail.extend(text.as_bytes());
        tail.resize(tail.len().next_multiple_of(8), 0);
    }
    let len = size_of::<Event>() + tail.len();
    let event = Event { kind: abi::kind::L7, len: len as u16, ..event };
    let mut words = vec![0u64; len / 8];
    words.as_mut_bytes()[..size_of::<Event>()].copy_from_slice(event.as_bytes());
    words.as_mut_bytes()[size_of::<Event>()..].copy_from_slice(&tail);
    words
}

/// The way back of an event.
pub fn back(event: Event) -> Event {
    Event {
        saddr: event.daddr,
        daddr: event.saddr,
        sport_be: event.dport_be,
        dport_be: event.sport_be,
        src_identity: event.dst_identity,
        dst_identity: event.src_identity,
        direction: abi::direction::INGRESS,
        flags: event.flags | abi::flag::REPLY,
        ..event
    }
}

pub fn source_port(flow: &Flow) -> u32 {
    match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(fathom_api::flow::layer4::Protocol::Tcp(tcp)) => tcp.source_port,
        other => panic!("{other:?} is not TCP"),
    }
}

pub fn address(text: &str) -> [u8; 16] {
    abi::ip_to_bytes(text.parse().unwrap())
}

/// A forwarded SYN from web to db. Tests number flows by the source port; they are a millisecond apart.
pub fn event(number: u16) -> Event {
    Event {
        version: abi::ABI_VERSION,
        kind: abi::kind::FLOW,
        len: 128,
        seq: number.into(),
        time_ns: boot_ns() + u64::from(number) * 1_000_000,
        saddr: address(WEB),
        daddr: address(DB),
        sport_be: number.to_be_bytes(),
        dport_be: 5432_u16.to_be_bytes(),
        src_identity: 1000,
        dst_identity: 2000,
        ifindex: IFINDEX,
        rule_id: RULE,
        handshake_us: 0,
        cpu: 1,
        proto: 6,
        family: 4,
        direction: abi::direction::EGRESS,
        obs_point: abi::obs_point::TO_STACK,
        verdict: abi::verdict::FORWARDED,
        reason: 0,
        ct_state: abi::ct_state::NEW,
        tcp_flags: 2,
        icmp_type: 0,
        icmp_code: 0,
        flags: abi::flag::REPLY_KNOWN | abi::flag::POLICY,
        match_type: 2,
        trigger: abi::trigger::NEW,
        cookie: 77,
        packets: 1,
        service_id: 5,
        bytes: 60,
        smac: [2, 0, 0, 0, 0, 1],
        dmac: [2, 0, 0, 0, 0, 2],
        l3_proto_be: [8, 0],
        frontend_port_be: 5432_u16.to_be_bytes(),
    }
}

/// The same, denied by policy.
pub fn denial(number: u16) -> Event {
    Event {
        verdict: abi::verdict::DROPPED,
        reason: abi::drop_reason::POLICY_DENIED,
        trigger: abi::trigger::DROP | abi::TRIGGER_LANE_DROPS,
        match_type: 0,
        ..event(number)
    }
}

pub fn snapshot() -> Snapshot {
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    let pod = |name: &str, identity, id| {
        let message = Endpoint {
            id,
            identity,
            namespace: "shop".into(),
            labels: vec![format!("k8s:app={name}")],
            pod_name: name.into(),
            cluster_name: "default".into(),
            ..Default::default()
        };
        Arc::new(EndpointInfo {
            id,
            identity,
            namespace: "shop".into(),
            pod_name: name.into(),
            labels: vec![format!("k8s:app={name}").into()],
            cluster_name: "default".into(),
            node_name: "node-a".into(),
            encoded: message.encode_to_vec().into(),
            ..Default::default()
        })
    };
    let web = pod("web", 1000, 17);
    let service = Service { name: "database".into(), namespace: "shop".into() };
    let service = ServiceInfo {
        id: 5,
        name: "database".into(),
        namespace: "shop".into(),
        encoded: service.encode_to_vec().into(),
    };
    let policy = Policy {
        name: "web-out".into(),
        namespace: "shop".into(),
        kind: "NetworkPolicy".into(),
        ..Default::default()
    };
    let rule_ref = fathom_api::fathom_v1::RuleRef {
        kind: "NetworkPolicy".into(),
        namespace: "shop".into(),
        name: "web-out".into(),
        direction: 2,
        index: Some(0),
    };
    let rule = RuleInfo {
        id: RULE,
        default_deny: false,
        refs: vec![RuleRef {
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            name: "web-out".into(),
            direction: abi::direction::EGRESS,
            index: Some(0),
            labels: Vec::new(),
        }],
        encoded_policies: vec![policy.encode_to_vec().into()],
        encoded_refs: vec![rule_ref.encode_to_vec().into()],
    };
    let mut snapshot = Snapshot { revision: 1, node_labels: vec!["zone=a".into()], ..Default::default() };
    snapshot.by_ip.insert(ip(WEB), Arc::clone(&web));
    snapshot.by_ip.insert(ip(DB), pod("db", 2000, 0));
    snapshot.by_ifindex.insert(IFINDEX, Arc::new(Device { name: "fathom7".into(), endpoint: web }));
    snapshot.services_by_id.insert(5, (Arc::new(service), ip("10.96.0.10")));
    snapshot.rules.insert(RULE, Arc::new(rule));
    snapshot
}
