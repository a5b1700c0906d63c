//! Agent events and debug events, from an agent or from all of them through a relay.

use std::io::{BufWriter, Stderr, StdoutLock};

use anyhow::Result;
use fathom_api::observer::observer_client::ObserverClient;
use fathom_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
};
use jiff::Timestamp;
use tokio::time::Instant;
use tonic::{Response, Status, Streaming};

use super::drain::{End, Sink, drain, end, trailers};
use super::selection::Selection;
use super::typed::{EventsArgs, Output};
use crate::connect::connect;
use crate::failure::usage;
use crate::missing;
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
    let failed = |status: &tonic::Status| connection.failed("agent events", status);
    let request = GetAgentEventsRequest { number, first, follow, since, until };
    let mut client = ObserverClient::new(connection.channel.clone());
    let responses = client.get_agent_events(request).await.map_err(|status| failed(&status))?;
    show(responses, style, end(follow, until.as_ref()), failed, "no agent event in that part of the stream")
        .await
}

/// `observe debug-events`
pub async fn debug(args: &EventsArgs, style: Style, settings: &Settings) -> Result<()> {
    let Selection { number, first, follow, since, until } = selection(args)?;
    let connection = connect(settings).await?;
    let failed = |status: &tonic::Status| connection.failed("debug events", status);
    let request = GetDebugEventsRequest { number, first, follow, since, until };
    let mut client = ObserverClient::new(connection.channel.clone());
    let responses = client.get_debug_events(request).await.map_err(|status| failed(&status))?;
    let nothing = "no debug event: Fathom's datapath writes none (see agent-events, or flows with --facts)";
    show(responses, style, end(follow, until.as_ref()), failed, nothing).await
}

/// Shows the events, then says which nodes they are without, or that there are none.
async fn show<T>(
    responses: Response<Streaming<T>>,
    style: Style,
    until: Option<Instant>,
    failed: impl FnOnce(&Status) -> anyhow::Error,
    nothing: &str,
) -> Result<()>
where
    Screen<BufWriter<StdoutLock<'static>>, Stderr>: Sink<T>,
{
    let told = missing::nodes(responses.metadata());
    if !style.silent {
        missing::tell(&told);
    }
    let mut events = responses.into_inner();
    let mut screen = Screen { printer: Printer::new(style, super::stdout(), std::io::stderr()), events: 0 };
    let ended = drain(&mut events, &mut screen, until, failed).await;
    screen.printer.finish()?;
    if style.silent {
        return ended.map(|_| ());
    }
    if matches!(ended, Ok(End::Exhausted)) {
        // At its end a relay also knows who failed on the way.
        if let Ok(Some(trailers)) = trailers(&mut events).await {
            missing::tell(&missing::nodes(&trailers).difference(&told).cloned().collect());
        }
    }
    if ended.is_ok() && screen.events == 0 {
        note(nothing);
    }
    ended.map(|_| ())
}
