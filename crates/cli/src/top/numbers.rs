//! What is counted of a route.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::exchange::Outcome;

/// Latencies are told apart from here …
const SHORTEST_US: u64 = 1;
/// … to here; others count as the nearest of the two, and as clamped.
const LONGEST_US: u64 = 60_000_000;
/// Significant figures.
const PRECISION: u8 = 3;

/// Counts and latencies of some time.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub count: u64,
    pub client_errors: u64,
    /// Unanswered ones included.
    pub errors: u64,
    pub unanswered: u64,
    /// Without a latency.
    pub unmeasured: u64,
    /// Latencies out of range.
    pub clamped: u64,
    latencies: Latencies,
}

/// Microseconds. A histogram takes as much room as its largest value needs: 8 KiB up to 2 ms, 45 KiB up to
/// a second, 70 KiB at most.
#[derive(Clone, Debug, Default)]
struct Latencies(Option<Histogram<u32>>);

impl Latencies {
    fn histogram(&mut self) -> Option<&mut Histogram<u32>> {
        if self.0.is_none() {
            self.0 = Histogram::new(PRECISION).ok();
        }
        self.0.as_mut()
    }
}

impl Numbers {
    pub fn record(&mut self, outcome: Outcome, latency_ns: Option<u64>) {
        self.count += 1;
        match outcome {
            Outcome::Good => {}
            Outcome::ClientError => self.client_errors += 1,
            Outcome::Error => self.errors += 1,
            Outcome::Unanswered => {
                self.errors += 1;
                self.unanswered += 1;
            }
        }
        let Some(nanoseconds) = latency_ns else {
            self.unmeasured += 1;
            return;
        };
        let microseconds = nanoseconds.saturating_add(500) / 1_000;
        let within = microseconds.clamp(SHORTEST_US, LONGEST_US);
        self.clamped += u64::from(within != microseconds);
        if let Some(histogram) = self.latencies.histogram() {
            // It resizes itself, and the value is in range.
            let _ = histogram.record(within);
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.client_errors += other.client_errors;
        self.errors += other.errors;
        self.unanswered += other.unanswered;
        self.unmeasured += other.unmeasured;
        self.clamped += other.clamped;
        match (&mut self.latencies.0, &other.latencies.0) {
            (_, None) => {}
            (empty @ None, Some(latencies)) => *empty = Some(latencies.clone()),
            (Some(sum), Some(latencies)) => {
                let _ = sum.add(latencies);
            }
        }
    }

    /// Microseconds that this share of the latencies does not exceed; `None` without any.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let histogram = self.latencies.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        // The upper end of the value's bucket may lie above the largest one.
        Some(histogram.value_at_quantile(share).min(LONGEST_US))
    }
}

/// Numbers since the start, or of the last few parts of a window.
#[derive(Debug, Default)]
pub struct Windowed {
    parts: VecDeque<(u64, Numbers)>,
    /// Since the interval began.
    pub lately: u64,
}

impl Windowed {
    pub fn record(&mut self, part: u64, outcome: Outcome, latency_ns: Option<u64>) {
        self.lately += 1;
        if self.parts.back().is_none_or(|(last, _)| *last != part) {
            self.parts.push_back((part, Numbers::default()));
        }
        if let Some((_, numbers)) = self.parts.back_mut() {
            numbers.record(outcome, latency_ns);
        }
    }

    /// Forgets what is older; whether something is left.
    pub fn keep_from(&mut self, part: u64) -> bool {
        while self.parts.front().is_some_and(|(first, _)| *first < part) {
            self.parts.pop_front();
        }
        !self.parts.is_empty()
    }

    pub fn sum(&self) -> Numbers {
        let mut parts = self.parts.iter().map(|(_, numbers)| numbers);
        let mut sum = parts.next().cloned().unwrap_or_default();
        parts.for_each(|part| sum.add(part));
        sum
    }

    /// Of the counts alone.
    pub fn total(&self, of: impl Fn(&Numbers) -> u64) -> u64 {
        self.parts.iter().map(|(_, numbers)| of(numbers)).sum()
    }

    pub fn quantile(&self, share: f64) -> Option<u64> {
        match &self.parts.as_slices() {
            ([(_, only)], []) => only.quantile(share),
            _ => self.sum().quantile(share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_keep_three_figures() {
        let mut numbers = Numbers::default();
        (1..=1_000).for_each(|n| numbers.record(Outcome::Good, Some(n * 1_000_000)));
        for (share, microseconds) in [(0.5, 500_000.0), (0.99, 990_000.0), (0.999, 999_000.0)] {
            let got = numbers.quantile(share).unwrap() as f64;
            assert!((got / microseconds - 1.0).abs() <= 0.001, "{share}: {got}");
        }
        assert_eq!(Numbers::default().quantile(0.5), None);
    }

    #[test]
    fn latencies_out_of_range_are_clamped_and_counted() {
        let mut numbers = Numbers::default();
        for nanoseconds in [1, 499, 500, 1_499, 60_000_000_000, 60_000_000_500, u64::MAX] {
            numbers.record(Outcome::Good, Some(nanoseconds));
        }
        assert_eq!((numbers.count, numbers.clamped), (7, 4));
        assert_eq!((numbers.quantile(0.0), numbers.quantile(1.0)), (Some(1), Some(LONGEST_US)));
        numbers.record(Outcome::Unanswered, None);
        assert_eq!((numbers.count, numbers.errors, numbers.unanswered, numbers.unmeasured), (8, 1, 1, 1));
    }

    #[test]
    fn a_window_forgets_its_oldest_part() {
        let mut numbers = Windowed::default();
        for part in [0, 1, 1, 3] {
            numbers.record(part, Outcome::Error, Some(part * 1_000_000 + 1_000));
        }
        assert_eq!((numbers.lately, numbers.sum().errors, numbers.total(|n| n.count)), (4, 4, 4));
        assert!(numbers.keep_from(1));
        assert_eq!(numbers.sum().count, 3);
        assert_eq!(numbers.quantile(0.5), Some(1_001));
        assert!(!numbers.keep_from(4));
        assert_eq!(numbers.quantile(0.5), None);
    }
}
