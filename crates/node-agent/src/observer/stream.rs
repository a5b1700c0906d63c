//! One client's answer to GetFlows.
//!
//! There is no queue between the store and a client: whenever the connection can take more, the
//! stream reads on from the store, filters, and writes bytes. A client that takes its time therefore
//! costs no memory and holds up nobody; what is overwritten before it comes back is counted, flow by
//! flow, and told.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use fathom_api::Raw;
use fathom_api::flow::LostEventSource;
use fathom_api::response::{self, Lost};
use fathom_api::write::flow_response;
use futures::Stream;
use tokio::time::{Instant, Sleep};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::node::Node;
use super::plan::Plan;
use super::view::View;
use crate::events::Flow;
use crate::events::cursor::Cursor;
use crate::events::intake::Shared;
use crate::events::ledger::ClientCounts;
use crate::events::lost::{Loss, Told, Untold};
use crate::events::seek::{Seek, Sought, Wanted};

/// Records wait in the kernel's rings for up to this long: a flow of the past can still come.
const SETTLE: Duration = Duration::from_secs(1);

/// Segments of the store looked at before other tasks get their turn: about 0.1 ms of filtering.
const STEPS_PER_TURN: u32 = 32;

/// Bytes written into one buffer before it is handed on and a new one is taken.
const ARENA: usize = 64 * 1024;

/// The stream of responses.
pub struct FlowStream {
    shared: Arc<Shared>,
    node: Node,
    plan: Plan,
    state: State,
    /// Read from the store, not looked at yet.
    chunk: VecDeque<Arc<Flow>>,
    scratch: Vec<Arc<Flow>>,
    /// Responses to go out before the next flow.
    ready: VecDeque<Raw>,
    arena: BytesMut,
    /// Matching flows sent.
    sent: u64,
    told: Told,
    untold: Untold,
    lost_sent: Option<Instant>,
    lost_interval: Duration,
    counts: ClientCounts,
    total: ClientCounts,
    grown: WatchStream<u64>,
    alarm: Pin<Box<Sleep>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
}

enum State {
    /// Looking for where to begin; the end of an answer that does not follow.
    Seek(Seek, u64),
    /// Reading on.
    Read(Cursor, u64),
    /// All is written but what `ready` holds; then the stream ends so.
    End(Option<Status>),
    Done,
}

/// What reading the store brought.
enum Progress {
    More,
    Wait,
}

impl FlowStream {
    pub fn new(
        shared: Arc<Shared>,
        node: Node,
        plan: Plan,
        lost_interval: Duration,
        shutdown: WaitForCancellationFutureOwned,
    ) -> Self {
        let store = Arc::clone(&shared.store);
        let grown = WatchStream::from_changes(store.watch());
        if !plan.span.follow {
            shared.collect_kernel_losses();
        }
        let told = if plan.span.from_now { shared.losses.from_now() } else { Told::default() };
        let head = store.head();
        let end = if plan.span.follow { u64::MAX } else { head };
        let old_denials = plan.only_drops;
        let wanted = match plan.span {
            span if span.from_now => Wanted { flows: 0, since_ns: None, old_denials },
            span if span.first => Wanted { flows: u64::MAX, since_ns: None, old_denials },
            span => Wanted { flows: span.number, since_ns: span.since_ns, old_denials },
        };
        let seek = Seek::new(store, head, wanted);
        Self {
            node,
            plan,
            state: State::Seek(seek, end),
            chunk: VecDeque::new(),
            scratch: Vec::new(),
            ready: VecDeque::new(),
            arena: BytesMut::new(),
            sent: 0,
            told,
            untold: Untold::default(),
            lost_sent: None,
            lost_interval,
            counts: ClientCounts::default(),
            total: ClientCounts::default(),
            grown,
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            shutdown: Box::pin(shutdown),
            shared,
        }
    }

