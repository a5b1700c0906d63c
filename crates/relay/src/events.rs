//! Agent and debug events of all nodes: rare, so merged as decoded messages as they come.
//!
//! A task per node asks it, and when following asks again after a loss, from where it broke off. The
//! driver merges and cuts to what was wanted. These streams have no room for words about nodes: who
//! is missing stands in the answer's metadata, and in its trailers when it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fathom_api::observer::{GetAgentEventsResponse, GetDebugEventsResponse};
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use crate::asker::{Asker, Told};
use crate::config::Timing;
use crate::merge::{Merge, Source};
use crate::missing::Missing;
use crate::pool::{Pool, State};
use crate::reader::Patience;
use crate::span::Span;
use crate::window::{Wanted, Window};

/// A merged stream of `T`.
pub type EventStream<T> = BoxStream<'static, Result<T, Status>>;

/// A response with a time to merge by.
pub trait Timed: Send + Sync + 'static {
    /// Nanoseconds since the epoch, 0 when it has none.
    fn time_ns(&self) -> i64;
}

impl Timed for GetAgentEventsResponse {
    fn time_ns(&self) -> i64 {
        self.time.as_ref().map_or(0, fathom_api::time::unix_ns)
    }
}

impl Timed for GetDebugEventsResponse {
    fn time_ns(&self) -> i64 {
        self.time.as_ref().map_or(0, fathom_api::time::unix_ns)
    }
}

/// Asks every node and merges the answers by time.
///
/// # Errors
/// When the request can't be answered by anybody, or nobody is there to answer it.
pub async fn merged<T, A, F>(
    pool: &Pool,
    timing: Timing,
    span: Span,
    ask: A,
) -> Result<Response<EventStream<T>>, Status>
where
    T: Timed,
    A: Fn(Channel, Span) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
{
    span.check()?;
    pool.settled(Duration::from_secs(1)).await;
    let mut missing = Missing::default();
    let nodes = pool.nodes();
    for (name, node) in nodes.iter() {
        match &node.state {
            State::Connected(_) => {}
            State::Connecting => missing.add(name, Status::unavailable("not connected yet")),
            State::Unavailable(why) => missing.add(name, Status::unavailable(&**why)),
        }
    }
    if !span.follow && missing.len() == nodes.len() {
        return Err(missing.status());
    }
    let (out, events) = mpsc::channel(64);
    let mut response = Response::new(tokio_stream::wrappers::ReceiverStream::new(events).boxed());
    missing.write(response.metadata_mut());
    let (told, received) = mpsc::channel(64);
    let live_from = span.follow.then(fathom_api::time::now);
    let driver = Driver {
        merge: Merge::new(span.follow.then_some(timing.merge_wait)),
        window: Window::new(Wanted::new(span.number, span.first), live_from),
        askers: BTreeMap::new(),
        names: Vec::new(),
        started: Instant::now(),
        history_heard: Duration::ZERO,
        end: span.end(),
        pool: pool.clone(),
        timing,
        span,
        ask,
        missing,
        told,
        out,
    };
    tokio::spawn(driver.run(received));
    Ok(response)
}

struct Driver<T, A> {
    pool: Pool,
    timing: Timing,
    span: Span,
    ask: A,
    merge: Merge<T>,
    window: Window<T>,
    askers: BTreeMap<Arc<str>, (Source, AbortOnDropHandle<()>)>,
    names: Vec<Arc<str>>,
    started: Instant,
    history_heard: Duration,
    end: Option<Instant>,
    missing: Missing,
    told: mpsc::Sender<(Source, Told<T>)>,
    out: mpsc::Sender<Result<T, Status>>,
}

