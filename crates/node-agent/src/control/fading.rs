//! Entries that are remembered for a while after they are gone, because events about them come late.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long what is gone still resolves: rings are drained within milliseconds, but an agent that was away
/// finds events older than that.
pub const FADING: Duration = Duration::from_secs(15);

/// A map whose entries fade instead of vanishing.
#[derive(Debug)]
pub struct Fading<K, V> {
    entries: BTreeMap<K, Entry<V>>,
}

#[derive(Debug)]
struct Entry<V> {
    value: Arc<V>,
    gone: Option<Instant>,
}

impl<K, V> Default for Fading<K, V> {
    fn default() -> Self {
        Fading { entries: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V: PartialEq> Fading<K, V> {
    /// Makes `now` what is there; equal values keep their `Arc`.
    pub fn update(&mut self, values: impl IntoIterator<Item = (K, Arc<V>)>, now: Instant) {
        for entry in self.entries.values_mut() {
            entry.gone.get_or_insert(now);
        }
        for (key, value) in values {
            match self.entries.get_mut(&key) {
                Some(entry) => {
                    entry.gone = None;
                    if entry.value != value {
                        entry.value = value;
                    }
                }
                None => _ = self.entries.insert(key, Entry { value, gone: None }),
            }
        }
        let faded = |since: Instant| now.saturating_duration_since(since) >= FADING;
        self.entries.retain(|_, entry| !entry.gone.is_some_and(faded));
    }

    /// Everything, what fades included.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Arc<V>)> + '_ {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }

    /// Whether anything is fading, so that an update will be due.
    pub fn is_fading(&self) -> bool {
        self.entries.values().any(|entry| entry.gone.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_stays_for_its_time_and_what_comes_back_stays_for_good() {
        let mut map: Fading<&str, u8> = Fading::default();
        let start = Instant::now();
        let both = || [("a", Arc::new(1)), ("b", Arc::new(2))];
        let keys = |map: &Fading<&'static str, u8>| map.iter().map(|(key, _)| *key).collect::<Vec<_>>();
        map.update(both(), start);
        map.update([], start);
        assert!(map.is_fading());
        map.update([("b", Arc::new(2))], start + FADING / 2);
        assert_eq!(keys(&map), ["a", "b"]);
        map.update([("b", Arc::new(2))], start + FADING);
        assert_eq!(keys(&map), ["b"]);
        assert!(!map.is_fading());
    }

    #[test]
    fn an_equal_value_keeps_its_place_in_memory() {
        let mut map: Fading<u8, String> = Fading::default();
        map.update([(1, Arc::new("x".to_owned()))], Instant::now());
        let before = Arc::clone(map.iter().next().unwrap().1);
        map.update([(1, Arc::new("x".to_owned()))], Instant::now());
        assert!(Arc::ptr_eq(&before, map.iter().next().unwrap().1));
    }
}
