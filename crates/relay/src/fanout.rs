//! One client's GetFlows, asked of every agent and answered as one stream.
//!
//! A [`Reader`] per agent hands batches to the driver. The driver merges, cuts to what was wanted,
//! and says in-band which nodes it can't see. Flow bytes pass as they came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fathom_api::Raw;
use fathom_api::observer::GetFlowsRequest;
use fathom_api::relay::NodeState;
use fathom_api::response::with_node_name;
use fathom_api::time::now as wall_now;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::config::Timing;
use crate::lane::Lane;
use crate::merge::{Merge, Source};
use crate::metrics::Metrics;
use crate::notes::Notes;
use crate::pool::{Pool, State};
use crate::reader::{BATCH, CREDITS, Delivered, Examined, Input, Patience, REOPEN, Reader};
use crate::span::Span;
use crate::window::{Wanted, Window};
use crate::wire;

/// What leaves for the client: batches, so that a channel hop is paid once for many flows.
pub type Out = mpsc::Sender<Result<Vec<Raw>, Status>>;

type Inputs = mpsc::UnboundedReceiver<Input>;

/// Answers one request; returns when it is answered or the client has gone.
pub struct Fanout {
    request: GetFlowsRequest,
    pool: Pool,
    timing: Timing,
    metrics: Arc<Metrics>,
    out: Out,
    merge: Merge<Delivered>,
    window: Window<Raw>,
    lanes: Vec<Lane>,
    by_name: BTreeMap<Arc<str>, Source>,
    notes: Notes,
    started: Instant,
    started_wall: i64,
    /// When a flow of the history came last.
    history_heard: Duration,
    /// `until` of a followed request, when it is an end.
    end: Option<Instant>,
    /// What the agents looked at; `None` once one of them has not said.
    examined: Option<Examined>,
    /// Flows in the merge.
    queued: u64,
    /// What the metrics know of this request: flows held, passed, left out.
    booked: (u64, u64, u64),
    inputs: mpsc::UnboundedSender<Input>,
}

