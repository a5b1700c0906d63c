//! GetFlows over loopback gRPC: flows per second of a full store to a client that decodes, and to one
//! that keeps the bytes. Server and clients share this process and its two worker threads.
//!
//! `cargo bench -p fathom-node-agent --bench get_flows [-- PART_OF_A_NAME]`. One `name value unit` line
//! per figure.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer::observer_client::ObserverClient;
use fathom_api::observer_raw::observer_client::ObserverClient as RawClient;
use fathom_api::serve::Listeners;
use fathom_api::write::{Mask, flow_response};
use fathom_node_agent::events::cursor::Cursor;
use fathom_node_agent::observer::node::{Node, NodeIdentity};
use fathom_node_agent::observer::view::View;
use fathom_node_agent::pipeline::Pipeline;
use nix::time::ClockId;
use support::{cpu_ns, figure, packet, pipeline, records, snapshot};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

mod support;

/// Flows per measurement.
const FLOWS: u64 = 1 << 19;
const REPEATS: usize = 5;

fn filled(flows: usize) -> Pipeline {
    let pipeline = pipeline(flows);
    let mut intake = pipeline.intake().expect("the first");
    let records = records(1 << 14);
    for record in records.iter().cycle().take(flows) {
        intake.take(packet(record));
    }
    intake.publish();
    pipeline
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if wanted("write.") {
        writer();
    }
    for flows in [4096, 1 << 17] {
        let pipeline = filled(flows);
        let listeners =
            Listeners::bind(&["127.0.0.1:0".to_owned()], &[], None, false).await.expect("loopback");
        let address = listeners.tcp_addresses()[0];
        let (_running, shutdown) = watch::channel(false);
        tokio::spawn(async move { pipeline.serve(listeners, shutdown, Duration::ZERO).await });
        let window = Some(4 << 20);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let endpoint = endpoint.initial_stream_window_size(window).initial_connection_window_size(window);
        let channel = endpoint.connect().await.expect("the server runs");
        let calls = FLOWS / flows as u64;
        measure("raw", flows, || raw(channel.clone(), calls)).await;
        measure("decoding", flows, || decoding(channel.clone(), calls)).await;
    }
}

/// Whether the command line asks for a figure: by a part of its name, or by saying nothing.
fn wanted(name: &str) -> bool {
    let mut parts = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    parts.peek().is_none() || parts.any(|part| name.contains(&part))
}

/// The best of some repeats, by wall clock.
async fn measure<F>(client: &str, flows: usize, call: impl Fn() -> F)
where
    F: Future<Output = u64> + Send + 'static,
{
    let name = |figure: &str| format!("get_flows.{client}.store_{flows}.{figure}");
    if !wanted(&name("")) {
        return;
    }
    let mut best: Option<(Duration, u64, u64)> = None;
    for _ in 0..REPEATS {
        let (begin, cpu) = (Instant::now(), cpu_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID));
        let received = tokio::spawn(call()).await.expect("the client does not panic");
        let spent = (begin.elapsed(), cpu_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID) - cpu, received);
        best = Some(best.map_or(spent, |best| best.min(spent)));
    }
    let (wall, cpu, received) = best.expect("measured");
    figure(&name("flows_per_second"), received as f64 / wall.as_secs_f64(), "flows/s");
    figure(&name("cpu_per_flow"), cpu as f64 / received as f64, "ns (server and client)");
}

async fn raw(channel: Channel, calls: u64) -> u64 {
    let mut client = RawClient::new(channel);
    let mut received = 0;
    for _ in 0..calls {
        let mut flows = client.get_flows(GetFlowsRequest::default()).await.expect("served").into_inner();
        while let Some(flow) = flows.message().await.expect("a response") {
            black_box(flow);
            received += 1;
        }
    }
    received
}

async fn decoding(channel: Channel, calls: u64) -> u64 {
    let mut client = ObserverClient::new(channel);
    let mut received = 0;
    for _ in 0..calls {
        let mut flows = client.get_flows(GetFlowsRequest::default()).await.expect("served").into_inner();
        while let Some(flow) = flows.message().await.expect("a response") {
            black_box(flow);
            received += 1;
        }
    }
    received
}

/// Stored flow → wire bytes, without gRPC.
fn writer() {
    let pipeline = filled(1 << 14);
    let store = std::sync::Arc::clone(&pipeline.shared().store);
    let (mut cursor, mut flows) = (Cursor::new(store, 0, 0), Vec::new());
    while flows.len() < 1 << 14 {
        cursor.next_chunk(u64::MAX, &mut flows);
    }
    let node = Node::new(NodeIdentity::new("default", "node-a", "0.1.0"), &snapshot());
    let (mask, mut out) = (Mask::all(), BytesMut::with_capacity(64 << 20));
    let mut best = u64::MAX;
    for _ in 0..20 {
        out.clear();
        let before = cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID);
        for flow in &flows {
            flow_response(&mut out, &View { flow, node: &node }.parts(false), &mask);
        }
        best = best.min(cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID) - before);
    }
    figure("write.ns_per_flow", best as f64 / flows.len() as f64, "ns");
    figure("write.bytes_per_flow", out.len() as f64 / flows.len() as f64, "bytes");
}
