//! What happens to every record, in the order it happens: number checked, joined, counted, stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fathom_api::flow::LostEventSource;
use fathom_bpf::decode::Record;

use super::enrich::Enricher;
use super::l7::{Join, Names, Redaction};
use super::ledger::{Ledger, ReaderCounts};
use super::lost::{Loss, LossLog};
use super::namespaces::{Namespaces, Recent};
use super::rate::Rate;
use super::sequence::Sequences;
use super::source::KernelCounts;
use super::store::{Store, Writer};
use crate::cluster::snapshot::Snapshot;
use crate::host_pods::HostPods;
use crate::metrics::{FlowCounters, Metrics};

/// Flows published at once: enough that one wake-up of the followers costs little per flow, few
/// enough that the newest flow is visible within a fraction of a millisecond.
const BATCH: usize = 512;

/// At most one loss per source and this time goes into the log.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// What the reader's thread writes and everybody else reads.
pub struct Shared {
    pub store: Arc<Store>,
    pub losses: LossLog,
    pub ledger: Ledger,
    pub namespaces: Namespaces,
    pub rate: Rate,
    pub metrics: Arc<Metrics>,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Who runs in this node's network.
    pub host_pods: Arc<ArcSwap<HostPods>>,
    kernel_losses: std::sync::Mutex<Reported>,
}

/// Losses in the kernel up to which the log and the metrics know.
struct Reported {
    /// `None` until the kernel could be asked: what was lost before is not this process's news.
    lost: Option<u64>,
    at_ns: i64,
}

impl Shared {
    pub fn new(
        store: Arc<Store>,
        ledger: Ledger,
        metrics: Arc<Metrics>,
        snapshot: Arc<ArcSwap<Snapshot>>,
    ) -> Self {
        let lost = ledger.begin().map(lost_in_kernel);
        Self {
            store,
            losses: LossLog::default(),
            kernel_losses: Reported { lost, at_ns: fathom_api::time::now() }.into(),
            ledger,
            namespaces: Namespaces::default(),
            rate: Rate::default(),
            metrics,
            snapshot,
            host_pods: Arc::default(),
        }
    }

    /// Asks the kernel for its losses and passes on what is new. Called by the reader's thread once a
    /// second, and before the end of every answer that does not follow.
    pub fn collect_kernel_losses(&self) {
        // While it can't be read nothing is known to be lost; the ledger says that it can't be read.
        let Ok(counts) = self.ledger.kernel().counts() else { return };
        let mut reported = self.kernel_losses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (lost, now) = (lost_in_kernel(&counts), fathom_api::time::now());
        let count = reported.lost.map_or(0, |before| lost.saturating_sub(before));
        let first_ns = std::mem::replace(&mut reported.at_ns, now);
        reported.lost = reported.lost.max(Some(lost));
        self.lose(Loss { source: LostEventSource::PerfEventRingBuffer, count, first_ns, last_ns: now });
    }

    fn lose(&self, loss: Loss) {
        if loss.count > 0 {
            self.metrics.lost(loss.source, loss.count);
            self.losses.add(self.store.head(), loss);
            self.store.wake();
        }
    }
}

fn lost_in_kernel(counts: &KernelCounts) -> u64 {
    counts.events.lost + counts.drops.lost
}

/// The way of a record. Owned by the reader's thread.
pub struct Intake {
    shared: Arc<Shared>,
    enricher: Enricher,
    l7: Join,
    writer: Writer,
    sequences: Sequences,
    recent: Recent,
    counters: FlowCounters,
    counts: ReaderCounts,
    undecodable: Undecodable,
}

/// Records that were lost here and are not in the log yet.
struct Undecodable {
    count: u64,
    since_ns: i64,
    logged: Option<Instant>,
}

impl Intake {
    pub fn new(shared: Arc<Shared>, writer: Writer, redaction: Redaction) -> Self {
        Self {
            l7: Join::new(redaction),
            enricher: Enricher::new(Arc::clone(&shared.snapshot))
                .with_host_pods(Arc::clone(&shared.host_pods)),
            counters: shared.metrics.flow_counters(),
            undecodable: Undecodable { count: 0, since_ns: fathom_api::time::now(), logged: None },
            writer,
            sequences: Sequences::default(),
            recent: Recent::default(),
            counts: ReaderCounts::default(),
            shared,
        }
    }

    /// Before the first record of a drain.
    pub fn begin_batch(&mut self) {
        self.enricher.begin_batch();
        self.recent.begin_batch(Instant::now());
    }

    /// Takes one record.
    pub fn take(&mut self, record: Record<'_>) {
        self.sequences.see(record.event);
        let mut flow = self.enricher.enrich(record.event);
        self.l7.complete(&mut flow, record.message, self.enricher.local_addresses());
        self.counters.count(&flow);
        self.recent.see(&flow.source, &self.shared.namespaces);
        self.recent.see(&flow.destination, &self.shared.namespaces);
        self.counts.taken += 1;
        self.writer.push(flow);
        if self.writer.pending() >= BATCH {
            self.publish();
        }
    }

    /// Notes records that could not be decoded.
    pub fn undecodable(&mut self, count: u64) {
        self.counts.taken += count;
        self.counts.undecodable += count;
        self.undecodable.count += count;
    }

    /// Makes what was taken visible, and the books agree with it.
    pub fn publish(&mut self) {
        let flows = self.writer.pending() as u64;
        if flows > 0 {
            self.writer.publish();
            self.shared.rate.add(flows);
            self.counts.stored += flows;
        }
        self.log_undecodable();
        self.counts.holes = self.sequences.holes();
        self.shared.metrics.set_l7(self.l7.sizes());
        self.shared.ledger.set_reader(self.counts);
    }

    /// Names that addresses were looked up by.
    pub fn names(&mut self) -> &mut Names {
        self.l7.names()
    }

    /// Flows that had to be allocated so far; see [`Writer::allocated`].
    pub fn allocated(&self) -> u64 {
        self.writer.allocated()
    }

    fn log_undecodable(&mut self) {
        let waiting = &mut self.undecodable;
        if waiting.count == 0 || waiting.logged.is_some_and(|at| at.elapsed() < LOSS_INTERVAL) {
            return;
        }
        let now = fathom_api::time::now();
        let loss = Loss {
            source: LostEventSource::ObserverEventsQueue,
            count: std::mem::take(&mut waiting.count),
            first_ns: std::mem::replace(&mut waiting.since_ns, now),
            last_ns: now,
        };
        waiting.logged = Some(Instant::now());
        self.shared.lose(loss);
    }
}