impl<T, A, F> Driver<T, A>
where
    T: Timed,
    A: Fn(Channel, Span) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
{
    async fn run(mut self, mut received: mpsc::Receiver<(Source, Told<T>)>) {
        let mut changes = self.pool.watch();
        changes.mark_unchanged();
        self.attach();
        loop {
            if self.release().await.is_err() {
                return;
            }
            let ends = !self.span.follow || self.is_over();
            if self.window.is_full() || (ends && self.merge.is_finished()) {
                return self.finish().await;
            }
            let wake = self.started + self.next_wake();
            tokio::select! {
                () = self.out.closed() => return,
                Some((source, told)) = received.recv() => self.accept(source, told),
                changed = changes.changed(), if self.span.follow => {
                    if changed.is_ok() {
                        self.attach();
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Sees to it that each node is asked.
    fn attach(&mut self) {
        let nodes = self.pool.nodes();
        for (name, node) in nodes.iter() {
            let wanted = self.span.follow || matches!(node.state, State::Connected(_));
            if wanted && !self.askers.contains_key(name) {
                let source = self.merge.open(self.started.elapsed());
                let asker = Asker {
                    source,
                    name: name.clone(),
                    span: self.span,
                    patience: Patience::with(self.span.follow, self.end, self.timing.slow_node_wait),
                    told: self.told.clone(),
                };
                let task = tokio::spawn(asker.run(self.pool.watch(), self.ask.clone()));
                self.askers.insert(name.clone(), (source, AbortOnDropHandle::new(task)));
                self.names.push(name.clone());
            }
        }
        let merge = &mut self.merge;
        self.askers.retain(|name, (source, _)| {
            let stays = nodes.contains_key(name);
            if !stays {
                merge.close(*source);
            }
            stays
        });
    }

    fn accept(&mut self, source: Source, told: Told<T>) {
        let now = self.started.elapsed();
        let name = &self.names[source];
        match told {
            Told::Here => self.missing.remove(name),
            Told::Event(event) => {
                let time = event.time_ns();
                if !self.window.is_live(time) {
                    self.history_heard = now;
                }
                self.merge.push(source, now, [(time, event)]);
            }
            Told::Lost(why) => {
                tracing::warn!(node = %name, error = why.message(), "events of a node ended");
                self.missing.add(name, why);
            }
            Told::Ended => self.merge.close(source),
        }
    }

    async fn release(&mut self) -> Result<(), ()> {
        let mut events = Vec::new();
        while !self.window.is_full() {
            if self.history_holds() {
                if self.started.elapsed() < self.history_heard + self.timing.history_wait {
                    break;
                }
                self.window.end_history(&mut events);
            }
            let Some((_, time, event)) = self.merge.pop(self.started.elapsed(), false) else { break };
            self.window.take(time, event, &mut events);
        }
        self.send(events).await
    }

    async fn send(&self, events: Vec<T>) -> Result<(), ()> {
        for event in events {
            self.out.send(Ok(event)).await.map_err(|_| ())?;
        }
        Ok(())
    }

    /// Whether live events wait for history that may be on its way.
    fn history_holds(&self) -> bool {
        self.span.follow
            && self.window.holds_history()
            && self.merge.head_time().is_none_or(|time| self.window.is_live(time))
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    fn next_wake(&self) -> Duration {
        let due = match self.history_holds() {
            true => Some(self.history_heard + self.timing.history_wait),
            false => self.merge.due(false),
        };
        let end = self.end.filter(|_| !self.is_over()).map(|end| end - self.started);
        let far = self.started.elapsed() + Duration::from_secs(3600);
        [due, end].into_iter().flatten().fold(far, Duration::min)
    }

    async fn finish(mut self) {
        let mut events = Vec::new();
        self.window.end_history(&mut events);
        if self.send(events).await.is_err() {
            return;
        }
        let asked = self.pool.nodes().len();
        let nobody = !self.missing.is_empty() && self.missing.len() >= asked && !self.window.is_full();
        let status = if nobody && self.window.counts().1 == 0 {
            self.missing.status()
        } else {
            let mut status = Status::new(Code::Ok, "");
            self.missing.write(status.metadata_mut());
            status
        };
        let _ = self.out.send(Err(status)).await;
    }
}
