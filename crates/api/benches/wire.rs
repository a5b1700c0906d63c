//! What a flow costs on its way out: filtered, written, peeked at, printed. Allocations are counted.
//!
//! `cargo bench -p fathom-api`

use std::hint::black_box;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use divan::{AllocProfiler, Bencher};
use fathom_api::flow::{self, Flow, FlowFilter};
use fathom_api::names::tcp_flag;
use fathom_api::observer::GetFlowsResponse;
use fathom_api::uuid::UuidSpace;
use fathom_api::write::{FlowParts, L4, Mask, NodeFields, Policies, flow_response};
use fathom_api::{Filter, json, peek};
use prost::Message;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

struct Sample {
    node: NodeFields,
    endpoint: Bytes,
    service: Bytes,
    policies: [Bytes; 1],
}

impl Sample {
    fn new() -> Self {
        let labels = (0..6).map(|i| format!("k8s:label-number-{i}=some-value-{i}")).collect();
        let endpoint = flow::Endpoint {
            id: 12,
            identity: 54321,
            namespace: "live".into(),
            labels,
            pod_name: "commentary-fanout-7f9c6d-x2v".into(),
            workloads: vec![flow::Workload { name: "commentary-fanout".into(), kind: "Deployment".into() }],
            cluster_name: "default".into(),
        };
        let service = flow::Service { name: "chat-relay".into(), namespace: "live".into() };
        let policy = flow::Policy {
            name: "allow".into(),
            namespace: "live".into(),
            kind: "NetworkPolicy".into(),
            ..Default::default()
        };
        Sample {
            node: NodeFields::new("worker-1", ["kubernetes.io/hostname=worker-1"], "0.1.0"),
            endpoint: endpoint.encode_to_vec().into(),
            service: service.encode_to_vec().into(),
            policies: [policy.encode_to_vec().into()],
        }
    }

    fn parts(&self) -> FlowParts<'_> {
        FlowParts {
            uuid: Some(UuidSpace::from_seed(1, 2).at(77)),
            verdict: 1,
            ethernet: Some(([10, 88, 10, 244, 1, 7], [10, 88, 10, 244, 1, 1])),
            ip: Some((IpAddr::from([10, 244, 1, 17]), IpAddr::from([10, 244, 2, 101]))),
            l4: L4::Tcp {
                source_port: 42180,
                destination_port: 80,
                flags: Some(tcp_flag::ACK | tcp_flag::PSH),
            },
            source: Some(&self.endpoint),
            destination: Some(&self.endpoint),
            flow_type: 1,
            event_type: (4, 3),
            destination_service: Some(&self.service),
            direction: 2,
            policy_match_type: 2,
            trace_observation_point: 3,
            is_reply: Some(false),
            interface: Some((7, "fth3a")),
            socket_cookie: 123_456_789,
            trace_reason: 2,
            policies: Policies { direction: 2, denied: false, bodies: &self.policies },
            ..FlowParts::new(&self.node, 1_764_000_001_123_456_789)
        }
    }

    fn bytes(&self) -> BytesMut {
        let mut out = BytesMut::new();
        flow_response(&mut out, &self.parts(), &Mask::all());
        out
    }
}

#[divan::bench]
fn write_a_flow(bencher: Bencher<'_, '_>) {
    let sample = Sample::new();
    let mut out = BytesMut::with_capacity(1 << 16);
    bencher.bench_local(|| {
        out.clear();
        flow_response(&mut out, black_box(&sample.parts()), &Mask::all());
        out.len()
    });
}

#[divan::bench]
fn write_a_flow_under_the_default_mask(bencher: Bencher<'_, '_>) {
    let sample = Sample::new();
    let paths = "time verdict ethernet IP l4 source.identity source.namespace source.pod_name destination.identity \
                 destination.namespace destination.pod_name Type node_name l7 event_type source_service \
                 destination_service is_reply Summary traffic_direction policy_match_type";
    let paths = paths.split_whitespace().map(String::from).collect();
    let mask = Mask::compile(Some(&prost_types::FieldMask { paths })).expect("valid");
    let mut out = BytesMut::with_capacity(1 << 16);
    bencher.bench_local(|| {
        out.clear();
        flow_response(&mut out, black_box(&sample.parts()), &mask);
        out.len()
    });
}

#[divan::bench]
fn prost_encode_for_comparison(bencher: Bencher<'_, '_>) {
    let response = GetFlowsResponse::decode(&Sample::new().bytes()[..]).expect("decodes");
    let mut out = BytesMut::with_capacity(1 << 16);
    bencher.bench_local(|| {
        out.clear();
        black_box(&response).encode(&mut out).expect("fits");
        out.len()
    });
}

#[divan::bench]
fn peek_at_a_response(bencher: Bencher<'_, '_>) {
    let bytes = Sample::new().bytes();
    bencher.bench_local(|| peek::peek(black_box(&bytes)).expect("valid").time_ns);
}

#[divan::bench]
fn print_a_response_as_json(bencher: Bencher<'_, '_>) {
    let bytes = Sample::new().bytes();
    let mut out = Vec::with_capacity(1 << 16);
    bencher.bench_local(|| {
        out.clear();
        json::append("observer.GetFlowsResponse", black_box(&bytes), &mut out).expect("prints");
        out.len()
    });
}

/// Each filter kind on one flow; those with regular expressions need a warm cache first.
#[divan::bench(args = ["verdict", "address", "label", "pod", "fqdn", "everything"])]
fn match_a_filter(bencher: Bencher<'_, '_>, kind: &str) {
    let bytes = Sample::new().bytes();
    let flow = Flow::decode(peek::peek(&bytes).expect("valid").body).expect("decodes");
    let texts = |text: &str| vec![text.to_owned()];
    let everything = FlowFilter {
        verdict: vec![1],
        source_ip: texts("10.244.0.0/16"),
        source_label: texts("label-number-5 in (some-value-5),!canary"),
        source_pod: texts("live/commentary"),
        destination_port: texts("80"),
        protocol: texts("tcp"),
        ..Default::default()
    };
    let filter = match kind {
        "verdict" => FlowFilter { verdict: vec![1], ..Default::default() },
        "address" => FlowFilter { source_ip: everything.source_ip, ..Default::default() },
        "label" => FlowFilter { source_label: everything.source_label, ..Default::default() },
        "pod" => FlowFilter { source_pod: everything.source_pod, ..Default::default() },
        "fqdn" => FlowFilter { destination_fqdn: texts("*.example.com"), ..Default::default() },
        _ => everything,
    };
    let filter = Filter::compile(&[filter], &[]).expect("valid");
    bencher.bench_local(|| black_box(&filter).matches(black_box(&flow)));
}
