//! `fathom list`: nodes, namespaces, endpoints, rules.

mod endpoints;
mod namespaces;
mod nodes;
mod rules;

use anyhow::Result;
use fathom_api::fathom_v1::agent_client::AgentClient;
use fathom_api::fathom_v1::{ListEndpointsRequest, ListRulesRequest};
use fathom_api::observer::observer_client::ObserverClient;
use fathom_api::observer::{GetNamespacesRequest, GetNodesRequest};
use prost::Message;

use crate::command::{ListOutput, ListWhat};
use crate::connect::connect;
use crate::settings::Settings;
use crate::status::print_json;
use crate::terminal::columns::Columns;

/// Runs `fathom list …`.
pub async fn run(what: ListWhat, settings: &Settings) -> Result<()> {
    let connection = connect(settings).await?;
    let mut observer = ObserverClient::new(connection.channel.clone());
    let mut agent = AgentClient::new(connection.channel.clone());
    match what {
        ListWhat::Nodes(format) => {
            let response = observer.get_nodes(connection.request(GetNodesRequest {})).await;
            let response = response
                .map_err(|status| connection.failed("nodes (which a relay knows, not an agent)", &status))?;
            show(response.get_ref(), "observer.GetNodesResponse", format.output, nodes::table)
        }
        ListWhat::Namespaces(format) => {
            let response = observer.get_namespaces(connection.request(GetNamespacesRequest {})).await;
            let response = response.map_err(|status| connection.failed("namespaces", &status))?;
            show(response.get_ref(), "observer.GetNamespacesResponse", format.output, namespaces::table)
        }
        ListWhat::Endpoints(format) => {
            let response = agent.list_endpoints(connection.request(ListEndpointsRequest {})).await;
            let response = response.map_err(|status| {
                connection.failed("endpoints (which Fathom's agents and relays know)", &status)
            })?;
            show(response.get_ref(), "fathom.v1.ListEndpointsResponse", format.output, endpoints::table)
        }
        ListWhat::Rules(format) => {
            let response = agent.list_rules(connection.request(ListRulesRequest {})).await;
            let response = response.map_err(|status| {
                connection.failed("rules (which Fathom's agents and relays know)", &status)
            })?;
            show(response.get_ref(), "fathom.v1.ListRulesResponse", format.output, rules::table)
        }
    }
}

fn show<M: Message>(
    message: &M,
    name: &str,
    output: ListOutput,
    table: impl FnOnce(&M, bool) -> Columns,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        ListOutput::Json => print_json(&mut out, name, message),
        ListOutput::Table | ListOutput::Wide => {
            Ok(table(message, output == ListOutput::Wide).write(&mut out, "")?)
        }
    }
}
