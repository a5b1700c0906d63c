//! Durations as people type them for timeouts: `5s`, `1m30s`, `250ms`.

use std::time::Duration;

/// Reads a duration; every number carries its unit (h, m, s, ms, us, ns), and `0` needs none.
///
/// # Errors
/// Says which forms are understood.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refusal = || "not a duration; like \"5s\", \"1m30s\", \"250ms\"".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let nanoseconds = nanoseconds(text, false).ok_or_else(refusal)?;
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| refusal())
}

/// Nanoseconds of `1h30m`, `1.5s`, `2d`. With `open_end` a last number without unit counts in the
/// unit below the one before it, so `1h43` is an hour and 43 minutes.
pub fn nanoseconds(text: &str, open_end: bool) -> Option<i64> {
    const UNITS: [(&str, f64, Option<&str>); 8] = [
        ("d", 86_400e9, Some("h")),
        ("h", 3_600e9, Some("m")),
        ("m", 60e9, Some("s")),
        ("s", 1e9, None),
        ("ms", 1e6, None),
        ("us", 1e3, None),
        ("µs", 1e3, None),
        ("ns", 1.0, None),
    ];
    let (mut rest, mut total, mut below) = (text, 0f64, None);
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = if letters == 0 && open_end { below? } else { &rest[..letters] };
        let (_, length, next) = UNITS.iter().find(|(name, ..)| *name == unit)?;
        total += number * length;
        below = *next;
        rest = &rest[letters..];
    }
    (total < i64::MAX as f64).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units() {
        assert_eq!(parse("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        for text in ["", "5", "1h43", "-5s", "s", "5 s", "1e3s", "999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_open_end_counts_in_the_unit_below() {
        assert_eq!(nanoseconds("1h43", true), Some(6_180_000_000_000));
        assert_eq!(nanoseconds("5m30", true), Some(330_000_000_000));
        for text in ["43", "5s3", "5ms3", ""] {
            assert_eq!(nanoseconds(text, true), None, "{text}");
        }
    }
}
