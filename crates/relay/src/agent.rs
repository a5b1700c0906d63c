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

use crate::metrics::{Books, Metrics};
use crate::pool::Pool;
use crate::service::{answered, ask_all, without};
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
        nodes.push(own_ledger(&self.relay_name, self.metrics.books()));
        Ok(Response::new(GetLedgerResponse { nodes }))
    }

    async fn list_rules(&self, _: Request<ListRulesRequest>) -> Result<Response<ListRulesResponse>, Status> {
        let answers = ask_all(&self.pool, |channel| async move {
            AgentClient::new(channel).list_rules(ListRulesRequest {}).await
        })
        .await;
        let (answers, missing) = answered(answers)?;
        // Rule ids come from the rules' content, so the same id on two nodes is the same rule.
        let mut rules: BTreeMap<u32, Rule> = BTreeMap::new();
        for rule in answers.into_iter().flat_map(|answer| answer.rules) {
            rules
                .entry(rule.id)
                .and_modify(|sum| {
                    sum.denied_packets += rule.denied_packets;
                    sum.denied_bytes += rule.denied_bytes;
                })
                .or_insert(rule);
        }
        Ok(without(&missing, ListRulesResponse { rules: rules.into_values().collect() }))
    }

    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        let answers = ask_all(&self.pool, |channel| async move {
            AgentClient::new(channel).list_endpoints(ListEndpointsRequest {}).await
        })
        .await;
        let (answers, missing) = answered(answers)?;
        let endpoints = answers.into_iter().flat_map(|answer| answer.endpoints).collect();
        Ok(without(&missing, ListEndpointsResponse { endpoints }))
    }

    async fn get_features(
        &self,
        _: Request<GetFeaturesRequest>,
    ) -> Result<Response<GetFeaturesResponse>, Status> {
        let answers = ask_all(&self.pool, |channel| async move {
            AgentClient::new(channel).get_features(GetFeaturesRequest {}).await
        })
        .await;
        let (answers, missing) = answered(answers)?;
        let features = answers.into_iter().flat_map(|answer| answer.features).collect();
        Ok(without(&missing, GetFeaturesResponse { features }))
    }
}

/// The relay's page: what it was sent it has passed on, left out (`--last N` of all nodes) or holds.
fn own_ledger(relay_name: &str, books: Books) -> NodeLedger {
    let accounted = books.sent + books.left_out + books.held;
    let problem = match i128::from(books.received) - i128::from(accounted) {
        0 => String::new(),
        off if off > 0 => format!("{off} flows unaccounted for in relay"),
        off => format!("{} flows too many in relay", -off),
    };
    NodeLedger {
        node_name: relay_name.to_owned(),
        time: Some(timestamp(fathom_api::time::now())),
        stages: vec![LedgerStage {
            name: "relay".into(),
            r#in: books.received,
            out: books.sent,
            aggregated: books.left_out,
            held: books.held,
            lost: 0,
        }],
        balanced: problem.is_empty(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_page_balances_only_when_every_flow_is_accounted_for() {
        let books = Books { received: 40, sent: 20, left_out: 15, held: 5 };
        let page = own_ledger("relay", books);
        assert!(page.balanced && page.problem.is_empty(), "{page:?}");
        assert_eq!((page.stages[0].aggregated, page.stages[0].held), (15, 5));
        let page = own_ledger("relay", Books { held: 4, ..books });
        assert_eq!((page.balanced, page.problem.as_str()), (false, "1 flows unaccounted for in relay"));
    }
}
