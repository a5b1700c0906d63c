//! `fathom policy`: which policies are in force, and why two endpoints may or may not talk.

mod get;
pub mod typed;

use std::io::Write;

use anyhow::Result;
use fathom_api::fathom_v1::ListPoliciesRequest;
use fathom_api::fathom_v1::policies_client::PoliciesClient;

use self::typed::{GetArgs, PolicyWhat};
use crate::command::ListOutput;
use crate::connect::connect;
use crate::missing;
use crate::settings::Settings;
use crate::status::print_json;
use crate::terminal::note;

/// Runs `fathom policy …`.
pub async fn run(what: &PolicyWhat, settings: &Settings) -> Result<()> {
    match what {
        PolicyWhat::Get(args) => get(args, settings).await,
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
