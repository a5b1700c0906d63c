//! Answers from the agent's own history: GetAgentEvents, and GetDebugEvents, which has none.

use std::collections::VecDeque;
use std::time::Duration;

use fathom_api::flow::AgentEvent;
use fathom_api::time::timestamp;
use futures::Stream;
use prost_types::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::plan::Span;
use crate::events::agent_events::{AgentEvents, missed};

/// An event with the node and time every response names.
pub type Told = (AgentEvent, Timestamp);

struct Tail {
    events: AgentEvents,
    span: Span,
    next: u64,
    /// What may still be sent of an answer that does not follow.
    left: u64,
    ready: VecDeque<Told>,
    grown: watch::Receiver<u64>,
    shutdown: CancellationToken,
    ended: bool,
}

/// The agent's events a request asks for.
pub fn agent_events(
    events: AgentEvents,
    span: Span,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<Told, Status>> {
    let grown = events.watch();
    let next = begin(&events, &span);
    let left = if span.follow { u64::MAX } else { span.number };
    let tail = Tail { events, span, next, left, ready: VecDeque::new(), grown, shutdown, ended: false };
    futures::stream::unfold(tail, |mut tail| async move {
        let item = tail.next().await?;
        Some((item, tail))
    })
}

/// An answer without events: it ends at once, or with `follow` when `until` or the agent's end comes.
pub fn nothing<T>(span: Span, shutdown: CancellationToken) -> impl Stream<Item = Result<T, Status>> {
    futures::stream::unfold(Some((span, shutdown)), |state| async move {
        let (span, shutdown) = state.filter(|(span, _)| span.follow)?;
        let status = wait(&span, &shutdown).await?;
        Some((Err(status), None))
    })
}

/// Number of the first event to send.
fn begin(events: &AgentEvents, span: &Span) -> u64 {
    let (oldest, end) = events.range();
    if span.from_now {
        return end;
    }
    if span.first || span.number == u64::MAX {
        return oldest;
    }
    let (_, history) = events.read(oldest);
    let within = history.iter().enumerate().rev().filter(|(_, (time, _))| span.covers(*time));
    let wanted = usize::try_from(span.number).unwrap_or(usize::MAX);
    within.take(wanted).last().map_or(end, |(index, _)| oldest + index as u64)
}

impl Tail {
    async fn next(&mut self) -> Option<Result<Told, Status>> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(Ok(told));
            }
            if self.ended {
                return None;
            }
            self.read();
            if !self.ready.is_empty() {
                continue;
            }
            if !self.span.follow || self.left == 0 {
                return None;
            }
            tokio::select! {
                // The sender lives as long as `events`, which is here.
                _ = self.grown.changed() => {}
                ended = wait(&self.span, &self.shutdown) => {
                    self.ended = true;
                    return ended.map(Err);
                }
            }
        }
    }

    fn read(&mut self) {
        self.grown.mark_unchanged();
        let (lost, history) = self.events.read(self.next);
        self.next += lost + history.len() as u64;
        if lost > 0 {
            let now = fathom_api::time::now();
            self.ready.push_back((missed(lost), timestamp(now)));
        }
        for (time, event) in history {
            if self.left > 0 && self.span.covers(time) {
                self.left -= 1;
                self.ready.push_back((AgentEvent::clone(&event), timestamp(time)));
            }
        }
        self.ended = !self.span.follow;
    }
}

/// Sleeps until `until` has passed (`None`) or the agent stops.
async fn wait(span: &Span, shutdown: &CancellationToken) -> Option<Status> {
    let over = async {
        let Some(until) = span.until_ns else { return std::future::pending().await };
        loop {
            let left = until.saturating_sub(fathom_api::time::now());
            let Ok(left) = u64::try_from(left) else { return };
            tokio::time::sleep(Duration::from_nanos(left + 1).min(Duration::from_secs(86_400))).await;
        }
    };
    tokio::select! {
        () = over => None,
        () = shutdown.cancelled() => Some(Status::unavailable("the agent is stopping")),
    }
}
