//! What this half of the agent needs of the kernel: records, and the kernel's own accounts.

use std::time::Duration;

use fathom_bpf::decode::Record;

/// What one drain brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records handed over.
    pub records: u64,
    /// Records that could not be decoded (another version, cut short): taken from the ring and lost.
    pub undecodable: u64,
}

/// A supply of kernel records, owned by the reader's thread.
pub trait RecordSource: Send {
    /// Waits until records are there or `wait` has passed, then hands over what there is.
    ///
    /// # Errors
    /// When the rings can't be read; the reader says so and tries again.
    fn drain(&mut self, wait: Duration, each: &mut dyn FnMut(Record<'_>)) -> anyhow::Result<Drained>;
}

/// One lane out of the kernel, in records since the lane exists (rings outlive agents, and the lane
/// outlives rings).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Attempts to write a record.
    pub emitted: u64,
    /// Attempts that found the ring full, and records in a ring that was replaced before they were taken.
    pub lost: u64,
    /// Records taken out, by whatever process.
    pub taken: u64,
    /// Records that wait in the ring.
    pub held: u64,
}

/// The kernel's half of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    pub packets_seen: u64,
    /// Accounted in conntrack, no event of their own.
    pub packets_aggregated: u64,
    /// ARP and the like: passed, never an event.
    pub packets_untracked: u64,
    /// Packets with a record of their own, written or lost.
    pub packets_reported: u64,
    /// Records that no packet made: of socket calls, and of connections found expired.
    pub other_records: u64,
    pub events: Lane,
    pub drops: Lane,
    pub l7: L7Counts,
}

/// What the programs counted of application messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L7Counts {
    /// Records of messages, written or lost.
    pub emitted: u64,
    pub lost: u64,
    /// Of those emitted.
    pub requests: u64,
    pub responses: u64,
    /// Connections whose bytes were looked at.
    pub opened: u64,
    /// Connections whose state made room for another's.
    pub evicted: u64,
    /// Requests whose place another's took before their response came.
    pub untracked: u64,
    /// Connections of no protocol known.
    pub not_ours: u64,
    /// Times that bytes were missed and the thread was lost.
    pub gaps: u64,
    /// Segments that came early and waited for their turn.
    pub held: u64,
    /// Segments, or parts of one, that had been seen.
    pub repeated: u64,
    /// Connections that broke their protocol.
    pub malformed: u64,
    /// Header fields whose value only a lost part of the connection told.
    pub unknown: u64,
    /// Responses whose request was not seen.
    pub unmatched: u64,
}

/// Packets and bytes that met one fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// `fathom_bpf::abi::direction`.
    pub direction: u8,
    /// `fathom_bpf::abi::drop_reason`; 0 = forwarded.
    pub reason: u8,
    pub packets: u64,
    pub bytes: u64,
}

/// What the kernel counts. Asked from any thread, about once a second and once per scrape.
pub trait KernelLedger: Send + Sync {
    /// The ledger's counts now.
    ///
    /// # Errors
    /// When the maps can't be read.
    fn counts(&self) -> anyhow::Result<KernelCounts>;

    /// Counters by direction and reason.
    ///
    /// # Errors
    /// When the maps can't be read.
    fn traffic(&self) -> anyhow::Result<Vec<Traffic>>;
}
