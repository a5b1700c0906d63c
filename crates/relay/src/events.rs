//! Agent and debug events of all nodes: rare, so merged as decoded messages as they come.

use fathom_api::observer::{GetAgentEventsResponse, GetDebugEventsResponse};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::config::Timing;
use crate::merge::{Hold, Merge};
use crate::pool::{Pool, State};

/// A merged stream of `T`.
pub type EventStream<T> = BoxStream<'static, Result<T, Status>>;

/// A response with a time to merge by.
pub trait Timed: Send + 'static {
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

/// Asks every connected node and merges the answers by time.
pub async fn merged<T: Timed, F>(pool: &Pool, timing: Timing, ask: impl Fn(Channel) -> F) -> EventStream<T>
where
    F: Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
{
    let channels: Vec<Channel> = pool
        .nodes()
        .values()
        .filter_map(|node| match &node.state {
            State::Connected(channel) => Some(channel.clone()),
            _ => None,
        })
        .collect();
    let mut merge = Merge::new(Hold { wait: timing.merge_wait, waive_silent: false });
    let (inputs, mut received) = mpsc::channel::<(usize, Option<Result<T, Status>>)>(64);
    for channel in channels {
        let (source, asking, inputs) = (merge.open(), ask(channel), inputs.clone());
        tokio::spawn(async move {
            let mut answers = match asking.await {
                Ok(response) => response.into_inner().boxed(),
                Err(status) => stream::iter([Err(status)]).boxed(),
            };
            while let Some(answer) = answers.next().await {
                if inputs.send((source, Some(answer))).await.is_err() {
                    return;
                }
            }
            let _ = inputs.send((source, None)).await;
        });
    }
    drop(inputs);
    let (out, events) = mpsc::channel(64);
    tokio::spawn(async move {
        let started = tokio::time::Instant::now();
        loop {
            while let Some((_, _, event)) = merge.pop(started.elapsed(), false) {
                if out.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            if merge.is_finished() {
                return;
            }
            let due = merge.due().map(|due| started + due);
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = out.closed() => return,
                () = timer => {}
                input = received.recv() => match input {
                    Some((source, Some(Ok(event)))) => merge.push(source, started.elapsed(), [(event.time_ns(), event)]),
                    // One node that can't say is no reason to end the others' stream.
                    Some((source, Some(Err(status)))) => {
                        tracing::warn!(error = status.message(), "a node's events ended");
                        merge.close(source);
                    }
                    Some((source, None)) => merge.close(source),
                    None => return,
                },
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(events).boxed()
}
