//! Namespaces seen in flows within the last hour.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::snapshot::EndpointInfo;

/// How long a namespace is remembered.
const MEMORY: Duration = Duration::from_secs(3600);

/// A name already noted is not noted again for this long: the common case costs a comparison.
const COARSE: Duration = Duration::from_secs(1);

/// (cluster, namespace).
type Name = (Arc<str>, Arc<str>);

/// Names with the time of their last flow.
#[derive(Debug, Default)]
pub struct Namespaces {
    seen: Mutex<BTreeMap<Name, Instant>>,
}

impl Namespaces {
    /// Sorted by cluster and name; forgets what is too old.
    pub fn list(&self) -> Vec<Name> {
        self.list_at(Instant::now())
    }

    fn list_at(&self, now: Instant) -> Vec<Name> {
        let mut seen = self.lock();
        seen.retain(|_, last| now.saturating_duration_since(*last) <= MEMORY);
        seen.keys().cloned().collect()
    }

    fn note(&self, endpoint: &EndpointInfo, now: Instant) {
        let key = (Arc::clone(&endpoint.cluster_name), Arc::clone(&endpoint.namespace));
        self.lock().insert(key, now);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader thread's short memory in front of [`Namespaces`]: which names were noted just now.
#[derive(Default)]
pub struct Recent {
    /// By a few bits of the name's address. The name is kept, so that its address stays its own.
    slots: [Option<Arc<str>>; 32],
    since: Option<Instant>,
}

impl Recent {
    /// Forgets what was noted when that is a second ago. Called once per batch.
    pub fn begin_batch(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= COARSE) {
            *self = Self { since: Some(now), ..Self::default() };
        }
    }

    /// Notes the namespace of one end of a flow.
    pub fn see(&mut self, endpoint: &EndpointInfo, all: &Namespaces) {
        if endpoint.namespace.is_empty() {
            return;
        }
        let address = endpoint.namespace.as_ptr().addr();
        let slot = &mut self.slots[(address >> 4 ^ address >> 9) & 31];
        if slot.as_ref().is_some_and(|name| name.as_ptr().addr() == address) {
            return;
        }
        *slot = Some(Arc::clone(&endpoint.namespace));
        all.note(endpoint, self.since.unwrap_or_else(Instant::now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str) -> EndpointInfo {
        EndpointInfo { namespace: namespace.into(), cluster_name: "default".into(), ..Default::default() }
    }

    fn names(all: &Namespaces, now: Instant) -> Vec<String> {
        all.list_at(now).into_iter().map(|(_, name)| name.to_string()).collect()
    }

    #[test]
    fn namespaces_are_listed_in_order_once_and_for_an_hour() {
        let (all, mut recent, start) = (Namespaces::default(), Recent::default(), Instant::now());
        recent.begin_batch(start);
        for namespace in ["shop", "chat", "shop", "", "ads"] {
            recent.see(&pod(namespace), &all);
        }
        assert_eq!(names(&all, start), ["ads", "chat", "shop"]);
        let later = start + MEMORY - Duration::from_secs(1);
        recent.begin_batch(later);
        recent.see(&pod("chat"), &all);
        assert_eq!(names(&all, later + Duration::from_secs(2)), ["chat"]);
    }
}
