//! One agent's stream of flows, read a few batches ahead of the merge.
//!
//! A batch carries a credit, so an agent is at most [`CREDITS`] batches ahead and a client that does
//! not read stops the agents' streams, where the loss is counted exactly. Only here is it known
//! whether an agent is silent or was not asked for more, so it is here that patience ends.

use std::sync::Arc;
use std::time::Duration;

use fathom_api::Raw;
use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer_raw::observer_client::ObserverClient;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::merge::Source;
use crate::wire::{self, Look};

/// Responses handed over at once, at most.
pub const BATCH: usize = 128;
/// Batches a reader may be ahead of the merge.
pub const CREDITS: usize = 3;
/// A followed stream that failed while the connection stayed up is opened again after this.
pub const REOPEN: Duration = Duration::from_secs(2);
/// How long a followed stream may be silent after its end in time before it counts as ended: Hubble's
/// agents notice the end only when a later event comes; ours settle for a second.
const GRACE: Duration = Duration::from_secs(2);

/// A response on its way through the merge.
pub struct Delivered {
    /// What it is merged by: a flow's time; of anything else, that of the lane's flow before it. An
    /// agent stamps a loss with the moment it tells of it, which would put the whole history that
    /// follows behind every other node's. 0 = leaves first.
    pub time: i64,
    pub look: Look,
    pub raw: Raw,
    /// On the last response of a batch: returns to the reader when the merge lets it go.
    pub credit: Option<OwnedSemaphorePermit>,
}

/// What readers tell the driver.
pub enum Input {
    /// The agent has taken the request.
    Opened(Source),
    Batch(Source, Vec<Delivered>),
    /// The stream is over; what the agent looked at, if it says so.
    Ended(Source, Result<Option<Examined>, Status>),
}

/// What an agent looked at for an answer, in flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    pub flows: u64,
    pub lost: u64,
}

/// How long an agent may be silent while it could deliver.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// This long; then it has failed.
    For(Duration),
    /// Until a moment after this one; then it has ended.
    Until(Instant),
    Endless,
}

impl Patience {
    /// What a request that follows, or does not, has for its agents.
    pub fn with(follow: bool, end: Option<Instant>, wait: Duration) -> Self {
        match (follow, end) {
            (false, _) => Patience::For(wait),
            (true, Some(end)) => Patience::Until(end),
            (true, None) => Patience::Endless,
        }
    }

    /// Waits for something an agent owes.
    pub async fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, Over> {
        match *self {
            Patience::Endless => Ok(answer.await),
            Patience::For(wait) => timeout(wait, answer).await.map_err(|_| {
                Over::Failed(Box::new(Status::deadline_exceeded(format!("nothing heard for {wait:?}"))))
            }),
            Patience::Until(end) => {
                timeout_at(end.max(Instant::now()) + GRACE, answer).await.map_err(|_| Over::InTime)
            }
        }
    }
}

/// Why nothing more is read of a stream that did not end by itself.
pub enum Over {
    /// Its end in time has passed, and nothing came since.
    InTime,
    Failed(Box<Status>),
}

impl Over {
    pub fn into_result(self) -> Result<(), Status> {
        match self {
            Over::InTime => Ok(()),
            Over::Failed(status) => Err(*status),
        }
    }
}

impl From<Status> for Over {
    fn from(status: Status) -> Self {
        Over::Failed(Box::new(status))
    }
}

/// See the module.
pub struct Reader {
    pub source: Source,
    pub request: GetFlowsRequest,
    pub patience: Patience,
    pub inputs: mpsc::UnboundedSender<Input>,
}

impl Reader {
    /// Reads until the stream ends or nobody wants it any more.
    pub async fn run(self, channel: Channel) {
        let ended = self.read(channel).await.or_else(|end| end.into_result().map(|()| None));
        let _ = self.inputs.send(Input::Ended(self.source, ended));
    }

    async fn read(&self, channel: Channel) -> Result<Option<Examined>, Over> {
        let mut client = ObserverClient::new(channel).max_decoding_message_size(16 << 20);
        let mut responses = self.patience.wait(client.get_flows(self.request.clone())).await??.into_inner();
        let _ = self.inputs.send(Input::Opened(self.source));
        let credits = Arc::new(Semaphore::new(CREDITS));
        let mut newest = 0;
        let mut chunks = (&mut responses).ready_chunks(BATCH);
        loop {
            // The semaphore is never closed.
            let Ok(credit) = credits.clone().acquire_owned().await else { return Ok(None) };
            let Some(chunk) = self.patience.wait(chunks.next()).await? else { break };
            let mut failed = None;
            let mut items = Vec::with_capacity(chunk.len());
            for response in chunk {
                match response {
                    Ok(raw) => {
                        let look = wire::look(&raw);
                        if look.is_flow && look.time != 0 {
                            newest = look.time;
                        }
                        items.push(Delivered { time: newest, look, raw, credit: None });
                    }
                    Err(status) => failed = Some(status),
                }
            }
            if let Some(last) = items.last_mut() {
                last.credit = Some(credit);
                if self.inputs.send(Input::Batch(self.source, items)).is_err() {
                    return Ok(None);
                }
            }
            if let Some(status) = failed {
                return Err(status.into());
            }
        }
        drop(chunks);
        Ok(examined(responses).await)
    }
}

/// Reads the trailers of an answer that has ended well.
async fn examined(mut responses: Streaming<Raw>) -> Option<Examined> {
    let trailers = responses.trailers().await.ok()??;
    let number = |key: &str| trailers.get(key)?.to_str().ok()?.parse::<u64>().ok();
    Some(Examined { flows: number("fathom-flows-examined")?, lost: number("fathom-flows-lost").unwrap_or(0) })
}
