//! K-way merge by time with a bounded wait: the pure part, with time handed in.
//!
//! Every source delivers its own items in order. An item may leave when no open source could
//! still deliver an earlier one, or, when following, after a wait: silence is the normal state of
//! an idle node. So a source that is silent costs the others at most that wait, and the order is
//! exact as long as no source is further behind than it. Rejected: a fixed-length sort buffer,
//! which holds a slow trickle until it fills up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Index of a source, as handed out by [`Merge::open`].
pub type Source = usize;

struct Queued<T> {
    time: i64,
    arrived: Duration,
    item: T,
}

struct Lane<T> {
    queue: VecDeque<Queued<T>>,
    open: bool,
    /// Since when the source could have delivered something.
    freed: Duration,
}

/// The merge of all sources of one request. `now` is any clock that only goes forward.
pub struct Merge<T> {
    /// Longest time an item is held for sources that have nothing to show; `None` = until they have
    /// or end.
    wait: Option<Duration>,
    lanes: Vec<Lane<T>>,
    heads: BinaryHeap<Reverse<(i64, Source)>>,
    /// Open sources with nothing queued.
    awaited: usize,
    queued: usize,
    /// The latest of all `freed`.
    last_freed: Duration,
}

impl<T> Merge<T> {
    /// An empty merge.
    pub fn new(wait: Option<Duration>) -> Self {
        Merge {
            wait,
            lanes: Vec::new(),
            heads: BinaryHeap::new(),
            awaited: 0,
            queued: 0,
            last_freed: Duration::ZERO,
        }
    }

    /// Adds a source, to be waited for from now on.
    pub fn open(&mut self, now: Duration) -> Source {
        self.lanes.push(Lane { queue: VecDeque::new(), open: true, freed: now });
        self.last_freed = self.last_freed.max(now);
        self.awaited += 1;
        self.lanes.len() - 1
    }

    /// A source that was kept from delivering may do so again: silence counts from here.
    pub fn freed(&mut self, source: Source, now: Duration) {
        self.lanes[source].freed = now;
        self.last_freed = self.last_freed.max(now);
    }

    /// Takes what a source delivered, in its order.
    pub fn push(&mut self, source: Source, now: Duration, items: impl IntoIterator<Item = (i64, T)>) {
        let lane = &mut self.lanes[source];
        let before = lane.queue.len();
        lane.queue.extend(items.into_iter().map(|(time, item)| Queued { time, arrived: now, item }));
        self.queued += lane.queue.len() - before;
        if before == 0
            && let Some(head) = lane.queue.front()
        {
            self.heads.push(Reverse((head.time, source)));
            if lane.open {
                self.awaited -= 1;
            }
        }
    }

    /// A source has ended: nobody waits for it any more; what it delivered still counts.
    pub fn close(&mut self, source: Source) {
        let lane = &mut self.lanes[source];
        if lane.open && lane.queue.is_empty() {
            self.awaited -= 1;
        }
        lane.open = false;
    }

    /// The next item in order that may leave at `now`. With `pressure`, idle sources are not waited
    /// for.
    pub fn pop(&mut self, now: Duration, pressure: bool) -> Option<(Source, i64, T)> {
        let &Reverse((time, source)) = self.heads.peek()?;
        if self.awaited > 0 && self.due(pressure).is_none_or(|due| now < due) {
            return None;
        }
        self.heads.pop();
        let lane = &mut self.lanes[source];
        let queued = lane.queue.pop_front()?;
        self.queued -= 1;
        match lane.queue.front() {
            Some(next) => self.heads.push(Reverse((next.time, source))),
            None if lane.open => self.awaited += 1,
            None => {}
        }
        Some((source, time, queued.item))
    }

    /// When [`Merge::pop`] would give something although sources are awaited; `None` when it would
    /// not, or nothing is queued.
    ///
    /// The wait counts from the item's arrival. That is not enough when a client took its time: then
    /// every item is old, and a source whose turn to deliver comes only now would never be waited for.
    pub fn due(&self, pressure: bool) -> Option<Duration> {
        let (wait, &Reverse((_, source))) = (self.wait?, self.heads.peek()?);
        let arrived = if pressure { Duration::ZERO } else { self.lanes[source].queue.front()?.arrived };
        if self.last_freed <= arrived {
            return Some(arrived + wait);
        }
        let awaited = self.lanes.iter().filter(|lane| lane.open && lane.queue.is_empty());
        Some(awaited.map(|lane| lane.freed).fold(arrived, Duration::max) + wait)
    }

    /// Time of the earliest item held.
    pub fn head_time(&self) -> Option<i64> {
        self.heads.peek().map(|Reverse((time, _))| *time)
    }

