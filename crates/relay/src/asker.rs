//! Asks one node for its events, and when following again after each loss.

use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use crate::events::Timed;
use crate::merge::Source;
use crate::pool::{Nodes, State};
use crate::reader::{Over, Patience, REOPEN};
use crate::span::Span;
use crate::wire::timestamp;

/// What came of asking.
pub enum Told<T> {
    /// The node answers.
    Here,
    Event(T),
    /// The node has failed; it is asked again when following.
    Lost(Status),
    /// Nothing more will come.
    Ended,
}

/// See the module.
pub struct Asker<T> {
    pub source: Source,
    pub name: Arc<str>,
    pub span: Span,
    pub patience: Patience,
    pub told: mpsc::Sender<(Source, Told<T>)>,
}

/// Whoever the events are for has gone.
struct Gone;

impl<T: Timed> Asker<T> {
    /// Returns when the node has no more to say, or nobody listens.
    pub async fn run<A, F>(mut self, mut nodes: watch::Receiver<Arc<Nodes>>, ask: A)
    where
        A: Fn(Channel, Span) -> F,
        F: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        let started = fathom_api::time::now();
        let mut newest = 0;
        loop {
            let Some((channel, generation)) = self.connection(&mut nodes).await else { break };
            let mut span = self.span;
            if newest > 0 {
                (span.since, span.number) = (Some(timestamp(newest + 1)), 0);
            }
            let lost = self.given_up(nodes.clone(), generation);
            let read = self.read(ask(channel, span), &mut newest);
            let end = tokio::select! {
                end = read => end,
                why = lost => Ok(Err(Over::from(why))),
            };
            let Ok(end) = end else { return };
            let status = match end.map_or_else(Over::into_result, Ok) {
                Ok(()) if !self.span.follow || self.is_over() => break,
                Ok(()) => Status::unavailable("the agent ended the stream"),
                Err(status) => status,
            };
            let permanent = matches!(status.code(), Code::Unimplemented | Code::InvalidArgument);
            if self.tell(Told::Lost(status)).await.is_err() {
                return;
            }
            if !self.span.follow || permanent {
                break;
            }
            if newest == 0 && self.span.since.is_none() && self.span.number == 0 {
                // Only what is new was asked for: that is, since then.
                self.span.since = Some(timestamp(started));
            }
            let another = self.given_up(nodes.clone(), generation);
            let _ = tokio::time::timeout(REOPEN, another).await;
        }
        let _ = self.tell(Told::Ended).await;
    }

    fn is_over(&self) -> bool {
        matches!(self.patience, Patience::Until(end) if Instant::now() >= end)
    }

    /// Waits for a connection; `None` when there is none to wait for.
    async fn connection(&self, nodes: &mut watch::Receiver<Arc<Nodes>>) -> Option<(Channel, u64)> {
        let of = |nodes: &Nodes| match nodes.get(&self.name).map(|node| (&node.state, node.generation)) {
            Some((State::Connected(channel), generation)) => Some((channel.clone(), generation)),
            _ => None,
        };
        let connected = async {
            let nodes = nodes.wait_for(|nodes| of(nodes).is_some()).await.ok()?;
            of(&nodes)
        };
        match self.patience {
            Patience::For(_) => connected.await,
            _ => self.patience.wait(connected).await.ok().flatten(),
        }
    }

    /// Returns when the pool has given this connection up, with the reason.
    async fn given_up(&self, mut nodes: watch::Receiver<Arc<Nodes>>, generation: u64) -> Status {
        let is = |nodes: &Arc<Nodes>| {
            let node = nodes.get(&self.name);
            !node.is_some_and(|node| {
                node.generation == generation && matches!(node.state, State::Connected(_))
            })
        };
        match nodes.wait_for(is).await.map(|nodes| nodes.clone()) {
            Ok(nodes) => match nodes.get(&self.name).map(|node| &node.state) {
                Some(State::Unavailable(why)) => Status::unavailable(&**why),
                _ => Status::unavailable("the connection was lost"),
            },
            Err(_) => std::future::pending().await,
        }
    }

    async fn read(
        &self,
        asking: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
        newest: &mut i64,
    ) -> Result<Result<(), Over>, Gone> {
        let mut events = match self.patience.wait(asking).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Ok(Err(status.into())),
            Err(over) => return Ok(Err(over)),
        };
        self.tell(Told::Here).await?;
        loop {
            match self.patience.wait(events.next()).await {
                Ok(Some(Ok(event))) => {
                    *newest = event.time_ns().max(*newest);
                    self.tell(Told::Event(event)).await?;
                }
                Ok(Some(Err(status))) => return Ok(Err(status.into())),
                Ok(None) => return Ok(Ok(())),
                Err(over) => return Ok(Err(over)),
            }
        }
    }

    async fn tell(&self, told: Told<T>) -> Result<(), Gone> {
        self.told.send((self.source, told)).await.map_err(|_| Gone)
    }
}
