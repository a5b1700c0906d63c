//! `--last N` and `--first N` over all nodes together.
//!
//! Every node is asked for its own N, since each of them could hold all of the answer; of the
//! merged flows only the newest (or oldest) N leave. In a followed request the history is what
//! happened before the request came; after it everything passes.

use std::collections::VecDeque;

/// What part of the merged history the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    First(u64),
    Last(u64),
}

impl Wanted {
    /// What `number` and `first` of a request mean. Clients say "all" by 0 or by the largest number,
    /// which is no number to gather.
    pub fn new(number: u64, first: bool) -> Self {
        match (number, first) {
            (0 | u64::MAX, _) => Wanted::All,
            (n, true) => Wanted::First(n),
            (n, false) => Wanted::Last(n),
        }
    }
}

/// Cuts the merged flows to what was wanted.
pub struct Window<T> {
    wanted: Wanted,
    passed: u64,
    left_out: u64,
    /// The newest so far, in order of time.
    held: VecDeque<(i64, T)>,
    /// Flows from this time on are live, not history (ns since the epoch); `None` = all is history.
    live_from: Option<i64>,
    /// How many flows of the history may still pass after it was declared complete.
    late: u64,
    over: bool,
}

impl<T> Window<T> {
    /// A window; `live_from` is the request's arrival time when it follows.
    pub fn new(wanted: Wanted, live_from: Option<i64>) -> Self {
        Window { wanted, passed: 0, left_out: 0, held: VecDeque::new(), live_from, late: 0, over: false }
    }

    /// Takes the next flow; gives `out` what may leave now. Live flows end the history: who wants it
    /// complete holds them back until [`Window::end_history`].
    pub fn take(&mut self, time: i64, flow: T, out: &mut Vec<T>) {
        let live = self.is_live(time);
        match self.wanted {
            Wanted::All => self.pass(flow, out),
            Wanted::First(n) if self.passed < n => self.pass(flow, out),
            Wanted::First(_) => self.left_out += 1,
            Wanted::Last(_) if live => {
                self.end_history(out);
                self.pass(flow, out);
            }
            Wanted::Last(_) if self.over && self.late > 0 => {
                self.late -= 1;
                self.pass(flow, out);
            }
            Wanted::Last(_) if self.over => self.left_out += 1,
            Wanted::Last(n) => {
                // A node that is late may bring what is older than what is here.
                let at = self.held.iter().rposition(|(held, _)| *held <= time).map_or(0, |at| at + 1);
                self.held.insert(at, (time, flow));
                if self.held.len() as u64 > n {
                    self.held.pop_front();
                    self.left_out += 1;
                }
            }
        }
    }

    fn pass(&mut self, flow: T, out: &mut Vec<T>) {
        self.passed += 1;
        out.push(flow);
    }

    /// The history is complete: what was held leaves, and what comes later is live.
    pub fn end_history(&mut self, out: &mut Vec<T>) {
        let Wanted::Last(n) = self.wanted else { return };
        if !self.over {
            self.over = true;
            self.late = n - self.held.len() as u64;
            self.passed += self.held.len() as u64;
            out.extend(self.held.drain(..).map(|(_, flow)| flow));
        }
    }

    /// Whether a flow of this time is no history.
    pub fn is_live(&self, time: i64) -> bool {
        self.live_from.is_some_and(|from| time >= from)
    }

    /// Whether flows are held back until the history is known to be complete.
    pub fn holds_history(&self) -> bool {
        matches!(self.wanted, Wanted::Last(_)) && !self.over
    }

    /// Whether nothing more can leave: the request is answered.
    pub fn is_full(&self) -> bool {
        matches!(self.wanted, Wanted::First(n) if self.passed >= n)
    }

    /// Flows held, passed and left out so far.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.held.len() as u64, self.passed, self.left_out)
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
    fn late_history_finds_its_place_and_never_makes_more_than_n() {
        assert_eq!(run(Window::new(Wanted::Last(3), None), &[1, 5, 9, 4, 2]), [4, 5, 9]);
        let mut window = Window::new(Wanted::Last(3), Some(10));
        let mut out = Vec::new();
        window.take(5, 5, &mut out);
        window.take(6, 6, &mut out);
        window.end_history(&mut out);
        for time in [10, 1, 2, 11] {
            window.take(time, time, &mut out);
        }
        assert_eq!(out, [5, 6, 10, 1, 11]);
        assert_eq!(window.counts(), (0, 5, 1));
    }

    #[test]
    fn all_is_passed_on_as_it_comes_however_it_was_asked_for() {
        for number in [0, u64::MAX] {
            let mut window = Window::new(Wanted::new(number, false), None);
            let mut out = Vec::new();
            window.take(1, 1, &mut out);
            assert_eq!(out, [1]);
        }
    }
}
