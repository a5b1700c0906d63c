//! `fathom status`: is the server well, what does it hold, is its stream complete.

mod balance;
mod words;

use std::io::Write;

use anyhow::{Result, anyhow};
use fathom_api::fathom_v1::agent_client::AgentClient;
use fathom_api::fathom_v1::{GetFeaturesRequest, GetLedgerRequest, NodeLedger};
use fathom_api::observer::ServerStatusRequest;
use fathom_api::observer::observer_client::ObserverClient;
use prost::Message;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::command::{StatusArgs, StatusOutput};
use crate::connect::{Connection, connect};
use crate::missing;
use crate::settings::Settings;
use crate::terminal::columns::Columns;
use crate::terminal::escape::Escaped;

/// The service whose health Hubble's clients ask for.
const SERVICE: &str = "hubble.server.Observer";

/// Runs `fathom status`.
pub async fn run(args: &StatusArgs, settings: &Settings) -> Result<()> {
    let connection = connect(settings).await?;
    let mut out = std::io::stdout().lock();
    let json = matches!(args.output, StatusOutput::Json | StatusOutput::Jsonpb);
    if args.features {
        return features(&connection, &mut out, json).await;
    }
    if args.ledger {
        let response = ask_ledger(&connection).await.map_err(|status| {
            connection.failed("the ledger (which Fathom's agents and relays keep)", &status)
        })?;
        return match json {
            true => print_json(&mut out, "fathom.v1.GetLedgerResponse", &response),
            false => Ok(balance::stages(&mut out, &response.nodes)?),
        };
    }
    let health = check_health(&connection).await;
    if args.output == StatusOutput::Compact {
        let word = match &health {
            Ok(()) => "Ok".to_owned(),
            Err(why) => format!("NOT OK: {}", Escaped(&why.to_string())),
        };
        writeln!(out, "Healthcheck (via {}): {word}", connection.server)?;
    }
    health?;
    let mut client = ObserverClient::new(connection.channel.clone());
    let status = client
        .server_status(connection.request(ServerStatusRequest {}))
        .await
        .map_err(|status| connection.failed("its status", &status))?
        .into_inner();
    match args.output {
        StatusOutput::Json | StatusOutput::Jsonpb => {
            print_json(&mut out, "observer.ServerStatusResponse", &status)
        }
        StatusOutput::Table => Ok(words::table(&mut out, &status)?),
        StatusOutput::Dict => {
            words::dict(&mut out, &status)?;
            if let Some(nodes) = ledger(&connection).await? {
                balance::dict(&mut out, &nodes)?;
            }
            Ok(())
        }
        StatusOutput::Compact => {
            words::compact(&mut out, &status)?;
            if let Some(nodes) = ledger(&connection).await? {
                balance::summary(&mut out, &nodes)?;
            }
            Ok(())
        }
    }
}

/// Asks the standard health service.
async fn check_health(connection: &Connection) -> Result<()> {
    let mut client = HealthClient::new(connection.channel.clone());
    let request = connection.request(HealthCheckRequest { service: SERVICE.to_owned() });
    let response = client.check(request).await.map_err(|status| connection.failed("its health", &status))?;
    match ServingStatus::try_from(response.into_inner().status) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(other) => Err(anyhow!("{} is not healthy: {}", connection.server, other.as_str_name())),
        Err(_) => Err(anyhow!("{} is not healthy", connection.server)),
    }
}

async fn ask_ledger(connection: &Connection) -> Result<fathom_api::fathom_v1::GetLedgerResponse, Status> {
    let mut client = AgentClient::new(connection.channel.clone());
    Ok(client.get_ledger(connection.request(GetLedgerRequest {})).await?.into_inner())
}

/// Every node's balance sheet; nothing from servers that keep none.
async fn ledger(connection: &Connection) -> Result<Option<Vec<NodeLedger>>> {
    match ask_ledger(connection).await {
        Ok(response) => Ok(Some(response.nodes)),
        Err(status) if status.code() == Code::Unimplemented => Ok(None),
        Err(status) => Err(connection.failed("the ledger", &status)),
    }
}

async fn features(connection: &Connection, out: &mut impl Write, json: bool) -> Result<()> {
    let mut client = AgentClient::new(connection.channel.clone());
    let response = client
        .get_features(connection.request(GetFeaturesRequest {}))
        .await
        .map_err(|status| connection.failed("features (which Fathom's agents and relays report)", &status))?;
    missing::tell(&missing::nodes(response.metadata()));
    let response = response.into_inner();
    if json {
        return print_json(out, "fathom.v1.GetFeaturesResponse", &response);
    }
    let mut columns = Columns::default();
    columns.row(["NODE", "FEATURE", "HERE", "SINCE", "WITHOUT IT"]);
    for feature in &response.features {
        columns.row([
            Escaped(&feature.node_name).to_string(),
            Escaped(&feature.name).to_string(),
            if feature.available { "yes" } else { "NO" }.to_owned(),
            Escaped(&feature.since).to_string(),
            if feature.available { String::new() } else { Escaped(&feature.consequence).to_string() },
        ]);
    }
    Ok(columns.write(out, "")?)
}

/// Prints a message in its JSON form, one line.
pub fn print_json(out: &mut impl Write, name: &str, message: &impl Message) -> Result<()> {
    let mut line = Vec::new();
    fathom_api::json::append(name, &message.encode_to_vec(), &mut line)?;
    line.push(b'\n');
    Ok(out.write_all(&line)?)
}