impl Fanout {
    /// Sets out to answer `request` into `out`.
    pub async fn run(
        request: GetFlowsRequest,
        pool: Pool,
        timing: Timing,
        relay_name: Arc<str>,
        metrics: Arc<Metrics>,
        out: Out,
    ) {
        let started_wall = wall_now();
        let live_from = request.follow.then_some(started_wall);
        let (inputs, mut received) = mpsc::unbounded_channel();
        let mut fanout = Fanout {
            merge: Merge::new(request.follow.then_some(timing.merge_wait)),
            window: Window::new(Wanted::new(request.number, request.first), live_from),
            lanes: Vec::new(),
            by_name: BTreeMap::new(),
            notes: Notes::new(relay_name),
            started: Instant::now(),
            started_wall,
            history_heard: Duration::ZERO,
            end: Span::from(&request).end(),
            examined: Some(Examined::default()),
            queued: 0,
            booked: (0, 0, 0),
            inputs,
            request,
            pool,
            timing,
            metrics,
            out,
        };
        fanout.attach(true);
        let _ = fanout.drive(&mut received).await;
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Opens a stream to every connected node that should have one, ends those that lost theirs, and
    /// notes what changed.
    fn attach(&mut self, first: bool) {
        let nodes = self.pool.nodes();
        let now = self.now();
        for (name, node) in nodes.iter() {
            let known = self.by_name.get(name).copied();
            match &node.state {
                State::Connected(channel) => {
                    let lane = known.map(|source| &self.lanes[source]);
                    let again = lane.is_some_and(|lane| lane.generation == node.generation);
                    if lane.is_none_or(|lane| lane.may_open(node.generation, now)) && !self.is_over() {
                        let resume = lane.map(|lane| lane.newest);
                        self.open(name.clone(), node.generation, channel.clone(), first, resume);
                        if !again {
                            self.notes.tell(NodeState::NodeConnected, name, "");
                        }
                    }
                }
                State::Unavailable(why) => {
                    if let Some(source) = known {
                        self.end_lane(source);
                    }
                    self.notes.tell(NodeState::NodeUnavailable, name, why);
                }
                State::Connecting if first => {
                    self.notes.tell(NodeState::NodeUnavailable, name, "not connected yet");
                }
                State::Connecting => {}
            }
        }
        let gone: Vec<_> = self.by_name.keys().filter(|name| !nodes.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(source) = self.by_name.remove(&name) {
                self.end_lane(source);
                self.notes.tell(NodeState::NodeGone, &name, "no longer in the cluster");
            }
        }
    }

    fn open(&mut self, name: Arc<str>, generation: u64, channel: Channel, first: bool, resume: Option<i64>) {
        let source = self.merge.open(self.now());
        let mut request = self.request.clone();
        let newest = resume.unwrap_or(0);
        if newest > 0 {
            // A node that came back while the client was following: from where it broke off.
            request.since = Some(wire::timestamp(newest + 1));
            request.number = 0;
        } else if !first && request.number != u64::MAX {
            // Nothing came of it yet: all that was asked for, or else what happened since.
            request.since = request.since.or_else(|| Some(wire::timestamp(self.started_wall)));
            request.number = 0;
        }
        let patience = Patience::with(self.request.follow, self.end, self.timing.slow_node_wait);
        let reader = Reader { source, request, patience, inputs: self.inputs.clone() };
        let task = AbortOnDropHandle::new(tokio::spawn(reader.run(channel)));
        if let Some(old) = self.by_name.insert(name.clone(), source) {
            self.lanes[old].reopen = None;
        }
        self.lanes.push(Lane::new(name, generation, newest, task));
        debug_assert_eq!(self.lanes.len(), source + 1);
    }

    /// What a node has delivered still counts.
    fn end_lane(&mut self, source: Source) {
        self.lanes[source].end();
        self.merge.close(source);
    }

    /// Error = the client has gone.
    async fn drive(&mut self, received: &mut Inputs) -> Result<(), ()> {
        let mut changes = self.pool.watch();
        changes.mark_unchanged();
        loop {
            self.release(received).await?;
            let ends = !self.request.follow || self.is_over();
            if self.window.is_full() || (ends && self.merge.is_finished()) {
                return self.finish().await;
            }
            let wake = self.started + self.next_wake();
            tokio::select! {
                biased;
                () = self.out.closed() => return Err(()),
                Some(input) = received.recv() => {
                    self.accept(input);
                    self.accept_waiting(received);
                }
                changed = changes.changed(), if self.request.follow => {
                    if changed.is_ok() {
                        self.attach(false);
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if self.request.follow {
                        self.attach(false);
                    }
                }
            }
        }
    }

    fn accept_waiting(&mut self, received: &mut Inputs) {
        while let Ok(input) = received.try_recv() {
            self.accept(input);
        }
    }

    fn accept(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Opened(source) => {
                let lane = &self.lanes[source];
                if !lane.ended {
                    self.notes.tell(NodeState::NodeConnected, &lane.name, "");
                }
            }
            Input::Batch(source, items) => {
                let lane = &mut self.lanes[source];
                lane.ahead += 1;
                let mut flows = 0;
                for flow in items.iter().filter(|item| item.look.is_flow) {
                    flows += 1;
                    lane.newest = lane.newest.max(flow.time);
                    if self.window.is_live(flow.time) {
                        lane.is_live = true;
                    } else {
                        lane.history += 1;
                        self.history_heard = now;
                    }
                }
                self.metrics.received(items.len());
                self.merge.push(source, now, items.into_iter().map(|item| (item.time, item)));
                self.queued += flows;
                self.book(flows);
            }
            Input::Ended(source, ended) => {
                let over = self.is_over();
                if self.lanes[source].ended {
                    return;
                }
                self.end_lane(source);
                let lane = &mut self.lanes[source];
                match ended {
                    Err(status) => {
                        // What it does not know or refuses, it will not know in two seconds.
                        let permanent = matches!(status.code(), Code::Unimplemented | Code::InvalidArgument);
                        lane.reopen = (!permanent).then(|| now + REOPEN);
                        self.notes.tell(NodeState::NodeError, &lane.name, status.message());
                    }
                    Ok(examined) => {
                        self.examined = self.examined.zip(examined).map(|(all, one)| Examined {
                            flows: all.flows + one.flows,
                            lost: all.lost + one.lost,
                        });
                        if self.request.follow && !over {
                            lane.reopen = Some(now + REOPEN);
                            self.notes.tell(NodeState::NodeError, &lane.name, "the agent ended the stream");
                        }
                    }
                }
                if self.request.follow {
                    // The node may have been connected anew before its old stream ended.
                    self.attach(false);
                }
            }
        }
    }

    /// Sends everything that may leave now.
    async fn release(&mut self, received: &mut Inputs) -> Result<(), ()> {
        let mut batch = Vec::new();
        self.notes.flush(self.now(), false, &mut batch);
        let mut pressure = self.pressure();
        while !self.window.is_full() {
            if self.history_is_over() {
                self.window.end_history(&mut batch);
            } else if self.history_holds() {
                break;
            }
            let now = self.now();
            let Some((source, time, mut item)) = self.merge.pop(now, pressure) else { break };
            let lane = &mut self.lanes[source];
            if item.credit.take().is_some() {
                if lane.ahead == CREDITS {
                    self.merge.freed(source, now);
                }
                lane.ahead -= 1;
            }
            let raw = if item.look.named { item.raw } else { with_node_name(&item.raw, &lane.name) };
            if item.look.is_flow {
                self.queued -= 1;
                self.window.take(time, raw, &mut batch);
            } else {
                batch.push(raw);
            }
            if batch.len() >= BATCH {
                self.send(std::mem::take(&mut batch)).await?;
                // A client that took its time left the agents time to deliver.
                self.accept_waiting(received);
                pressure = self.pressure();
            }
        }
        self.send(batch).await
    }

    /// In a followed stream an agent that is out of credits is not made to wait for idle ones:
    /// then order is best effort, and nothing is held up.
    fn pressure(&self) -> bool {
        self.request.follow && self.lanes.iter().any(|lane| !lane.ended && lane.ahead == CREDITS)
    }

    /// Whether nothing of the history is left here, while some may be on its way: live flows wait.
    fn history_holds(&self) -> bool {
        self.request.follow
            && self.window.holds_history()
            && self.merge.head_time().is_none_or(|time| self.window.is_live(time))
    }

    /// Agents answer a followed request with their history at once; it is complete when each has shown
    /// that there is no more, or none has said anything for a moment.
    fn history_is_over(&self) -> bool {
        let all = || self.lanes.iter().all(|lane| lane.history_is_over(self.request.number));
        self.history_holds() && (self.now() >= self.history_heard + self.timing.history_wait || all())
    }

    /// Whether the end of a followed request has passed.
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// When something is due although no agent says anything.
    fn next_wake(&self) -> Duration {
        let held_up = self.history_holds();
        let merge = (!held_up).then(|| self.merge.due(self.pressure())).flatten();
        let history = held_up.then_some(self.history_heard + self.timing.history_wait);
        let reopen = self.lanes.iter().filter_map(|lane| lane.reopen).min().filter(|_| !self.is_over());
        let end = self.end.filter(|_| !self.is_over()).map(|end| end - self.started);
        let dues = [merge, history, self.notes.due(), reopen, end];
        dues.into_iter().flatten().fold(self.now() + Duration::from_secs(3600), Duration::min)
    }

    async fn send(&mut self, batch: Vec<Raw>) -> Result<(), ()> {
        self.book(0);
        if batch.is_empty() {
            return Ok(());
        }
        self.metrics.sent(batch.len());
        self.out.send(Ok(batch)).await.map_err(|_| ())
    }

    /// Brings the relay's books up to date with what is really here.
    fn book(&mut self, received: u64) {
        let (held, passed, left_out) = self.window.counts();
        let is = (held + self.queued, passed, left_out);
        let was = std::mem::replace(&mut self.booked, is);
        self.metrics.book(received, is.1 - was.1, is.2 - was.2, is.0 as i64 - was.0 as i64);
    }

    async fn finish(&mut self) -> Result<(), ()> {
        let mut batch = Vec::new();
        self.window.end_history(&mut batch);
        self.notes.flush(self.now(), true, &mut batch);
        self.send(batch).await?;
        // An answer that ends before its agents' streams do leaves what they looked at unsaid.
        let examined = self.examined.filter(|_| !self.lanes.is_empty() && self.merge.is_finished());
        let Some(examined) = examined else { return Ok(()) };
        let mut trailers = MetadataMap::new();
        trailers.insert("fathom-flows-examined", examined.flows.into());
        trailers.insert("fathom-flows-sent", self.booked.1.into());
        trailers.insert("fathom-flows-lost", examined.lost.into());
        self.out.send(Err(Status::with_metadata(Code::Ok, "", trailers))).await.map_err(|_| ())
    }
}

impl Drop for Fanout {
    /// What is still here is wanted by nobody.
    fn drop(&mut self) {
        let (held, passed, left_out) = self.window.counts();
        let was = self.booked;
        let unwanted = left_out - was.2 + held + self.queued;
        self.metrics.book(0, passed - was.1, unwanted, -(was.0 as i64));
    }
}
