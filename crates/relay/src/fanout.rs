//! One client's GetFlows, asked of every agent and answered as one stream.
//!
//! A task per agent reads its stream in batches and hands them to the driver; a batch carries a
//! credit, so an agent is at most [`CREDITS`] batches ahead and a client that does not read stops
//! the agents' streams, where the loss is counted exactly. The driver merges, cuts to what was
//! wanted, and says in-band which nodes it can't see. Flow bytes pass as they came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fathom_api::Raw;
use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer_raw::observer_client::ObserverClient;
use fathom_api::relay::NodeState;
use fathom_api::response::with_node_name;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::transport::Channel;

use crate::config::Timing;
use crate::merge::{Hold, Merge, Source};
use crate::metrics::Metrics;
use crate::notes::Notes;
use crate::pool::{Pool, State};
use crate::window::{Wanted, Window};
use crate::wire::{self, Look};

/// Responses handed over at once, at most.
const BATCH: usize = 128;
/// Batches an agent's reader may be ahead of the merge.
const CREDITS: usize = 3;

/// What leaves for the client: batches, so that a channel hop is paid once for many flows.
pub type Out = mpsc::Sender<Result<Vec<Raw>, Status>>;

struct Delivered {
    /// What it is merged by: a flow's time; of anything else, that of the lane's flow before it. An
    /// agent stamps a loss with the moment it tells of it, which would put the whole history that
    /// follows behind every other node's. 0 = leaves first.
    time: i64,
    look: Look,
    raw: Raw,
    /// On the last response of a batch: returns to the reader when the merge lets it go.
    _credit: Option<OwnedSemaphorePermit>,
}

enum Input {
    Batch(Source, Vec<Delivered>),
    Ended(Source, Option<Status>),
}

struct Reader {
    name: Arc<str>,
    generation: u64,
    /// Time of the newest flow, to resume from.
    newest: i64,
    ended: bool,
    task: AbortOnDropHandle<()>,
    credits: Arc<Semaphore>,
}

/// Answers one request; returns when it is answered or the client has gone.
pub struct Fanout {
    request: GetFlowsRequest,
    pool: Pool,
    timing: Timing,
    metrics: Arc<Metrics>,
    out: Out,
    merge: Merge<Delivered>,
    window: Window<Raw>,
    readers: Vec<Reader>,
    by_name: BTreeMap<Arc<str>, Source>,
    notes: Notes,
    started: Instant,
    started_wall: i64,
    inputs: mpsc::UnboundedSender<Input>,
}

