//! What the fan-out knows of one stream to one node.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

/// One stream, open or ended. A node that comes back gets a new one.
pub struct Lane {
    pub name: Arc<str>,
    /// Which of the node's connections it runs over.
    pub generation: u64,
    /// Time of the newest flow, to resume from; 0 = none came.
    pub newest: i64,
    /// Batches here that the merge has not let go.
    pub ahead: usize,
    /// Flows of the history that came, and whether later ones have.
    pub history: u64,
    pub is_live: bool,
    pub ended: bool,
    /// When to try again although the connection is the same.
    pub reopen: Option<Duration>,
    task: AbortOnDropHandle<()>,
}

impl Lane {
    pub fn new(name: Arc<str>, generation: u64, newest: i64, task: AbortOnDropHandle<()>) -> Self {
        Lane {
            name,
            generation,
            newest,
            ahead: 0,
            history: 0,
            is_live: false,
            ended: false,
            reopen: None,
            task,
        }
    }

    /// Nothing more is read.
    pub fn end(&mut self) {
        self.ended = true;
        self.reopen = None;
        self.task.abort();
    }

    /// Whether the node should have a new stream, given the connection there is.
    pub fn may_open(&self, generation: u64, now: Duration) -> bool {
        self.ended && (self.generation != generation || self.reopen.is_some_and(|at| at <= now))
    }

    /// Whether it has shown all the history it was asked for.
    pub fn history_is_over(&self, number: u64) -> bool {
        self.ended || self.is_live || self.history >= number
    }
}
