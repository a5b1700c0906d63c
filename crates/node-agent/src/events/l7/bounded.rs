//! A map that forgets its oldest entries.

use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;

/// At most `limit` entries: one more takes the place of the one inserted longest ago.
pub struct Bounded<K, V> {
    limit: usize,
    map: HashMap<K, (u64, V), foldhash::fast::RandomState>,
    /// Every insertion, oldest first; those of entries that were removed or replaced are passed over.
    order: VecDeque<(u64, K)>,
    inserted: u64,
    evicted: u64,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    pub fn new(limit: usize) -> Self {
        Self { limit, map: HashMap::default(), order: VecDeque::new(), inserted: 0, evicted: 0 }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Entries that made room for others so far.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key).map(|(_, value)| value)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.map.remove(key).map(|(_, value)| value)
    }

    /// Puts an entry in, as the newest; returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.inserted += 1;
        self.order.push_back((self.inserted, key));
        let replaced = self.map.insert(key, (self.inserted, value)).map(|(_, value)| value);
        while self.map.len() > self.limit {
            let Some((stamp, key)) = self.order.pop_front() else { break };
            if self.is_live(stamp, &key) {
                self.map.remove(&key);
                self.evicted += 1;
            }
        }
        // What is passed over must not pile up; at most every `limit` insertions, so it costs little each.
        if self.order.len() > 2 * self.limit {
            let map = &self.map;
            self.order.retain(|(stamp, key)| map.get(key).is_some_and(|(live, _)| live == stamp));
        }
        replaced
    }

    fn is_live(&self, stamp: u64, key: &K) -> bool {
        self.map.get(key).is_some_and(|(live, _)| *live == stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_is_counted() {
        let mut map = Bounded::new(2);
        map.insert(1, 'a');
        map.insert(2, 'b');
        assert_eq!(map.insert(1, 'c'), Some('a'), "newer than 2 now");
        map.insert(3, 'd');
        assert_eq!((map.get(&1), map.get(&2), map.get(&3)), (Some(&'c'), None, Some(&'d')));
        assert_eq!((map.evicted(), map.len()), (1, 2));
    }

    #[test]
    fn what_was_removed_evicts_nobody_and_leaves_nothing_behind() {
        let mut map = Bounded::new(4);
        for n in 0..10_000 {
            map.insert(n, ());
            map.remove(&n);
        }
        assert!(map.is_empty() && map.evicted() == 0);
        assert!(map.order.len() <= 8, "{} insertions are remembered", map.order.len());
    }
}
