//! `observer.Observer` for the whole cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fathom_api::Raw;
use fathom_api::filter::Filter;
use fathom_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse,
    Namespace, Node, ServerStatusRequest, ServerStatusResponse, Tls, observer_client::ObserverClient,
};
use fathom_api::observer_raw::observer_server::Observer;
use fathom_api::relay::NodeState;
use fathom_api::write::Mask;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::config::Timing;
use crate::events::{self, EventStream};
use crate::fanout::Fanout;
use crate::metrics::Metrics;
use crate::missing::Missing;
use crate::pool::{self, Pool, State};
use crate::span::Span;

/// Batches that may wait for a client that reads slowly; then its agents' streams wait too.
const OUT_QUEUE: usize = 8;
/// Longest wait for an agent's answer to a question about itself.
const ASK: Duration = Duration::from_secs(5);
/// What the relay calls its version, towards clients that compare it with their own.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Names listed in a status, at most.
const MAX_UNAVAILABLE: usize = 10;

/// The relay's Observer.
#[derive(Clone)]
pub struct RelayObserver {
    pub pool: Pool,
    pub timing: Timing,
    pub relay_name: Arc<str>,
    pub metrics: Arc<Metrics>,
}

/// Asks every connected node at once; an answer per node, in order of name.
pub async fn ask_all<T, F>(pool: &Pool, ask: impl Fn(Channel) -> F) -> Vec<(pool::Node, Result<T, Status>)>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    pool.settled(Duration::from_secs(1)).await;
    let nodes = pool.nodes();
    let asked = nodes.values().map(|node| {
        let answer = match &node.state {
            State::Connected(channel) => Ok(ask(channel.clone())),
            State::Connecting => Err(Status::unavailable("not connected yet")),
            State::Unavailable(why) => Err(Status::unavailable(&**why)),
        };
        async move {
            let answer = match answer {
                Ok(asking) => tokio::time::timeout(ASK, asking).await.unwrap_or_else(|_| {
                    Err(Status::deadline_exceeded(format!("no answer within {} s", ASK.as_secs())))
                }),
                Err(status) => Err(status),
            };
            (node.clone(), answer.map(Response::into_inner))
        }
    });
    futures::future::join_all(asked).await
}

/// Tells answers from failures.
///
/// # Errors
/// When no node answered.
pub fn answered<T>(answers: Vec<(pool::Node, Result<T, Status>)>) -> Result<(Vec<T>, Missing), Status> {
    let (mut given, mut missing) = (Vec::new(), Missing::default());
    for (node, answer) in answers {
        match answer {
            Ok(answer) => given.push(answer),
            Err(why) => missing.add(&node.peer.name, why),
        }
    }
    if given.is_empty() { Err(missing.status()) } else { Ok((given, missing)) }
}

/// An answer, with the nodes it is without in its metadata.
pub fn without<T>(missing: &Missing, body: T) -> Response<T> {
    let mut response = Response::new(body);
    missing.write(response.metadata_mut());
    response
}

impl RelayObserver {
    async fn statuses(&self) -> Vec<(pool::Node, Result<ServerStatusResponse, Status>)> {
        ask_all(&self.pool, |channel| async move {
            ObserverClient::new(channel).server_status(ServerStatusRequest {}).await
        })
        .await
    }

    fn versioned<T>(&self, mut response: Response<T>) -> Response<T> {
        let version = MetadataValue::from_static(VERSION);
        response.metadata_mut().insert("hubble-relay-version", version);
        response
    }
}

