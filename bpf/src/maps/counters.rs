//! What the kernel counted, summed over its CPUs.

use std::ops::Index;

use super::Table;
use crate::abi::{COUNTER_SLOTS, LEDGER_SLOTS, LedgerStage, TrafficCounter};
use crate::error::Result;

/// Packets and bytes that met one fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// `abi::direction`.
    pub direction: u8,
    /// `abi::drop_reason`; 0 = forwarded.
    pub reason: u8,
    pub packets: u64,
    pub bytes: u64,
}

/// Counters by direction and outcome, and denials by rule.
#[derive(Clone, Debug)]
pub struct Counters {
    traffic: Table<u32, TrafficCounter>,
    denials: Table<u32, TrafficCounter>,
}

impl Counters {
    pub(super) fn new(traffic: Table<u32, TrafficCounter>, denials: Table<u32, TrafficCounter>) -> Self {
        Self { traffic, denials }
    }

    /// All counters that aren't zero, by direction and reason.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn traffic(&self) -> Result<Vec<Traffic>> {
        let mut list = Vec::new();
        for slot in 0..COUNTER_SLOTS as u32 {
            let Some(cpus) = self.traffic.get_per_cpu(&slot)? else { continue };
            let sum = sum(cpus);
            if sum.packets > 0 {
                list.push(Traffic {
                    direction: (slot / 256) as u8,
                    reason: (slot % 256) as u8,
                    packets: sum.packets,
                    bytes: sum.bytes,
                });
            }
        }
        Ok(list)
    }

    /// Denied packets and bytes by rule id, in no order. Rules that were not hit for long are
    /// forgotten when the table is full.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn rule_denials(&self) -> Result<Vec<(u32, TrafficCounter)>> {
        let mut list = Vec::new();
        self.denials.for_each_per_cpu(|rule, cpus| list.push((*rule, sum(cpus))))?;
        Ok(list)
    }
}

fn sum(cpus: impl IntoIterator<Item = TrafficCounter>) -> TrafficCounter {
    cpus.into_iter().fold(TrafficCounter::default(), |sum, one| TrafficCounter {
        packets: sum.packets.wrapping_add(one.packets),
        bytes: sum.bytes.wrapping_add(one.bytes),
    })
}

/// The kernel's half of the ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    table: Table<u32, u64>,
}

/// The ledger at one moment; index it by [`LedgerStage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerSnapshot([u64; LEDGER_SLOTS]);

impl Default for LedgerSnapshot {
    fn default() -> Self {
        Self([0; LEDGER_SLOTS])
    }
}

impl Ledger {
    pub(super) fn new(table: Table<u32, u64>) -> Self {
        Self { table }
    }

    /// Every stage, summed over the CPUs. Stages are read one after the other, the later ones of
    /// the pipeline first: what is counted while this runs makes `emitted` larger than
    /// `delivered + lost`, never smaller.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn read(&self) -> Result<LedgerSnapshot> {
        let mut stages = [0; LEDGER_SLOTS];
        for slot in (0..LEDGER_SLOTS).rev() {
            if let Some(cpus) = self.table.get_per_cpu(&(slot as u32))? {
                stages[slot] = cpus.into_iter().fold(0u64, u64::wrapping_add);
            }
        }
        Ok(LedgerSnapshot(stages))
    }
}

impl LedgerSnapshot {
    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|slot| self.0[slot].wrapping_sub(earlier.0[slot])))
    }
}

impl Index<LedgerStage> for LedgerSnapshot {
    type Output = u64;

    fn index(&self, stage: LedgerStage) -> &u64 {
        &self.0[stage as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_difference_survives_the_wrap() {
        let mut before = LedgerSnapshot::default();
        before.0[LedgerStage::EventsLost as usize] = u64::MAX;
        let mut after = LedgerSnapshot::default();
        after.0[LedgerStage::EventsLost as usize] = 4;
        assert_eq!(after.since(&before)[LedgerStage::EventsLost], 5);
    }
}
