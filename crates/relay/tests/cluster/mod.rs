//! Agents that serve what a test tells them, on unix sockets, and a relay over them.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fathom_api::Raw;
use fathom_api::fathom_v1::agent_client::AgentClient;
use fathom_api::fathom_v1::agent_server::AgentServer;
use fathom_api::flow::{Flow, LostEventSource};
use fathom_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, ServerStatusRequest, ServerStatusResponse, get_flows_response::ResponseTypes,
    observer_client::ObserverClient,
};
use fathom_api::observer_raw::observer_server::{Observer, ObserverServer};
use fathom_api::response::Lost;
use fathom_relay::agent::RelayAgent;
use fathom_relay::config::Timing;
use fathom_relay::dial::Dialer;
use fathom_relay::metrics::Metrics;
use fathom_relay::peers::{Peer, Peers};
use fathom_relay::pool::{Pace, Pool, State};
use fathom_relay::service::RelayObserver;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use tokio::sync::{broadcast, watch};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// What an agent of a test does with its flows.
#[derive(Clone, Default)]
pub struct Script {
    /// Flows held, by time in ns.
    pub history: Vec<i64>,
    /// Tells of a loss before the history, stamped with the moment of telling, as agents do.
    pub loss_first: bool,
    /// Passes before the history comes.
    pub delay: Duration,
    /// Bytes added to each flow.
    pub padding: usize,
    /// Ends a followed stream when `until` has passed.
    pub ends_in_time: bool,
    /// So many requests fail before one is answered.
    pub failures: usize,
    /// What the trailers say was looked at.
    pub examined: Option<u64>,
    /// Times of agent events held.
    pub events: Vec<i64>,
    /// After the history: never end, not even when nobody follows.
    pub hang: bool,
}

#[derive(Clone)]
pub struct FakeAgent {
    pub name: String,
    pub script: Script,
    pub live: broadcast::Sender<i64>,
    pub requests: Arc<Mutex<Vec<GetFlowsRequest>>>,
    pub event_requests: Arc<Mutex<Vec<GetAgentEventsRequest>>>,
}

pub fn response(node: &str, time: i64) -> Raw {
    padded(node, time, 0)
}

fn padded(node: &str, time: i64, padding: usize) -> Raw {
    let response = GetFlowsResponse {
        response_types: Some(ResponseTypes::Flow(Flow {
            time: Some(fathom_api::time::timestamp(time)),
            node_name: node.into(),
            uuid: format!("{node}-{time}"),
            node_labels: (padding > 0).then(|| "x".repeat(padding)).into_iter().collect(),
            ..Default::default()
        })),
        node_name: node.into(),
        time: Some(fathom_api::time::timestamp(time)),
    };
    Raw(response.encode_to_vec().into())
}

