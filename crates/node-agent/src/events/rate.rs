//! Flows per second over the last minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Seconds that count.
const WINDOW: u64 = 60;

/// One counter per second of the last minute.
#[derive(Debug)]
pub struct Rate {
    started: Instant,
    /// (second + 1) << 40 | flows; a slot of an older second counts nothing.
    slots: [AtomicU64; WINDOW as usize + 1],
}

const FLOWS: u64 = (1 << 40) - 1;

impl Default for Rate {
    fn default() -> Self {
        Self { started: Instant::now(), slots: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Rate {
    /// Counts flows now. One writer.
    pub fn add(&self, flows: u64) {
        self.add_at(self.started.elapsed().as_secs(), flows);
    }

    /// Flows per second over the last minute, or over the time since the start when that is shorter.
    pub fn per_second(&self) -> f64 {
        let elapsed = self.started.elapsed();
        let window = elapsed.as_secs_f64().clamp(1.0, WINDOW as f64);
        self.sum_at(elapsed.as_secs()) as f64 / window
    }

    fn add_at(&self, second: u64, flows: u64) {
        let slot = &self.slots[(second % (WINDOW + 1)) as usize];
        let tag = (second + 1) << 40;
        let before = slot.load(Ordering::Relaxed);
        let before = if before & !FLOWS == tag { before & FLOWS } else { 0 };
        slot.store(tag | (before + flows).min(FLOWS), Ordering::Relaxed);
    }

    fn sum_at(&self, second: u64) -> u64 {
        let oldest = (second + 1).saturating_sub(WINDOW);
        let values = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        values.filter(|value| value >> 40 > oldest).map(|value| value & FLOWS).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_summed_and_what_is_older_is_not() {
        let rate = Rate::default();
        for second in 0..200 {
            rate.add_at(second, 2);
            rate.add_at(second, 1);
            let seconds = (second + 1).min(WINDOW);
            assert_eq!(rate.sum_at(second), 3 * seconds, "after second {second}");
        }
        assert_eq!(rate.sum_at(1_000), 0);
    }
}
