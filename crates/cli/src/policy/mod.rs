//! `fathom policy`: which policies are in force, and why two endpoints may or may not talk.

mod explain;
mod get;
mod selectors;
mod trace;
pub mod typed;

use std::io::Write;

use anyhow::Result;
use fathom_api::fathom_v1::policies_client::PoliciesClient;
use fathom_api::fathom_v1::{ExplainRequest, ListPoliciesRequest, ListSelectorsRequest, TraceRequest};

use self::explain::Outcome;
use self::typed::{ExplainArgs, GetArgs, PolicyWhat, TraceArgs, WordsOrJson};
use crate::command::ListOutput;
use crate::connect::connect;
use crate::failure::Denied;
use crate::missing;
use crate::settings::Settings;
use crate::status::print_json;
use crate::terminal::note;

/// Runs `fathom policy …`.
pub async fn run(what: &PolicyWhat, settings: &Settings) -> Result<()> {
    match what {
        PolicyWhat::Get(args) => get(args, settings).await,
        PolicyWhat::Explain(args) => explain(args, settings).await,
        PolicyWhat::Selectors(args) => selectors(args, settings).await,
        PolicyWhat::Trace(args) => trace(args, settings).await,
    }
}

async fn get(args: &GetArgs, settings: &Settings) -> Result<()> {
    let (namespace, name) = args.wanted()?;
    let connection = connect(settings).await?;
    let mut client = PoliciesClient::new(connection.channel.clone());
    let asked = client.list_policies(connection.request(ListPoliciesRequest { namespace, name })).await;
    let response = asked
        .map_err(|status| connection.failed("policies (which Fathom's agents and relays know)", &status))?;
    missing::tell(&missing::nodes(response.metadata()));
    if response.get_ref().policies.is_empty() {
        note("none");
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        ListOutput::Json => {
            return print_json(&mut out, "fathom.v1.ListPoliciesResponse", response.get_ref());
        }
        output => get::table(response.get_ref(), output == ListOutput::Wide).write(&mut out, "")?,
    }
    for line in get::problems(response.get_ref()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

async fn explain(args: &ExplainArgs, settings: &Settings) -> Result<()> {
    let connection = connect(settings).await?;
    let mut client = PoliciesClient::new(connection.channel.clone());
    let request = ExplainRequest {
        from: args.from.clone(),
        to: args.to.clone(),
        namespace: args.namespace.clone(),
        port: args.port.clone(),
    };
    let response = client.explain(connection.request(request)).await;
    let response = response.map_err(|status| {
        connection.failed("an explanation (which Fathom's agents and relays give)", &status)
    })?;
    let response = response.get_ref();
    let mut out = std::io::stdout().lock();
    match args.output {
        WordsOrJson::Json => print_json(&mut out, "fathom.v1.ExplainResponse", response)?,
        WordsOrJson::Text => out.write_all(explain::text(response).as_bytes())?,
    }
    match explain::outcome(response) {
        Outcome::Allowed => Ok(()),
        Outcome::Denied => Err(Denied.into()),
        Outcome::Unknown => Err(anyhow::anyhow!(
            "not every node that decides has answered: ask a relay, or the agents of those nodes"
        )),
    }
}

async fn selectors(args: &GetArgs, settings: &Settings) -> Result<()> {
    let (namespace, name) = args.wanted()?;
    let connection = connect(settings).await?;
    let mut client = PoliciesClient::new(connection.channel.clone());
    let asked = client.list_selectors(connection.request(ListSelectorsRequest { namespace, name })).await;
    let response = asked
        .map_err(|status| connection.failed("selectors (which Fathom's agents and relays know)", &status))?;
    let response = response.get_ref();
    if response.selectors.is_empty() {
        note("none");
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        ListOutput::Json => print_json(&mut out, "fathom.v1.ListSelectorsResponse", response),
        output => Ok(selectors::table(response, output == ListOutput::Wide).write(&mut out, "")?),
    }
}

async fn trace(args: &TraceArgs, settings: &Settings) -> Result<()> {
    let connection = connect(settings).await?;
    let mut client = PoliciesClient::new(connection.channel.clone());
    let (protocol, port) = args.port;
    let request = TraceRequest {
        from_identity: args.from,
        to_identity: args.to,
        protocol,
        port,
        from_cidr_identity: args.from_cidr,
        to_cidr_identity: args.to_cidr,
    };
    let response = client.trace(connection.request(request)).await;
    let response = response
        .map_err(|status| connection.failed("look-ups (which Fathom's agents and relays make)", &status))?;
    missing::tell(&missing::nodes(response.metadata()));
    let response = response.get_ref();
    anyhow::ensure!(
        !response.tables.is_empty(),
        "no node that was asked has a table of identity {} or {}: their pods run elsewhere, or there are none",
        args.from,
        args.to
    );
    let mut out = std::io::stdout().lock();
    match args.output {
        WordsOrJson::Json => print_json(&mut out, "fathom.v1.TraceResponse", response)?,
        WordsOrJson::Text => trace::write(&mut out, response)?,
    }
    if response.tables.iter().any(trace::denies) { Err(Denied.into()) } else { Ok(()) }
}
