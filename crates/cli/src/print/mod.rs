//! Events on their way to the screen: one writer per output format behind one door.

mod agent_event;
mod codes;
mod compact;
mod debug_event;
mod dict;
mod facts;
mod flow_text;
mod lost;
mod message;
mod node_status;
mod table;

use std::io::{self, Write};

use fathom_api::flow::Flow;
use fathom_api::observer::{GetAgentEventsResponse, GetDebugEventsResponse, GetFlowsResponse};
use fathom_api::peek::{self, Kind};
use fathom_api::{Raw, json};
use prost::Message;

pub use facts::place as rule_place;
pub use node_status::names as node_names;

use crate::observe::typed::Output;
use crate::terminal::colour::Palette;
use crate::terminal::columns::Columns;
use crate::terminal::time_format::TimeFormat;
use fathom_api::observer::get_flows_response::ResponseTypes;

/// How events are written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub output: Output,
    pub time: TimeFormat,
    pub palette: Palette,
    pub node_name: bool,
    pub policy_names: bool,
    /// What only Fathom knows of a flow, after its summary.
    pub facts: bool,
    /// Names in place of addresses.
    pub translate: bool,
    /// Also tell of nodes that came and went, not of failures only.
    pub debug: bool,
    /// Nothing on standard error.
    pub silent: bool,
    /// JSON output is the bare event without its envelope.
    pub legacy_json: bool,
}

/// Writes events to `out` and words about nodes to `err`.
pub struct Printer<O: Write, E: Write> {
    style: Style,
    out: O,
    err: E,
    /// Records in dict output so far, on either stream: the next one is preceded by a separator.
    records: u64,
    table: Columns,
    json: Vec<u8>,
}

/// What a response was, for counting.
#[derive(Clone, Debug, PartialEq)]
pub enum Printed {
    Flow,
    Lost {
        node: String,
        event: fathom_api::flow::LostEvent,
    },
    NodeStatus(fathom_api::relay::NodeStatusEvent),
    /// A response of a kind not known here.
    Other,
}

