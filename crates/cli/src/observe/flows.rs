//! Flows from a server.

use anyhow::Result;
use fathom_api::Raw;
use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer_raw::observer_client::ObserverClient;

use super::drain::{End, Sink, drain, end, trailers};
use super::emptiness;
use super::request::Query;
use super::tally::Tally;
use crate::connect::{Connection, connect};
use crate::print::{Printer, Style};
use crate::settings::Settings;
use crate::terminal::note;

/// Prints and counts.
struct Screen<O: std::io::Write, E: std::io::Write> {
    printer: Printer<O, E>,
    tally: Tally,
}

impl<O: std::io::Write, E: std::io::Write> Sink<Raw> for Screen<O, E> {
    fn take(&mut self, raw: Raw) -> Result<()> {
        self.tally.count(self.printer.response(&raw)?);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.printer.flush()?)
    }
}

/// Runs the query and shows its flows; then says on standard error what was missing, or why nothing
/// came.
pub async fn run(query: &Query, style: Style, settings: &Settings) -> Result<()> {
    let connection = connect(settings).await?;
    if style.debug && !style.silent {
        note(format_args!("asking {} for {:?}", connection.server, query.request));
    }
    let mut screen =
        Screen { printer: Printer::new(style, super::stdout(), std::io::stderr()), tally: Tally::default() };
    let mut examined = None;
    let ended = stream(&connection, &query.request, &mut screen, &mut examined).await;
    screen.printer.finish()?;
    let tally = screen.tally;
    if !style.silent {
        if let Some(incomplete) = tally.incomplete() {
            note(incomplete);
        }
        if query.request.follow && query.request.until.is_none() && matches!(ended, Ok(End::Exhausted)) {
            note(format_args!("{} ended the stream", connection.server));
        }
        if ended.is_ok() && tally.flows == 0 {
            note(emptiness::explain(&connection, query, &tally, examined).await.trim_end());
        }
    }
    ended.map(|_| ())
}

async fn stream(
    connection: &Connection,
    request: &GetFlowsRequest,
    sink: &mut impl Sink<Raw>,
    examined: &mut Option<u64>,
) -> Result<End> {
    let failed = |status: &tonic::Status| connection.failed("flows", status);
    let mut client = ObserverClient::new(connection.channel.clone());
    let until = end(request.follow, request.until.as_ref());
    let responses = client.get_flows(request.clone()).await.map_err(|status| failed(&status))?;
    let mut responses = responses.into_inner();
    let ended = drain(&mut responses, sink, until, failed).await?;
    if ended == End::Exhausted
        && let Ok(Some(trailers)) = trailers(&mut responses).await
    {
        let number = trailers.get("fathom-flows-examined").and_then(|value| value.to_str().ok());
        *examined = number.and_then(|number| number.parse().ok());
    }
    Ok(ended)
}