    /// Items held.
    pub fn len(&self) -> usize {
        self.queued
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Whether every source has ended and everything has left.
    pub fn is_finished(&self) -> bool {
        self.queued == 0 && self.lanes.iter().all(|lane| !lane.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const FOLLOW: Option<Duration> = Some(Duration::from_millis(50));
    const FINITE: Option<Duration> = None;

    fn drain(merge: &mut Merge<&'static str>, now: Duration) -> Vec<&'static str> {
        std::iter::from_fn(|| merge.pop(now, false).map(|(_, _, item)| item)).collect()
    }

    #[test]
    fn two_sources_come_out_in_order_of_time() {
        let mut merge = Merge::new(FINITE);
        let (a, b) = (merge.open(MS(0)), merge.open(MS(0)));
        merge.push(a, MS(0), [(1, "a1"), (4, "a4")]);
        merge.push(b, MS(0), [(2, "b2"), (3, "b3")]);
        merge.close(a);
        merge.close(b);
        assert_eq!(drain(&mut merge, MS(0)), ["a1", "b2", "b3", "a4"]);
        assert!(merge.is_finished());
    }

    #[test]
    fn an_item_waits_for_a_source_that_could_still_be_earlier() {
        let mut merge = Merge::new(FOLLOW);
        let (a, b) = (merge.open(MS(0)), merge.open(MS(0)));
        merge.push(a, MS(0), [(2, "a2")]);
        assert_eq!(drain(&mut merge, MS(49)), [] as [&str; 0]);
        merge.push(b, MS(49), [(1, "b1")]);
        // Now `a2` is the only head and `b` is awaited: `b1` may go, `a2` has one millisecond left.
        assert_eq!(drain(&mut merge, MS(49)), ["b1"]);
        assert_eq!(merge.due(false), Some(MS(50)));
        assert_eq!(drain(&mut merge, MS(50)), ["a2"]);
    }

    #[test]
    fn a_silent_source_costs_each_item_no_more_than_the_wait_when_following() {
        let mut merge = Merge::new(FOLLOW);
        let (a, _silent) = (merge.open(MS(0)), merge.open(MS(0)));
        for n in 0..3 {
            merge.push(a, MS(n * 500), [(n as i64, "a")]);
            assert_eq!(drain(&mut merge, MS(n * 500 + 49)), [] as [&str; 0]);
            assert_eq!(drain(&mut merge, MS(n * 500 + 50)), ["a"]);
        }
    }

    #[test]
    fn a_finite_request_waits_for_a_source_until_it_ends() {
        let mut merge = Merge::new(FINITE);
        let (a, slow) = (merge.open(MS(0)), merge.open(MS(0)));
        merge.push(a, MS(0), [(2, "a2")]);
        assert_eq!(drain(&mut merge, MS(3_600_000)), [] as [&str; 0]);
        assert_eq!(merge.due(false), None);
        merge.push(slow, MS(3_600_000), [(1, "slow1")]);
        assert_eq!(drain(&mut merge, MS(3_600_000)), ["slow1"]);
        merge.close(slow);
        assert_eq!(drain(&mut merge, MS(3_600_000)), ["a2"]);
    }

    #[test]
    fn a_source_that_could_not_deliver_is_waited_for_from_when_it_can() {
        let mut merge = Merge::new(FOLLOW);
        let (a, b) = (merge.open(MS(0)), merge.open(MS(0)));
        merge.push(a, MS(0), [(1, "a1"), (4, "a4")]);
        merge.push(b, MS(0), [(2, "b2")]);
        // Long after, when the client reads again; `b` had more, but no room for it.
        assert_eq!(merge.pop(MS(30_000), false).map(|(_, _, item)| item), Some("a1"));
        assert_eq!(merge.pop(MS(30_000), false).map(|(_, _, item)| item), Some("b2"));
        merge.freed(b, MS(30_000));
        for pressure in [false, true] {
            assert_eq!(merge.pop(MS(30_049), pressure), None);
        }
        merge.push(b, MS(30_049), [(3, "b3")]);
        assert_eq!(merge.pop(MS(30_049), false).map(|(_, _, item)| item), Some("b3"));
        assert_eq!(merge.pop(MS(30_050), false).map(|(_, _, item)| item), Some("a4"));
    }

    #[test]
    fn pressure_lets_the_earliest_go_without_waiting_for_idle_sources() {
        let mut merge = Merge::new(FOLLOW);
        let (a, _idle) = (merge.open(MS(0)), merge.open(MS(0)));
        merge.push(a, MS(1_000), [(2, "a2")]);
        assert_eq!(merge.pop(MS(1_000), false), None);
        assert_eq!(merge.pop(MS(1_000), true).map(|(_, _, item)| item), Some("a2"));
    }

    proptest::proptest! {
        #[test]
        fn sorted_inputs_leave_sorted_and_complete(
            mut inputs in proptest::collection::vec(proptest::collection::vec(0i64..1000, 0..40), 1..8),
            cuts in proptest::collection::vec((0usize..8, 1usize..7), 0..200),
        ) {
            let mut merge = Merge::new(FINITE);
            let mut expected: Vec<i64> = inputs.iter().flatten().copied().collect();
            expected.sort_unstable();
            for input in &mut inputs {
                input.sort_unstable();
                merge.open(MS(0));
            }
            let mut got = Vec::new();
            let mut at = vec![0; inputs.len()];
            for (source, n) in cuts.into_iter().map(|(s, n)| (s % inputs.len(), n)) {
                let end = (at[source] + n).min(inputs[source].len());
                merge.push(source, MS(0), inputs[source][at[source]..end].iter().map(|&t| (t, ())));
                at[source] = end;
                got.extend(std::iter::from_fn(|| merge.pop(MS(0), false)).map(|(_, time, ())| time));
            }
            for (source, input) in inputs.iter().enumerate() {
                merge.push(source, MS(0), input[at[source]..].iter().map(|&t| (t, ())));
                merge.close(source);
                got.extend(std::iter::from_fn(|| merge.pop(MS(0), false)).map(|(_, time, ())| time));
            }
            proptest::prop_assert!(merge.is_finished());
            proptest::prop_assert_eq!(got, expected);
        }
    }
}
