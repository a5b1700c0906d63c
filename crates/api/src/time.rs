//! Between the wire's `Timestamp`, `SystemTime` and nanoseconds since the Unix epoch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

const NS_PER_S: i64 = 1_000_000_000;

/// Nanoseconds since the epoch as a `Timestamp`.
pub fn timestamp(unix_ns: i64) -> Timestamp {
    Timestamp { seconds: unix_ns.div_euclid(NS_PER_S), nanos: unix_ns.rem_euclid(NS_PER_S) as i32 }
}

/// Nanoseconds since the epoch; what does not fit (before 1677, after 2262) becomes the nearest end,
/// so that order is kept.
pub fn unix_ns(time: &Timestamp) -> i64 {
    match time.seconds.checked_mul(NS_PER_S).and_then(|ns| ns.checked_add(i64::from(time.nanos))) {
        Some(ns) => ns,
        // The last second before the lower end: its whole seconds don't fit, its nanoseconds do.
        None => {
            let wide = i128::from(time.seconds) * i128::from(NS_PER_S) + i128::from(time.nanos);
            wide.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
        }
    }
}

/// Nanoseconds since the epoch, negative before it; saturating as in [`unix_ns`].
pub fn from_system_time(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// The reverse of [`from_system_time`].
pub fn to_system_time(unix_ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(unix_ns.unsigned_abs());
    if unix_ns < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// Now, in nanoseconds since the epoch.
pub fn now() -> i64 {
    from_system_time(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_positive_nanoseconds() {
        assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_999_999 });
        assert_eq!(unix_ns(&timestamp(-1)), -1);
    }

    #[test]
    fn every_form_leads_back_to_the_same_nanosecond() {
        for ns in [i64::MIN + 1, -NS_PER_S, -1, 0, 1, NS_PER_S - 1, 1_764_000_001_123_456_789, i64::MAX] {
            assert_eq!(unix_ns(&timestamp(ns)), ns);
            assert_eq!(from_system_time(to_system_time(ns)), ns);
        }
    }

    #[test]
    fn times_out_of_range_saturate_and_keep_their_order() {
        assert_eq!(unix_ns(&Timestamp { seconds: 253_402_300_799, nanos: 0 }), i64::MAX);
        assert_eq!(unix_ns(&Timestamp { seconds: -62_135_596_800, nanos: 0 }), i64::MIN);
    }
}