fn wall_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64)
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
        let hold = if request.follow {
            Hold { wait: timing.merge_wait, waive_silent: false }
        } else {
            Hold { wait: timing.slow_node_wait, waive_silent: true }
        };
        let wanted = match (request.number, request.first) {
            (0, _) => Wanted::All,
            (n, true) => Wanted::First(n),
            (n, false) => Wanted::Last(n),
        };
        let live_from = request.follow.then_some(started_wall);
        let (inputs, mut received) = mpsc::unbounded_channel();
        let mut fanout = Fanout {
            merge: Merge::new(hold),
            window: Window::new(wanted, live_from),
            readers: Vec::new(),
            by_name: BTreeMap::new(),
            notes: Notes::new(relay_name),
            started: Instant::now(),
            started_wall,
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

    /// Opens a stream to every connected node that has none, notes those that can't be reached.
    fn attach(&mut self, first: bool) {
        let nodes = self.pool.nodes();
        for (name, node) in nodes.iter() {
            let known = self.by_name.get(name).map(|&source| &self.readers[source]);
            let wanted = known.is_none_or(|reader| reader.ended && reader.generation != node.generation);
            match &node.state {
                State::Connected(channel) if wanted => {
                    let resume = known.map(|reader| reader.newest);
                    self.open(name.clone(), node.generation, channel.clone(), first, resume);
                    self.notes.add(NodeState::NodeConnected, name, "");
                }
                State::Unavailable(why) if first => self.notes.add(NodeState::NodeUnavailable, name, why),
                State::Connecting if first => {
                    self.notes.add(NodeState::NodeUnavailable, name, "not connected yet");
                }
                _ => {}
            }
        }
        let gone: Vec<_> = self.by_name.keys().filter(|name| !nodes.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(source) = self.by_name.remove(&name) {
                self.readers[source].task.abort();
                self.merge.close(source);
                self.readers[source].ended = true;
                self.notes.add(NodeState::NodeGone, &name, "no longer in the cluster");
            }
        }
    }

    fn open(&mut self, name: Arc<str>, generation: u64, channel: Channel, first: bool, resume: Option<i64>) {
        let source = self.merge.open();
        let mut request = self.request.clone();
        if !first {
            // A node that came (back) while the client was following: from where it broke off.
            let from = resume.filter(|&t| t > 0).map_or(self.started_wall, |t| t + 1);
            request.since = Some(wire::timestamp(from));
            request.number = 0;
        }
        let credits = Arc::new(Semaphore::new(CREDITS));
        let task = tokio::spawn(read(source, channel, request, credits.clone(), self.inputs.clone()));
        self.by_name.insert(name.clone(), source);
        let newest = resume.unwrap_or(0);
        let task = AbortOnDropHandle::new(task);
        self.readers.push(Reader { name, generation, newest, ended: false, task, credits });
        debug_assert_eq!(self.readers.len(), source + 1);
    }

    /// Error = the client has gone.
    async fn drive(&mut self, received: &mut mpsc::UnboundedReceiver<Input>) -> Result<(), ()> {
        let mut changes = self.pool.watch();
        changes.mark_unchanged();
        loop {
            self.release().await?;
            let finite = !self.request.follow;
            if self.window.is_full() || (finite && self.merge.is_finished()) {
                return self.finish().await;
            }
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = self.out.closed() => return Err(()),
                Some(input) = received.recv() => {
                    self.accept(input);
                    while let Ok(input) = received.try_recv() {
                        self.accept(input);
                    }
                }
                changed = changes.changed(), if !finite => {
                    if changed.is_ok() {
                        self.attach(false);
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if finite && self.started.elapsed() >= self.timing.node_timeout {
                        return self.give_up().await;
                    }
                }
            }
        }
    }

    fn accept(&mut self, input: Input) {
        let now = self.started.elapsed();
        match input {
            Input::Batch(source, items) => {
                let reader = &mut self.readers[source];
                let flows = items.iter().filter(|item| item.look.is_flow);
                reader.newest = flows.map(|flow| flow.time).fold(reader.newest, i64::max);
                self.metrics.received(items.len());
                self.merge.push(source, now, items.into_iter().map(|item| (item.time, item)));
            }
            Input::Ended(source, status) => {
                let reader = &mut self.readers[source];
                if reader.ended {
                    return;
                }
                reader.ended = true;
                self.merge.close(source);
                match status {
                    Some(status) => {
                        self.notes.add(NodeState::NodeError, &reader.name, status.message());
                    }
                    None if self.request.follow => {
                        self.notes.add(NodeState::NodeError, &reader.name, "the agent ended the stream");
                    }
                    None => {}
                }
                if self.request.follow {
                    // The node may have been connected anew before its old stream ended.
                    self.attach(false);
                }
            }
        }
    }

    /// Sends everything that may leave now.
    async fn release(&mut self) -> Result<(), ()> {
        let mut batch = Vec::new();
        self.notes.flush(self.started.elapsed(), false, &mut batch);
        let mut pressure = self.pressure();
        loop {
            let now = self.started.elapsed();
            let Some((source, time, item)) = self.merge.pop(now, pressure) else { break };
            let raw = if item.look.named {
                item.raw
            } else {
                with_node_name(&item.raw, &self.readers[source].name)
            };
            if item.look.is_flow {
                self.window.take(time, raw, &mut batch);
            } else {
                batch.push(raw);
            }
            if batch.len() >= BATCH {
                self.send(std::mem::take(&mut batch)).await?;
                pressure = self.pressure();
            }
            if self.window.is_full() {
                break;
            }
        }
        if self.request.follow && self.window.holds_history() && self.history_is_over() {
            self.window.end_history(&mut batch);
        }
        self.send(batch).await
    }

    /// In a followed stream an agent that is out of credits is not made to wait for idle ones:
    /// then order is best effort, and nothing is held up.
    fn pressure(&self) -> bool {
        let out_of_credits = |reader: &Reader| !reader.ended && reader.credits.available_permits() == 0;
        self.request.follow && self.readers.iter().any(out_of_credits)
    }

    /// Agents answer a followed request with their history at once; it is complete when nothing
    /// more has come for the merge's wait.
    fn history_is_over(&self) -> bool {
        self.merge.is_empty() && self.started.elapsed() >= self.timing.history_wait
    }

    /// When something is due although no agent says anything.
    fn next_wake(&self) -> Instant {
        let now = self.started.elapsed();
        let limit = if self.request.follow { now + Duration::from_secs(1) } else { self.timing.node_timeout };
        let settling = (self.request.follow && self.window.holds_history())
            .then(|| self.timing.history_wait.max(now + Duration::from_millis(20)));
        let dues = [self.merge.due(), self.notes.due(), settling];
        self.started + dues.into_iter().flatten().fold(limit, Duration::min)
    }

    async fn send(&self, batch: Vec<Raw>) -> Result<(), ()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.metrics.sent(batch.len());
        self.out.send(Ok(batch)).await.map_err(|_| ())
    }

    async fn finish(&mut self) -> Result<(), ()> {
        let mut batch = Vec::new();
        self.window.end_history(&mut batch);
        self.notes.flush(self.started.elapsed(), true, &mut batch);
        self.send(batch).await
    }

    /// A finite request whose slowest nodes took too long: what is there, and who is missing.
    async fn give_up(&mut self) -> Result<(), ()> {
        for reader in self.readers.iter_mut().filter(|reader| !reader.ended) {
            reader.task.abort();
            reader.ended = true;
            let late = format!("did not answer in full within {:?}", self.timing.node_timeout);
            self.notes.add(NodeState::NodeError, &reader.name, &late);
        }
        for source in 0..self.readers.len() {
            self.merge.close(source);
        }
        self.release().await?;
        self.finish().await
    }
}

