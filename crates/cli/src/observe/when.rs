//! Points in time as people type them: `--since 5m`, `--until 2026-01-02T15:04:05Z`, `--until +30s`.

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The text could not be read as a time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "not a time: give how long ago (\"30s\", \"5m\", \"1h30m\"; \"+30s\" lies ahead), or a date \
     (\"2026-01-02\", \"2026-01-02T15:04:05Z\", \"Jan  2 15:04:05.000\")"
)]
pub struct NotATime;

/// Reads a time: a duration back from `now` (ahead of it with `+`), or a date in one of the layouts
/// that `--time-format` prints. A date without offset is UTC, as everything we print is.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, NotATime> {
    let text = text.trim();
    if let Some(ahead) = text.strip_prefix('+') {
        let ahead = duration(ahead).ok_or(NotATime)?;
        return now.checked_add(ahead).map_err(|_| NotATime);
    }
    if let Some(ago) = duration(text) {
        return now.checked_sub(ago).map_err(|_| NotATime);
    }
    date(text).or_else(|| stamp(text, now)).ok_or(NotATime)
}

fn duration(text: &str) -> Option<SignedDuration> {
    crate::duration::nanoseconds(text, true).map(SignedDuration::from_nanos)
}

fn date(text: &str) -> Option<Timestamp> {
    if let Ok(timestamp) = text.parse() {
        return Some(timestamp);
    }
    // "Z" is an offset in RFC 3339's family of layouts, but not to strptime; and a civil time needs
    // its minutes.
    let offset = match text.strip_suffix('Z') {
        Some(start) => format!("{start}+00:00"),
        None => text.to_owned(),
    };
    let read = |layout: &str, text: &str| BrokenDownTime::parse(layout, text).ok()?.to_timestamp().ok();
    if let Some(timestamp) = read("%Y-%m-%dT%H:%M%:z", &offset)
        .or_else(|| read("%Y-%m-%dT%H:%M%:z", &with_minutes(&offset)?))
        .or_else(|| read("%a, %d %b %Y %H:%M:%S %z", text))
    {
        return Some(timestamp);
    }
    let civil: DateTime = text.parse().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// `2026-01-02T15+01:00` → `2026-01-02T15:00+01:00`.
fn with_minutes(text: &str) -> Option<String> {
    let (head, tail) = text.split_at_checked("2026-01-02T15".len())?;
    matches!(tail.as_bytes().first(), Some(b'+' | b'-')).then(|| format!("{head}:00{tail}"))
}

/// `Jan  2 15:04:05.000`, the default output format. It names no year, so it is the latest such
/// moment that is not more than a day ahead.
fn stamp(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let this_year = now.to_zoned(TimeZone::UTC).year();
    let limit = now.checked_add(SignedDuration::from_hours(24)).ok()?;
    (0..=8).find_map(|back| {
        let dated = format!("{} {text}", this_year - back);
        let civil = BrokenDownTime::parse("%Y %b %d %H:%M:%S%.f", dated).ok()?.to_datetime().ok()?;
        let timestamp = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
        (timestamp <= limit).then_some(timestamp)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        at("2026-03-04T05:06:07Z")
    }

    #[test]
    fn durations_count_back_from_now() {
        for (text, expected) in [
            ("7s", "2026-03-04T05:06:00Z"),
            ("1h43", "2026-03-04T03:23:07Z"),
            ("1h43m", "2026-03-04T03:23:07Z"),
            ("5m30", "2026-03-04T05:00:37Z"),
            ("1d", "2026-03-03T05:06:07Z"),
            ("250ms", "2026-03-04T05:06:06.75Z"),
            ("1.5s", "2026-03-04T05:06:05.5Z"),
            ("+30s", "2026-03-04T05:06:37Z"),
        ] {
            assert_eq!(parse(text, now()), Ok(at(expected)), "{text}");
        }
    }

    #[test]
    fn every_output_layout_reads_back() {
        for (text, expected) in [
            ("Mar  4 05:06:01.250", "2026-03-04T05:06:01.25Z"),
            ("2026-03-04", "2026-03-04T00:00:00Z"),
            ("2026-03-04T05Z", "2026-03-04T05:00:00Z"),
            ("2026-03-04T05+02:00", "2026-03-04T03:00:00Z"),
            ("2026-03-04T05:06Z", "2026-03-04T05:06:00Z"),
            ("2026-03-04T05:06-07:00", "2026-03-04T12:06:00Z"),
            ("2026-03-04T05:06:07Z", "2026-03-04T05:06:07Z"),
            ("2026-03-04T05:06:07.000000009Z", "2026-03-04T05:06:07.000000009Z"),
            ("Wed, 04 Mar 2026 05:06:07 +0100", "2026-03-04T04:06:07Z"),
        ] {
            assert_eq!(parse(text, now()), Ok(at(expected)), "{text}");
        }
    }

    #[test]
    fn a_stamp_without_year_is_the_latest_that_has_passed() {
        assert_eq!(parse("Dec 31 23:59:59.999", now()), Ok(at("2025-12-31T23:59:59.999Z")));
        assert_eq!(parse("Feb 29 00:00:00.000", now()), Ok(at("2024-02-29T00:00:00Z")));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "soon", "43", "5x", "-5m", "2026-13-01", "+", "Foo 12 00:00:00", "25:00:00"] {
            assert_eq!(parse(text, now()), Err(NotATime), "{text}");
        }
    }
}
