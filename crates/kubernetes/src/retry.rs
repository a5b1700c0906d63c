//! Waits between attempts: each twice as long as the one before, up to a limit, and never the same for two
//! agents, so that a server that comes back is not met by all of them at once.

use std::time::Duration;

use kube::runtime::utils::Backoff;

use crate::registry::spread;

/// A wait that grows.
#[derive(Clone, Debug)]
pub struct Retry {
    first: Duration,
    most: Duration,
    attempts: u32,
}

impl Retry {
    pub fn new(first: Duration, most: Duration) -> Self {
        Retry { first, most, attempts: 0 }
    }
}

impl Iterator for Retry {
    type Item = Duration;

    /// From half the wait to all of it.
    fn next(&mut self) -> Option<Duration> {
        let wait = self.first.saturating_mul(1 << self.attempts.min(20)).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        Some(wait.mul_f64(0.5 + spread() / 2.0))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_begin_anew_after_a_success() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut retry = Retry::new(first, most);
        let waits: Vec<Duration> = retry.by_ref().take(40).collect();
        assert!(waits[0] >= first / 2 && waits[0] <= first);
        assert!(waits[4..].iter().all(|wait| *wait >= most / 2 && *wait <= most), "{waits:?}");
        assert!(waits[4..].windows(2).any(|pair| pair[0] != pair[1]), "never in step: {waits:?}");
        retry.reset();
        assert!(retry.next().unwrap() <= first);
    }
}
