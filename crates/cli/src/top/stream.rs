//! From the stream to the screen.

use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use fathom_api::Raw;
use fathom_api::flow::{Flow, LostEvent};
use fathom_api::observer_raw::observer_client::ObserverClient;
use fathom_api::peek::{self, Kind};
use fathom_api::relay::NodeStatusEvent;
use futures::{FutureExt, Stream, StreamExt};
use jiff::Timestamp;
use prost::Message;
use tokio::time::Instant;
use tonic::Status;

use super::json;
use super::report::Report;
use super::request::Plan;
use super::routes::{PARTS, Routes};
use super::screen::{Screen, stdout_is_a_screen, stdout_size};
use super::table;
use super::typed::{RoutesArgs, TopOutput};
use crate::connect::connect;
use crate::observe::drain::{End, trailers};
use crate::observe::emptiness;
use crate::observe::interrupt::Interrupt;
use crate::observe::request::{Input, Query};
use crate::observe::tally::Tally;
use crate::print::Printed;
use crate::settings::Settings;
use crate::terminal::colour::Palette;
use crate::terminal::note;

/// Flows taken in a row before signals and the clock get their turn.
const BATCH: usize = 512;

/// Runs until interrupted, or until the stream ends.
pub async fn run(args: &RoutesArgs, settings: &Settings) -> Result<()> {
    let Plan { request, protocols } = Plan::new(args, Timestamp::now())?;
    let connection = connect(settings).await?;
    let failed = |status: &Status| connection.failed("flows", status);
    let mut client = ObserverClient::new(connection.channel.clone());
    let responses = client.get_flows(request.clone()).await.map_err(|status| failed(&status))?;
    let mut responses = responses.into_inner();

    let in_place = args.format.output == TopOutput::Table && stdout_is_a_screen() && !args.selection.once;
    let out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let palette = Palette { on: args.format.color.for_stdout() };
    let mut top = Top::new(args, Routes::new(args.grouping, protocols), Screen::new(out, in_place), palette);
    if in_place {
        top.show()?;
    }
    let ended = top.drain(&mut responses).await;
    top.finish()?;
    let Top { screen, tally, routes, .. } = top;
    // The cursor is back before anything else is said.
    drop(screen);
    match ended? {
        Ok(End::Exhausted) if request.follow => note(format_args!("{} ended the stream", connection.server)),
        Ok(End::Exhausted) if routes.all().total(|numbers| numbers.count) == 0 => {
            let trailers = trailers(&mut responses).await.ok().flatten();
            let examined = trailers.as_ref().and_then(|trailers| trailers.get("fathom-flows-examined"));
            let examined = examined.and_then(|value| value.to_str().ok()?.parse().ok());
            let query = Query { request, input: Input::Server, hints: vec![HINT] };
            note(emptiness::explain(&connection, &query, &tally, examined).await.trim_end());
        }
        Ok(_) => {}
        Err(status) => return Err(failed(&status)),
    }
    Ok(())
}

const HINT: &str =
    "routes are read from answers to requests (type l7): do the agents look at messages, and for these pods?";

/// Counts, and shows the numbers when it is time.
struct Top<'a, W: Write> {
    args: &'a RoutesArgs,
    routes: Routes,
    tally: Tally,
    screen: Screen<W>,
    palette: Palette,
    started: Instant,
    /// When the interval began.
    since: Instant,
    times: Times,
    /// Something came since the numbers were shown, or they never were.
    stale: bool,
}

/// Times of flows, nanoseconds since the epoch: what is read from the past at once took its time to happen.
#[derive(Default)]
struct Times {
    first: Option<i64>,
    /// The first in this interval.
    from: Option<i64>,
    newest: Option<i64>,
}

impl Times {
    fn saw(&mut self, at: i64) {
        self.first.get_or_insert(at);
        if self.from.is_none() {
            (self.from, self.newest) = (Some(at), None);
        }
        self.newest = self.newest.max(Some(at));
    }

    fn between(from: Option<i64>, to: Option<i64>) -> Option<Duration> {
        let nanoseconds = u64::try_from(to?.saturating_sub(from?)).unwrap_or(0);
        Some(Duration::from_nanos(nanoseconds))
    }
}

