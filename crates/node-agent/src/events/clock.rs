//! Between the kernel's boot clock and the wall clock.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How long an offset is used before it is measured again: the wall clock is slewed by NTP at up to
/// 500 ppm, half a millisecond in this time.
const REFRESH_NS: u64 = 1_000_000_000;

/// Offset between `CLOCK_BOOTTIME`, which records carry, and `CLOCK_REALTIME`, which people read.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    offset_ns: i64,
    measured_ns: u64,
}

impl WallClock {
    /// Measures the offset now.
    pub fn new() -> Self {
        let (offset_ns, measured_ns) = measure();
        Self { offset_ns, measured_ns }
    }

    /// Measures again when the last time was more than a second ago. Called once per batch.
    pub fn refresh(&mut self) {
        if boot_ns().saturating_sub(self.measured_ns) >= REFRESH_NS {
            *self = Self::new();
        }
    }

    /// Wall clock of a boot time, nanoseconds since the Unix epoch.
    pub fn wall_ns(&self, boot_ns: u64) -> i64 {
        i64::try_from(boot_ns).unwrap_or(i64::MAX).saturating_add(self.offset_ns)
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

/// `CLOCK_BOOTTIME` now, nanoseconds.
pub fn boot_ns() -> u64 {
    read(ClockId::CLOCK_BOOTTIME)
}

/// The wall clock read between two readings of the boot clock, so that a preemption in between
/// shows as a wide bracket; the narrowest of three is taken.
fn measure() -> (i64, u64) {
    let bracket = |_| {
        let before = read(ClockId::CLOCK_BOOTTIME);
        let wall = read(ClockId::CLOCK_REALTIME);
        let after = read(ClockId::CLOCK_BOOTTIME);
        let middle = before + (after - before) / 2;
        (after - before, wall.cast_signed() - middle.cast_signed(), after)
    };
    let (_, offset, at) = (0..3).map(bracket).min().unwrap_or_default();
    (offset, at)
}

fn read(clock: ClockId) -> u64 {
    // Fails only for clocks the kernel does not have; these two are older than eBPF.
    let time = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_time_of_now_is_the_wall_clock_of_now() {
        let now = fathom_api::time::now();
        let converted = WallClock::new().wall_ns(boot_ns());
        assert!((converted - now).abs() < 50_000_000, "off by {} ns", converted - now);
    }

    #[test]
    fn the_offset_is_kept_for_a_second_and_measured_again_after_it() {
        let mut fresh = WallClock { offset_ns: 5, measured_ns: boot_ns() };
        fresh.refresh();
        assert_eq!(fresh.offset_ns, 5);
        let mut old = WallClock { offset_ns: 5, measured_ns: boot_ns() - REFRESH_NS };
        old.refresh();
        assert_ne!(old.offset_ns, 5);
    }
}
