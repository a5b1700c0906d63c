//! The kernel's records and accounts, as the data side asks for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use fathom_bpf::abi::LedgerStage;
use fathom_bpf::decode::Record;
use fathom_bpf::load::Datapath as Loaded;
use fathom_bpf::maps::LedgerSnapshot;
use fathom_bpf::ring::{EVENT_SPAN, Gauge, Lane as RingLane, Reader};

use crate::events::source::{Drained, KernelCounts, KernelLedger, L7Counts, Lane, RecordSource, Traffic};
use crate::http::Readiness;

/// Records wait for names at most this long: unnamed is better than overwritten.
const NAMES_WITHIN: Duration = Duration::from_secs(10);

/// Records taken at once from a lane at most. The books know of them when all are taken.
const BATCH: usize = 8192;

/// The rings, drained by the reader's thread.
pub struct Rings {
    reader: Reader,
    taken: Arc<Taken>,
    /// What names wait for, and until when records wait for names.
    waiting: Option<(Readiness, Instant)>,
}

impl Rings {
    /// Rings that are drained once objects are listed and tables installed. What an earlier agent left
    /// in them happened to the same pods by the same rules: the kernel keeps it until it can be told by
    /// their names.
    pub fn new(mut reader: Reader, taken: Arc<Taken>, readiness: Readiness) -> Self {
        reader.set_batch(BATCH);
        Rings { reader, taken, waiting: Some((readiness, Instant::now() + NAMES_WITHIN)) }
    }

    fn must_wait(&mut self) -> bool {
        let waits = |(readiness, until): &(Readiness, Instant)| {
            !readiness.missing().is_empty() && Instant::now() < *until
        };
        if !self.waiting.as_ref().is_some_and(waits) {
            self.waiting = None;
        }
        self.waiting.is_some()
    }
}

impl RecordSource for Rings {
    fn drain(&mut self, wait: Duration, each: &mut dyn FnMut(Record<'_>)) -> anyhow::Result<Drained> {
        if self.must_wait() {
            std::thread::sleep(wait.min(Duration::from_millis(10)));
            return Ok(Drained::default());
        }
        let polled = self.reader.poll(wait, |record, _| each(record)).context("read the kernel's rings")?;
        self.taken.by_us.fetch_add(polled.events as u64, Ordering::Release);
        Ok(Drained { records: (polled.events + polled.drops) as u64, undecodable: polled.malformed as u64 })
    }
}

/// How many records left the lane for events. They differ in length, so the ring's positions don't tell.
#[derive(Debug)]
pub struct Taken {
    by_us: AtomicU64,
    /// By earlier processes: what was written and is neither held nor taken by this one. Each reading is an
    /// upper bound, the lowest is the truth as soon as one was made in a quiet moment.
    before: AtomicU64,
}

impl Default for Taken {
    fn default() -> Self {
        Taken { by_us: AtomicU64::new(0), before: AtomicU64::new(u64::MAX) }
    }
}

impl Taken {
    /// All that were taken, when `written` is read after `held`, and `held` after `by_us`.
    fn all(&self, by_us: u64, held: u64, written: u64) -> u64 {
        let bound = written.saturating_sub(held + by_us);
        self.before.fetch_min(bound, Ordering::Relaxed).min(bound) + by_us
    }
}

/// Readings at the start that look for a quiet moment.
const READINGS: usize = 16;

/// The ledger and the counters.
pub struct KernelAccounts {
    loaded: Arc<Loaded>,
    gauge: Gauge,
    taken: Arc<Taken>,
}

impl KernelAccounts {
    /// Before the rings are drained.
    pub fn new(loaded: Arc<Loaded>, gauge: Gauge) -> Self {
        let accounts = KernelAccounts { loaded, gauge, taken: Arc::default() };
        for _ in 0..READINGS {
            // A ledger that can't be read is told by whoever asks next.
            _ = accounts.counts();
        }
        accounts
    }

    /// What [`Rings`] keeps count in.
    pub fn taken(&self) -> Arc<Taken> {
        Arc::clone(&self.taken)
    }