    /// Walks back one segment.
    fn seek(&mut self) {
        let State::Seek(seek, end) = &mut self.state else { return };
        let (node, plan) = (&self.node, &self.plan);
        let matches =
            |flow: &Flow| plan.span.covers(flow.time_ns) && plan.filter.matches(&View { flow, node });
        if let Sought::Here(position) = seek.step(&mut self.scratch, matches) {
            let (ring_begin, end) = (seek.ring_begin(), *end);
            if !self.plan.span.from_now {
                self.told = self.shared.losses.from_position(position);
            }
            let store = Arc::clone(&self.shared.store);
            self.state = State::Read(Cursor::new(store, position, ring_begin), end);
        }
    }

    /// The next flow of the chunk that the client wants, as bytes.
    fn next_flow(&mut self) -> Option<Raw> {
        while let Some(flow) = self.chunk.pop_front() {
            self.counts.passed += 1;
            let view = View { flow: &flow, node: &self.node };
            if !self.plan.span.covers(flow.time_ns) || !self.plan.filter.matches(&view) {
                self.counts.filtered += 1;
                continue;
            }
            self.counts.sent += 1;
            self.sent += 1;
            self.arena.reserve(1024);
            flow_response(&mut self.arena, &view.parts(self.plan.facts), &self.plan.mask);
            let bytes = self.arena.split().freeze();
            if !self.plan.span.follow && self.sent >= self.plan.span.number {
                self.chunk.clear();
                self.end(None);
            }
            return Some(Raw(bytes));
        }
        None
    }

    /// Reads the next chunk, and what was lost up to it.
    fn read(&mut self) -> Progress {
        self.flush_counts();
        let over = self.is_over();
        let State::Read(cursor, end) = &mut self.state else { return Progress::More };
        if over {
            // What there is now is all that can be from before.
            *end = (*end).min(self.shared.store.head());
        }
        let end = *end;
        self.scratch.clear();
        let gap = cursor.next_chunk(end, &mut self.scratch);
        let position = cursor.position();
        if self.plan.filter.passes_all() {
            warm(&self.scratch);
        }
        self.chunk.extend(self.scratch.drain(..));
        if let Some(gap) = gap {
            let source = LostEventSource::HubbleRingBuffer;
            self.untold.add(Loss { source, count: gap.count, first_ns: gap.first_ns, last_ns: gap.last_ns });
            self.counts.passed += gap.count;
            self.counts.lost += gap.count;
            self.shared.metrics.lost(source, gap.count);
        }
        let (span, untold) = (self.plan.span, &mut self.untold);
        self.shared.losses.take(&mut self.told, position, |loss| {
            let before = span.since_ns.is_some_and(|since| loss.last_ns < since);
            let after = span.until_ns.is_some_and(|until| loss.first_ns > until);
            if !before && !after {
                untold.add(loss);
            }
        });
        if self.lost_sent.is_none_or(|at| at.elapsed() >= self.lost_interval) {
            self.tell_losses();
        }
        if !self.chunk.is_empty() {
            if self.arena.capacity() == 0 {
                // Later ones are made as large as the first.
                self.arena = BytesMut::with_capacity(ARENA);
            }
            self.node.refresh(&self.shared.snapshot);
            return Progress::More;
        }
        if position >= end {
            self.end(None);
            return Progress::More;
        }
        if self.ready.is_empty() { Progress::Wait } else { Progress::More }
    }

    /// `until` has passed, and what happened before it has had the time to come.
    fn is_over(&self) -> bool {
        self.over_at().is_some_and(|at| at.is_zero())
    }

    /// Time left until an answer with `until` is over.
    fn over_at(&self) -> Option<Duration> {
        let until = self.plan.span.until_ns?;
        let left = until.saturating_sub(fathom_api::time::now());
        let settled = i64::try_from(SETTLE.as_nanos()).unwrap_or(i64::MAX).saturating_add(left);
        // A day at most, so that no clock overflows; then it is looked at again.
        Some(Duration::from_nanos(u64::try_from(settled).unwrap_or(0)).min(Duration::from_secs(86_400)))
    }

