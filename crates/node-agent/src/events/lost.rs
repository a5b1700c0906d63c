//! What was lost before the store: kept beside it, so that a loss never takes a flow's place.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fathom_api::flow::{LostEvent, LostEventSource};
use fathom_api::time::timestamp;

/// Losses kept. A source writes at most one per interval (1 s), so this is minutes of constant loss.
const LIMIT: usize = 1024;

/// Events lost at one place in one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub source: LostEventSource,
    pub count: u64,
    /// They were lost after this wall clock, nanoseconds …
    pub first_ns: i64,
    /// … and not after this.
    pub last_ns: i64,
}

/// Losses in the order they were found, each with the store's head at that time.
///
/// Counts are kept as running totals per source: what a reader is told is the difference to what it
/// was told before, so it is exact even for a reader that comes so late that losses were merged.
#[derive(Debug, Default)]
pub struct LossLog {
    inner: Mutex<Inner>,
}

/// Lost so far, by number of the source.
type Totals = [u64; SOURCES];
const SOURCES: usize = 4;

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Entry>,
    totals: Totals,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Head of the store when the loss was found.
    position: u64,
    loss: Loss,
    /// Lost at this source so far, this loss included.
    total: u64,
}

/// What one reader has been told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told(Totals);

impl LossLog {
    /// Adds a loss found when the store's head was `position`. A loss of nothing is none.
    pub fn add(&self, position: u64, loss: Loss) {
        if loss.count == 0 {
            return;
        }
        let mut inner = self.lock();
        if inner.entries.len() >= LIMIT {
            inner.merge_oldest();
        }
        let total = &mut inner.totals[loss.source as usize % SOURCES];
        *total += loss.count;
        let entry = Entry { position, loss, total: *total };
        inner.entries.push_back(entry);
    }

    /// For a reader that wants the losses found at or after `position`.
    pub fn from_position(&self, position: u64) -> Told {
        let mut told = Told::default();
        for entry in self.lock().entries.iter().take_while(|entry| entry.position < position) {
            told.0[entry.loss.source as usize % SOURCES] = entry.total;
        }
        told
    }

    /// For a reader that wants only losses to come.
    pub fn from_now(&self) -> Told {
        Told(self.lock().totals)
    }

    /// Lost so far at a source.
    pub fn total(&self, source: LostEventSource) -> u64 {
        self.lock().totals[source as usize % SOURCES]
    }

    /// Hands out the losses found up to `position` that `told` does not cover yet.
    pub fn take(&self, told: &mut Told, position: u64, mut each: impl FnMut(Loss)) {
        let inner = self.lock();
        if told.0 == inner.totals {
            return;
        }
        for entry in inner.entries.iter().take_while(|entry| entry.position <= position) {
            let told = &mut told.0[entry.loss.source as usize % SOURCES];
            if entry.total > *told {
                each(Loss { count: entry.total - *told, ..entry.loss });
                *told = entry.total;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Makes room: the oldest loss goes into the next of its source, which its total covers anyway.
    fn merge_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        if let Some(next) = self.entries.iter_mut().find(|entry| entry.loss.source == oldest.loss.source) {
            next.loss = merge(oldest.loss, next.loss);
        }
    }
}

fn merge(a: Loss, b: Loss) -> Loss {
    Loss {
        source: a.source,
        count: a.count + b.count,
        first_ns: a.first_ns.min(b.first_ns),
        last_ns: a.last_ns.max(b.last_ns),
    }
}

impl From<Loss> for LostEvent {
    fn from(loss: Loss) -> Self {
        LostEvent {
            source: loss.source.into(),
            num_events_lost: loss.count,
            // Counts are sums over all CPUs.
            cpu: None,
            first: Some(timestamp(loss.first_ns)),
            last: Some(timestamp(loss.last_ns)),
        }
    }
}

/// The losses one client has not been told yet, merged by source.
#[derive(Debug, Default)]
pub struct Untold {
    by_source: [Option<Loss>; SOURCES],
}

impl Untold {
    /// Adds to what is to be told.
    pub fn add(&mut self, loss: Loss) {
        if loss.count == 0 {
            return;
        }
        let slot = &mut self.by_source[loss.source as usize % SOURCES];
        *slot = Some(slot.map_or(loss, |before| merge(before, loss)));
    }

    pub fn is_empty(&self) -> bool {
        self.by_source.iter().all(Option::is_none)
    }

    /// Takes everything out, one loss per source.
    pub fn take(&mut self) -> impl Iterator<Item = Loss> + use<> {
        std::mem::take(&mut self.by_source).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(source: LostEventSource, count: u64, at: i64) -> Loss {
        Loss { source, count, first_ns: at, last_ns: at + 1 }
    }

    fn take(log: &LossLog, told: &mut Told, position: u64) -> Vec<u64> {
        let mut counts = Vec::new();
        log.take(told, position, |loss| counts.push(loss.count));
        counts
    }

    #[test]
    fn a_reader_is_told_the_losses_of_its_own_stretch_and_each_once() {
        let log = LossLog::default();
        for (position, count) in [(10, 1), (20, 2), (30, 3)] {
            log.add(position, loss(LostEventSource::PerfEventRingBuffer, count, 0));
        }
        let mut told = log.from_position(20);
        assert_eq!(take(&log, &mut told, 25), [2]);
        assert_eq!(take(&log, &mut told, 30), [3]);
        assert_eq!(take(&log, &mut told, 99), [0_u64; 0]);
        assert_eq!(take(&log, &mut log.from_now(), 99), [0_u64; 0]);
    }

    #[test]
    fn a_full_log_merges_and_every_reader_still_gets_the_exact_sum() {
        let log = LossLog::default();
        let source = LostEventSource::PerfEventRingBuffer;
        let mut early = log.from_now();
        log.add(0, loss(source, 10, 0));
        let mut told_once = log.from_now();
        for at in 1..3 * LIMIT as u64 {
            log.add(at, loss(source, 1, at as i64));
        }
        let rest = 3 * LIMIT as u64 - 1;
        assert_eq!(take(&log, &mut early, u64::MAX).iter().sum::<u64>(), 10 + rest);
        assert_eq!(take(&log, &mut told_once, u64::MAX).iter().sum::<u64>(), rest);
        assert_eq!(log.total(source), 10 + rest);
    }

    #[test]
    fn losses_of_one_source_are_told_as_one_and_sources_stay_apart() {
        let mut untold = Untold::default();
        untold.add(loss(LostEventSource::HubbleRingBuffer, 5, 100));
        untold.add(loss(LostEventSource::PerfEventRingBuffer, 7, 50));
        untold.add(loss(LostEventSource::HubbleRingBuffer, 1, 20));
        untold.add(loss(LostEventSource::ObserverEventsQueue, 0, 20));
        let told: Vec<_> = untold.take().collect();
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].source, told[0].count), (LostEventSource::PerfEventRingBuffer, 7));
        assert_eq!((told[1].count, told[1].first_ns, told[1].last_ns), (6, 20, 101));
        assert!(untold.is_empty());
    }
}