type Stream<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl Observer for FakeAgent {
    type GetFlowsStream = Stream<Raw>;
    type GetAgentEventsStream = Stream<GetAgentEventsResponse>;
    type GetDebugEventsStream = Stream<GetDebugEventsResponse>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<Stream<Raw>>, Status> {
        let request = request.into_inner();
        let asked = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len()
        };
        if asked <= self.script.failures {
            return Err(Status::internal("not today"));
        }
        let since = request.since.as_ref().map_or(0, fathom_api::time::unix_ns);
        let mut times: Vec<i64> = self.script.history.iter().copied().filter(|&t| t >= since).collect();
        if request.follow && request.number == 0 && request.since.is_none() {
            times.clear();
        }
        let n = request.number as usize;
        if n > 0 && times.len() > n {
            times = if request.first { times[..n].to_vec() } else { times[times.len() - n..].to_vec() };
        }
        let loss = self.script.loss_first.then(|| {
            let lost = Lost { source: LostEventSource::HubbleRingBuffer, count: 3, cpu: None, span_ns: None };
            Ok(fathom_api::response::lost(lost, &self.name, fathom_api::time::now()))
        });
        let node = self.name.clone();
        let (padding, delay) = (self.script.padding, self.script.delay);
        let history = futures::stream::iter(times.into_iter().map(move |t| Ok(padded(&node, t, padding))));
        let history = futures::stream::once(tokio::time::sleep(delay)).flat_map(move |()| history.clone());
        let rest = if request.follow {
            let node = self.name.clone();
            tokio_stream::wrappers::BroadcastStream::new(self.live.subscribe())
                .filter_map(move |t| futures::future::ready(t.ok().map(|t| Ok(response(&node, t)))))
                .boxed()
        } else if self.script.hang {
            futures::stream::pending().boxed()
        } else {
            futures::stream::empty().boxed()
        };
        let all = futures::stream::iter(loss).chain(history).chain(rest);
        let end =
            request.until.as_ref().filter(|_| self.script.ends_in_time && request.follow).map(|until| {
                let ahead = fathom_api::time::unix_ns(until) - fathom_api::time::now();
                Duration::from_nanos(ahead.max(0) as u64) + Duration::from_millis(100)
            });
        let all = match end {
            Some(end) => all.take_until(tokio::time::sleep(end)).boxed(),
            None => all.boxed(),
        };
        let last_word = self.script.examined.map(|examined| {
            let mut trailers = tonic::metadata::MetadataMap::new();
            trailers.insert("fathom-flows-examined", examined.into());
            Err(Status::with_metadata(tonic::Code::Ok, "", trailers))
        });
        Ok(Response::new(all.chain(futures::stream::iter(last_word)).boxed()))
    }

    async fn get_agent_events(
        &self,
        request: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Stream<GetAgentEventsResponse>>, Status> {
        let request = request.into_inner();
        self.event_requests.lock().unwrap().push(request);
        let node = self.name.clone();
        let event = move |time| {
            let time = Some(fathom_api::time::timestamp(time));
            Ok(GetAgentEventsResponse { agent_event: None, node_name: node.clone(), time })
        };
        let since = request.since.as_ref().map_or(0, fathom_api::time::unix_ns);
        let mut times: Vec<i64> = self.script.events.iter().copied().filter(|&t| t >= since).collect();
        let n = request.number as usize;
        if n > 0 && times.len() > n {
            times = times[times.len() - n..].to_vec();
        }
        let history = futures::stream::iter(times.into_iter().map(event.clone()));
        if !request.follow {
            return Ok(Response::new(history.boxed()));
        }
        let live = tokio_stream::wrappers::BroadcastStream::new(self.live.subscribe())
            .filter_map(move |t| futures::future::ready(t.ok().map(&event)));
        Ok(Response::new(history.chain(live).boxed()))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Stream<GetDebugEventsResponse>>, Status> {
        Err(Status::unimplemented("no debug events"))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        Err(Status::unimplemented("relay only"))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        Ok(Response::new(GetNamespacesResponse {
            namespaces: [("", "shared"), ("", &*self.name)]
                .map(|(cluster, namespace)| fathom_api::observer::Namespace {
                    cluster: cluster.into(),
                    namespace: namespace.into(),
                })
                .to_vec(),
        }))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let n = self.script.history.len() as u64;
        Ok(Response::new(ServerStatusResponse {
            num_flows: n,
            max_flows: 100,
            seen_flows: n * 2,
            uptime_ns: n,
            ..Default::default()
        }))
    }
}

/// A running fake agent with a runtime of its own; dropped, it is gone like a killed process, its
/// connections with it.
pub struct Running {
    pub agent: FakeAgent,
    pub socket: PathBuf,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

pub async fn start_agent(dir: &Path, name: &str, script: Script) -> Running {
    let agent = FakeAgent {
        name: name.into(),
        script,
        live: broadcast::channel(1024).0,
        requests: Arc::default(),
        event_requests: Arc::default(),
    };
    let socket = dir.join(format!("{name}.sock"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (served, path) = (agent.clone(), socket.clone());
    runtime.spawn(async move {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("hubble.server.Observer", tonic_health::ServingStatus::Serving).await;
        let routes = Routes::new(ObserverServer::new(served)).add_service(health_service);
        let listeners = fathom_api::serve::Listeners::bind(&[], &[path], None, false).await.expect("bind");
        ready.send(()).expect("the test waits");
        let (_keep, stop) = watch::channel(false);
        listeners.serve(routes, stop, Duration::ZERO).await.expect("serve");
    });
    is_ready.await.expect("bound");
    Running { agent, socket, runtime: Some(runtime) }
}

pub const TIMING: Timing = Timing {
    merge_wait: Duration::from_millis(50),
    slow_node_wait: Duration::from_millis(200),
    history_wait: Duration::from_millis(250),
};

pub const PACE: Pace = Pace {
    retry_first: Duration::from_millis(20),
    retry_most: Duration::from_millis(100),
    check_every: Duration::from_millis(100),
    check_within: Duration::from_millis(200),
};

/// A relay over the given sockets, and a decoding client of it.
pub struct Relay {
    pub pool: Pool,
    pub socket: PathBuf,
    pub metrics: Arc<Metrics>,
    pub agent: AgentClient<Channel>,
    _peers: watch::Sender<Peers>,
    pub client: ObserverClient<Channel>,
}

pub async fn start_relay(dir: &Path, agents: &[(&str, &Path)]) -> Relay {
    let map: BTreeMap<Arc<str>, Peer> = agents
        .iter()
        .map(|(name, socket)| {
            let target = format!("unix://{}", socket.display());
            let peer = Peer { name: (*name).into(), target: target.into(), tls_server_name: None };
            (peer.name.clone(), peer)
        })
        .collect();
    let (peers, known) = watch::channel::<Peers>(Arc::new(map));
    let tls = fathom_relay::config::Tls {
        mode: "auto".into(),
        tls_cert_file: None,
        tls_key_file: None,
        tls_client_ca_file: None,
        tls_agent_ca_file: Vec::new(),
        tls_agent_cert_file: None,
        tls_agent_key_file: None,
    };
    let dial = Arc::new(Dialer::new(&tls).expect("dialer"));
    let pool = Pool::start(known, dial, PACE);
    pool.settled(Duration::from_secs(5)).await;
    let observer = RelayObserver {
        pool: pool.clone(),
        timing: TIMING,
        relay_name: "relay".into(),
        metrics: Arc::new(Metrics::new()),
    };
    let metrics = observer.metrics.clone();
    let agent =
        RelayAgent { pool: pool.clone(), relay_name: observer.relay_name.clone(), metrics: metrics.clone() };
    let routes = Routes::new(ObserverServer::new(observer)).add_service(AgentServer::new(agent));
    let socket = dir.join("relay.sock");
    let listeners = fathom_api::serve::Listeners::bind(&[], std::slice::from_ref(&socket), None, false)
        .await
        .expect("bind");
    tokio::spawn(async move {
        let (_keep, stop) = watch::channel(false);
        listeners.serve(routes, stop, Duration::ZERO).await.expect("serve");
    });
    let channel = channel_to(&socket).await;
    let agent = AgentClient::new(channel.clone());
    Relay { pool, socket, metrics, agent, _peers: peers, client: ObserverClient::new(channel) }
}

impl Relay {
    /// A client with a connection of its own.
    pub async fn another_client(&self) -> ObserverClient<Channel> {
        ObserverClient::new(channel_to(&self.socket).await)
    }
}

async fn channel_to(socket: &Path) -> Channel {
    let target = format!("unix://{}", socket.display()).parse().expect("target");
    fathom_api::connect::connect(&target, &Default::default(), Duration::from_secs(5)).await.expect("relay")
}

/// Waits until the pool sees `name` as connected, or not.
pub async fn until_connected(pool: &Pool, name: &str, connected: bool) {
    let mut nodes = pool.watch();
    let is = |nodes: &Arc<fathom_relay::pool::Nodes>| {
        nodes.get(name).is_some_and(|node| matches!(node.state, State::Connected(_))) == connected
    };
    tokio::time::timeout(Duration::from_secs(5), nodes.wait_for(is))
        .await
        .expect("in time")
        .expect("pool lives");
}

/// The next response, within five seconds.
pub async fn next(stream: &mut tonic::Streaming<GetFlowsResponse>) -> Option<ResponseTypes> {
    let message =
        tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("a response in time");
    message.expect("no error").map(|response| response.response_types.expect("a member"))
}

/// The next flow's uuid, skipping words about nodes.
pub async fn next_flow(stream: &mut tonic::Streaming<GetFlowsResponse>) -> Option<String> {
    loop {
        match next(stream).await? {
            ResponseTypes::Flow(flow) => return Some(flow.uuid),
            _ => continue,
        }
    }
}

/// Passes bytes between a relay and an agent until it is frozen: then the connections stay up, and
/// nothing moves, as with a stopped process or a machine that lost its network.
pub struct Wire {
    pub socket: PathBuf,
    frozen: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Wire {
    pub fn to(agent: &Running) -> Wire {
        let socket = agent.socket.with_extension("wire");
        let listener = tokio::net::UnixListener::bind(&socket).expect("bind");
        let (frozen, state) = watch::channel(false);
        let far = agent.socket.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (far, mut state) = (far.clone(), state.clone());
                tokio::spawn(async move {
                    let mut near = near;
                    let _ = state.wait_for(|frozen| !frozen).await.map(drop);
                    let Ok(mut far) = tokio::net::UnixStream::connect(far).await else { return };
                    let mut changed = state.clone();
                    let freezes = async { changed.wait_for(|frozen| *frozen).await.map(drop) };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = freezes => {}
                    }
                    let _ = state.wait_for(|frozen| !frozen).await.map(drop);
                });
            }
        });
        Wire { socket, frozen, accepting }
    }

    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
