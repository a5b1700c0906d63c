//! `fathom policy`: which policies are in force, and why two endpoints may or may not talk.

mod explain;
mod get;
pub mod typed;

use std::io::Write;

use anyhow::Result;
use fathom_api::fathom_v1::policies_client::PoliciesClient;
use fathom_api::fathom_v1::{ExplainRequest, ListPoliciesRequest};

use self::explain::Outcome;
use self::typed::{ExplainArgs, GetArgs, PolicyWhat, WordsOrJson};
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