    fn tell_losses(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        self.lost_sent = Some(Instant::now());
        let now = fathom_api::time::now();
        for loss in self.untold.take() {
            let span_ns = Some((loss.first_ns, loss.last_ns));
            let lost = Lost { source: loss.source, count: loss.count, cpu: None, span_ns };
            self.ready.push_back(response::lost(lost, &self.node.identity.name, now));
        }
    }

    /// Nothing more is read; untold losses still go out.
    fn end(&mut self, status: Option<Status>) {
        self.tell_losses();
        self.state = State::End(status);
    }

    fn flush_counts(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        self.total.passed += counts.passed;
        self.total.sent += counts.sent;
        self.total.filtered += counts.filtered;
        self.total.lost += counts.lost;
        self.shared.ledger.add_client(counts);
    }

    /// How the call ends: its trailers say what was looked at, so that an empty answer explains itself.
    fn last_word(&mut self, status: Option<Status>) -> Status {
        self.flush_counts();
        let mut status = status.unwrap_or_else(|| Status::new(Code::Ok, ""));
        let mut trailers = MetadataMap::new();
        let looked_at = self.total.sent + self.total.filtered;
        trailers.insert("fathom-flows-examined", looked_at.into());
        trailers.insert("fathom-flows-sent", self.total.sent.into());
        trailers.insert("fathom-flows-lost", self.total.lost.into());
        *status.metadata_mut() = trailers;
        status
    }

    /// Nothing to read: sleeps until the store grows, a loss may be told, `until` has passed or the
    /// agent stops. Returns whether there is something to do at once.
    fn wait(&mut self, cx: &mut Context<'_>) -> bool {
        if self.shutdown.as_mut().poll(cx).is_ready() {
            self.end(Some(Status::unavailable("the agent is stopping")));
            return true;
        }
        if Pin::new(&mut self.grown).poll_next(cx).is_ready() {
            return true;
        }
        let loss_due = (!self.untold.is_empty())
            .then(|| self.lost_sent.map_or(Instant::now(), |at| at + self.lost_interval));
        let over = self.over_at().map(|left| Instant::now() + left);
        let Some(due) = [loss_due, over].into_iter().flatten().min() else { return false };
        self.alarm.as_mut().reset(due);
        self.alarm.as_mut().poll(cx).is_ready()
    }
}

/// Brings what the writer will copy into the cache, for all flows of a chunk at once: so their misses
/// overlap, which would else come one after the other, each holding up its flow (a third of the cost
/// of an answer over thousands of endpoints).
fn warm(chunk: &[Arc<Flow>]) {
    const LINE: usize = 64;
    let ends = || chunk.iter().flat_map(|flow| [&flow.source, &flow.destination]);
    // Two passes: a body's address is in the endpoint.
    let lengths: usize = ends().map(|endpoint| endpoint.encoded.len()).sum();
    let bodies = ends().flat_map(|endpoint| endpoint.encoded.iter().step_by(LINE));
    std::hint::black_box((lengths, bodies.fold(0, |all, byte| all ^ byte)));
}

impl Stream for FlowStream {
    type Item = Result<Raw, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        for _ in 0..STEPS_PER_TURN {
            if let Some(raw) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(raw)));
            }
            if let Some(raw) = this.next_flow() {
                return Poll::Ready(Some(Ok(raw)));
            }
            match &mut this.state {
                State::Seek(..) => this.seek(),
                State::Read(..) => {
                    if matches!(this.read(), Progress::Wait) && !this.wait(cx) {
                        return Poll::Pending;
                    }
                }
                State::End(status) => {
                    let status = status.take();
                    this.state = State::Done;
                    return Poll::Ready(Some(Err(this.last_word(status))));
                }
                State::Done => return Poll::Ready(None),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for FlowStream {
    fn drop(&mut self) {
        self.flush_counts();
    }
}
