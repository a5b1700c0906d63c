//! The kernel room as this half of the agent asks for it: records from its rings, and its accounts.

use std::time::Duration;

use fathom_bpf::abi::{Event, LedgerStage as Stage};
use fathom_bpf::maps::{Counters, Ledger, LedgerSnapshot, Maps};
use fathom_bpf::ring::{self, EVENT_SPAN, Gauge};

use super::source::{Drained, KernelCounts, KernelLedger, Lane, RecordSource, Traffic};

impl RecordSource for ring::Reader {
    fn drain(&mut self, wait: Duration, each: &mut dyn FnMut(&Event)) -> anyhow::Result<Drained> {
        let polled = self.poll(wait, |event, _| each(event))?;
        let undecodable = polled.malformed as u64;
        Ok(Drained { records: (polled.events + polled.drops) as u64 - undecodable, undecodable })
    }
}

/// The kernel's books: its ledger map, its counters and the fill of its rings.
pub struct KernelBooks {
    ledger: Ledger,
    counters: Counters,
    gauge: Gauge,
}

impl KernelBooks {
    /// `gauge` is that of the reader that drains the rings.
    pub fn new(maps: &Maps, gauge: Gauge) -> Self {
        Self { ledger: maps.ledger.clone(), counters: maps.counters.clone(), gauge }
    }

    fn lane(&self, lane: ring::Lane, emitted: u64, lost: u64) -> Lane {
        // Every record is an `Event`: bytes are records.
        let pending = self.gauge.pending(lane);
        Lane { emitted, lost, taken: pending.taken_bytes / EVENT_SPAN, held: pending.bytes / EVENT_SPAN }
    }
}

impl KernelLedger for KernelBooks {
    fn counts(&self) -> anyhow::Result<KernelCounts> {
        let counted: LedgerSnapshot = self.ledger.read()?;
        Ok(KernelCounts {
            packets_seen: counted[Stage::PacketsSeen],
            packets_aggregated: counted[Stage::PacketsAggregated],
            packets_untracked: counted[Stage::PacketsPassedUntracked],
            packets_reported: counted[Stage::PacketsReported],
            other_records: counted[Stage::EventsTimeout] + counted[Stage::SockEmitted],
            events: self.lane(ring::Lane::Events, counted[Stage::EventsEmitted], counted[Stage::EventsLost]),
            drops: self.lane(ring::Lane::Drops, counted[Stage::DropsEmitted], counted[Stage::DropsLost]),
        })
    }

    fn traffic(&self) -> anyhow::Result<Vec<Traffic>> {
        let counted = self.counters.traffic()?.into_iter();
        let traffic = counted.map(|t| Traffic {
            direction: t.direction,
            reason: t.reason,
            packets: t.packets,
            bytes: t.bytes,
        });
        Ok(traffic.collect())
    }
}
