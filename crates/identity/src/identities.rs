//! The identities this agent knows, each kept until nothing uses it and a grace period has passed.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::NumericIdentity;
use crate::allocate::{AllocateError, allocate};
use crate::label_set::LabelSet;
use crate::registry::Registry;

/// Label sets with their numbers, counted by their users (one per pod or address).
///
/// A label change gives a pod a new identity: acquire the new one, move the pod's addresses, then
/// release the old one. The old one's tables stay until [`Identities::sweep`] names it, so that
/// packets on their way are judged by what they were sent under.
#[derive(Debug)]
pub struct Identities<R> {
    registry: R,
    grace: Duration,
    numbers: HashMap<LabelSet, NumericIdentity>,
    known: BTreeMap<NumericIdentity, Known>,
}

#[derive(Debug)]
struct Known {
    labels: LabelSet,
    users: u32,
    /// When the last user left.
    unused_since: Option<Instant>,
}

impl<R: Registry> Identities<R> {
    /// `grace`: how long an identity outlives its last user on this node.
    pub fn new(registry: R, grace: Duration) -> Self {
        Self { registry, grace, numbers: HashMap::new(), known: BTreeMap::new() }
    }

    pub fn registry(&self) -> &R {
        &self.registry
    }

    /// The number of a label set, with one more user. Asks the registry only the first time.
    ///
    /// # Errors
    /// No number is free, or the registry cannot be asked; nothing is counted then.
    pub fn acquire(&mut self, labels: &LabelSet) -> Result<NumericIdentity, AllocateError<R::Error>> {
        let number = match self.numbers.get(labels) {
            Some(number) => *number,
            None => {
                let number = allocate(&self.registry, labels)?;
                self.numbers.insert(labels.clone(), number);
                number
            }
        };
        let fresh = || Known { labels: labels.clone(), users: 0, unused_since: None };
        let known = self.known.entry(number).or_insert_with(fresh);
        known.users += 1;
        known.unused_since = None;
        Ok(number)
    }

    /// Takes a number back from its labels, because the cluster says that it stands for others: who asks for
    /// these labels again gets the number the registry then names.
    pub fn revoke(&mut self, number: NumericIdentity) {
        if let Some(known) = self.known.remove(&number) {
            self.numbers.remove(&known.labels);
        }
    }

    /// One user less. The identity stays known; after the grace period [`Self::sweep`] returns it.
    pub fn release(&mut self, number: NumericIdentity, now: Instant) {
        let Some(known) = self.known.get_mut(&number).filter(|known| known.users > 0) else { return };
        known.users -= 1;
        if known.users == 0 {
            known.unused_since = Some(now);
        }
    }

    /// Forgets and returns the identities that nobody used for the whole grace period: their tables may
    /// go. Other nodes may still use the numbers, so giving them up in the registry is not for one agent
    /// to decide.
    pub fn sweep(&mut self, now: Instant) -> Vec<(NumericIdentity, LabelSet)> {
        let grace = self.grace;
        let over = |known: &Known| {
            known.unused_since.is_some_and(|since| now.saturating_duration_since(since) >= grace)
        };
        let gone: Vec<NumericIdentity> =
            self.known.iter().filter(|(_, known)| over(known)).map(|(number, _)| *number).collect();
        let mut swept = Vec::with_capacity(gone.len());
        for number in gone {
            if let Some(known) = self.known.remove(&number) {
                self.numbers.remove(&known.labels);
                swept.push((number, known.labels));
            }
        }
        swept
    }

    /// Labels of a known number, also of one in its grace period.
    pub fn labels(&self, number: NumericIdentity) -> Option<&LabelSet> {
        self.known.get(&number).map(|known| &known.labels)
    }

    /// Users of a number; 0 when it is unknown or in its grace period.
    pub fn users(&self, number: NumericIdentity) -> u32 {
        self.known.get(&number).map_or(0, |known| known.users)
    }

    /// Every known identity, those in their grace period included.
    pub fn iter(&self) -> impl Iterator<Item = (NumericIdentity, &LabelSet)> + '_ {
        self.known.iter().map(|(number, known)| (*number, &known.labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Label;
    use crate::registry::MemoryRegistry;

    const GRACE: Duration = Duration::from_secs(10);

    fn web() -> LabelSet {
        LabelSet::new([Label::k8s("app", "web")])
    }

    #[test]
    fn an_identity_is_kept_until_its_last_user_left_and_the_grace_is_over() {
        let mut identities = Identities::new(MemoryRegistry::default(), GRACE);
        let start = Instant::now();
        let number = identities.acquire(&web()).unwrap();
        assert_eq!(identities.acquire(&web()).unwrap(), number);
        identities.release(number, start);
        assert!(identities.sweep(start + GRACE * 2).is_empty(), "one user is left");
        identities.release(number, start + GRACE);
        assert!(identities.sweep(start + GRACE * 2 - Duration::from_millis(1)).is_empty());
        assert_eq!(identities.labels(number), Some(&web()));
        assert_eq!(identities.sweep(start + GRACE * 2), [(number, web())]);
        assert_eq!(identities.labels(number), None);
    }

    #[test]
    fn a_user_that_comes_back_in_time_keeps_the_identity() {
        let mut identities = Identities::new(MemoryRegistry::default(), GRACE);
        let start = Instant::now();
        let number = identities.acquire(&web()).unwrap();
        identities.release(number, start);
        identities.release(number, start);
        assert_eq!(identities.acquire(&web()).unwrap(), number);
        assert!(identities.sweep(start + GRACE * 9).is_empty());
        assert_eq!(identities.users(number), 1);
    }

    #[test]
    fn two_agents_with_one_registry_see_one_number() {
        let registry = MemoryRegistry::default();
        let mut one = Identities::new(&registry, GRACE);
        let mut two = Identities::new(&registry, GRACE);
        assert_eq!(one.acquire(&web()).unwrap(), two.acquire(&web()).unwrap());
        assert_eq!(registry.list().len(), 1);
    }
}
