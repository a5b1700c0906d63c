//! `fathom list`: nodes, namespaces, endpoints, rules.

mod endpoints;
mod namespaces;
mod nodes;
mod rules;

use std::io::Write;

use anyhow::Result;
use fathom_api::fathom_v1::agent_client::AgentClient;
use fathom_api::fathom_v1::{ListEndpointsRequest, ListRulesRequest};
use fathom_api::observer::observer_client::ObserverClient;
use fathom_api::observer::{GetNamespacesRequest, GetNodesRequest};
use prost::Message;
use tonic::metadata::MetadataMap;

use crate::command::{ListOutput, ListWhat};
use crate::connect::connect;
use crate::missing;
use crate::settings::Settings;
use crate::status::print_json;
use crate::terminal::columns::Columns;
use crate::terminal::{indent, note};

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
            let nodes = &response.get_ref().nodes;
            about(response.metadata(), nodes.len());
            match format.output {
                ListOutput::Json => array("observer.Node", nodes),
                output => table(nodes::table(response.get_ref(), output == ListOutput::Wide)),
            }
        }
        ListWhat::Namespaces(format) => {
            let response = observer.get_namespaces(connection.request(GetNamespacesRequest {})).await;
            let response = response.map_err(|status| connection.failed("namespaces", &status))?;
            let namespaces = &response.get_ref().namespaces;
            about(response.metadata(), namespaces.len());
            match format.output {
                ListOutput::Json => array("observer.Namespace", namespaces),
                output => table(namespaces::table(response.get_ref(), output == ListOutput::Wide)),
            }
        }
        ListWhat::Endpoints(format) => {
            let response = agent.list_endpoints(connection.request(ListEndpointsRequest {})).await;
            let response = response.map_err(|status| {
                connection.failed("endpoints (which Fathom's agents and relays know)", &status)
            })?;
            about(response.metadata(), response.get_ref().endpoints.len());
            match format.output {
                ListOutput::Json => message("fathom.v1.ListEndpointsResponse", response.get_ref()),
                output => table(endpoints::table(response.get_ref(), output == ListOutput::Wide)),
            }
        }
        ListWhat::Rules(format) => {
            let response = agent.list_rules(connection.request(ListRulesRequest {})).await;
            let response = response.map_err(|status| {
                connection.failed("rules (which Fathom's agents and relays know)", &status)
            })?;
            about(response.metadata(), response.get_ref().rules.len());
            match format.output {
                ListOutput::Json => message("fathom.v1.ListRulesResponse", response.get_ref()),
                output => table(rules::table(response.get_ref(), output == ListOutput::Wide)),
            }
        }
    }
}

/// What a list does not say: whom it is without, and that it is empty and not cut off.
fn about(metadata: &MetadataMap, entries: usize) {
    missing::tell(&missing::nodes(metadata));
    if entries == 0 {
        note("none");
    }
}

fn table(columns: Columns) -> Result<()> {
    Ok(columns.write(&mut std::io::stdout().lock(), "")?)
}

fn message(name: &str, message: &impl Message) -> Result<()> {
    print_json(&mut std::io::stdout().lock(), name, message)
}

/// The bare array, indented: what scripts made for Hubble's command read.
fn array(name: &str, entries: &[impl Message]) -> Result<()> {
    let mut json = vec![b'['];
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        fathom_api::json::append(name, &entry.encode_to_vec(), &mut json)?;
    }
    json.push(b']');
    let mut text = Vec::new();
    indent::append(&json, &mut text);
    text.push(b'\n');
    Ok(std::io::stdout().lock().write_all(&text)?)
}
