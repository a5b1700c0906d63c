//! The kernel's records and accounts, as the data side asks for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use fathom_bpf::abi::LedgerStage;
use fathom_bpf::decode::Record;
use fathom_bpf::load::Datapath as Loaded;
use fathom_bpf::ring::{EVENT_SPAN, Gauge, Lane as RingLane, Reader};

use crate::events::source::{Drained, KernelCounts, KernelLedger, L7Counts, Lane, RecordSource, Traffic};
use crate::http::Readiness;

/// Records wait for names at most this long: unnamed is better than overwritten.
const NAMES_WITHIN: Duration = Duration::from_secs(10);

/// The rings, drained by the reader's thread.
pub struct Rings {
    reader: Reader,
    /// What names wait for, and until when records wait for names.
    waiting: Option<(Readiness, Instant)>,
}

impl Rings {
    /// Rings that are drained once objects are listed and tables installed. What an earlier agent left
    /// in them happened to the same pods by the same rules: the kernel keeps it until it can be told by
    /// their names.
    pub fn new(reader: Reader, readiness: Readiness) -> Self {
        Rings { reader, waiting: Some((readiness, Instant::now() + NAMES_WITHIN)) }
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
        Ok(Drained { records: (polled.events + polled.drops) as u64, undecodable: polled.malformed as u64 })
    }
}

/// The ledger and the counters.
pub struct KernelAccounts {
    loaded: Arc<Loaded>,
    gauge: Gauge,
}

impl KernelAccounts {
    pub fn new(loaded: Arc<Loaded>, gauge: Gauge) -> Self {
        KernelAccounts { loaded, gauge }
    }

    fn lane(&self, lane: RingLane, emitted: u64, lost: u64) -> Lane {
        let pending = self.gauge.pending(lane);
        // Positions of one reading, and not the records themselves: those may be taken meanwhile.
        // The ledger outlives rings: what went through a replaced one is in its counts as well.
        Lane {
            emitted,
            lost: lost + pending.abandoned_bytes / EVENT_SPAN,
            taken: (pending.former_taken_bytes + pending.taken_bytes) / EVENT_SPAN,
            held: pending.bytes / EVENT_SPAN,
        }
    }
}

impl KernelLedger for KernelAccounts {
    fn counts(&self) -> anyhow::Result<KernelCounts> {
        let ledger = self.loaded.maps().ledger.read().context("read the kernel's ledger")?;
        Ok(KernelCounts {
            packets_seen: ledger[LedgerStage::PacketsSeen],
            packets_aggregated: ledger[LedgerStage::PacketsAggregated],
            packets_untracked: ledger[LedgerStage::PacketsPassedUntracked],
            packets_reported: ledger[LedgerStage::PacketsReported],
            other_records: ledger[LedgerStage::EventsTimeout]
                + ledger[LedgerStage::SockEmitted]
                + ledger[LedgerStage::L7Emitted],
            events: self.lane(
                RingLane::Events,
                ledger[LedgerStage::EventsEmitted],
                ledger[LedgerStage::EventsLost],
            ),
            drops: self.lane(
                RingLane::Drops,
                ledger[LedgerStage::DropsEmitted],
                ledger[LedgerStage::DropsLost],
            ),
            l7: L7Counts {
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
            },
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
