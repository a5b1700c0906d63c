//! Fifty agents in one process, on a unix socket each.

use std::path::Path;
use std::time::Duration;

use fathom_api::Raw;
use fathom_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse,
    ServerStatusRequest, ServerStatusResponse,
};
use fathom_api::observer_raw::observer_server::{Observer, ObserverServer};
use fathom_api::serve::Listeners;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::{broadcast, watch};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::{FLOWS_PER_NODE, NODES, stamped, template};

struct Synthetic {
    template: bytes::Bytes,
    node: usize,
    live: broadcast::Sender<i64>,
}

type Stream<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl Observer for Synthetic {
    type GetFlowsStream = Stream<Raw>;
    type GetAgentEventsStream = Stream<GetAgentEventsResponse>;
    type GetDebugEventsStream = Stream<GetDebugEventsResponse>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<Stream<Raw>>, Status> {
        let (template, node) = (self.template.clone(), self.node as i64);
        if request.into_inner().follow {
            let live = tokio_stream::wrappers::BroadcastStream::new(self.live.subscribe());
            let flows =
                live.filter_map(move |t| futures::future::ready(t.ok().map(|t| Ok(stamped(&template, t)))));
            return Ok(Response::new(flows.boxed()));
        }
        let times =
            (0..FLOWS_PER_NODE as i64).map(move |i| 1_700_000_000_000_000_000 + i * 1_000_000 + node * 1_000);
        Ok(Response::new(stream::iter(times.map(move |t| Ok(stamped(&template, t)))).boxed()))
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Stream<GetAgentEventsResponse>>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Stream<GetDebugEventsResponse>>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

/// Serves until killed; two flows a second in all, for followers.
pub async fn serve(dir: &Path) {
    let mut senders = Vec::new();
    for node in 0..NODES {
        let name = format!("node-{node:02}");
        let (live, _) = broadcast::channel(64);
        senders.push(live.clone());
        let synthetic = Synthetic { template: template(&name), node, live };
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("hubble.server.Observer", tonic_health::ServingStatus::Serving).await;
        let routes = Routes::new(ObserverServer::new(synthetic)).add_service(health_service);
        let socket = dir.join(format!("{name}.sock"));
        let listeners = Listeners::bind(&[], &[socket], None, false).await.expect("socket");
        tokio::spawn(async move {
            let (_keep, stop) = watch::channel(false);
            let _health = health;
            listeners.serve(routes, stop, Duration::ZERO).await.expect("serve");
        });
    }
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    for turn in 0.. {
        tick.tick().await;
        // Every other flow from node 0, so that a client attached to it alone sees enough of them.
        let node = if turn % 2 == 0 { 0 } else { turn % NODES };
        let _ = senders[node].send(fathom_api::time::now());
    }
}
