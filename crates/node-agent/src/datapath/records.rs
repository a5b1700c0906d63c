//! The kernel's records and accounts, as the data side asks for them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fathom_bpf::abi::{Event, LedgerStage};
use fathom_bpf::load::Datapath as Loaded;
use fathom_bpf::ring::{EVENT_SPAN, Gauge, Lane as RingLane, Reader};

use crate::events::source::{Drained, KernelCounts, KernelLedger, Lane, RecordSource, Traffic};

/// The rings, drained by the reader's thread.
pub struct Rings {
    reader: Reader,
}

impl Rings {
    pub fn new(reader: Reader) -> Self {
        Rings { reader }
    }
}

impl RecordSource for Rings {
    fn drain(&mut self, wait: Duration, each: &mut dyn FnMut(&Event)) -> anyhow::Result<Drained> {
        let polled = self.reader.poll(wait, |event, _| each(event)).context("read the kernel's rings")?;
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
        Lane { emitted, lost, taken: pending.taken_bytes / EVENT_SPAN, held: pending.records }
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
            other_records: ledger[LedgerStage::EventsTimeout] + ledger[LedgerStage::SockEmitted],
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
