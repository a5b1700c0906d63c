//! Where an answer begins: walks the store backwards, a piece at a time.

use std::sync::Arc;

use super::flow::Flow;
use super::store::{Found, Store};

/// Flows of the two kernel lanes and of different CPUs are not in strict order: a walk back to a time
/// goes on for this long, nanoseconds.
const DISORDER_NS: i64 = 2_000_000_000;

/// What of the history is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many matching flows; `u64::MAX` = all.
    pub flows: u64,
    /// Nothing before this wall clock, nanoseconds.
    pub since_ns: Option<i64>,
    /// Also the denials that are older than the ring.
    pub old_denials: bool,
}

/// A search for the place from which on what is wanted follows.
pub struct Seek {
    store: Arc<Store>,
    wanted: Wanted,
    position: u64,
    ring_begin: u64,
    old_denials: bool,
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
    /// Searches back from `head`.
    pub fn new(store: Arc<Store>, head: u64, wanted: Wanted) -> Self {
        let ring_begin = head.saturating_sub(store.capacity());
        Self { store, wanted, position: head, ring_begin, old_denials: wanted.old_denials }
    }

    /// Where the ring began when the search did: what is overwritten from then on is a loss.
    pub fn ring_begin(&self) -> u64 {
        self.ring_begin
    }

    /// Walks one segment further back. `matches` says whether a flow is one of those wanted.
    pub fn step(&mut self, buffer: &mut Vec<Arc<Flow>>, matches: impl Fn(&Flow) -> bool) -> Sought {
        if self.wanted.flows == 0 {
            return Sought::Here(self.position);
        }
        if self.wanted.flows == u64::MAX && self.wanted.since_ns.is_none() {
            let oldest = if self.old_denials { self.store.oldest_denial() } else { None };
            return Sought::Here(self.ring_begin.min(oldest.unwrap_or(u64::MAX)));
        }
        buffer.clear();
        if self.position > self.ring_begin {
            if let Found::Overtaken(_) = self.store.read_back(self.position - 1, buffer) {
                // The writer was faster than this walk: the reader will find and count what is gone.
                return Sought::Here(self.ring_begin);
            }
        } else if std::mem::take(&mut self.old_denials) {
            self.store.read_denials(0, self.ring_begin, usize::MAX, buffer);
            buffer.reverse();
        } else {
            return Sought::Here(self.position);
        }
        let begin = self.wanted.since_ns.map_or(i64::MIN, |since| since.saturating_sub(DISORDER_NS));
        for flow in buffer.drain(..) {
            if flow.time_ns < begin {
                return Sought::Here(self.position);
            }
            self.position = flow.seq;
            self.wanted.flows -= u64::from(matches(&flow));
            if self.wanted.flows == 0 {
                break;
            }
        }
        Sought::Further
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::{StoreSize, Writer};
    use super::*;
    use crate::events::testing::{denial, event, flow_at};

    const S: i64 = 1_000_000_000;

    /// One flow per second; every tenth is a denial.
    fn store(flows: i64) -> (Arc<Store>, Writer) {
        let (store, mut writer) = Store::new(StoreSize { flows: 64, denials: 64 }).expect("valid");
        for second in 0..flows {
            writer.push(flow_at(if second % 10 == 0 { denial() } else { event() }, second * S));
            writer.publish();
        }
        (store, writer)
    }

    fn seek(store: &Arc<Store>, wanted: Wanted, matches: impl Fn(&Flow) -> bool) -> u64 {
        let mut seek = Seek::new(Arc::clone(store), store.head(), wanted);
        let mut buffer = Vec::new();
        loop {
            if let Sought::Here(position) = seek.step(&mut buffer, &matches) {
                return position;
            }
        }
    }

    fn last(flows: u64) -> Wanted {
        Wanted { flows, since_ns: None, old_denials: false }
    }

    #[test]
    fn the_last_n_are_counted_by_what_matches() {
        let (store, _writer) = store(1_000);
        assert_eq!(seek(&store, last(20), |_| true), 980);
        assert_eq!(seek(&store, last(3), Flow::is_drop), 970);
        assert_eq!(seek(&store, last(500), |_| true), 936, "what there is");
        assert_eq!(seek(&store, last(0), |_| true), 1_000);
        assert_eq!(seek(&store, last(u64::MAX), |_| true), 936);
    }

    #[test]
    fn older_denials_are_walked_when_they_are_wanted() {
        let (store, _writer) = store(1_000);
        let wanted = Wanted { old_denials: true, ..last(30) };
        assert_eq!(seek(&store, wanted, Flow::is_drop), 700);
        assert_eq!(seek(&store, Wanted { flows: u64::MAX, ..wanted }, Flow::is_drop), 360);
    }

    #[test]
    fn a_time_is_found_with_room_for_disorder() {
        let (store, _writer) = store(1_000);
        let wanted = Wanted { since_ns: Some(960 * S), ..last(u64::MAX) };
        assert_eq!(seek(&store, wanted, |_| true), 958);
        let wanted = Wanted { since_ns: Some(960 * S), ..last(5) };
        assert_eq!(seek(&store, wanted, |_| true), 995, "the last five since then");
        let wanted = Wanted { since_ns: Some(0), ..last(u64::MAX) };
        assert_eq!(seek(&store, wanted, |_| true), 936);
    }

    #[test]
    fn a_walk_that_is_overtaken_begins_where_the_ring_began() {
        let (store, mut writer) = store(1_000);
        let mut seek = Seek::new(Arc::clone(&store), store.head(), last(50));
        let mut buffer = Vec::new();
        assert_eq!(seek.step(&mut buffer, |_| false), Sought::Further);
        for second in 1_000..1_200 {
            writer.push(flow_at(event(), second * S));
        }
        writer.publish();
        assert_eq!(seek.step(&mut buffer, |_| false), Sought::Here(936));
    }
}
