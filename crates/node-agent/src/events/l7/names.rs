//! Which names an address was looked up by, learned from DNS answers.
//!
//! Kept per client: a name says what the client asked for, and no pod can give names to the addresses that
//! another one talks to. A client is an address; a pod of this node is, of its addresses, that of the
//! answer's family. Entries outlive their TTL by up to a minute, because connections are opened a little
//! after the answer and reported for as long as they live.

use std::sync::Arc;
use std::time::Duration;

use super::bounded::Bounded;
use crate::events::flow;

/// A name counts at least this long, and at most that long.
pub const SHORTEST: Duration = Duration::from_secs(60);
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Names kept of one address for one client; the ones learned last.
pub const PER_ADDRESS: usize = 8;

/// Two addresses, the lower one first: one look-up finds the names of either end.
type Pair = ([u8; 16], [u8; 16]);

/// What the ends of a pair call each other: of the lower one, of the higher one.
type Ends = [Option<Box<Known>>; 2];

/// The cache.
pub struct Names {
    pairs: Bounded<Pair, Ends>,
}

#[derive(Debug)]
struct Known {
    names: flow::Names,
    /// Boot time until which each counts, ns.
    until: Vec<u64>,
    /// The first of these.
    earliest: u64,
}

impl Names {
    /// For so many pairs of a client and an address.
    pub fn new(limit: usize) -> Self {
        Self { pairs: Bounded::new(limit) }
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Pairs that made room for others so far.
    pub fn evicted(&self) -> u64 {
        self.pairs.evicted()
    }

    /// `client` was told that each of `names` leads to `address`.
    pub fn learn(
        &mut self,
        client: [u8; 16],
        address: [u8; 16],
        names: &[Arc<str>],
        ttl: Duration,
        now_ns: u64,
    ) {
        if names.is_empty() || client == address {
            return;
        }
        let until = now_ns.saturating_add(ttl.clamp(SHORTEST, LONGEST).as_nanos() as u64);
        let (pair, end) = ordered(client, address);
        let mut ends = self.pairs.remove(&pair).unwrap_or_default();
        ends[end] = Some(match ends[end].take() {
            // Told again: nothing to copy.
            Some(mut known) if known.names.len() == names.len() && known.has_all(names) => {
                known.until.iter_mut().for_each(|old| *old = until.max(*old));
                known.earliest = known.until.iter().copied().min().unwrap_or(until);
                known
            }
            old => Box::new(Known::merged(old, names, until, now_ns)),
        });
        self.pairs.insert(pair, ends);
    }

    /// What the ends of a flow are called: the source by the destination, the destination by the source.
    pub fn of(
        &mut self,
        source: [u8; 16],
        destination: [u8; 16],
        now_ns: u64,
    ) -> (Option<flow::Names>, Option<flow::Names>) {
        let (pair, end) = ordered(source, destination);
        let Some(ends) = self.pairs.get_mut(&pair) else { return (None, None) };
        let mut named = |end: usize| {
            let known = ends[end].as_mut()?;
            if known.earliest <= now_ns && !known.forget(now_ns) {
                ends[end] = None;
                return None;
            }
            ends[end].as_ref().map(|known| Arc::clone(&known.names))
        };
        let names = (named(1 - end), named(end));
        if ends.iter().all(Option::is_none) {
            self.pairs.remove(&pair);
        }
        names
    }
}

/// The pair, and which of its ends `address` is.
fn ordered(client: [u8; 16], address: [u8; 16]) -> (Pair, usize) {
    if address < client { ((address, client), 0) } else { ((client, address), 1) }
}

impl Known {
    fn has_all(&self, names: &[Arc<str>]) -> bool {
        names.iter().all(|name| self.names.contains(name))
    }

