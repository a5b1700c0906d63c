//! The numbers at one moment, and what must be said about them.

use std::time::Duration;

use jiff::Timestamp;

use super::numbers::{Numbers, Windowed};
use super::routes::Routes;
use super::typed::Sort;
use crate::observe::tally::Tally;
use crate::print::node_names;
use crate::terminal::colour::Ink;
use crate::terminal::quantity::{age, counted, grouped};

pub struct Report<'a> {
    pub at: Timestamp,
    pub routes: &'a Routes,
    pub tally: &'a Tally,
    pub sort: Sort,
    pub limit: Option<usize>,
    /// How long numbers have been counted.
    pub elapsed: Duration,
    /// They are of this long before now.
    pub window: Option<Duration>,
    /// How long the flows of the last interval took to happen; `None` when that can't be told.
    pub span: Option<Duration>,
    /// `--max-routes`.
    pub max_routes: u32,
}

/// What is shown of a route.
pub struct Figures {
    pub numbers: Numbers,
    /// Per second.
    pub rate: Option<f64>,
    /// p50, p99 and p99.9, microseconds.
    pub latencies: [Option<u64>; 3],
}

impl Report<'_> {
    pub fn figures(&self, numbers: &Windowed) -> Figures {
        let sum = numbers.sum();
        let latencies = [0.5, 0.99, 0.999].map(|share| sum.quantile(share));
        Figures { rate: self.rate(numbers), latencies, numbers: sum }
    }

    pub fn rate(&self, numbers: &Windowed) -> Option<f64> {
        let seconds = self.span?.as_secs_f64();
        (seconds > 0.0).then(|| numbers.lately as f64 / seconds)
    }

    /// What the numbers leave out, or count otherwise than they say; `shown` of the routes have a row.
    pub fn notes(&self, shown: usize) -> Vec<(Ink, String)> {
        let total = |of: fn(&Numbers) -> u64| self.routes.all().total(of);
        let count = total(|numbers| numbers.count);
        if count == 0 {
            let mut notes = vec![(Ink::Plain, "no exchange so far".to_owned())];
            notes.extend(self.incomplete());
            return notes;
        }
        let mut first =
            format!("{} of {}", counted(count, "exchange"), counted(self.routes.len() as u64, "route"));
        if let Some(rate) = self.rate(self.routes.all()) {
            first.push_str(&format!(", {}/s", rate_text(rate)));
        }
        let seconds = |duration: Duration| age(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        match self.window {
            Some(window) if window < self.elapsed => {
                first.push_str(&format!(" (the last {})", seconds(window)));
            }
            _ if self.elapsed.as_secs() > 0 => first.push_str(&format!(" (in {})", seconds(self.elapsed))),
            _ => {}
        }
        if shown < self.routes.len() {
            first.push_str(&format!("; {} not shown", counted((self.routes.len() - shown) as u64, "route")));
        }
        let mut notes = vec![(Ink::Plain, first)];
        let other = self.routes.other().total(|numbers| numbers.count);
        if other > 0 {
            let text = format!(
                "{} of routes beyond the first {} counted together as (other): --fold-ids makes fewer routes, --max-routes room",
                counted(other, "exchange"),
                grouped(self.max_routes.into()),
            );
            notes.push((Ink::Notable, text));
        }
        let unmeasured = total(|numbers| numbers.unmeasured);
        if unmeasured > 0 {
            let text = format!("{} without a latency: no request seen, or no answer", grouped(unmeasured));
            notes.push((Ink::Plain, text));
        }
        let clamped = total(|numbers| numbers.clamped);
        if clamped > 0 {
            let text = format!("{} under 1µs or over 60s, counted as that", counted_latencies(clamped));
            notes.push((Ink::Plain, text));
        }
        notes.extend(self.incomplete());
        notes
    }

    fn incomplete(&self) -> Vec<(Ink, String)> {
        let lost = self.tally.incomplete();
        let lost = lost.iter().flat_map(|text| text.lines()).map(|line| (Ink::Bad, line.to_owned()));
        let missing: Vec<String> = self.tally.missing.iter().cloned().collect();
        let gone = (!missing.is_empty()).then(|| format!("not connected: {}", node_names(&missing)));
        lost.chain(gone.map(|text| (Ink::Bad, text))).collect()
    }
}

fn counted_latencies(number: u64) -> String {
    format!("{} {}", grouped(number), if number == 1 { "latency" } else { "latencies" })
}

/// `0.5`, `12.3`, `1,234`
pub fn rate_text(rate: f64) -> String {
    match rate {
        fast if fast >= 99.95 => grouped(fast.round() as u64),
        slow => format!("{slow:.1}"),
    }
}
