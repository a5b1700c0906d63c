//! `fathom.v1.Agent` for the whole cluster: every node asked, the answers put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use fathom_api::fathom_v1::agent_client::AgentClient;
use fathom_api::fathom_v1::agent_server::Agent;
use fathom_api::fathom_v1::{
    GetFeaturesRequest, GetFeaturesResponse, GetLedgerRequest, GetLedgerResponse, LedgerStage,
    ListEndpointsRequest, ListEndpointsResponse, ListRulesRequest, ListRulesResponse, NodeLedger, Rule,
};
use tonic::{Request, Response, Status};

use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::service::ask_all;
use crate::wire::timestamp;

/// The relay's fathom.v1.Agent.
#[derive(Clone)]
pub struct RelayAgent {
    pub pool: Pool,
    pub relay_name: Arc<str>,
    pub metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl Agent for RelayAgent {
    async fn get_ledger(&self, _: Request<GetLedgerRequest>) -> Result<Response<GetLedgerResponse>, Status> {
        let answers = ask_all(&self.pool, |channel| async move {
            AgentClient::new(channel).get_ledger(GetLedgerRequest {}).await
        })
        .await;
        let mut nodes = Vec::new();
        for (node, answer) in answers {
            match answer {
                Ok(ledger) => nodes.extend(ledger.nodes),
                Err(status) => nodes.push(NodeLedger {
                    node_name: node.peer.name.to_string(),
                    time: Some(timestamp(fathom_api::time::now())),
                    stages: Vec::new(),
                    balanced: false,
                    problem: format!("no ledger from this node: {}", status.message()),
                }),
            }
        }
        // The relay passes on or holds; what it was sent and did not pass was not wanted
        // (`--last N` of all nodes), which is no loss.
        let (received, sent) = self.metrics.flows();
        nodes.push(NodeLedger {
            node_name: self.relay_name.to_string(),
            time: Some(timestamp(fathom_api::time::now())),
            stages: vec![LedgerStage {
                name: "relay".into(),
                r#in: received,
                out: sent,
                ..Default::default()
            }],
            balanced: true,
            problem: String::new(),
        });
        Ok(Response::new(GetLedgerResponse { nodes }))
    }

    async fn list_rules(&self, _: Request<ListRulesRequest>) -> Result<Response<ListRulesResponse>, Status> {
        let answers = ask_all(&self.pool, |channel| async move {
            AgentClient::new(channel).list_rules(ListRulesRequest {}).await
        })
        .await;
        // Rule ids come from the rules' content, so the same id on two nodes is the same rule.
        let mut rules: BTreeMap<u32, Rule> = BTreeMap::new();
        for rule in answers.into_iter().filter_map(|(_, answer)| answer.ok()).flat_map(|answer| answer.rules)
        {
            rules
                .entry(rule.id)
                .and_modify(|sum| {
                    sum.denied_packets += rule.denied_packets;
                    sum.denied_bytes += rule.denied_bytes;
                })
                .or_insert(rule);
        }
        Ok(Response::new(ListRulesResponse { rules: rules.into_values().collect() }))
    }

    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        let answers = ask_all(&self.pool, |channel| async move {
            AgentClient::new(channel).list_endpoints(ListEndpointsRequest {}).await
        })
        .await;
        let endpoints =
            answers.into_iter().filter_map(|(_, answer)| answer.ok()).flat_map(|a| a.endpoints).collect();
        Ok(Response::new(ListEndpointsResponse { endpoints }))
    }

    async fn get_features(
        &self,
        _: Request<GetFeaturesRequest>,
    ) -> Result<Response<GetFeaturesResponse>, Status> {
        let answers = ask_all(&self.pool, |channel| async move {
            AgentClient::new(channel).get_features(GetFeaturesRequest {}).await
        })
        .await;
        let features =
            answers.into_iter().filter_map(|(_, answer)| answer.ok()).flat_map(|a| a.features).collect();
        Ok(Response::new(GetFeaturesResponse { features }))
    }
}