/// Reads one agent's stream until it ends.
async fn read(
    source: Source,
    channel: Channel,
    request: GetFlowsRequest,
    credits: Arc<Semaphore>,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let ended =
        match ObserverClient::new(channel).max_decoding_message_size(16 << 20).get_flows(request).await {
            Err(status) => Some(status),
            Ok(response) => {
                let mut chunks = response.into_inner().ready_chunks(BATCH);
                let (mut failed, mut newest) = (None, 0);
                while failed.is_none() {
                    let Ok(credit) = credits.clone().acquire_owned().await else { return };
                    let Some(chunk) = chunks.next().await else { break };
                    let mut items = Vec::with_capacity(chunk.len());
                    for response in chunk {
                        match response {
                            Ok(raw) => {
                                let look = wire::look(&raw);
                                if look.is_flow && look.time != 0 {
                                    newest = look.time;
                                }
                                items.push(Delivered { time: newest, look, raw, _credit: None });
                            }
                            Err(status) => failed = Some(status),
                        }
                    }
                    if let Some(last) = items.last_mut() {
                        last._credit = Some(credit);
                    }
                    if inputs.send(Input::Batch(source, items)).is_err() {
                        return;
                    }
                }
                failed
            }
        };
    let _ = inputs.send(Input::Ended(source, ended));
}
