//! Agents agree on identity numbers through the API server.
//!
//! Questions are answered from a cache that a watch keeps; what it does not know is asked in the background,
//! so nobody who needs a number ever waits for the network: the answer is `Pending` until it is there.
//!
//! How two agents never end up with two numbers for the same labels:
//!
//! 1. Who needs a number lists those of the labels (by the hash in a label) and takes the first made.
//! 2. If there is none, creates one under the first candidate that is free; the name makes that atomic.
//! 3. Then lists again. Of two that were made at once at least the later sees both; both take the one made
//!    first, and who made the other removes it.
//!
//! A number in use is refreshed by some agent that has a pod with it; see [`crate::collector`] for the rest.
//! If it is removed nevertheless, the same number is made again at once.

mod claim;
mod state;
pub mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fathom_identity::{Claim, LabelSet, Registry};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::state::State;
use self::stored::Stored;
use crate::connect::explain;
use crate::identity::{USED_ANNOTATION, now};
use crate::raw::RawObject;
use crate::retry::Retry;

/// An agent says at least this often that a number is in use.
pub const REFRESH: Duration = Duration::from_secs(600);
/// Questions under way at once.
const CONCURRENT: usize = 16;
/// Longest time between two attempts to watch.
const RETRY_MOST: Duration = Duration::from_secs(10);
/// Time between looks for numbers that have to be refreshed.
const LOOK: Duration = Duration::from_secs(5);

/// The cluster's numbers as one agent knows them. Clones share it.
#[derive(Clone, Debug)]
pub struct ClusterRegistry {
    shared: Arc<Shared>,
}

/// What the API server had against the last attempt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the API server: {0}")]
pub struct ClusterError(pub String);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A question came, or became urgent.
    work: Notify,
    /// Grows when somebody who waited should look again.
    news: watch::Sender<u64>,
    synced: watch::Sender<bool>,
    problem: Mutex<Option<String>>,
}

impl Default for ClusterRegistry {
    fn default() -> Self {
        ClusterRegistry::new(REFRESH)
    }
}

impl ClusterRegistry {
    /// `refresh`: how often numbers in use are refreshed; whoever collects waits for three times as long.
    pub fn new(refresh: Duration) -> Self {
        let shared = Shared {
            state: Mutex::new(State::new(refresh)),
            work: Notify::new(),
            news: watch::Sender::new(0),
            synced: watch::Sender::new(false),
            problem: Mutex::default(),
        };
        ClusterRegistry { shared: Arc::new(shared) }
    }

