//! Taking events off a stream: everything that is there at once, then what was written becomes
//! visible, then waiting. So a burst costs few writes and a single event is on the screen at once.

use std::time::Duration;

use anyhow::Result;
use fathom_api::time;
use futures::{FutureExt, Stream, StreamExt};
use prost_types::Timestamp;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};

use super::interrupt::Interrupt;

/// Events taken in a row before signals get their turn.
const BATCH: usize = 512;

/// How long a stream with an end in time may be silent after it before it counts as ended: Hubble's
/// agents notice the end only when a later event comes. Ours settle for a second and then say what
/// was lost, and a relay gives its agents two.
const GRACE: Duration = Duration::from_secs(3);

/// What is done with events.
pub trait Sink<T> {
    fn take(&mut self, event: T) -> Result<()>;
    /// Makes visible what was taken.
    fn flush(&mut self) -> Result<()>;
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server had no more.
    Exhausted,
    /// By wish.
    Interrupted,
}

/// Moves every event into the sink. With `until`, a stream that is silent after that moment has ended.
///
/// # Errors
/// What the sink fails with, or `failed` of the status that the stream ended with.
pub async fn drain<T>(
    mut stream: impl Stream<Item = Result<T, Status>> + Unpin,
    sink: &mut impl Sink<T>,
    until: Option<Instant>,
    failed: impl FnOnce(&Status) -> anyhow::Error,
) -> Result<End> {
    let mut interrupt = Interrupt::new()?;
    let mut taken = 0;
    let mut last = Instant::now();
    loop {
        let ready = if taken < BATCH { stream.next().now_or_never() } else { None };
        let next = match ready {
            Some(next) => next,
            None => {
                sink.flush()?;
                taken = 0;
                let silent = async {
                    match until {
                        Some(until) => tokio::time::sleep_until(until.max(last) + GRACE).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = interrupt.wish() => return Ok(End::Interrupted),
                    next = stream.next() => next,
                    () = silent => return Ok(End::Exhausted),
                }
            }
        };
        match next {
            Some(Ok(event)) => sink.take(event)?,
            Some(Err(status)) => {
                sink.flush()?;
                return Err(failed(&status));
            }
            None => return Ok(End::Exhausted),
        }
        taken += 1;
        last = Instant::now();
    }
}

/// When a stream that is followed is over, if it has an end.
pub fn end(follow: bool, until: Option<&Timestamp>) -> Option<Instant> {
    let ahead = time::unix_ns(until.filter(|_| follow)?).saturating_sub(time::now());
    // A year at most, so that no clock overflows.
    let ahead =
        Duration::from_nanos(u64::try_from(ahead).unwrap_or(0)).min(Duration::from_secs(365 * 86_400));
    Some(Instant::now() + ahead)
}

/// What a server says after its last event. A stream that was given up for silent has nothing to say.
pub async fn trailers<T>(stream: &mut Streaming<T>) -> Result<Option<MetadataMap>, Status> {
    stream.trailers().now_or_never().unwrap_or(Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Log(Vec<String>);

    impl Sink<u32> for Log {
        fn take(&mut self, event: u32) -> Result<()> {
            self.0.push(event.to_string());
            Ok(())
        }

        fn flush(&mut self) -> Result<()> {
            self.0.push("flush".into());
            Ok(())
        }
    }

    fn failed(status: &Status) -> anyhow::Error {
        anyhow::anyhow!("{status}")
    }

    #[tokio::test]
    async fn what_is_ready_is_written_together_and_flushed_before_waiting() {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        for event in [1, 2] {
            sender.send(Ok(event)).await.unwrap();
        }
        let late = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            sender.send(Ok(3)).await.unwrap();
        });
        let mut log = Log::default();
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        assert_eq!(drain(stream, &mut log, None, failed).await.unwrap(), End::Exhausted);
        late.await.unwrap();
        assert_eq!(&log.0[..4], ["1", "2", "flush", "3"]);
    }

    #[tokio::test]
    async fn a_silent_stream_ends_a_moment_after_its_end_in_time() {
        let mut log = Log::default();
        let started = Instant::now();
        let end = drain(futures::stream::pending(), &mut log, Some(started), failed).await.unwrap();
        assert_eq!(end, End::Exhausted);
        assert!(started.elapsed() >= GRACE);
    }

    #[tokio::test]
    async fn an_error_comes_after_what_was_taken_is_visible() {
        let events = [Ok(1), Err(Status::internal("boom"))];
        let mut log = Log::default();
        let error = drain(futures::stream::iter(events), &mut log, None, failed).await.unwrap_err();
        assert!(error.to_string().contains("boom"));
        assert_eq!(log.0, ["1", "flush"]);
    }
}