/// An event could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    #[error("write to standard output")]
    Write(#[from] io::Error),
    #[error("the server sent something that is no flow response")]
    Decode(#[from] prost::DecodeError),
    #[error("the server sent something that is no flow response")]
    Peek(#[from] peek::PeekError),
    #[error("write an event as JSON")]
    Json(#[from] json::JsonError),
}

/// Between records of dict output.
const SEPARATOR: &str = "------------\n";

impl<O: Write, E: Write> Printer<O, E> {
    pub fn new(style: Style, out: O, err: E) -> Self {
        Self { style, out, err, records: 0, table: Columns::default(), json: Vec::new() }
    }

    /// Shows one response of GetFlows.
    pub fn response(&mut self, raw: &Raw) -> Result<Printed, PrintError> {
        if matches!(self.style.output, Output::Json | Output::Jsonpb) {
            return self.json_response(raw);
        }
        let response = GetFlowsResponse::decode(raw.0.clone())?;
        let (time, node) = (response.time.as_ref(), response.node_name.as_str());
        Ok(match response.response_types {
            Some(ResponseTypes::Flow(flow)) => {
                self.flow(&flow)?;
                Printed::Flow
            }
            Some(ResponseTypes::LostEvents(event)) => {
                match self.style.output {
                    Output::Dict => {
                        lost::dict(&mut self.out, &self.style, self.records > 0, &event, time, node)?
                    }
                    Output::Table => self.table_row(|style| lost::row(style, &event, time, node)),
                    _ => lost::compact(&mut self.out, &self.style, &event, time, node)?,
                }
                self.records += 1;
                Printed::Lost { node: response.node_name, event }
            }
            Some(ResponseTypes::NodeStatus(event)) => {
                if !self.style.silent && (self.style.debug || node_status::is_failure(&event)) {
                    // In order with the flows before it, where both streams meet in a terminal.
                    self.out.flush()?;
                    let dict = self.style.output == Output::Dict;
                    let write = if dict { node_status::dict } else { node_status::line };
                    write(&mut self.err, &self.style, self.records > 0, &event, time, node)?;
                    self.err.flush()?;
                    self.records += u64::from(dict);
                }
                Printed::NodeStatus(event)
            }
            None => Printed::Other,
        })
    }

    fn flow(&mut self, flow: &Flow) -> io::Result<()> {
        match self.style.output {
            Output::Dict => dict::flow(&mut self.out, &self.style, self.records > 0, flow)?,
            Output::Table => self.table_row(|style| table::row(style, flow)),
            _ => compact::flow(&mut self.out, &self.style, flow)?,
        }
        self.records += 1;
        Ok(())
    }

    fn table_row(&mut self, row: impl FnOnce(&Style) -> Vec<String>) {
        if self.table.is_empty() {
            self.table.row(table::header(&self.style));
        }
        self.table.row(row(&self.style));
    }

    fn json_response(&mut self, raw: &Raw) -> Result<Printed, PrintError> {
        let peek = peek::peek(&raw.0)?;
        let bare = self.style.legacy_json && self.style.output == Output::Json;
        match peek.kind {
            Kind::Flow => {
                match bare {
                    true => self.json_line("flow.Flow", peek.body)?,
                    false => self.json_line("observer.GetFlowsResponse", &raw.0)?,
                }
                Ok(Printed::Flow)
            }
            Kind::LostEvents => {
                match bare {
                    true => self.json_line("flow.LostEvent", peek.body)?,
                    false => self.json_line("observer.GetFlowsResponse", &raw.0)?,
                }
                let event = fathom_api::flow::LostEvent::decode(peek.body)?;
                Ok(Printed::Lost { node: peek.node_name.to_owned(), event })
            }
            Kind::NodeStatus => {
                let event = fathom_api::relay::NodeStatusEvent::decode(peek.body)?;
                if !self.style.silent && (self.style.debug || node_status::is_failure(&event)) {
                    self.out.flush()?;
                    self.json.clear();
                    json::append("observer.GetFlowsResponse", &raw.0, &mut self.json)?;
                    self.json.push(b'\n');
                    self.err.write_all(&self.json)?;
                    self.err.flush()?;
                }
                Ok(Printed::NodeStatus(event))
            }
            Kind::Empty => Ok(Printed::Other),
        }
    }

    fn json_line(&mut self, message: &str, wire: &[u8]) -> Result<(), PrintError> {
        self.json.clear();
        json::append(message, wire, &mut self.json)?;
        self.json.push(b'\n');
        self.out.write_all(&self.json)?;
        Ok(())
    }

    /// Shows one agent event.
    pub fn agent_event(&mut self, response: &GetAgentEventsResponse) -> Result<(), PrintError> {
        let Some(event) = &response.agent_event else { return Ok(()) };
        match self.style.output {
            Output::Json if self.style.legacy_json => {
                self.json_line("flow.AgentEvent", &event.encode_to_vec())?;
            }
            Output::Json | Output::Jsonpb => {
                self.json_line("observer.GetAgentEventsResponse", &response.encode_to_vec())?;
            }
            Output::Compact => agent_event::compact(&mut self.out, &self.style, response, event)?,
            Output::Dict => agent_event::dict(&mut self.out, &self.style, self.records > 0, response, event)?,
            Output::Table => {
                if self.table.is_empty() {
                    self.table.row(agent_event::header(&self.style));
                }
                self.table.row(agent_event::row(&self.style, response, event));
            }
        }
        self.records += 1;
        Ok(())
    }

    /// Shows one debug event.
    pub fn debug_event(&mut self, response: &GetDebugEventsResponse) -> Result<(), PrintError> {
        let Some(event) = &response.debug_event else { return Ok(()) };
        match self.style.output {
            Output::Json if self.style.legacy_json => {
                self.json_line("flow.DebugEvent", &event.encode_to_vec())?;
            }
            Output::Json | Output::Jsonpb => {
                self.json_line("observer.GetDebugEventsResponse", &response.encode_to_vec())?;
            }
            Output::Compact => debug_event::compact(&mut self.out, &self.style, response, event)?,
            Output::Dict => debug_event::dict(&mut self.out, &self.style, self.records > 0, response, event)?,
            Output::Table => {
                if self.table.is_empty() {
                    self.table.row(debug_event::header(&self.style));
                }
                self.table.row(debug_event::row(&self.style, response, event));
            }
        }
        self.records += 1;
        Ok(())
    }

    /// What has been written becomes visible; a table still waits for its end.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes what waited for the end, and flushes.
    pub fn finish(&mut self) -> io::Result<()> {
        std::mem::take(&mut self.table).write(&mut self.out, "")?;
        self.out.flush()
    }
}

#[cfg(test)]
#[path = "golden_tests.rs"]
mod golden_tests;
