//! The balance of every stage: what came in = what went out + what was put together + what was lost
//! + what is still held.
//!
//! Counts that live in different places (kernel maps, ring positions, this process) can't be read at
//! one moment. Between two readings every count only grows, so two sums of one stage agree when their
//! ranges over both readings overlap; once traffic rests they agree exactly.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fathom_api::fathom_v1::{LedgerStage, NodeLedger};
use fathom_api::time::timestamp;

use super::source::{KernelCounts, KernelLedger, Lane};
use super::store::Store;

/// Readings tried until all is in balance: a record is for a moment in nobody's books.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// What the reader's thread did with records since this process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderCounts {
    /// Taken from the rings.
    pub taken: u64,
    /// Became flows in the store.
    pub stored: u64,
    /// Could not be decoded.
    pub undecodable: u64,
    /// Records that the numbering says existed and that never came, on the lanes for events and drops.
    pub holes: [u64; 2],
}

/// What happened to flows on their way to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Positions of the store that clients' streams went over, missed ones included.
    pub passed: u64,
    /// Written to a client's connection.
    pub sent: u64,
    /// Not asked for by the client's filter.
    pub filtered: u64,
    /// Overwritten before the client took them.
    pub lost: u64,
}

/// The books.
pub struct Ledger {
    kernel: Arc<dyn KernelLedger>,
    store: Arc<Store>,
    node_name: Arc<str>,
    /// What earlier agents took from the rings, and what was lost before.
    begin: Option<KernelCounts>,
    reader: Mutex<ReaderCounts>,
    clients: Mutex<ClientCounts>,
}

impl Ledger {
    /// Opens the books; before the reader's thread begins.
    pub fn new(kernel: Arc<dyn KernelLedger>, store: Arc<Store>, node_name: Arc<str>) -> Self {
        let begin = kernel.counts().ok();
        Self { kernel, store, node_name, begin, reader: Mutex::default(), clients: Mutex::default() }
    }

    pub fn kernel(&self) -> &dyn KernelLedger {
        &*self.kernel
    }

    /// The kernel's counts when this process began; `None` when they could not be read.
    pub fn begin(&self) -> Option<&KernelCounts> {
        self.begin.as_ref()
    }

    /// Sets what the reader's thread did so far.
    pub fn set_reader(&self, counts: ReaderCounts) {
        *lock(&self.reader) = counts;
    }

    pub fn reader(&self) -> ReaderCounts {
        *lock(&self.reader)
    }

    /// Adds what one client's stream did.
    pub fn add_client(&self, more: ClientCounts) {
        let mut sum = lock(&self.clients);
        sum.passed += more.passed;
        sum.sent += more.sent;
        sum.filtered += more.filtered;
        sum.lost += more.lost;
    }

    pub fn clients(&self) -> ClientCounts {
        *lock(&self.clients)
    }