    /// New names first, then older ones that still count.
    fn merged(old: Option<Box<Known>>, names: &[Arc<str>], until: u64, now_ns: u64) -> Self {
        let mut merged: Vec<(Arc<str>, u64)> = Vec::new();
        let old = old.into_iter().flat_map(|old| {
            let Known { names, until, .. } = *old;
            names.iter().cloned().zip(until).collect::<Vec<_>>()
        });
        let new = names.iter().map(|name| (Arc::clone(name), until));
        for (name, until) in new.chain(old.filter(|(_, until)| *until > now_ns)) {
            if merged.len() < PER_ADDRESS && !merged.iter().any(|(has, _)| *has == name) {
                merged.push((name, until));
            }
        }
        let (names, until): (Vec<_>, Vec<_>) = merged.into_iter().unzip();
        Self { names: names.into(), earliest: until.iter().copied().min().unwrap_or(0), until }
    }

    /// Drops names whose time is over; false when none is left.
    fn forget(&mut self, now_ns: u64) -> bool {
        let old = std::mem::take(&mut self.until);
        let left = self.names.iter().cloned().zip(old).filter(|(_, until)| *until > now_ns);
        let (names, until): (Vec<_>, Vec<_>) = left.unzip();
        self.earliest = until.iter().copied().min().unwrap_or(0);
        (self.names, self.until) = (names.into(), until);
        !self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const CLIENT: [u8; 16] = [9; 16];
    const ADDRESS: [u8; 16] = [3; 16];

    fn names(texts: &[&str]) -> Vec<Arc<str>> {
        texts.iter().map(|text| Arc::from(*text)).collect()
    }

    fn texts(names: Option<flow::Names>) -> Vec<String> {
        names.iter().flat_map(|names| names.iter()).map(ToString::to_string).collect()
    }

    fn ttl(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_s_names_show_on_its_own_flows_in_both_directions() {
        let mut cache = Names::new(8);
        cache.learn(CLIENT, ADDRESS, &names(&["www", "edge"]), ttl(300), 0);
        let (source, destination) = cache.of(CLIENT, ADDRESS, S);
        assert_eq!((texts(source), texts(destination)), (vec![], vec!["www".into(), "edge".to_owned()]));
        let (source, destination) = cache.of(ADDRESS, CLIENT, S);
        assert_eq!((texts(source).len(), destination), (2, None));
        assert_eq!(cache.of([7; 16], ADDRESS, S), (None, None), "who did not ask is told nothing");
    }

    #[test]
    fn names_live_for_their_ttl_and_at_least_a_minute() {
        let mut cache = Names::new(8);
        cache.learn(CLIENT, ADDRESS, &names(&["short"]), ttl(1), 0);
        cache.learn(CLIENT, ADDRESS, &names(&["long"]), ttl(300), 0);
        let at = |cache: &mut Names, seconds: u64| texts(cache.of(CLIENT, ADDRESS, seconds * S).1);
        assert_eq!(at(&mut cache, 59), ["long", "short"]);
        assert_eq!(at(&mut cache, 60), ["long"]);
        assert!(at(&mut cache, 300).is_empty() && cache.is_empty());
        cache.learn(CLIENT, ADDRESS, &names(&["for ever"]), Duration::from_secs(u64::from(u32::MAX)), 0);
        assert!(at(&mut cache, 24 * 3600).is_empty());
    }

    #[test]
    fn being_told_again_renews_and_makes_nothing_new() {
        let mut cache = Names::new(8);
        cache.learn(CLIENT, ADDRESS, &names(&["www", "edge"]), ttl(60), 0);
        let before = cache.of(CLIENT, ADDRESS, S).1.unwrap();
        cache.learn(CLIENT, ADDRESS, &names(&["edge", "www"]), ttl(60), 30 * S);
        let after = cache.of(CLIENT, ADDRESS, 80 * S).1.unwrap();
        assert!(Arc::ptr_eq(&before, &after));
    }

    #[test]
    fn names_and_addresses_are_bounded() {
        let mut cache = Names::new(4);
        for n in 0..20 {
            cache.learn(CLIENT, ADDRESS, &names(&[&format!("name-{n}")]), ttl(60), n);
        }
        let kept = texts(cache.of(CLIENT, ADDRESS, 20).1);
        assert_eq!((kept.len(), kept[0].as_str(), kept[7].as_str()), (PER_ADDRESS, "name-19", "name-12"));
        for n in 10..30 {
            cache.learn(CLIENT, [n; 16], &names(&["x"]), ttl(60), 0);
        }
        assert_eq!((cache.len(), cache.evicted()), (4, 17));
    }
}
