//! What one agent knows of all identities, and what it still has to ask. Pure: the clock is an argument.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use fathom_identity::{Claim, LabelSet};
use jiff::Timestamp;

use super::stored::Stored;

/// How long the agent whose pod it is has for asking first, when the pod is another node's.
const OTHERS_FIRST: Duration = Duration::from_secs(2);
/// Agents that ask after that spread over this time.
const OTHERS_SPREAD: Duration = Duration::from_secs(8);
/// A question nobody repeats for this long is dropped.
const UNWANTED: Duration = Duration::from_secs(60);
/// Waits between attempts grow from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

#[derive(Debug, Default)]
pub struct State {
    entries: HashMap<u16, Entry>,
    /// Numbers by labels: one, but for the moments after a race.
    by_labels: HashMap<LabelSet, BTreeSet<u16>>,
    /// What numbers stood for that are gone: their agents will make them again.
    gone: HashMap<u16, LabelSet>,
    asks: HashMap<LabelSet, Ask>,
    in_use: BTreeSet<u16>,
    /// Numbers that stand for something else than they did, until told.
    disowned: Vec<u16>,
    listing: u64,
    pub refresh: Duration,
}

#[derive(Debug)]
struct Entry {
    stored: Stored,
    /// When this form of it was first seen.
    seen: Instant,
    /// How much of the refresh interval this agent lets others go first, and had already passed.
    due: Instant,
    listing: u64,
}

/// A question to the API server.
#[derive(Clone, Debug)]
pub struct Ask {
    due: Instant,
    wanted: Instant,
    running: bool,
    attempts: u32,
    problem: Option<String>,
    /// The number these labels had.
    pub prefer: Option<u16>,
}

impl State {
    pub fn new(refresh: Duration) -> Self {
        State { refresh, ..State::default() }
    }

    /// The number of labels, if it is safe to use: whoever collects numbers must not be about to take it.
    pub fn find(&self, labels: &LabelSet, now: Instant) -> Option<u16> {
        let number = self.of(labels)?;
        (!self.entries[&number].is_stale(now, self.refresh)).then_some(number)
    }

    fn of(&self, labels: &LabelSet) -> Option<u16> {
        let numbers = self.by_labels.get(labels)?;
        numbers.iter().copied().min_by_key(|number| self.entries[number].stored.age_key())
    }

    pub fn labels(&self, number: u16) -> Option<&LabelSet> {
        let live = self.entries.get(&number).and_then(|entry| entry.stored.labels.as_ref());
        live.or_else(|| self.gone.get(&number))
    }

    /// Whether a number stands for others than these, as far as is known.
    pub fn is_taken(&self, number: u16, labels: &LabelSet) -> bool {
        self.entries.get(&number).is_some_and(|entry| entry.stored.labels.as_ref() != Some(labels))
    }

    /// See [`fathom_identity::Registry::claim`].
    ///
    /// # Errors
    /// What went wrong with the last attempt.
    pub fn claim(
        &mut self,
        number: u16,
        labels: &LabelSet,
        now: Instant,
        spread: f64,
    ) -> Result<Claim, String> {
        if let Some(entry) = self.entries.get(&number) {
            match &entry.stored.labels {
                Some(known) if known == labels && !entry.is_stale(now, self.refresh) => {
                    return Ok(Claim::Same);
                }
                Some(known) if known == labels => {}
                _ => return Ok(Claim::Taken),
            }
        }
        let prefer = self.of(labels);
        let due = now + OTHERS_FIRST + OTHERS_SPREAD.mul_f64(spread);
        let fresh = || Ask { due, wanted: now, running: false, attempts: 0, problem: None, prefer };
        let ask = self.asks.entry(labels.clone()).or_insert_with(fresh);
        ask.wanted = now;
        ask.problem.clone().map_or(Ok(Claim::Pending), Err)
    }

    /// Somebody on this node waits; true when that is news.
    pub fn hurry(&mut self, labels: &LabelSet, now: Instant) -> bool {
        let Some(ask) = self.asks.get_mut(labels).filter(|ask| ask.attempts == 0 && ask.due > now) else {
            return false;
        };
        ask.due = now;
        true
    }

    /// The questions that are due, marked as under way; at most `room`.
    pub fn take_due(&mut self, now: Instant, room: usize) -> Vec<(LabelSet, Ask)> {
        self.asks.retain(|_, ask| ask.running || now.saturating_duration_since(ask.wanted) < UNWANTED);
        let due = self.asks.iter_mut().filter(|(_, ask)| !ask.running && ask.due <= now).take(room);
        due.map(|(labels, ask)| {
            ask.running = true;
            (labels.clone(), ask.clone())
        })
        .collect()
    }

