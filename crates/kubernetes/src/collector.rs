//! Gives up identity numbers that no agent uses any more.
//!
//! Agents refresh the numbers of their pods ([`crate::registry::REFRESH`]). What was not refreshed for three
//! times as long, as this process measured it, is removed, but only in the form in which it was seen: a
//! refresh at the same moment wins. An agent adopts a number that is about to be collected only by refreshing
//! it, and makes one anew that is removed while a pod of its node has it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fathom_identity::LabelSet;
use futures::StreamExt as _;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connect::explain;
use crate::raw::RawObject;
use crate::registry::explain_watch;
use crate::registry::stored::{self, Stored};
use crate::retry::Retry;

/// How long a number nobody refreshes is kept.
pub const GRACE: Duration = Duration::from_secs(1800);
/// Of two numbers for the same labels the later is removed after this long.
const DOUBLE: Duration = Duration::from_secs(60);

/// What was done, for metrics.
#[derive(Debug, Default)]
pub struct Collected {
    /// Numbers given up since the start.
    pub removed: AtomicU64,
    /// Identities there are.
    pub identities: AtomicU64,
}

/// Follows identities until `stop`, and while `leading` says so removes those nobody uses.
pub async fn run(
    client: Client,
    leading: watch::Receiver<bool>,
    grace: Duration,
    collected: Arc<Collected>,
    stop: CancellationToken,
) {
    let api = stored::api(client);
    let retry = Retry::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut events =
        std::pin::pin!(crate::watch::watch(api.clone(), watcher::Config::default()).backoff(retry));
    let mut seen = Seen::default();
    let mut look = tokio::time::interval((grace / 20).clamp(Duration::from_millis(50), DOUBLE / 2));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => match event {
                None => return,
                Some(Ok(event)) => seen.take(event, Instant::now()),
                Some(Err(error)) => {
                    seen.complete = false;
                    tracing::warn!("identities cannot be followed: {}; trying again", explain_watch(&error));
                }
            },
            _ = look.tick() => {
                let over = if *leading.borrow() { seen.over(Instant::now(), grace) } else { Vec::new() };
                for stored in over {
                    if remove(&api, &stored).await {
                        collected.removed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        collected.identities.store(seen.entries.len() as u64, Ordering::Relaxed);
    }
}

async fn remove(api: &Api<RawObject>, stored: &Stored) -> bool {
    let preconditions =
        Preconditions { uid: Some(stored.uid.clone()), resource_version: Some(stored.version.clone()) };
    let params = DeleteParams::default().preconditions(preconditions);
    match api.delete(&stored.number.to_string(), &params).await {
        Ok(_) => {
            tracing::info!(number = stored.number, "identity given up: no agent uses it");
            true
        }
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => false,
        Err(error) => {
            tracing::warn!("identity {} cannot be given up: {}", stored.number, explain(&error));
            false
        }
    }
}

/// Every identity, and since when it looks as it does.
#[derive(Debug, Default)]
struct Seen {
    entries: HashMap<u16, (Stored, Instant, u64)>,
    listing: u64,
    /// A listing ended and the watch since has not broken: what is here is what there is.
    complete: bool,
}

impl Seen {
    fn take(&mut self, event: Event<RawObject>, now: Instant) {
        match event {
            Event::Init => {
                self.listing += 1;
                self.complete = false;
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let Some(stored) = Stored::read(&object) else { return };
                let since = match self.entries.get(&stored.number) {
                    Some((known, since, _)) if known.uid == stored.uid && known.version == stored.version => {
                        *since
                    }
                    _ => now,
                };
                self.entries.insert(stored.number, (stored, since, self.listing));
            }
            Event::InitDone => {
                let listing = self.listing;
                self.entries.retain(|_, (_, _, seen_in)| *seen_in == listing);
                self.complete = true;
            }
            Event::Delete(object) => {
                if let Some(number) = crate::identity::number(object.name()) {
                    self.entries.remove(&number);
                }
            }
        }
    }

    /// What may be removed. Time in which the watch was broken does not count: nobody could be heard.
    fn over(&mut self, now: Instant, grace: Duration) -> Vec<Stored> {
        if !self.complete {
            for (_, since, _) in self.entries.values_mut() {
                *since = now;
            }
            return Vec::new();
        }
        let mut first: HashMap<&LabelSet, &Stored> = HashMap::new();
        for (stored, ..) in self.entries.values() {
            if let Some(labels) = &stored.labels {
                let winner = first.entry(labels).or_insert(stored);
                if stored.age_key() < winner.age_key() {
                    *winner = stored;
                }
            }
        }
        let is_double = |stored: &Stored| {
            stored
                .labels
                .as_ref()
                .and_then(|labels| first.get(labels))
                .is_some_and(|f| f.number != stored.number)
        };
        let over = self.entries.values().filter(|(stored, since, _)| {
            let age = now.saturating_duration_since(*since);
            age >= grace || (age >= DOUBLE && is_double(stored))
        });
        over.map(|(stored, ..)| stored.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::identity;
    use fathom_identity::Label;

    fn object(number: u16, app: &str, version: u64) -> RawObject {
        let mut object = identity(number, &LabelSet::new([Label::k8s("app", app)]));
        object.metadata.uid = Some(format!("{number}"));
        object.metadata.resource_version = Some(version.to_string());
        RawObject::new(serde_json::to_value(object).unwrap())
    }

    fn numbers(over: Vec<Stored>) -> Vec<u16> {
        let mut numbers: Vec<u16> = over.iter().map(|stored| stored.number).collect();
        numbers.sort_unstable();
        numbers
    }

    const MINUTES: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_refreshed_stays_and_what_is_not_goes_after_the_grace() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        seen.take(Event::Init, start);
        seen.take(Event::InitApply(object(300, "a", 1)), start);
        seen.take(Event::InitApply(object(301, "b", 2)), start);
        seen.take(Event::InitDone, start);
        assert_eq!(numbers(seen.over(start + MINUTES * 29, MINUTES * 30)), [0u16; 0]);
        seen.take(Event::Apply(object(300, "a", 3)), start + MINUTES * 29);
        seen.take(Event::Apply(object(301, "b", 2)), start + MINUTES * 29);
        assert_eq!(
            numbers(seen.over(start + MINUTES * 30, MINUTES * 30)),
            [301],
            "the same form is no refresh"
        );
    }

    #[test]
    fn a_time_without_a_watch_does_not_count() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        seen.take(Event::Init, start);
        seen.take(Event::InitApply(object(300, "a", 1)), start);
        assert_eq!(numbers(seen.over(start + MINUTES * 99, MINUTES)), [0u16; 0], "the listing is not over");
        seen.take(Event::InitDone, start + MINUTES * 99);
        assert_eq!(numbers(seen.over(start + MINUTES * 99, MINUTES)), [0u16; 0]);
        assert_eq!(numbers(seen.over(start + MINUTES * 100, MINUTES)), [300]);
    }

    #[test]
    fn of_two_numbers_for_the_same_labels_the_later_goes() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        seen.take(Event::Init, start);
        seen.take(Event::InitApply(object(300, "a", 5)), start);
        seen.take(Event::InitApply(object(301, "a", 4)), start);
        seen.take(Event::InitDone, start);
        assert_eq!(numbers(seen.over(start + MINUTES, MINUTES * 30)), [300]);
    }
}
