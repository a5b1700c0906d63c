//! The relay over 50 synthetic agents: flows/s and CPU per flow of the relay alone, its memory, and
//! the latency it adds to a followed trickle.
//!
//! `cargo bench -p fathom-relay`. Agents and client are child processes, so that what this process
//! spends is what a relay spends. One `name value unit` line per figure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use fathom_api::Raw;
use fathom_api::flow::{Endpoint, Flow};
use fathom_api::observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes};
use fathom_api::observer_raw::observer_client::ObserverClient;
use fathom_relay::config::{Config, Timing};
use fathom_relay::dial::Dialer;
use fathom_relay::metrics::Metrics;
use fathom_relay::peers::{Peer, Peers};
use fathom_relay::pool::{Pace, Pool};
use fathom_relay::service::RelayObserver;
use prost::Message;
use tokio::sync::watch;
use tonic::service::Routes;

#[path = "relay/agents.rs"]
mod agents;

const NODES: usize = 50;
const FLOWS_PER_NODE: usize = 4096;
const FOLLOWED: usize = 40;

/// A response of about the size real flows have, without its time.
fn template(node: &str) -> Bytes {
    let endpoint = |n: u32| Endpoint {
        id: n,
        identity: 10_000 + n,
        namespace: "streaming".into(),
        labels: (0..6).map(|i| format!("k8s:some.label.example/{i}=value-{n}-{i}")).collect(),
        pod_name: format!("commentary-fanout-7d9c5b8f6d-{n:05}"),
        ..Default::default()
    };
    let flow = Flow {
        source: Some(endpoint(1)),
        destination: Some(endpoint(2)),
        node_name: node.into(),
        uuid: "00000000-0000-4000-8000-000000000000".into(),
        destination_names: vec!["chat-relay.streaming.svc.cluster.local".into()],
        ..Default::default()
    };
    let response = GetFlowsResponse {
        response_types: Some(ResponseTypes::Flow(flow)),
        node_name: node.into(),
        time: None,
    };
    response.encode_to_vec().into()
}

/// The template with `time` (field 1001) appended.
fn stamped(template: &Bytes, time: i64) -> Raw {
    let mut bytes = BytesMut::with_capacity(template.len() + 24);
    bytes.put_slice(template);
    prost::encoding::message::encode(1001, &fathom_api::time::timestamp(time), &mut bytes);
    Raw(bytes.freeze())
}

async fn client(target: &str) -> ObserverClient<tonic::transport::Channel> {
    let target = target.parse().expect("target");
    let channel = loop {
        match fathom_api::connect::connect(&target, &Default::default(), Duration::from_secs(5)).await {
            Ok(channel) => break channel,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    ObserverClient::new(channel).max_decoding_message_size(16 << 20)
}

/// Child: reads everything, prints how many flows and how long.
async fn read_all(target: &str) {
    let mut client = client(target).await;
    let started = Instant::now();
    let mut stream = client.get_flows(GetFlowsRequest::default()).await.expect("flows").into_inner();
    let mut flows = 0u64;
    while let Some(raw) = stream.message().await.expect("stream") {
        flows += u64::from(fathom_relay::wire::look(&raw).is_flow);
    }
    println!("{flows} {}", started.elapsed().as_nanos());
}

/// Child: follows, prints the lag of each flow in microseconds.
async fn follow(target: &str) {
    let mut client = client(target).await;
    let request = GetFlowsRequest { follow: true, ..Default::default() };
    let mut stream = client.get_flows(request).await.expect("flows").into_inner();
    let mut flows = 0;
    while flows < FOLLOWED {
        let raw = stream.message().await.expect("stream").expect("open");
        let seen = fathom_relay::wire::look(&raw);
        if seen.is_flow {
            println!("{}", (fathom_api::time::now() - seen.time) / 1000);
            flows += 1;
        }
    }
}

fn child(args: &[&str]) -> std::process::Child {
    Command::new(std::env::current_exe().expect("own path"))
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start child")
}

fn output(child: std::process::Child) -> String {
    String::from_utf8(child.wait_with_output().expect("child ends").stdout).expect("text")
}

/// User and system time of this process, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("comm").1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}

fn memory_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with(field)).expect("field");
    line.split_whitespace().nth(1).expect("value").parse().expect("number")
}

