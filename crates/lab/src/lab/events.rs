//! What agents and the relay say: flows asked for, followed and waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fathom_api::connect::{self, Target, TlsOptions};
use fathom_api::fathom_v1::agent_client::AgentClient;
use fathom_api::fathom_v1::{
    GetLedgerRequest, ListEndpointsRequest, ListRulesRequest, LocalEndpoint, NodeLedger, Rule,
};
use fathom_api::flow::Flow;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::observer::observer_client::ObserverClient;
use fathom_api::observer::{GetFlowsRequest, GetFlowsResponse, ServerStatusRequest, ServerStatusResponse};
use tonic::transport::Channel;

use super::Lab;
use crate::machine::wait;

const CALL_LIMIT: Duration = Duration::from_secs(20);

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A node's agent.
    Node(String),
    Relay,
}

impl Lab {
    /// Flows that are there now, and whatever else the stream held.
    ///
    /// # Errors
    /// When the source does not answer, or refuses.
    pub fn flows(&self, source: &Source, request: GetFlowsRequest) -> Result<Vec<GetFlowsResponse>> {
        self.call(async {
            let mut client = ObserverClient::new(self.channel(source).await?);
            let mut stream = client.get_flows(request).await.context("ask for flows")?.into_inner();
            let mut all = Vec::new();
            while let Some(response) = stream.message().await.context("read flows")? {
                all.push(response);
            }
            Ok(all)
        })
    }

    /// Follows flows from here on. Returns once the source has accepted the request.
    ///
    /// # Errors
    /// When the source does not answer, or refuses.
    pub fn follow(&self, source: &Source, request: GetFlowsRequest) -> Result<Follow> {
        let request = GetFlowsRequest { follow: true, ..request };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut stream = self.call(async {
            let mut client = ObserverClient::new(self.channel(source).await?);
            Ok(client.get_flows(request).await.context("follow flows")?.into_inner())
        })?;
        let writer = seen.clone();
        let task = self.runtime.spawn(async move {
            loop {
                let next = stream.message().await;
                let mut seen = writer.lock().unwrap_or_else(PoisonError::into_inner);
                match next {
                    Ok(Some(response)) => seen.responses.push(response),
                    Ok(None) => seen.end = Some("the stream ended".to_owned()),
                    Err(status) => seen.end = Some(format!("the stream broke: {status}")),
                }
                if seen.end.is_some() {
                    return;
                }
            }
        });
        Ok(Follow { seen, task })
    }

    /// The balance sheet of every node the source knows.
    ///
    /// # Errors
    /// When the source does not answer.
    pub fn ledgers(&self, source: &Source) -> Result<Vec<NodeLedger>> {
        self.call(async {
            let mut client = AgentClient::new(self.channel(source).await?);
            Ok(client.get_ledger(GetLedgerRequest {}).await.context("ask for the ledger")?.into_inner().nodes)
        })
    }

    /// The local endpoints of every node the source knows.
    ///
    /// # Errors
    /// When the source does not answer.
    pub fn endpoints(&self, source: &Source) -> Result<Vec<LocalEndpoint>> {
        self.call(async {
            let mut client = AgentClient::new(self.channel(source).await?);
            let response =
                client.list_endpoints(ListEndpointsRequest {}).await.context("ask for endpoints")?;
            Ok(response.into_inner().endpoints)
        })
    }

    /// The rules that the policy tables of every node the source knows cite.
    ///
    /// # Errors
    /// When the source does not answer.
    pub fn rules(&self, source: &Source) -> Result<Vec<Rule>> {
        self.call(async {
            let mut client = AgentClient::new(self.channel(source).await?);
            Ok(client.list_rules(ListRulesRequest {}).await.context("ask for rules")?.into_inner().rules)
        })
    }

    /// What the source says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn server_status(&self, source: &Source) -> Result<ServerStatusResponse> {
        self.call(async {
            let mut client = ObserverClient::new(self.channel(source).await?);
            Ok(client.server_status(ServerStatusRequest {}).await.context("ask for the status")?.into_inner())
        })
    }

    /// Where clients reach a source, as the CLI's `--server` takes it.
    pub fn server(&self, source: &Source) -> String {
        let path = match source {
            Source::Node(node) => self.layout.run_dir(node).join("hubble.sock"),
            Source::Relay => self.layout.relay_socket(),
        };
        format!("unix://{}", path.display())
    }

    async fn channel(&self, source: &Source) -> Result<Channel> {
        let target: Target = self.server(source).parse().context("name the source's socket")?;
        connect::connect(&target, &TlsOptions::default(), CALL_LIMIT)
            .await
            .with_context(|| format!("reach {target}"))
    }

    fn call<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime
            .block_on(async { tokio::time::timeout(CALL_LIMIT, work).await.context("no answer in time")? })
    }
}

#[derive(Default)]
struct Seen {
    responses: Vec<GetFlowsResponse>,
    /// Why nothing more comes.
    end: Option<String>,
}

/// A stream of flows that somebody is reading. Ends when dropped.
pub struct Follow {
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Follow {
    /// Everything that came so far.
    pub fn responses(&self) -> Vec<GetFlowsResponse> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).responses.clone()
    }

    /// The flows that came so far.
    pub fn flows(&self) -> Vec<Flow> {
        self.responses().into_iter().filter_map(flow_of).collect()
    }

    /// How many flows came so far.
    pub fn count(&self) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_flow =
            |response: &&GetFlowsResponse| matches!(response.response_types, Some(ResponseTypes::Flow(_)));
        seen.responses.iter().filter(is_flow).count()
    }

    /// How much came so far: a place to wait from.
    pub fn mark(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).responses.len()
    }

    /// Waits for a flow that came after `mark`.
    ///
    /// # Errors
    /// After `limit`, or when the stream ends; says how many flows passed by and shows the last.
    pub fn wait_for(
        &self,
        what: &str,
        mark: usize,
        limit: Duration,
        wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Flow> {
        wait::until(&format!("a flow: {what}"), limit, || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = seen.responses.iter().skip(mark).cloned().filter_map(flow_of);
            let (mut count, mut last) = (0, None);
            for flow in fresh {
                if wanted(&flow) {
                    return Ok(Ok(flow));
                }
                count += 1;
                last = Some(flow);
            }
            if let Some(end) = &seen.end {
                bail!("waiting for a flow ({what}): {end} after {count} others");
            }
            let last = last.map(|f| in_words(&f)).unwrap_or_default();
            Ok(Err(format!("{count} other flows {last}")))
        })
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The flow in a response, when it holds one.
pub fn flow_of(response: GetFlowsResponse) -> Option<Flow> {
    match response.response_types {
        Some(ResponseTypes::Flow(flow)) => Some(flow),
        _ => None,
    }
}

/// A flow in a few words, for failures.
fn in_words(flow: &Flow) -> String {
    let side = |e: &Option<fathom_api::flow::Endpoint>| {
        e.as_ref().map(|e| format!("{}/{}({})", e.namespace, e.pod_name, e.identity)).unwrap_or_default()
    };
    let verdict = flow.verdict().as_str_name();
    format!("(the last: {} -> {} {verdict})", side(&flow.source), side(&flow.destination))
}
