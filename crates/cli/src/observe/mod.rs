//! `fathom observe`: from what was typed ([`typed`]) to what it means ([`request`]), and from the
//! stream to the screen.

pub(crate) mod drain;
pub(crate) mod emptiness;
mod events;
pub(crate) mod filter;
pub(crate) mod flag;
mod flows;
mod input_file;
pub(crate) mod interrupt;
mod l7_value;
mod mask;
mod namespace;
pub mod request;
pub(crate) mod selection;
pub(crate) mod tally;
pub mod typed;
mod value;
mod when;

use std::io::{BufWriter, StdoutLock, Write};

use anyhow::Result;
use jiff::Timestamp;

use crate::print::Style;
use crate::settings::Settings;
use crate::settings::file::{Value, entry};
pub use l7_value::protocols;
use request::{Input, Query};
use typed::{FlowsArgs, FormatArgs, ObserveArgs, ObserveWhat, Output};

/// Runs `fathom observe …`.
pub async fn run(args: &ObserveArgs, settings: &Settings) -> Result<()> {
    match &args.what {
        None => flows(&args.flows, settings).await,
        Some(ObserveWhat::Flows(args)) => flows(args, settings).await,
        Some(ObserveWhat::AgentEvents(args)) => {
            events::agent(args, style(&args.format, args.quiet.silent_errors, settings), settings).await
        }
        Some(ObserveWhat::DebugEvents(args)) => {
            events::debug(args, style(&args.format, args.quiet.silent_errors, settings), settings).await
        }
    }
}

async fn flows(args: &FlowsArgs, settings: &Settings) -> Result<()> {
    let query = Query::new(args, settings, Timestamp::now())?;
    if args.raw.print_raw_filters {
        return print_raw_filters(&query);
    }
    let format = &args.flow_format;
    let style = Style {
        policy_names: format.print_policy_names,
        facts: format.facts,
        translate: format.ip_translation && !format.numeric,
        ..style(&args.format, args.quiet.silent_errors, settings)
    };
    match query.input {
        Input::Server => flows::run(&query, style, settings).await,
        Input::Stdin | Input::File(_) => input_file::run(&query, style),
    }
}

fn style(format: &FormatArgs, silent: bool, settings: &Settings) -> Style {
    let coloured = matches!(format.output, Output::Compact | Output::Dict);
    Style {
        output: format.output,
        time: format.time_format,
        palette: crate::terminal::colour::Palette { on: coloured && format.color.for_stdout() },
        node_name: format.print_node_name,
        policy_names: false,
        facts: false,
        translate: true,
        debug: settings.debug,
        silent,
        legacy_json: settings.legacy_json,
    }
}

/// Standard output in large writes; who uses it flushes when events pause.
fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, std::io::stdout().lock())
}

/// The filters as YAML, in the form the configuration file takes them.
fn print_raw_filters(query: &Query) -> Result<()> {
    let mut text = String::new();
    for (name, filters) in [("allowlist", &query.request.whitelist), ("denylist", &query.request.blacklist)] {
        let mut list = Vec::new();
        for filter in filters {
            let mut object = Vec::new();
            fathom_api::json::append("flow.FlowFilter", &prost::Message::encode_to_vec(filter), &mut object)?;
            list.push(String::from_utf8(object)?);
        }
        if !list.is_empty() {
            text.push_str(&entry(name, &Value::List(list)));
        }
    }
    if text.is_empty() {
        text.push_str("{}\n");
    }
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