#[tonic::async_trait]
impl Observer for RelayObserver {
    type GetFlowsStream = BoxStream<'static, Result<Raw, Status>>;
    type GetAgentEventsStream = EventStream<GetAgentEventsResponse>;
    type GetDebugEventsStream = EventStream<GetDebugEventsResponse>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        let request = request.into_inner();
        Span::from(&request).check()?;
        // The agents would refuse the same; saying it here names the field instead of fifty nodes.
        Filter::compile(&request.whitelist, &request.blacklist)?;
        Mask::compile(request.field_mask.as_ref())?;
        self.pool.settled(Duration::from_secs(1)).await;
        let (out, batches) = mpsc::channel(OUT_QUEUE);
        let guard = self.metrics.request();
        let answer = Fanout::run(
            request,
            self.pool.clone(),
            self.timing,
            self.relay_name.clone(),
            self.metrics.clone(),
            out,
        );
        tokio::spawn(async move {
            answer.await;
            drop(guard);
        });
        let flows = tokio_stream::wrappers::ReceiverStream::new(batches).flat_map(|batch| match batch {
            Ok(batch) => stream::iter(batch).map(Ok).left_stream(),
            Err(status) => stream::iter([Err(status)]).right_stream(),
        });
        Ok(self.versioned(Response::new(flows.boxed())))
    }

    async fn get_agent_events(
        &self,
        request: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        let span = Span::from(request.get_ref());
        let ask = |channel, span: Span| async move {
            ObserverClient::new(channel).get_agent_events(GetAgentEventsRequest::from(span)).await
        };
        Ok(self.versioned(events::merged(&self.pool, self.timing, span, ask).await?))
    }

    async fn get_debug_events(
        &self,
        request: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        let span = Span::from(request.get_ref());
        let ask = |channel, span: Span| async move {
            ObserverClient::new(channel).get_debug_events(GetDebugEventsRequest::from(span)).await
        };
        Ok(self.versioned(events::merged(&self.pool, self.timing, span, ask).await?))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let node = |(node, answer): (pool::Node, Result<ServerStatusResponse, Status>)| {
            let state = match (&node.state, &answer) {
                (_, Ok(_)) => NodeState::NodeConnected,
                (State::Connected(_), Err(_)) => NodeState::NodeError,
                (_, Err(_)) => NodeState::NodeUnavailable,
            };
            let status = answer.unwrap_or_default();
            let server_name = node.peer.tls_server_name.as_deref().unwrap_or_default().to_owned();
            let enabled = node.peer.target.starts_with("tls://") || !server_name.is_empty();
            Node {
                name: node.peer.name.to_string(),
                version: status.version,
                address: node.peer.target.to_string(),
                state: state.into(),
                tls: Some(Tls { enabled, server_name }),
                uptime_ns: status.uptime_ns,
                num_flows: status.num_flows,
                max_flows: status.max_flows,
                seen_flows: status.seen_flows,
            }
        };
        let nodes = self.statuses().await.into_iter().map(node).collect();
        Ok(self.versioned(Response::new(GetNodesResponse { nodes })))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let answers = ask_all(&self.pool, |channel| async move {
            ObserverClient::new(channel).get_namespaces(GetNamespacesRequest {}).await
        })
        .await;
        let (answers, missing) = answered(answers)?;
        let all: BTreeSet<(String, String)> = answers
            .into_iter()
            .flat_map(|answer| answer.namespaces)
            .map(|namespace| (namespace.cluster, namespace.namespace))
            .collect();
        let namespaces =
            all.into_iter().map(|(cluster, namespace)| Namespace { cluster, namespace }).collect();
        Ok(self.versioned(without(&missing, GetNamespacesResponse { namespaces })))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let mut sum = ServerStatusResponse { version: VERSION.to_owned(), ..Default::default() };
        let (mut connected, mut unavailable) = (0, 0);
        for (node, answer) in self.statuses().await {
            match answer {
                Ok(status) => {
                    connected += 1;
                    sum.num_flows += status.num_flows;
                    sum.max_flows += status.max_flows;
                    sum.seen_flows += status.seen_flows;
                    sum.flows_rate += status.flows_rate;
                    sum.uptime_ns = sum.uptime_ns.max(status.uptime_ns);
                }
                Err(_) => {
                    unavailable += 1;
                    if sum.unavailable_nodes.len() < MAX_UNAVAILABLE {
                        sum.unavailable_nodes.push(node.peer.name.to_string());
                    }
                }
            }
        }
        sum.num_connected_nodes = Some(connected);
        sum.num_unavailable_nodes = Some(unavailable);
        Ok(self.versioned(Response::new(sum)))
    }
}
