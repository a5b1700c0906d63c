//! One reader's way through the store, forwards, with an exact count of what it missed.

use std::sync::Arc;

use super::flow::Flow;
use super::store::{Found, Store};

/// Flows taken per step: a segment, so that one lock is taken once.
const CHUNK: usize = 64;

/// Denials taken per step out of a gap.
const RESCUED: usize = 256;

/// Flows that were overwritten before their reader came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub count: u64,
    /// They happened after this wall clock, nanoseconds: the time of the flow read before them, or of
    /// the one after when there is none.
    pub first_ns: i64,
    /// … and not after this: the time of the flow read after them.
    pub last_ns: i64,
}

/// A position in the store. What is found missing between it and the ring's begin is taken from the
/// denials as far as they have it, and counted as lost otherwise.
pub struct Cursor {
    store: Arc<Store>,
    position: u64,
    /// Before this only denials are history: they were already all that was left when the reader came.
    history_end: u64,
    /// How many denials of that history are still to be read.
    history_denials: u64,
    last_time_ns: Option<i64>,
}

impl Cursor {
    /// A reader that wants every flow from `position` on, for a store whose ring began at
    /// `ring_begin` when it came.
    pub fn new(store: Arc<Store>, position: u64, ring_begin: u64) -> Self {
        let mut cursor = Self {
            store,
            position,
            history_end: ring_begin.max(position),
            history_denials: 0,
            last_time_ns: None,
        };
        if position < cursor.history_end {
            cursor.history_denials = cursor.store.count_denials(position, cursor.history_end);
        }
        cursor
    }

    /// Number of the next flow.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Appends the next flows below `end` to `out`, at most a few hundred; nothing when there are
    /// none. Returns what had to be passed over to get to them.
    pub fn next_chunk(&mut self, end: u64, out: &mut Vec<Arc<Flow>>) -> Option<Gap> {
        let (begin, before) = (out.len(), self.last_time_ns);
        let mut missed = 0;
        while self.position < end {
            let limit = CHUNK.min((end - self.position) as usize);
            let had = out.len();
            match self.store.read(self.position, limit, out) {
                Found::Nothing => break,
                Found::Flows => {
                    self.position += (out.len() - had) as u64;
                    break;
                }
                Found::Overtaken(oldest) => {
                    missed += self.pass_over(oldest.min(end), out);
                    if out.len() > had {
                        break;
                    }
                }
            }
        }
        let after = out.get(begin).map(|flow| flow.time_ns);
        if let Some(last) = out.last() {
            self.last_time_ns = Some(last.time_ns);
        }
        if missed == 0 {
            return None;
        }
        let last_ns = after.or(before).unwrap_or_else(fathom_api::time::now);
        Some(Gap { count: missed, first_ns: before.unwrap_or(last_ns).min(last_ns), last_ns })
    }

    /// Moves to `to`, or to behind the last denial that could be taken on the way. Returns how many
    /// flows were missed.
    fn pass_over(&mut self, to: u64, out: &mut Vec<Arc<Flow>>) -> u64 {
        let (from, had) = (self.position, out.len());
        self.store.read_denials(from, to, RESCUED, out);
        let rescued = &out[had..];
        self.position = match rescued.last() {
            Some(last) if rescued.len() == RESCUED => last.seq + 1,
            _ => to,
        };
        let (now, history_end) = (self.position, self.history_end);
        let from_history = rescued.partition_point(|flow| flow.seq < history_end) as u64;
        let passed = now.saturating_sub(history_end.max(from));
        let mut missed = passed - (rescued.len() as u64 - from_history);
        self.history_denials = self.history_denials.saturating_sub(from_history);
        if now >= history_end {
            // Denials that were there at the start and are gone now are a loss like any other.
            missed += std::mem::take(&mut self.history_denials);
        }
        missed
    }
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
