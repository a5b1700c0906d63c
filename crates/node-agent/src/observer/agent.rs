//! `fathom.v1.Agent`: our own questions, answered for this node. Read-only.

use std::sync::Arc;

use fathom_api::fathom_v1::agent_server::Agent;
use fathom_api::fathom_v1::{
    GetFeaturesRequest, GetFeaturesResponse, GetLedgerRequest, GetLedgerResponse, ListEndpointsRequest,
    ListEndpointsResponse, ListRulesRequest, ListRulesResponse,
};
use tonic::{Request, Response, Status};

use super::facts::NodeFacts;
use super::node::NodeIdentity;
use crate::events::intake::Shared;

/// The service.
pub struct AgentService {
    pub shared: Arc<Shared>,
    pub facts: Arc<dyn NodeFacts>,
    pub node: NodeIdentity,
}

#[tonic::async_trait]
impl Agent for AgentService {
    async fn get_ledger(&self, _: Request<GetLedgerRequest>) -> Result<Response<GetLedgerResponse>, Status> {
        let sheet = self.shared.ledger.balance().await;
        Ok(Response::new(GetLedgerResponse { nodes: vec![sheet] }))
    }

    async fn list_rules(&self, _: Request<ListRulesRequest>) -> Result<Response<ListRulesResponse>, Status> {
        Ok(Response::new(ListRulesResponse { rules: self.facts.rules() }))
    }

    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        let mut endpoints = self.facts.endpoints();
        for endpoint in &mut endpoints {
            endpoint.node_name = self.node.name.to_string();
        }
        Ok(Response::new(ListEndpointsResponse { endpoints }))
    }

    async fn get_features(
        &self,
        _: Request<GetFeaturesRequest>,
    ) -> Result<Response<GetFeaturesResponse>, Status> {
        let mut features = self.facts.features();
        for feature in &mut features {
            feature.node_name = self.node.name.to_string();
        }
        Ok(Response::new(GetFeaturesResponse { features }))
    }
}