impl<'a, W: Write> Top<'a, W> {
    fn new(args: &'a RoutesArgs, routes: Routes, screen: Screen<W>, palette: Palette) -> Self {
        let now = Instant::now();
        Self {
            args,
            routes,
            tally: Tally::default(),
            screen,
            palette,
            started: now,
            since: now,
            times: Times::default(),
            stale: true,
        }
    }

    /// Takes everything off the stream; the inner error is the stream's.
    async fn drain(
        &mut self,
        stream: &mut (impl Stream<Item = Result<Raw, Status>> + Unpin),
    ) -> Result<Result<End, Status>> {
        let mut interrupt = Interrupt::new()?;
        let mut next_show = Instant::now() + self.args.selection.interval;
        let mut taken = 0;
        loop {
            let ready = if taken < BATCH { stream.next().now_or_never() } else { None };
            let next = match ready {
                Some(next) => next,
                None => {
                    taken = 0;
                    tokio::select! {
                        biased;
                        () = interrupt.wish() => return Ok(Ok(End::Interrupted)),
                        () = tokio::time::sleep_until(next_show), if !self.args.selection.once => {
                            self.show()?;
                            // From now on: who is late does not hurry after.
                            next_show = Instant::now() + self.args.selection.interval;
                            continue;
                        }
                        next = stream.next() => next,
                    }
                }
            };
            match next {
                Some(Ok(raw)) => self.take(&raw)?,
                Some(Err(status)) => return Ok(Err(status)),
                None => return Ok(Ok(End::Exhausted)),
            }
            taken += 1;
        }
    }

    fn take(&mut self, raw: &Raw) -> Result<()> {
        let what = "the server sent something that is no flow response";
        let peek = peek::peek(&raw.0).context(what)?;
        self.stale = true;
        match peek.kind {
            Kind::Flow => {
                let flow = Flow::decode(peek.body).context(what)?;
                if self.routes.count(&flow)
                    && let Some(at) = peek.time_ns
                {
                    self.times.saw(at);
                }
            }
            Kind::LostEvents => {
                let event = LostEvent::decode(peek.body).context(what)?;
                self.tally.count(Printed::Lost { node: peek.node_name.to_owned(), event });
            }
            Kind::NodeStatus => {
                let missing = self.tally.missing.len();
                let event = NodeStatusEvent::decode(peek.body).context(what)?;
                self.tally.count(Printed::NodeStatus(event));
                if self.tally.missing.len() > missing {
                    self.routes.forget_servers();
                }
            }
            Kind::Empty => {}
        }
        Ok(())
    }

    /// Shows the numbers, and begins a new interval.
    fn show(&mut self) -> Result<()> {
        let (now, once) = (Instant::now(), self.args.selection.once);
        let window = self.args.selection.window;
        if let Some(window) = window {
            let part = (now - self.started).as_nanos() * u128::from(PARTS) / window.as_nanos();
            self.routes.enter(u64::try_from(part).unwrap_or(u64::MAX));
        }
        let happened = Times::between(self.times.from, self.times.newest);
        let span = match once {
            true => happened.filter(|span| !span.is_zero()),
            false => Some(happened.unwrap_or_default().max(now - self.since)),
        };
        let ever = Times::between(self.times.first, self.times.newest).unwrap_or_default();
        let report = Report {
            at: Timestamp::now(),
            routes: &self.routes,
            tally: &self.tally,
            sort: self.args.format.sort,
            limit: self.args.format.limit.map(|limit| limit as usize),
            elapsed: if once { ever } else { ever.max(now - self.started) },
            window,
            span,
            max_routes: self.args.grouping.max_routes,
        };
        match self.args.format.output {
            TopOutput::Json | TopOutput::Jsonpb => {
                let line = json::line(&report).context("write routes as JSON")?;
                self.screen.line(&line)?;
            }
            TopOutput::Table => {
                let size = stdout_size();
                // A table that scrolls may be as long as it likes.
                let fitted = size.filter(|_| self.screen.is_in_place());
                let lines = table::lines(&report, self.args.grouping.by_service, self.palette, fitted);
                self.screen.show(&lines, size)?;
            }
        }
        self.routes.begin_interval();
        self.since = now;
        self.times.from = None;
        self.stale = false;
        Ok(())
    }

    /// Shows what came last.
    fn finish(&mut self) -> Result<()> {
        if self.stale { self.show() } else { Ok(()) }
    }
}
