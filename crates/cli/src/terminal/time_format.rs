//! How times are printed: the layouts known from Go programs, by name, always in UTC.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Weekday};
use jiff::{Timestamp, tz::Offset};

/// One of the layouts that `--time-format` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `Jan  2 15:04:05.000`
    #[default]
    StampMilli,
    /// `2006-01-02`
    YearMonthDay,
    /// `2006-01-02T15Z`
    YearMonthDayHour,
    /// `2006-01-02T15:04Z`
    YearMonthDayHourMinute,
    /// `2006-01-02T15:04:05Z`
    Rfc3339,
    /// `2006-01-02T15:04:05.000Z`
    Rfc3339Milli,
    /// `2006-01-02T15:04:05.000000Z`
    Rfc3339Micro,
    /// `2006-01-02T15:04:05.999999999Z`, without trailing zeros.
    Rfc3339Nano,
    /// `Mon, 02 Jan 2006 15:04:05 +0000`
    Rfc1123Z,
}

/// Every name with its layout.
pub const NAMES: [(&str, TimeFormat); 9] = [
    ("StampMilli", TimeFormat::StampMilli),
    ("YearMonthDay", TimeFormat::YearMonthDay),
    ("YearMonthDayHour", TimeFormat::YearMonthDayHour),
    ("YearMonthDayHourMinute", TimeFormat::YearMonthDayHourMinute),
    ("RFC3339", TimeFormat::Rfc3339),
    ("RFC3339Milli", TimeFormat::Rfc3339Milli),
    ("RFC3339Micro", TimeFormat::Rfc3339Micro),
    ("RFC3339Nano", TimeFormat::Rfc3339Nano),
    ("RFC1123Z", TimeFormat::Rfc1123Z),
];

impl FromStr for TimeFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, format)| *format)
            .ok_or_else(|| format!("one of {}", NAMES.map(|(name, _)| name).join(", ")))
    }
}

impl TimeFormat {
    /// The time as text; `N/A` where there is none or it is out of range.
    pub fn show(self, time: Option<&prost_types::Timestamp>) -> ShownTime {
        let timestamp = time.and_then(|t| {
            (0..1_000_000_000).contains(&t.nanos).then(|| Timestamp::new(t.seconds, t.nanos).ok())?
        });
        ShownTime { format: self, time: timestamp.map(|t| Offset::UTC.to_datetime(t)) }
    }
}

/// A time on its way to the screen.
#[derive(Clone, Copy, Debug)]
pub struct ShownTime {
    format: TimeFormat,
    time: Option<DateTime>,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn weekday(day: Weekday) -> &'static str {
    ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][day.to_sunday_zero_offset() as usize]
}

impl fmt::Display for ShownTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(t) = self.time else { return f.write_str("N/A") };
        let (y, mo, d) = (t.year(), t.month(), t.day());
        let (h, mi, s, ns) = (t.hour(), t.minute(), t.second(), t.subsec_nanosecond());
        let month = MONTHS[mo as usize - 1];
        match self.format {
            TimeFormat::StampMilli => {
                write!(f, "{month} {d:2} {h:02}:{mi:02}:{s:02}.{:03}", ns / 1_000_000)
            }
            TimeFormat::YearMonthDay => write!(f, "{y:04}-{mo:02}-{d:02}"),
            TimeFormat::YearMonthDayHour => write!(f, "{y:04}-{mo:02}-{d:02}T{h:02}Z"),
            TimeFormat::YearMonthDayHourMinute => write!(f, "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}Z"),
            TimeFormat::Rfc1123Z => {
                write!(f, "{}, {d:02} {month} {y:04} {h:02}:{mi:02}:{s:02} +0000", weekday(t.weekday()))
            }
            rfc3339 => {
                write!(f, "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}")?;
                match rfc3339 {
                    TimeFormat::Rfc3339Milli => write!(f, ".{:03}", ns / 1_000_000)?,
                    TimeFormat::Rfc3339Micro => write!(f, ".{:06}", ns / 1_000)?,
                    TimeFormat::Rfc3339Nano if ns != 0 => {
                        let digits = format!("{ns:09}");
                        write!(f, ".{}", digits.trim_end_matches('0'))?;
                    }
                    _ => {}
                }
                f.write_str("Z")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_prints_as_go_does() {
        // 2006-01-02T15:04:05.9876Z, a Monday
        let time = prost_types::Timestamp { seconds: 1_136_214_245, nanos: 987_600_000 };
        for (name, expected) in [
            ("StampMilli", "Jan  2 15:04:05.987"),
            ("yearmonthday", "2006-01-02"),
            ("YearMonthDayHour", "2006-01-02T15Z"),
            ("YearMonthDayHourMinute", "2006-01-02T15:04Z"),
            ("rfc3339", "2006-01-02T15:04:05Z"),
            ("RFC3339Milli", "2006-01-02T15:04:05.987Z"),
            ("RFC3339Micro", "2006-01-02T15:04:05.987600Z"),
            ("RFC3339Nano", "2006-01-02T15:04:05.9876Z"),
            ("RFC1123Z", "Mon, 02 Jan 2006 15:04:05 +0000"),
        ] {
            let format: TimeFormat = name.parse().unwrap();
            assert_eq!(format.show(Some(&time)).to_string(), expected, "{name}");
        }
        assert!("Kitchen".parse::<TimeFormat>().unwrap_err().contains("RFC3339Nano"));
    }

    #[test]
    fn absent_and_absurd_times_say_so() {
        let absurd = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        let nanos = prost_types::Timestamp { seconds: 0, nanos: -5 };
        for time in [None, Some(&absurd), Some(&nanos)] {
            assert_eq!(TimeFormat::Rfc3339.show(time).to_string(), "N/A");
        }
    }
}
