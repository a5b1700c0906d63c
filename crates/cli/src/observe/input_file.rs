//! Flows from a file or a pipe, one JSON object per line, filtered here as a server would.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, bail};
use fathom_api::observer::GetFlowsResponse;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::{Filter, Raw, json, time};
use prost::Message;

use super::request::{Input, Query};
use super::tally::Tally;
use crate::failure::usage;
use crate::print::{Printer, Style};
use crate::terminal::escape::Escaped;
use crate::terminal::note;
use crate::terminal::quantity::{counted, grouped};

/// Shows the flows of the query's file.
pub fn run(query: &Query, style: Style) -> Result<()> {
    let (input, name): (Box<dyn BufRead>, &str) = match &query.input {
        Input::File(path) => {
            let file = File::open(path).with_context(|| format!("open the input file {path}"))?;
            (Box::new(BufReader::with_capacity(1 << 18, file)), path)
        }
        Input::Stdin | Input::Server => (Box::new(std::io::stdin().lock()), "standard input"),
    };
    let mut printer = Printer::new(style, super::stdout(), std::io::stderr());
    let read = copy(query, input, name, &mut printer)?;
    printer.finish()?;
    if !style.silent {
        read.words(name).iter().for_each(note);
    }
    match read.first_bad {
        Some(first) => bail!("{} of {name} could not be read; the first: {first}", counted(read.bad, "line")),
        None => Ok(()),
    }
}

/// What was found in a file.
#[derive(Default)]
struct Read {
    tally: Tally,
    /// Flows, shown or not.
    flows: u64,
    bad: u64,
    first_bad: Option<String>,
    unknown_fields: u64,
}

impl Read {
    fn words(&self, name: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if self.unknown_fields > 0 {
            lines.push(format!(
                "warning: {} of {name} held fields not known here; they were passed over",
                counted(self.unknown_fields, "line")
            ));
        }
        lines.extend(self.tally.incomplete());
        if self.tally.flows == 0 && self.first_bad.is_none() {
            lines.push(format!("no flow matched: {} looked at in {name}", counted(self.flows, "flow")));
        }
        lines
    }
}

fn copy<O: std::io::Write, E: std::io::Write>(
    query: &Query,
    mut input: Box<dyn BufRead + '_>,
    name: &str,
    printer: &mut Printer<O, E>,
) -> Result<Read> {
    let request = &query.request;
    let filter = Filter::compile(&request.whitelist, &request.blacklist).map_err(usage)?;
    let wanted = |response: &GetFlowsResponse| {
        let at = response_time(response);
        let late = request.since.as_ref().is_none_or(|since| at.is_some_and(|at| at >= time::unix_ns(since)));
        let early =
            request.until.as_ref().is_none_or(|until| at.is_some_and(|at| at <= time::unix_ns(until)));
        let matches = match &response.response_types {
            Some(ResponseTypes::Flow(flow)) => filter.matches(flow),
            other => other.is_some(),
        };
        late && early && matches
    };
    // The newest of a file are known only at its end.
    let keep = (!request.first && request.number != u64::MAX).then_some(request.number).filter(|n| *n > 0);
    let mut kept: VecDeque<(bool, Raw)> = VecDeque::new();
    let mut kept_flows = 0;

    let mut read = Read::default();
    let (mut line, mut number) = (String::new(), 0u64);
    loop {
        line.clear();
        number += 1;
        if input.read_line(&mut line).with_context(|| format!("read {name}, line {}", grouped(number)))? == 0
        {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let parsed = match json::parse_response(line.trim()) {
            Ok(parsed) => parsed,
            Err(error) => {
                read.bad += 1;
                let place = || format!("line {}: {}", grouped(number), Escaped(&error.to_string()));
                read.first_bad.get_or_insert_with(place);
                continue;
            }
        };
        read.unknown_fields += u64::from(parsed.unknown_fields);
        let is_flow = matches!(parsed.response.response_types, Some(ResponseTypes::Flow(_)));
        read.flows += u64::from(is_flow);
        if !wanted(&parsed.response) {
            continue;
        }
        let raw = Raw(parsed.response.encode_to_vec().into());
        match keep {
            Some(keep) => {
                kept.push_back((is_flow, raw));
                kept_flows += u64::from(is_flow);
                while kept_flows > keep {
                    if let Some((was_flow, _)) = kept.pop_front() {
                        kept_flows -= u64::from(was_flow);
                    }
                }
            }
            None => {
                read.tally.count(printer.response(&raw)?);
                if request.first && read.tally.flows >= request.number {
                    break;
                }
                // A pipe that is empty for now may stay so: show what there is.
                if matches!(query.input, Input::Stdin) {
                    printer.flush()?;
                }
            }
        }
    }
    for (_, raw) in kept {
        read.tally.count(printer.response(&raw)?);
    }
    Ok(read)
}

fn response_time(response: &GetFlowsResponse) -> Option<i64> {
    let flow_time = match &response.response_types {
        Some(ResponseTypes::Flow(flow)) => flow.time.as_ref(),
        _ => None,
    };
    response.time.as_ref().or(flow_time).map(time::unix_ns)
}
