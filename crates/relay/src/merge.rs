//! K-way merge by time with a bounded wait: the pure part, with time handed in.
//!
//! Every source delivers its own items in order. An item may leave when no open source could
//! still deliver an earlier one, or when it has been held for [`Hold::wait`]. So a source that is
//! silent costs the others at most that wait, and the order is exact as long as no source is
//! further behind than it. Rejected: a fixed-length sort buffer, which holds a slow trickle until
//! it fills up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// How long an item waits for sources that have nothing to show.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// Longest time an item is held.
    pub wait: Duration,
    /// Whether a source that let the wait pass is no longer waited for until it delivers again.
    /// Right for a finite request, where silence means slow; wrong for a followed one, where
    /// silence is the normal state of an idle node.
    pub waive_silent: bool,
}

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
    waived: bool,
}

/// The merge of all sources of one request. `now` is any clock that only goes forward.
pub struct Merge<T> {
    hold: Hold,
    lanes: Vec<Lane<T>>,
    heads: BinaryHeap<Reverse<(i64, Source)>>,
    /// Open sources with nothing queued that are waited for.
    awaited: usize,
    queued: usize,
}

impl<T> Merge<T> {
    /// An empty merge.
    pub fn new(hold: Hold) -> Self {
        Merge { hold, lanes: Vec::new(), heads: BinaryHeap::new(), awaited: 0, queued: 0 }
    }

    /// Adds a source, to be waited for from now on.
    pub fn open(&mut self) -> Source {
        self.lanes.push(Lane { queue: VecDeque::new(), open: true, waived: false });
        self.awaited += 1;
        self.lanes.len() - 1
    }

    /// Takes what a source delivered, in its order.
    pub fn push(&mut self, source: Source, now: Duration, items: impl IntoIterator<Item = (i64, T)>) {
        let lane = &mut self.lanes[source];
        let was_empty = lane.queue.is_empty();
        let before = lane.queue.len();
        lane.queue.extend(items.into_iter().map(|(time, item)| Queued { time, arrived: now, item }));
        self.queued += lane.queue.len() - before;
        if was_empty && let Some(head) = lane.queue.front() {
            self.heads.push(Reverse((head.time, source)));
            if lane.open && !lane.waived {
                self.awaited -= 1;
            }
            lane.waived = false;
        }
    }

    /// A source has ended: nobody waits for it any more; what it delivered still counts.
    pub fn close(&mut self, source: Source) {
        let lane = &mut self.lanes[source];
        if lane.open && lane.queue.is_empty() && !lane.waived {
            self.awaited -= 1;
        }
        lane.open = false;
    }

    /// The next item in order that may leave at `now`. With `pressure`, waits for nobody.
    pub fn pop(&mut self, now: Duration, pressure: bool) -> Option<(Source, i64, T)> {
        let &Reverse((time, source)) = self.heads.peek()?;
        if self.awaited > 0 && !pressure {
            let head = self.lanes[source].queue.front()?;
            if now < head.arrived + self.hold.wait {
                return None;
            }
            if self.hold.waive_silent {
                self.waive();
            }
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

    /// When [`Merge::pop`] would give something although sources are awaited; `None` when nothing
    /// is queued.
    pub fn due(&self) -> Option<Duration> {
        let &Reverse((_, source)) = self.heads.peek()?;
        self.lanes[source].queue.front().map(|head| head.arrived + self.hold.wait)
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

    /// Open sources that let the wait pass and have not delivered since.
    pub fn silent(&self) -> impl Iterator<Item = Source> + '_ {
        self.lanes.iter().enumerate().filter(|(_, lane)| lane.open && lane.waived).map(|(source, _)| source)
    }

    fn waive(&mut self) {
        for lane in &mut self.lanes {
            if lane.open && lane.queue.is_empty() && !lane.waived {
                lane.waived = true;
                self.awaited -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const FOLLOW: Hold = Hold { wait: Duration::from_millis(50), waive_silent: false };
    const FINITE: Hold = Hold { wait: Duration::from_millis(1000), waive_silent: true };

    fn drain(merge: &mut Merge<&'static str>, now: Duration) -> Vec<&'static str> {
        std::iter::from_fn(|| merge.pop(now, false).map(|(_, _, item)| item)).collect()
    }

    #[test]
    fn two_sources_come_out_in_order_of_time() {
        let mut merge = Merge::new(FINITE);
        let (a, b) = (merge.open(), merge.open());
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
        let (a, b) = (merge.open(), merge.open());
        merge.push(a, MS(0), [(2, "a2")]);
        assert_eq!(drain(&mut merge, MS(49)), [] as [&str; 0]);
        merge.push(b, MS(49), [(1, "b1")]);
        // Now `a2` is the only head and `b` is awaited: `b1` may go, `a2` has one millisecond left.
        assert_eq!(drain(&mut merge, MS(49)), ["b1"]);
        assert_eq!(merge.due(), Some(MS(50)));
        assert_eq!(drain(&mut merge, MS(50)), ["a2"]);
    }

    #[test]
    fn a_silent_source_costs_each_item_no_more_than_the_wait_when_following() {
        let mut merge = Merge::new(FOLLOW);
        let (a, _silent) = (merge.open(), merge.open());
        for n in 0..3 {
            merge.push(a, MS(n * 500), [(n as i64, "a")]);
            assert_eq!(drain(&mut merge, MS(n * 500 + 49)), [] as [&str; 0]);
            assert_eq!(drain(&mut merge, MS(n * 500 + 50)), ["a"]);
        }
    }

    #[test]
    fn a_finite_request_waits_for_a_silent_source_once() {
        let mut merge = Merge::new(FINITE);
        let (a, slow) = (merge.open(), merge.open());
        merge.push(a, MS(0), [(1, "a1"), (2, "a2")]);
        assert_eq!(drain(&mut merge, MS(999)), [] as [&str; 0]);
        assert_eq!(drain(&mut merge, MS(1000)), ["a1", "a2"]);
        assert_eq!(merge.silent().collect::<Vec<_>>(), [slow]);
        merge.push(a, MS(1001), [(5, "a5")]);
        // `a` itself was drained and is open: the head leaves at once only if nobody is awaited.
        merge.close(a);
        assert_eq!(drain(&mut merge, MS(1001)), ["a5"]);
        merge.push(slow, MS(1002), [(3, "late")]);
        assert_eq!(merge.silent().count(), 0);
        assert_eq!(drain(&mut merge, MS(1002)), ["late"]);
    }

    #[test]
    fn closing_the_last_awaited_source_frees_the_rest() {
        let mut merge = Merge::new(FINITE);
        let (a, b) = (merge.open(), merge.open());
        merge.push(a, MS(0), [(1, "a1")]);
        assert_eq!(drain(&mut merge, MS(0)), [] as [&str; 0]);
        merge.close(b);
        assert_eq!(drain(&mut merge, MS(0)), ["a1"]);
    }

    #[test]
    fn pressure_lets_the_earliest_go_without_waiting() {
        let mut merge = Merge::new(FOLLOW);
        let (a, b) = (merge.open(), merge.open());
        merge.push(a, MS(0), [(2, "a2")]);
        let _ = b;
        assert_eq!(merge.pop(MS(0), true).map(|(_, _, item)| item), Some("a2"));
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
                merge.open();
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
