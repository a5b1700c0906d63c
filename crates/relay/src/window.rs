//! `--last N` and `--first N` over all nodes together.
//!
//! Every node is asked for its own N, since each of them could hold all of the answer; of the
//! merged flows only the newest (or oldest) N leave. In a followed request the history is what
//! happened before the request came; from the first later flow on everything passes.

use std::collections::VecDeque;

/// What part of the merged history the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    First(u64),
    Last(u64),
}

/// Cuts the merged flows to what was wanted.
pub struct Window<T> {
    wanted: Wanted,
    passed: u64,
    held: VecDeque<T>,
    /// Flows from this time on are live, not history (ns since the epoch); `None` = all is history.
    live_from: Option<i64>,
}

impl<T> Window<T> {
    /// A window; `live_from` is the request's arrival time when it follows.
    pub fn new(wanted: Wanted, live_from: Option<i64>) -> Self {
        Window { wanted, passed: 0, held: VecDeque::new(), live_from }
    }

    /// Takes the next flow in order of time; gives `out` what may leave now.
    pub fn take(&mut self, time: i64, flow: T, out: &mut Vec<T>) {
        match self.wanted {
            Wanted::All => out.push(flow),
            Wanted::First(n) => {
                if self.passed < n {
                    self.passed += 1;
                    out.push(flow);
                }
            }
            Wanted::Last(n) => {
                if self.live_from.is_some_and(|from| time >= from) {
                    self.end_history(out);
                    out.push(flow);
                    return;
                }
                if n == 0 {
                    return;
                }
                if self.held.len() as u64 == n {
                    self.held.pop_front();
                }
                self.held.push_back(flow);
            }
        }
    }

    /// The history is complete: what was held leaves, and what comes later is live.
    pub fn end_history(&mut self, out: &mut Vec<T>) {
        out.extend(self.held.drain(..));
        if matches!(self.wanted, Wanted::Last(_)) {
            self.wanted = Wanted::All;
        }
    }

    /// Whether flows are held back until the history is known to be complete.
    pub fn holds_history(&self) -> bool {
        matches!(self.wanted, Wanted::Last(_))
    }

    /// Whether nothing more can leave: the request is answered.
    pub fn is_full(&self) -> bool {
        matches!(self.wanted, Wanted::First(n) if self.passed >= n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mut window: Window<i64>, times: &[i64]) -> Vec<i64> {
        let mut out = Vec::new();
        for &time in times {
            window.take(time, time, &mut out);
        }
        window.end_history(&mut out);
        out
    }

    #[test]
    fn last_n_means_the_newest_n_of_all_nodes() {
        assert_eq!(run(Window::new(Wanted::Last(2), None), &[1, 2, 3, 4]), [3, 4]);
    }

    #[test]
    fn first_n_means_the_oldest_n_of_all_nodes() {
        let mut window = Window::new(Wanted::First(2), None);
        let mut out = Vec::new();
        for time in [1, 2, 3] {
            window.take(time, time, &mut out);
        }
        assert_eq!(out, [1, 2]);
        assert!(window.is_full());
    }

    #[test]
    fn a_followed_last_n_gives_history_then_everything() {
        let mut window = Window::new(Wanted::Last(1), Some(10));
        let mut out = Vec::new();
        for time in [7, 8] {
            window.take(time, time, &mut out);
        }
        assert_eq!(out, [] as [i64; 0]);
        for time in [10, 11] {
            window.take(time, time, &mut out);
        }
        assert_eq!(out, [8, 10, 11]);
        assert!(!window.holds_history());
    }

    #[test]
    fn last_zero_of_history_is_nothing() {
        assert_eq!(run(Window::new(Wanted::Last(0), None), &[1, 2]), [] as [i64; 0]);
    }
}
