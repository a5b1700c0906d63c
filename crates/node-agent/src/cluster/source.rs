//! Where objects come from: the one interface behind which a directory of YAML and the API server
//! are the same.
//!
//! A source speaks in deltas of typed objects. `Listing` … `Complete` brackets a full listing of a
//! kind: what is not said between them is gone. Outside of the brackets only `Remove` removes, so a
//! source that knows less than everything never deletes by silence.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::model::{Kind, Object, ObjectKey};

/// One change in what a source knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// A full listing of a kind begins.
    Listing(Kind),
    /// The object exists and looks like this.
    Upsert(ObjectKey, Object),
    /// The object exists but cannot be read: what is known of it stays.
    Keep(ObjectKey),
    /// The object is gone.
    Remove(ObjectKey),
    /// The listing ended: objects of the kind it did not name are gone.
    Complete(Kind),
}

/// Something an author has to mend: it was skipped or an older form is in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// File, or address of the API server.
    pub origin: String,
    /// 1-based; 0 where there are no lines.
    pub line: usize,
    /// "NetworkPolicy default/deny-all", empty when not even that could be read.
    pub object: String,
    /// What is wrong and what is in force instead.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.origin)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.object.is_empty() {
            write!(f, ": {}", self.object)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Says each problem once, and when it is mended; keeps the status.
#[derive(Debug, Default)]
pub struct ProblemLog {
    said: BTreeSet<Problem>,
}

impl ProblemLog {
    /// These are the problems now.
    pub fn set(&mut self, problems: Vec<Problem>, status: &SourceStatus) {
        let now: BTreeSet<Problem> = problems.iter().cloned().collect();
        if now == self.said {
            return;
        }
        for problem in now.difference(&self.said) {
            tracing::warn!("{problem}");
            status.problems_total.fetch_add(1, Ordering::Relaxed);
        }
        for problem in self.said.difference(&now) {
            tracing::info!("mended or gone: {problem}");
        }
        status.problems.store(problems.into());
        self.said = now;
    }

    pub fn said(&self) -> impl Iterator<Item = &Problem> {
        self.said.iter()
    }
}

/// How the source fares; shared with status and metrics.
#[derive(Debug, Default)]
pub struct SourceStatus {
    /// What is wrong now.
    pub problems: ArcSwap<Vec<Problem>>,
    /// Problems met since the start, mended ones included.
    pub problems_total: AtomicU64,
    /// Deltas handed on since the start.
    pub deltas_total: AtomicU64,
}

/// The way from a source to the index, and the place for its status.
#[derive(Clone, Debug)]
pub struct Feed {
    deltas: mpsc::Sender<Vec<Delta>>,
    pub status: Arc<SourceStatus>,
}

impl Feed {
    /// A feed and the end that the index reads.
    ///
    /// 64 batches: a source that is ahead of the reconciler waits; a batch is one scan or one watch
    /// event, and all that are queued are taken at once.
    pub fn new() -> (Self, mpsc::Receiver<Vec<Delta>>) {
        let (deltas, rx) = mpsc::channel(64);
        (Feed { deltas, status: Arc::default() }, rx)
    }

    /// Hands a batch on; false when nobody reads any more.
    pub async fn send(&self, batch: Vec<Delta>) -> bool {
        self.status.deltas_total.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.is_empty() || self.deltas.send(batch).await.is_ok()
    }
}

/// A future a source runs in.
pub type SourceTask = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Delivers objects until it is told to stop.
pub trait Source: Send + 'static {
    /// For messages: "objects in /etc/fathom/objects".
    fn describe(&self) -> String;

    /// Runs until `stop`. An error ends it for good: what can be waited out is waited out inside.
    fn run(self: Box<Self>, feed: Feed, stop: CancellationToken) -> SourceTask;
}
