//! `observer.Observer`: all six methods, for this node.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse,
    Namespace, Node as WireNode, ServerStatusRequest, ServerStatusResponse, Tls,
};
use fathom_api::observer_raw::observer_server::Observer;
use fathom_api::relay::NodeState;
use futures::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::history;
use super::node::{Node, NodeIdentity};
use super::plan::{Plan, Span};
use super::stream::FlowStream;
use crate::events::agent_events::AgentEvents;
use crate::events::intake::Shared;

/// The service.
pub struct ObserverService {
    pub shared: Arc<Shared>,
    pub agent_events: AgentEvents,
    pub node: NodeIdentity,
    /// Where clients reach this agent, as GetNodes tells it.
    pub address: String,
    /// Name in this agent's certificate; `None` = plaintext.
    pub tls_server_name: Option<String>,
    pub started: Instant,
    /// A client is told of losses at most this often.
    pub lost_interval: Duration,
    pub shutdown: CancellationToken,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ObserverService {
    fn uptime_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What ServerStatus and GetNodes call the version.
    fn version(&self) -> String {
        format!("fathom-agent {}", self.node.version)
    }
}

#[tonic::async_trait]
impl Observer for ObserverService {
    type GetFlowsStream = FlowStream;
    type GetAgentEventsStream = Answers<GetAgentEventsResponse>;
    type GetDebugEventsStream = Answers<GetDebugEventsResponse>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<FlowStream>, Status> {
        let plan = Plan::parse(request.get_ref())?;
        let node = Node::new(self.node.clone(), &self.shared.snapshot.load());
        let shutdown = self.shutdown.clone().cancelled_owned();
        let stream = FlowStream::new(Arc::clone(&self.shared), node, plan, self.lost_interval, shutdown);
        Ok(Response::new(stream))
    }

    async fn get_agent_events(
        &self,
        request: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        let r = request.into_inner();
        let span = Span::parse(r.number, r.first, r.follow, r.since, r.until)?;
        let events = history::agent_events(self.agent_events.clone(), span, self.shutdown.clone());
        let node_name = self.node.name.to_string();
        let responses = events.map(move |told| {
            let (event, time) = told?;
            let node_name = node_name.clone();
            Ok(GetAgentEventsResponse { agent_event: Some(event), node_name, time: Some(time) })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    /// The datapath writes no debug messages: the answer is empty, and with `follow` stays open.
    async fn get_debug_events(
        &self,
        request: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        let r = request.into_inner();
        let span = Span::parse(r.number, r.first, r.follow, r.since, r.until)?;
        Ok(Response::new(Box::pin(history::nothing(span, self.shutdown.clone()))))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let store = &self.shared.store;
        let tls = Tls {
            enabled: self.tls_server_name.is_some(),
            server_name: self.tls_server_name.clone().unwrap_or_default(),
        };
        let node = WireNode {
            name: self.node.name.to_string(),
            version: self.version(),
            address: self.address.clone(),
            state: NodeState::NodeConnected.into(),
            tls: Some(tls),
            uptime_ns: self.uptime_ns(),
            num_flows: store.len(),
            max_flows: store.capacity(),
            seen_flows: store.head(),
        };
        Ok(Response::new(GetNodesResponse { nodes: vec![node] }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let list = self.shared.namespaces.list().into_iter();
        let namespaces = list
            .map(|(cluster, name)| Namespace { cluster: cluster.to_string(), namespace: name.to_string() });
        Ok(Response::new(GetNamespacesResponse { namespaces: namespaces.collect() }))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let store = &self.shared.store;
        Ok(Response::new(ServerStatusResponse {
            num_flows: store.len(),
            max_flows: store.capacity(),
            seen_flows: store.head(),
            uptime_ns: self.uptime_ns(),
            // Known to a relay only.
            num_connected_nodes: None,
            num_unavailable_nodes: None,
            unavailable_nodes: Vec::new(),
            version: self.version(),
            flows_rate: self.shared.rate.per_second(),
        }))
    }
}
