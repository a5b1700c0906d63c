//! The well-known types, whose JSON is not an object of their fields.

use super::JsonError;
use super::message::Printer;
use crate::schema::{Message, WellKnown};
use crate::wire::{self, Content, WireError};

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// 10,000 years in seconds, as google.protobuf.Duration allows.
const MAX_DURATION: u64 = 315_576_000_000;
const NANOS: std::ops::Range<i32> = 0..1_000_000_000;

impl Printer<'_> {
    /// RFC 3339 in UTC: "2026-01-02T03:04:05.678Z", with 0, 3, 6 or 9 digits after the point.
    pub(super) fn timestamp(&mut self, wire: &[u8]) -> Result<(), JsonError> {
        let (seconds, nanos) = seconds_and_nanos(wire)?;
        if !TIMES.contains(&seconds) || !NANOS.contains(&nanos) {
            return Err(JsonError::Time("a timestamp"));
        }
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400);
        self.out.push(b'"');
        self.padded(year, 4);
        for (separator, value) in
            [(b'-', month), (b'-', day), (b'T', of_day / 3600), (b':', of_day / 60 % 60), (b':', of_day % 60)]
        {
            self.out.push(separator);
            self.padded(value, 2);
        }
        self.fraction(nanos);
        self.out.extend_from_slice(b"Z\"");
        Ok(())
    }

    /// "1.500s"; the sign stands before the whole.
    pub(super) fn duration(&mut self, wire: &[u8]) -> Result<(), JsonError> {
        let (seconds, nanos) = seconds_and_nanos(wire)?;
        let signs_differ = seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0;
        if seconds.unsigned_abs() > MAX_DURATION || nanos.unsigned_abs() >= NANOS.end as u32 || signs_differ {
            return Err(JsonError::Time("a duration"));
        }
        self.out.push(b'"');
        if seconds < 0 || nanos < 0 {
            self.out.push(b'-');
        }
        self.unsigned(seconds.unsigned_abs());
        self.fraction(nanos.saturating_abs());
        self.out.extend_from_slice(b"s\"");
        Ok(())
    }

    /// `{"@type": url, …}` with the fields of the message inside, or its JSON under "value" when that
    /// is not an object; base64 when the type is not known here.
    pub(super) fn any(&mut self, wire: &[u8], depth: usize) -> Result<(), JsonError> {
        let (url, value) = type_and_value(wire)?;
        if url.is_empty() {
            if !value.is_empty() {
                return Err(JsonError::AnyWithoutType);
            }
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        self.out.extend_from_slice(b"{\"@type\":");
        self.text(url);
        let known = self.schema.index(url.rsplit('/').next().unwrap_or(url));
        match known.map(|index| (index, self.schema.message(index).well_known)) {
            Some((index, WellKnown::No)) => {
                let brace = self.out.len();
                self.message(index, value, depth + 1)?;
                if self.out.len() == brace + 2 {
                    self.out.remove(brace);
                } else {
                    self.out[brace] = b',';
                }
                return Ok(());
            }
            Some((index, _)) => {
                self.out.extend_from_slice(b",\"value\":");
                self.message(index, value, depth + 1)?;
            }
            None => {
                self.out.extend_from_slice(b",\"value\":");
                self.base64(value);
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Paths in lowerCamelCase, separated by commas; a path that camel case would garble is refused.
    pub(super) fn field_mask(&mut self, message: &Message, mut wire: &[u8]) -> Result<(), JsonError> {
        let paths = message.fields[0].number;
        let mut all = String::new();
        while !wire.is_empty() {
            match wire::field(&mut wire)? {
                (number, Content::Bytes(path)) if number == paths => {
                    let path = std::str::from_utf8(path).map_err(|_| WireError::Utf8)?;
                    let camel = camel_case(path).ok_or_else(|| JsonError::MaskPath(path.to_owned()))?;
                    all.extend([if all.is_empty() { "" } else { "," }, &camel]);
                }
                _ => {}
            }
        }
        self.text(&all);
        Ok(())
    }

    fn padded(&mut self, value: i64, width: u32) {
        for place in (0..width).rev() {
            self.out.push(b'0' + (value / 10_i64.pow(place) % 10) as u8);
        }
    }

    /// Nothing, or a point and 3, 6 or 9 digits.
    fn fraction(&mut self, nanos: i32) {
        let nanos = i64::from(nanos);
        let (value, width) = match nanos {
            0 => return,
            _ if nanos % 1_000_000 == 0 => (nanos / 1_000_000, 3),
            _ if nanos % 1_000 == 0 => (nanos / 1_000, 6),
            _ => (nanos, 9),
        };
        self.out.push(b'.');
        self.padded(value, width);
    }
}

fn seconds_and_nanos(mut wire: &[u8]) -> Result<(i64, i32), WireError> {
    let (mut seconds, mut nanos) = (0, 0);
    while !wire.is_empty() {
        match wire::field(&mut wire)? {
            (1, Content::Varint(value)) => seconds = value as i64,
            (2, Content::Varint(value)) => nanos = value as i32,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

fn type_and_value(mut wire: &[u8]) -> Result<(&str, &[u8]), WireError> {
    let (mut url, mut value): (&[u8], &[u8]) = (&[], &[]);
    while !wire.is_empty() {
        match wire::field(&mut wire)? {
            (1, Content::Bytes(bytes)) => url = bytes,
            (2, Content::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((std::str::from_utf8(url).map_err(|_| WireError::Utf8)?, value))
}

/// (year, month, day) of a day counted from 1970-01-01: the proleptic Gregorian calendar in years
/// that begin in March, so that the leap day comes last and months follow a linear pattern of 153
/// days to five of them.
fn civil(days: i64) -> (i64, i64, i64) {
    /// From 0000-03-01 to 1970-01-01.
    const EPOCH: i64 = 719_468;
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let shifted = days + EPOCH;
    let (era, of_era) = (shifted.div_euclid(DAYS_IN_400_YEARS), shifted.rem_euclid(DAYS_IN_400_YEARS));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// "pod_name" → "podName"; `None` when the way back would not lead to the same text.
fn camel_case(path: &str) -> Option<String> {
    let mut camel = String::with_capacity(path.len());
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '_' => camel.push(chars.next().filter(char::is_ascii_lowercase)?.to_ascii_uppercase()),
            'A'..='Z' => return None,
            other => camel.push(other),
        }
    }
    Some(camel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates_on_both_sides_of_leap_days_and_centuries() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(-1), (1969, 12, 31));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(11_017), (2000, 3, 1));
        assert_eq!(civil(-25_508), (1900, 3, 1));
        assert_eq!(civil(-719_162), (1, 1, 1));
        assert_eq!(civil(2_932_896), (9999, 12, 31));
    }

    #[test]
    fn mask_paths_that_camel_case_would_garble_are_refused() {
        assert_eq!(camel_case("source.pod_name").as_deref(), Some("source.podName"));
        assert_eq!(
            [camel_case("IP"), camel_case("a__b"), camel_case("a_"), camel_case("a_1")],
            [None, None, None, None]
        );
    }
}
