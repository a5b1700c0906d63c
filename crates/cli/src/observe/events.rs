//! Agent events and debug events from an agent.

use anyhow::Result;
use fathom_api::observer::observer_client::ObserverClient;
use fathom_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
};
use jiff::Timestamp;

use super::drain::{Sink, drain};
use super::selection::Selection;
use super::typed::{EventsArgs, Output};
use crate::connect::connect;
use crate::failure::usage;
use crate::print::{Printer, Style};
use crate::settings::Settings;
use crate::terminal::note;

struct Screen<O: std::io::Write, E: std::io::Write> {
    printer: Printer<O, E>,
    events: u64,
}

impl<O: std::io::Write, E: std::io::Write> Sink<GetAgentEventsResponse> for Screen<O, E> {
    fn take(&mut self, event: GetAgentEventsResponse) -> Result<()> {
        self.events += 1;
        Ok(self.printer.agent_event(&event)?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.printer.flush()?)
    }
}

impl<O: std::io::Write, E: std::io::Write> Sink<GetDebugEventsResponse> for Screen<O, E> {
    fn take(&mut self, event: GetDebugEventsResponse) -> Result<()> {
        self.events += 1;
        Ok(self.printer.debug_event(&event)?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.printer.flush()?)
    }
}

fn selection(args: &EventsArgs) -> Result<Selection> {
    if args.format.output == Output::Table && args.selection.follow {
        return Err(usage("table output format is not compatible with follow mode; use compact or dict"));
    }
    Selection::new(&args.selection, false, Timestamp::now())
}

/// `observe agent-events`
pub async fn agent(args: &EventsArgs, style: Style, settings: &Settings) -> Result<()> {
    let Selection { number, first, follow, since, until } = selection(args)?;
    let connection = connect(settings).await?;
    let failed = |status: &tonic::Status| {
        connection.failed("agent events (which only an agent has, not a relay)", status)
    };
    let request = GetAgentEventsRequest { number, first, follow, since, until };
    let mut client = ObserverClient::new(connection.channel.clone());
    let responses = client.get_agent_events(request).await.map_err(|status| failed(&status))?;
    let mut screen = Screen { printer: Printer::new(style, super::stdout(), std::io::stderr()), events: 0 };
    let ended = drain(responses.into_inner(), &mut screen, None, failed).await;
    close(screen, style, ended.map(|_| ()), "agent event")
}

/// `observe debug-events`
pub async fn debug(args: &EventsArgs, style: Style, settings: &Settings) -> Result<()> {
    let Selection { number, first, follow, since, until } = selection(args)?;
    let connection = connect(settings).await?;
    let failed = |status: &tonic::Status| {
        connection.failed("debug events (which only an agent has, not a relay)", status)
    };
    let request = GetDebugEventsRequest { number, first, follow, since, until };
    let mut client = ObserverClient::new(connection.channel.clone());
    let responses = client.get_debug_events(request).await.map_err(|status| failed(&status))?;
    let mut screen = Screen { printer: Printer::new(style, super::stdout(), std::io::stderr()), events: 0 };
    let ended = drain(responses.into_inner(), &mut screen, None, failed).await;
    close(screen, style, ended.map(|_| ()), "debug event")
}

fn close<O: std::io::Write, E: std::io::Write>(
    mut screen: Screen<O, E>,
    style: Style,
    ended: Result<()>,
    noun: &str,
) -> Result<()> {
    screen.printer.finish()?;
    if ended.is_ok() && screen.events == 0 && !style.silent {
        note(format_args!("no {noun} in that part of the stream"));
    }
    ended
}
