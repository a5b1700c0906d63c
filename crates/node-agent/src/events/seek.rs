//! Where an answer begins: walks the store backwards, a piece at a time.

use std::sync::Arc;

use super::flow::Flow;
use super::store::{Found, Store};

/// Flows of the two kernel lanes and of different CPUs are not in strict order: a walk back to a time
/// goes on for this long, nanoseconds.
const DISORDER_NS: i64 = 2_000_000_000;

/// A search for the place from which on `wanted` flows match, or the place where a time begins.
pub struct Seek {
    store: Arc<Store>,
    position: u64,
    /// Do not go back beyond this.
    floor: u64,
    wanted: u64,
    since_ns: Option<i64>,
    /// The ring has been walked; the older denials are next.
    denials_too: bool,
}

/// How far a search got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Ask again.
    Further,
    /// Begin here.
    Here(u64),
}

impl Seek {
    /// Searches back from `head`. `wanted` = how many matching flows are to follow; `u64::MAX` = all.
    pub fn new(store: Arc<Store>, head: u64, wanted: u64, since_ns: Option<i64>, denials_too: bool) -> Self {
        let floor = head.saturating_sub(store.capacity());
        Self { store, position: head, floor, wanted, since_ns, denials_too }
    }

    /// Walks one segment further back. `matches` says whether a flow is one of those wanted.
    pub fn step(&mut self, buffer: &mut Vec<Arc<Flow>>, matches: impl Fn(&Flow) -> bool) -> Sought {
        if self.wanted == 0 {
            return Sought::Here(self.position);
        }
        buffer.clear();
        if self.position > self.floor {
            if let Found::Overtaken(oldest) = self.store.read_back(self.position - 1, buffer) {
                // The writer is faster than this walk: what is left begins there.
                self.floor = oldest.min(self.position);
                self.position = self.floor;
                return Sought::Further;
            }
        } else if self.denials_too {
            self.denials_too = false;
            self.store.read_denials(0, self.floor, usize::MAX, buffer);
            buffer.reverse();
        } else {
            return Sought::Here(self.position);
        }
        for flow in buffer.drain(..) {
            if self.since_ns.is_some_and(|since| flow.time_ns < since.saturating_sub(DISORDER_NS)) {
                return Sought::Here(self.position);
            }
            self.position = flow.seq;
            if matches(&flow) {
                self.wanted -= 1;
                if self.wanted == 0 {
                    break;
                }
            }
        }
        Sought::Further
    }
}