    /// The balance sheet, read until it balances or for a tenth of a second.
    pub async fn balance(&self) -> NodeLedger {
        let mut sheet = self.sheet();
        for _ in 1..TRIES {
            if sheet.balanced {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            sheet = self.sheet();
        }
        sheet
    }

    /// The balance sheet from one pair of readings.
    pub fn sheet(&self) -> NodeLedger {
        let (stages, problem) = match (self.kernel.counts(), self.reader(), self.kernel.counts()) {
            (Ok(first), reader, Ok(second)) => self.stages(&first, reader, &second),
            (Err(error), ..) | (.., Err(error)) => {
                let own = vec![self.store_stage(), clients_stage(self.clients())];
                (own, Some(format!("the kernel's ledger can't be read: {error:#}")))
            }
        };
        NodeLedger {
            node_name: self.node_name.to_string(),
            time: Some(timestamp(fathom_api::time::now())),
            balanced: problem.is_none(),
            problem: problem.unwrap_or_default(),
            stages,
        }
    }

    fn stages(
        &self,
        first: &KernelCounts,
        reader: ReaderCounts,
        second: &KernelCounts,
    ) -> (Vec<LedgerStage>, Option<String>) {
        let mut problems = Vec::new();
        let packets = packets_stage(first, second, &mut problems);
        let events = lane_stage("kernel.events", &first.events, &second.events, &mut problems);
        let drops = lane_stage("kernel.drops", &first.drops, &second.drops, &mut problems);
        let l7 = l7_stage(first, second, &mut problems);
        let handed_over = self.reader_stage(first, reader, second, &mut problems);
        let stages =
            vec![packets, events, drops, l7, handed_over, self.store_stage(), clients_stage(self.clients())];
        (stages, (!problems.is_empty()).then(|| problems.join("; ")))
    }

    fn reader_stage(
        &self,
        first: &KernelCounts,
        reader: ReaderCounts,
        second: &KernelCounts,
        problems: &mut Vec<String>,
    ) -> LedgerStage {
        let begin = self.begin.unwrap_or_default();
        let taken = |counts: &KernelCounts| {
            let all = counts.events.taken + counts.drops.taken;
            all.saturating_sub(begin.events.taken + begin.drops.taken)
        };
        // A record is in hand after it left the ring and before its batch is published.
        let in_hand = taken(second).saturating_sub(reader.taken);
        if self.begin.is_none() {
            problems.push("reader: the kernel's ledger could not be read at the start".into());
        } else if reader.taken > taken(second) {
            problems.push(format!("reader: has {} records, the rings gave {}", reader.taken, taken(second)));
        } else if taken(first) > reader.taken && taken(first) == taken(second) {
            problems.push(format!("reader: {in_hand} records left the rings and were not counted yet"));
        }
        let lanes = [("events", begin.events, second.events), ("drops", begin.drops, second.drops)];
        for ((name, begin, now), holes) in lanes.into_iter().zip(reader.holes) {
            // What was lost before this process shows as a hole only between records that were still in the
            // ring when it began, and behind the last of them.
            let earlier = if begin.held > 0 { begin.lost } else { 0 };
            let lost = now.lost.saturating_sub(begin.lost) + earlier;
            if holes > lost {
                problems.push(format!(
                    "kernel.{name}: the numbering lacks {holes} records, the kernel counted {lost} as lost"
                ));
            }
        }
        if reader.taken != reader.stored + reader.undecodable {
            problems.push("reader: taken is not stored + undecodable".into());
        }
        LedgerStage {
            name: "reader".into(),
            r#in: reader.taken + in_hand,
            out: reader.stored,
            lost: reader.undecodable,
            held: in_hand,
            ..Default::default()
        }
    }

    /// What the store no longer holds has gone out: whoever wanted it has it, or counts it as lost.
    fn store_stage(&self) -> LedgerStage {
        let head = self.store.head();
        let held = head.min(self.store.capacity());
        LedgerStage { name: "store".into(), r#in: head, out: head - held, held, ..Default::default() }
    }
}

fn packets_stage(first: &KernelCounts, second: &KernelCounts, problems: &mut Vec<String>) -> LedgerStage {
    let silent = |counts: &KernelCounts| counts.packets_aggregated + counts.packets_untracked;
    let accounted = |counts: &KernelCounts| counts.packets_reported + silent(counts);
    let seen = |counts: &KernelCounts| counts.packets_seen;
    if !agree([seen(first), seen(second)], [accounted(first), accounted(second)]) {
        problems.push(format!(
            "kernel.packets: {} seen, {} reported and {} accounted without a record",
            second.packets_seen,
            second.packets_reported,
            silent(second)
        ));
    }
    let made = |counts: &KernelCounts| counts.packets_reported + counts.other_records;
    let emitted = |counts: &KernelCounts| counts.events.emitted + counts.drops.emitted;
    if !agree([made(first), made(second)], [emitted(first), emitted(second)]) {
        problems.push(format!("kernel.packets: {} records due, {} emitted", made(second), emitted(second)));
    }
    LedgerStage {
        name: "kernel.packets".into(),
        r#in: accounted(second),
        out: second.packets_reported,
        aggregated: silent(second),
        ..Default::default()
    }
}

fn lane_stage(name: &str, first: &Lane, second: &Lane, problems: &mut Vec<String>) -> LedgerStage {
    let accounted = |lane: &Lane| lane.taken + lane.held + lane.lost;
    let balanced = agree([first.emitted, second.emitted], [accounted(first), accounted(second)]);
    if !balanced {
        problems.push(format!(
            "{name}: {} emitted, {} taken, {} held and {} lost",
            second.emitted, second.taken, second.held, second.lost
        ));
    }
    LedgerStage {
        name: name.into(),
        // In balance it is within the readings' range: then the line adds up.
        r#in: if balanced { accounted(second) } else { second.emitted },
        out: second.taken,
        lost: second.lost,
        held: second.held,
        ..Default::default()
    }
}

/// Messages of application protocols: a part of the lane for events.
fn l7_stage(first: &KernelCounts, second: &KernelCounts, problems: &mut Vec<String>) -> LedgerStage {
    let (lost, emitted) = (second.l7.lost, second.l7.emitted);
    if first.l7.lost > emitted || first.l7.lost > second.events.lost {
        problems.push(format!(
            "kernel.l7: {lost} lost of {emitted} emitted, and the lane lost {}",
            second.events.lost
        ));
    }
    let out = emitted.saturating_sub(lost);
    LedgerStage { name: "kernel.l7".into(), r#in: emitted, out, lost, ..Default::default() }
}

/// Whether two growing counts, each read twice, may have been equal at one moment between.
fn agree(one: [u64; 2], other: [u64; 2]) -> bool {
    one[0] <= other[1] && other[0] <= one[1]
}

fn clients_stage(clients: ClientCounts) -> LedgerStage {
    LedgerStage {
        name: "clients".into(),
        r#in: clients.passed,
        out: clients.sent,
        aggregated: clients.filtered,
        lost: clients.lost,
        held: 0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