    /// Drops: all of one length. Positions of one reading, and not the records themselves: those may be
    /// taken meanwhile.
    fn drops(&self, ledger: &LedgerSnapshot) -> Lane {
        let pending = self.gauge.pending(RingLane::Drops);
        // The ledger outlives rings: what went through a replaced one is in its counts as well.
        Lane {
            emitted: ledger[LedgerStage::DropsEmitted],
            lost: ledger[LedgerStage::DropsLost] + pending.abandoned_bytes / EVENT_SPAN,
            taken: (pending.former_taken_bytes + pending.taken_bytes) / EVENT_SPAN,
            held: pending.bytes / EVENT_SPAN,
        }
    }
}

impl KernelLedger for KernelAccounts {
    fn counts(&self) -> anyhow::Result<KernelCounts> {
        let read = || self.loaded.maps().ledger.read().context("read the kernel's ledger");
        let by_us = self.taken.by_us.load(Ordering::Acquire);
        let before = read()?;
        let pending = self.gauge.pending(RingLane::Events);
        let ledger = read()?;
        let abandoned = pending.abandoned_bytes / EVENT_SPAN;
        // Losses first and attempts last: at least as many as were written when `pending` was read.
        let written =
            ledger[LedgerStage::EventsEmitted].saturating_sub(before[LedgerStage::EventsLost] + abandoned);
        let events = Lane {
            emitted: ledger[LedgerStage::EventsEmitted],
            lost: ledger[LedgerStage::EventsLost] + abandoned,
            taken: self.taken.all(by_us, pending.records, written),
            held: pending.records,
        };
        Ok(KernelCounts {
            packets_seen: ledger[LedgerStage::PacketsSeen],
            packets_aggregated: ledger[LedgerStage::PacketsAggregated],
            packets_untracked: ledger[LedgerStage::PacketsPassedUntracked],
            packets_reported: ledger[LedgerStage::PacketsReported],
            other_records: ledger[LedgerStage::EventsTimeout]
                + ledger[LedgerStage::SockEmitted]
                + ledger[LedgerStage::L7Emitted]
                + ledger[LedgerStage::UplinkEmitted],
            events,
            drops: self.drops(&ledger),
            l7: l7_counts(&ledger),
        })
    }

    fn traffic(&self) -> anyhow::Result<Vec<Traffic>> {
        let traffic = self.loaded.maps().counters.traffic().context("read the kernel's counters")?;
        let one = |t: fathom_bpf::maps::Traffic| Traffic {
            direction: t.direction,
            reason: t.reason,
            packets: t.packets,
            bytes: t.bytes,
        };
        Ok(traffic.into_iter().map(one).collect())
    }
}

fn l7_counts(ledger: &LedgerSnapshot) -> L7Counts {
    L7Counts {
        emitted: ledger[LedgerStage::L7Emitted],
        lost: ledger[LedgerStage::L7Lost],
        requests: ledger[LedgerStage::L7Requests],
        responses: ledger[LedgerStage::L7Responses],
        opened: ledger[LedgerStage::L7Opened],
        evicted: ledger[LedgerStage::L7Evicted],
        untracked: ledger[LedgerStage::L7Untracked],
        not_ours: ledger[LedgerStage::L7NotOurs],
        gaps: ledger[LedgerStage::L7Gaps],
        held: ledger[LedgerStage::L7Held],
        repeated: ledger[LedgerStage::L7Repeated],
        malformed: ledger[LedgerStage::L7Malformed],
        unknown: ledger[LedgerStage::L7Unknown],
        unmatched: ledger[LedgerStage::L7Unmatched],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_processes_took_is_the_lowest_of_all_readings() {
        let taken = Taken::default();
        // 100 were taken, 5 are held; two more are written between the readings.
        assert_eq!(taken.all(0, 5, 107), 102);
        assert_eq!(taken.all(0, 7, 107), 100, "a quiet moment");
        assert_eq!(taken.all(7, 0, 109), 107, "and it stays");
    }
}
