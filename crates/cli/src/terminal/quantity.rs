//! Numbers for people: thousands grouped, durations rounded to what matters.

use std::time::Duration;

/// `1234567` → `1,234,567`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long something has run, in its two largest units: `3d4h`, `2h5m`, `1m30s`, `7s`.
pub fn age(nanoseconds: u64) -> String {
    let seconds = Duration::from_nanos(nanoseconds).as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let largest = units.iter().position(|(length, _)| seconds >= *length).unwrap_or(units.len() - 1);
    let (length, name) = units[largest];
    let mut text = format!("{}{name}", seconds / length);
    if let Some((next, next_name)) = units.get(largest + 1) {
        let rest = seconds % length / next;
        if rest > 0 {
            text.push_str(&format!("{rest}{next_name}"));
        }
    }
    text
}

/// A latency, to three digits: `870ns`, `412µs`, `3.21ms`, `4ms`, `1.5s`.
pub fn latency(nanoseconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns")];
    // The unit below, where rounding would carry into it: 999.7µs are 1ms.
    let fits = |&&(unit, _): &&(u64, &str)| nanoseconds as f64 >= unit as f64 * 0.9995;
    let (unit, name) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
    let number = nanoseconds as f64 / *unit as f64;
    let decimals = match number {
        _ if *unit == 1 => 0,
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{number:.decimals$}");
    let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{name}")
}

/// `1 node`, `2 nodes`
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn latencies_have_three_digits_at_most() {
        for (nanoseconds, text) in [
            (0, "0ns"),
            (870, "870ns"),
            (1_000, "1µs"),
            (1_234, "1.23µs"),
            (412_345, "412µs"),
            (999_400, "999µs"),
            (999_600, "1ms"),
            (4_000_000, "4ms"),
            (3_214_000, "3.21ms"),
            (9_996_000, "10ms"),
            (20_000_000, "20ms"),
            (12_340_000, "12.3ms"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (61_000_000_000, "61s"),
            (600_000_000_000, "600s"),
        ] {
            assert_eq!(latency(nanoseconds), text);
        }
    }

    #[test]
    fn ages_show_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (90, "1m30s"), (7_500, "2h5m"), (273_600, "3d4h")]
        {
            assert_eq!(age(seconds * 1_000_000_000), text);
        }
    }
}