async fn relay(dir: &Path) -> PathBuf {
    let config = <Config as clap::Parser>::parse_from(["fathom-relay"]);
    let peers: BTreeMap<Arc<str>, Peer> = (0..NODES)
        .map(|n| {
            let name: Arc<str> = format!("node-{n:02}").into();
            let target = format!("unix://{}", dir.join(format!("node-{n:02}.sock")).display());
            (name.clone(), Peer { name, target: target.into(), tls_server_name: None })
        })
        .collect();
    let (keep, known) = watch::channel::<Peers>(Arc::new(peers));
    std::mem::forget(keep);
    let dial = Arc::new(Dialer::new(&config.tls).expect("dialer"));
    let pace = Pace::retrying(Duration::from_millis(50), Duration::from_millis(200));
    let pool = Pool::start(known, dial, pace);
    let connected = |nodes: &Arc<fathom_relay::pool::Nodes>| {
        let is =
            |node: &fathom_relay::pool::Node| matches!(node.state, fathom_relay::pool::State::Connected(_));
        nodes.values().filter(|node| is(node)).count() == NODES
    };
    pool.watch().wait_for(connected).await.expect("agents");
    let timing: Timing = config.timing();
    let observer =
        RelayObserver { pool, timing, relay_name: "relay".into(), metrics: Arc::new(Metrics::new()) };
    let socket = dir.join("relay.sock");
    let listeners = fathom_api::serve::Listeners::bind(&[], std::slice::from_ref(&socket), None, false)
        .await
        .expect("relay socket");
    let routes = Routes::new(fathom_api::observer_raw::observer_server::ObserverServer::new(observer));
    tokio::spawn(async move {
        let (_keep, stop) = watch::channel(false);
        listeners.serve(routes, stop, Duration::ZERO).await.expect("serve");
    });
    socket
}

fn lags(text: &str) -> Vec<u64> {
    let mut lags: Vec<u64> = text.lines().map(|line| line.parse().expect("lag")).collect();
    lags.sort_unstable();
    lags
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["agents", dir] => return agents::serve(Path::new(dir)).await,
        ["read", target] => return read_all(target).await,
        ["follow", target] => return follow(target).await,
        _ => {}
    }
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().to_str().expect("utf-8").to_owned();
    let mut agents = child(&["agents", &path]);
    let socket = relay(dir.path()).await;
    let target = format!("unix://{}", socket.display());

    let mut rounds = Vec::new();
    for round in 0..6 {
        let before = cpu();
        let reader = child(&["read", &target]);
        let text = tokio::task::spawn_blocking(move || output(reader)).await.expect("join");
        let spent = cpu() - before;
        let (flows, ns) = text.trim().split_once(' ').expect("two numbers");
        let (flows, ns): (u64, u64) = (flows.parse().expect("flows"), ns.parse().expect("ns"));
        assert_eq!(flows, (NODES * FLOWS_PER_NODE) as u64, "every flow arrives");
        if round > 0 {
            rounds.push((flows as f64 * 1e9 / ns as f64, spent.as_secs_f64() * 1e6 / flows as f64));
        }
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (rate, _) = rounds[rounds.len() / 2];
    rounds.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (_, cost) = rounds[rounds.len() / 2];
    println!("relay.merge.nodes {NODES} nodes");
    println!("relay.merge.rate {rate:.0} flows/s");
    println!("relay.merge.cpu_per_flow {cost:.3} us");
    println!("relay.memory.rss {} KiB", memory_kib("VmRSS"));
    println!("relay.memory.peak {} KiB", memory_kib("VmHWM"));

    let direct = child(&["follow", &format!("unix://{path}/node-00.sock")]);
    let through = child(&["follow", &target]);
    let (direct, through) = (lags(&output(direct)), lags(&output(through)));
    let at = |lags: &[u64], q: usize| lags[(lags.len() * q / 100).min(lags.len() - 1)] as f64 / 1000.0;
    println!("relay.follow.direct_p50 {:.1} ms", at(&direct, 50));
    println!("relay.follow.direct_p99 {:.1} ms", at(&direct, 99));
    println!("relay.follow.p50 {:.1} ms", at(&through, 50));
    println!("relay.follow.p99 {:.1} ms", at(&through, 99));
    println!("relay.follow.added_p99 {:.1} ms", at(&through, 99) - at(&direct, 99));
    agents.kill().expect("end agents");
    let _ = agents.wait();
}