    /// Changes when an answer came, or a number no longer stands for what it did.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.shared.news.subscribe()
    }

    /// Waits until all identities have been listed once.
    pub async fn synced(&self) {
        // The sender lives as long as `self`.
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// What keeps the registry from being watched, if anything.
    pub fn problem(&self) -> Option<String> {
        self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Identities in the cluster, and questions without an answer.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.len(), state.asked())
    }

    /// Keeps the cache, asks and refreshes, until `stop`.
    pub async fn run(&self, client: Client, stop: CancellationToken) {
        let api = stored::api(client);
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow(&api) => {}
            () = self.ask(&api) => {}
            () = self.refresh(&api) => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.shared.news.send_modify(|count| *count += 1);
        self.shared.work.notify_one();
    }

    async fn follow(&self, api: &Api<RawObject>) {
        let retry = Retry::new(Duration::from_millis(200), RETRY_MOST);
        let stream = crate::watch::watch(api.clone(), watcher::Config::default()).backoff(retry);
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            let at = Instant::now();
            let (news, problem) = match event {
                Ok(Event::Init) => {
                    self.state().begin_listing();
                    continue;
                }
                Ok(Event::InitDone) => {
                    let news = self.state().end_listing(at);
                    self.shared.synced.send_replace(true);
                    (news, None)
                }
                Ok(Event::InitApply(object) | Event::Apply(object)) => match Stored::read(&object) {
                    Some(stored) => (self.state().apply(stored, at, spread()), None),
                    None => {
                        let name = object.name();
                        tracing::warn!(
                            name,
                            "FathomIdentity whose name is no number from 256 to 65535: ignored"
                        );
                        continue;
                    }
                },
                Ok(Event::Delete(object)) => {
                    let number = crate::identity::number(object.name());
                    (number.is_some_and(|number| self.state().delete(number, at)), None)
                }
                Err(error) => (false, Some(explain_watch(&error))),
            };
            self.set_problem(problem);
            if news {
                self.tell();
            }
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        let mut known = self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == problem {
            return;
        }
        match &problem {
            Some(problem) => tracing::warn!("identities cannot be followed: {problem}; trying again"),
            None => tracing::info!("identities are followed"),
        }
        *known = problem;
    }

    async fn ask(&self, api: &Api<RawObject>) {
        self.synced().await;
        let mut running = FuturesUnordered::new();
        loop {
            let room = CONCURRENT - running.len();
            let due = self.state().take_due(Instant::now(), room);
            for (labels, ask) in due {
                let refresh = self.state().refresh;
                running.push(async move {
                    let known = |number: u16| self.state().is_taken(number, &labels);
                    let answer = claim::claim(api, &labels, ask.prefer, refresh, known).await;
                    (labels, answer)
                });
            }
            let next = if running.len() < CONCURRENT { self.state().next_due() } else { None };
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(30));
            tokio::select! {
                Some((labels, answer)) = running.next() => self.take_answer(&labels, answer),
                () = self.shared.work.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    fn take_answer(&self, labels: &LabelSet, answer: Result<Stored, claim::Failure>) {
        let at = Instant::now();
        match answer {
            Ok(stored) => self.state().answered(labels, stored, at, spread()),
            Err(failure) => self.state().failed(labels, failure.to_string(), at, spread()),
        }
        self.tell();
    }

    async fn refresh(&self, api: &Api<RawObject>) {
        let look = LOOK.min(self.state().refresh / 10);
        loop {
            tokio::time::sleep(look).await;
            let due = self.state().due_refreshes(Instant::now());
            for stored in due {
                self.state().refresh_tried(stored.number, Instant::now());
                if let Err(error) = refresh(api, &stored).await {
                    // Another agent was faster, or it is gone, which the watch will say.
                    let harmless = matches!(&error, kube::Error::Api(s) if s.code == 409 || s.code == 404);
                    if !harmless {
                        let why = explain(&error);
                        tracing::warn!("cannot say that identity {} is in use: {why}", stored.number);
                    }
                }
            }
        }
    }
}

/// Says that a number is in use, unless somebody else did since it was seen.
async fn refresh(api: &Api<RawObject>, stored: &Stored) -> kube::Result<RawObject> {
    let patch = serde_json::json!({"metadata": {
        "resourceVersion": stored.version,
        "annotations": {USED_ANNOTATION: now()},
    }});
    api.patch(&stored.number.to_string(), &PatchParams::default(), &Patch::Merge(&patch)).await
}

/// An error of a watch in one line.
pub fn explain_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("cannot list: {}", explain(error)),
        watcher::Error::WatchStartFailed(error) => format!("cannot watch: {}", explain(error)),
        watcher::Error::WatchFailed(error) => format!("the watch broke: {}", explain(error)),
        watcher::Error::WatchError(status) => {
            format!("the watch ended: {} ({})", status.message, status.code)
        }
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// A random number from 0 to 1: agents must not all do the same thing at once.
pub(crate) fn spread() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1u64 << 53) as f64
}

impl Registry for ClusterRegistry {
    type Error = ClusterError;

    fn find(&self, labels: &LabelSet) -> Result<Option<u16>, ClusterError> {
        Ok(self.state().find(labels, Instant::now()))
    }

    fn claim(&self, number: u16, labels: &LabelSet) -> Result<Claim, ClusterError> {
        let claim = self.state().claim(number, labels, Instant::now(), spread());
        if !matches!(claim, Ok(Claim::Same | Claim::Taken)) {
            self.shared.work.notify_one();
        }
        claim.map_err(ClusterError)
    }

    fn labels(&self, number: u16) -> Result<Option<LabelSet>, ClusterError> {
        Ok(self.state().labels(number).cloned())
    }

    fn hurry(&self, labels: &LabelSet) {
        if self.state().hurry(labels, Instant::now()) {
            self.shared.work.notify_one();
        }
    }

    fn in_use(&self, numbers: &BTreeSet<u16>) {
        self.state().set_in_use(numbers);
    }

    fn take_disowned(&self) -> Vec<u16> {
        self.state().take_disowned()
    }
}
