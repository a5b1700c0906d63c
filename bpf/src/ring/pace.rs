//! How long the events lane may be left alone.
//!
//! Waking a reader per event costs several times the event (KERNEL: a wake-up is an interrupt to
//! another CPU), so the lane is written without wake-ups and read by the clock. The pause is chosen
//! so that the ring fills by about an eighth meanwhile at the rate just seen.

use std::time::Duration;

/// Shortest pause: less costs CPU and saves no loss at rates one reader can keep up with.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
/// Longest pause: what an idle stream's first event may wait.
pub(crate) const LONGEST: Duration = Duration::from_millis(10);

/// The share of the ring that may fill during one pause.
const FILL_SHARE: u64 = 8;

/// The pause after a drain that found `bytes`, `elapsed` after the one before.
pub(crate) fn next_pause(bytes: u64, elapsed: Duration, ring_size: u64) -> Duration {
    if bytes == 0 {
        return LONGEST;
    }
    let room = ring_size / FILL_SHARE;
    let nanos = elapsed.as_nanos().saturating_mul(u128::from(room)) / u128::from(bytes);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: u64 = 16 << 20;

    #[test]
    fn an_idle_lane_is_left_alone_longest() {
        assert_eq!(next_pause(0, Duration::from_millis(1), RING), LONGEST);
    }

    #[test]
    fn a_fast_lane_is_read_before_an_eighth_is_full() {
        // 4 MiB in 8 ms: an eighth of 16 MiB, 2 MiB, takes 4 ms.
        assert_eq!(next_pause(4 << 20, Duration::from_millis(8), RING), Duration::from_millis(4));
    }

    #[test]
    fn a_tiny_ring_under_a_flood_is_read_every_millisecond() {
        assert_eq!(next_pause(4096, Duration::from_micros(10), 4096), SHORTEST);
    }
}
