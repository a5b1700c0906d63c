//! `fathom doctor`: what is missing or degraded, node by node, with what follows and what to do.

mod print;
mod way;

use std::io::Write;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use fathom_api::fathom_v1::doctor_client::DoctorClient;
use fathom_api::fathom_v1::{ExamineRequest, ExamineResponse, Finding, Severity};

use crate::connect::connect;
use crate::failure;
use crate::settings::Settings;
use crate::status::print_json;
use crate::terminal::colour::{Palette, When};
use crate::terminal::quantity::counted;

#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: DoctorOutput,
    /// Also what is as it should be
    #[arg(long, short)]
    pub verbose: bool,
    /// When to colour the output
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: When,
}

/// `-o` of `doctor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DoctorOutput {
    #[default]
    Table,
    Json,
}

/// Runs `fathom doctor`. Something that is missing is an error, so that scripts need not read the table.
pub async fn run(args: &DoctorArgs, settings: &Settings) -> Result<()> {
    let findings = examine(settings).await?;
    let missing = findings.iter().filter(|finding| finding.severity() == Severity::Missing).count();
    let mut out = std::io::stdout().lock();
    match args.output {
        DoctorOutput::Json => {
            print_json(&mut out, "fathom.v1.ExamineResponse", &ExamineResponse { findings })?;
        }
        DoctorOutput::Table => {
            let palette = Palette { on: args.color.for_stdout() };
            print::table(&mut out, &findings, args.verbose, palette)?;
        }
    }
    out.flush()?;
    match missing {
        0 => Ok(()),
        n => Err(anyhow!("{} missing", counted(n as u64, "thing"))),
    }
}

/// What this command finds on its way, then what the server says.
async fn examine(settings: &Settings) -> Result<Vec<Finding>> {
    let connection = match connect(settings).await {
        Ok(connection) => connection,
        Err(error) if failure::status(&error) == failure::USAGE => return Err(error),
        Err(error) => return Ok(vec![way::unreachable(&error)]),
    };
    let mut client = DoctorClient::new(connection.channel.clone());
    let mut findings = match way::look(&mut client, &connection).await {
        Ok(findings) => findings,
        Err(finding) => return Ok(vec![*finding]),
    };
    match client.examine(connection.request(ExamineRequest {})).await {
        Ok(response) => findings.extend(response.into_inner().findings),
        Err(status) => findings.push(way::unanswered(&connection, &status)),
    }
    Ok(findings)
}