    /// When the next question is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.asks.values().filter(|ask| !ask.running).map(|ask| ask.due).min()
    }

    /// The API server said no, or nothing.
    pub fn failed(&mut self, labels: &LabelSet, problem: String, now: Instant, spread: f64) {
        let Some(ask) = self.asks.get_mut(labels) else { return };
        let wait = RETRY.0.saturating_mul(1 << ask.attempts.min(8)).min(RETRY.1);
        ask.attempts += 1;
        ask.running = false;
        ask.due = now + wait.mul_f64(0.5 + spread / 2.0);
        ask.problem = Some(problem);
    }

    /// An identity is there, or looks different; true when somebody waited for it.
    pub fn apply(&mut self, stored: Stored, now: Instant, spread: f64) -> bool {
        let number = stored.number;
        let before = self.entries.remove(&number);
        if let Some(labels) = before.as_ref().and_then(|entry| entry.stored.labels.as_ref()) {
            self.unlink(number, &labels.clone());
        }
        let stood_for = before.as_ref().and_then(|entry| entry.stored.labels.clone());
        let stood_for = stood_for.or_else(|| self.gone.remove(&number));
        if stood_for.is_some() && stood_for != stored.labels {
            self.disowned.push(number);
        }
        let same_version = before.filter(|entry| entry.stored.version == stored.version);
        let (seen, due) = match same_version {
            Some(entry) => (entry.seen, entry.due),
            None => (now, now + self.first_refresh(&stored, spread)),
        };
        let mut news = self.disowned.last() == Some(&number);
        if let Some(labels) = &stored.labels {
            self.by_labels.entry(labels.clone()).or_default().insert(number);
            let answered = self.asks.get(labels).is_some_and(|ask| !ask.running);
            if answered {
                self.asks.remove(labels);
                news = true;
            }
        }
        self.entries.insert(number, Entry { stored, seen, due, listing: self.listing });
        news
    }

    /// A question was answered with this identity.
    pub fn answered(&mut self, labels: &LabelSet, stored: Stored, now: Instant, spread: f64) {
        self.asks.remove(labels);
        // What the watch said meanwhile may be newer.
        let version = |stored: &Stored| stored.version.parse::<u64>().unwrap_or(0);
        let known = self.entries.get(&stored.number);
        if known.is_none_or(|entry| version(&entry.stored) < version(&stored)) {
            self.apply(stored, now, spread);
        }
    }

    /// An identity is gone; true when something has to be done about it.
    pub fn delete(&mut self, number: u16, now: Instant) -> bool {
        let Some(entry) = self.entries.remove(&number) else { return false };
        let Some(labels) = entry.stored.labels else { return false };
        self.unlink(number, &labels);
        if self.by_labels.contains_key(&labels) {
            self.disowned.push(number);
            return true;
        }
        self.gone.insert(number, labels.clone());
        if !self.in_use.contains(&number) {
            return false;
        }
        let ask =
            Ask { due: now, wanted: now, running: false, attempts: 0, problem: None, prefer: Some(number) };
        self.asks.entry(labels).or_insert(ask);
        true
    }

    fn unlink(&mut self, number: u16, labels: &LabelSet) {
        if let Some(numbers) = self.by_labels.get_mut(labels) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_labels.remove(labels);
            }
        }
    }

    /// A full listing begins.
    pub fn begin_listing(&mut self) {
        self.listing += 1;
    }

    /// It ended: what it did not name is gone. True when something has to be done about it.
    pub fn end_listing(&mut self, now: Instant) -> bool {
        let listing = self.listing;
        let absent: Vec<u16> =
            self.entries.iter().filter(|(_, entry)| entry.listing != listing).map(|(n, _)| *n).collect();
        absent.into_iter().fold(false, |news, number| self.delete(number, now) | news)
    }

    pub fn set_in_use(&mut self, numbers: &BTreeSet<u16>) {
        self.in_use.clone_from(numbers);
    }

    /// Numbers in use here that nobody has refreshed for a while, with the version that was seen.
    pub fn due_refreshes(&self, now: Instant) -> Vec<Stored> {
        let due = self.in_use.iter().filter_map(|number| self.entries.get(number));
        due.filter(|entry| entry.due <= now).map(|entry| entry.stored.clone()).collect()
    }

    /// A refresh was tried: not again for a while, whatever came of it.
    pub fn refresh_tried(&mut self, number: u16, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.due = now + self.refresh / 4;
        }
    }

    /// Numbers that no longer stand for what they did; told once.
    pub fn take_disowned(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.disowned)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn asked(&self) -> usize {
        self.asks.len()
    }

    /// Time until this agent refreshes a form of an identity that it has just seen. Who sees an old one, as
    /// after a start, does not take long.
    fn first_refresh(&self, stored: &Stored, spread: f64) -> Duration {
        let old = age(stored).is_none_or(|age| age > self.refresh);
        if old {
            (self.refresh / 10).mul_f64(spread)
        } else {
            self.refresh + (self.refresh / 4).mul_f64(spread)
        }
    }
}

impl Entry {
    /// Whether it has not been refreshed for so long that it may be collected soon: it must be refreshed
    /// before it is used. Collectors wait for three intervals.
    fn is_stale(&self, now: Instant, refresh: Duration) -> bool {
        let limit = refresh * 2;
        now.saturating_duration_since(self.seen) > limit || age(&self.stored).is_none_or(|age| age > limit)
    }
}

/// How long ago an agent said that it uses the number, by the wall clocks of two nodes.
pub fn age(stored: &Stored) -> Option<Duration> {
    let since = Timestamp::now().duration_since(stored.last_used?);
    Some(Duration::try_from(since).unwrap_or_default())
}
