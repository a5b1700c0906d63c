//! The number of a label set: a hash picks the first candidate, the registry settles collisions.

use thiserror::Error;

use crate::hash::finalize;
use crate::label_set::LabelSet;
use crate::registry::{Claim, Registry};
use crate::{NumericIdentity, reserved};

/// Smallest number of a cluster identity.
pub const CLUSTER_MIN: u32 = 256;
/// Largest number of a cluster identity.
pub const CLUSTER_MAX: u32 = 65_535;

const COUNT: u64 = (CLUSTER_MAX - CLUSTER_MIN + 1) as u64;

/// Why a label set got no number.
#[derive(Debug, Error)]
pub enum AllocateError<E: std::error::Error + 'static> {
    /// Every number stands for other labels.
    #[error(
        "all {COUNT} identity numbers ({CLUSTER_MIN}..={CLUSTER_MAX}) are taken: leave labels that differ \
         from pod to pod out of identities (--labels), or give up unused numbers"
    )]
    Exhausted,
    /// The cluster has been asked and has not answered yet.
    #[error("the identity registry has been asked and has not answered yet")]
    Pending,
    /// The registry failed.
    #[error("cannot ask the identity registry about number {number}")]
    Registry { number: u32, source: E },
    /// The registry failed to look labels up.
    #[error("cannot ask the identity registry for a label set")]
    Find { source: E },
}

/// All numbers in the order in which these labels try them: each once, the same everywhere.
///
/// Double hashing: start and step come from independent mixes of the set's stable hash, and the
/// step shares no factor with the count of numbers, so the walk visits all of them. With half of
/// the numbers taken a new set asks for two on average, where steps of one would pile up.
pub fn candidates(labels: &LabelSet) -> impl Iterator<Item = u16> + use<> {
    let hash = labels.stable_hash();
    let start = hash % COUNT;
    let mut step = finalize(hash ^ 0x9e37_79b9_7f4a_7c15) % COUNT;
    while greatest_common_divisor(step, COUNT) != 1 {
        step = (step + 1) % COUNT;
    }
    (0..COUNT).map(move |turn| (u64::from(CLUSTER_MIN) + (start + turn * step) % COUNT) as u16)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The number of a label set, taken from the registry if it has none yet. `reserved:` sets have
/// their fixed number and never ask.
///
/// # Errors
/// No number is free, or the registry cannot be asked or has not answered.
pub fn allocate<R: Registry>(
    registry: &R,
    labels: &LabelSet,
) -> Result<NumericIdentity, AllocateError<R::Error>> {
    if let Some(number) = reserved::of_labels(labels) {
        return Ok(number);
    }
    let known = registry.find(labels).map_err(|source| AllocateError::Find { source })?;
    for number in known.into_iter().chain(candidates(labels)) {
        let claim = registry.claim(number, labels);
        let number = u32::from(number);
        match claim.map_err(|source| AllocateError::Registry { number, source })? {
            Claim::Won | Claim::Same => return Ok(number),
            Claim::Taken => {}
            Claim::Pending => return Err(AllocateError::Pending),
        }
    }
    Err(AllocateError::Exhausted)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::label::Label;
    use crate::registry::MemoryRegistry;

    fn set(app: u32) -> LabelSet {
        LabelSet::new([Label::k8s("app", app.to_string()), Label::k8s("team", "video")])
    }

    #[test]
    fn the_first_candidate_of_known_labels_never_changes() {
        let golden: Vec<u16> = candidates(&LabelSet::new([Label::k8s("app", "web")])).take(3).collect();
        assert_eq!(golden, [47578, 16901, 51504]);
    }

    #[test]
    fn probing_visits_every_number_once() {
        for app in 0..20 {
            let seen: BTreeSet<u16> = candidates(&set(app)).collect();
            assert_eq!(seen.len() as u64, COUNT);
            assert_eq!(seen.first(), Some(&256));
        }
    }

    #[test]
    fn reserved_sets_have_their_number_without_asking() {
        let registry = MemoryRegistry::default();
        assert_eq!(allocate(&registry, &LabelSet::new([Label::reserved("host")])).unwrap(), 1);
        assert!(registry.list().is_empty());
    }

    #[test]
    fn when_every_number_is_taken_the_error_says_what_to_do() {
        let registry = MemoryRegistry::default();
        for number in CLUSTER_MIN..=CLUSTER_MAX {
            registry.claim(number as u16, &set(number)).unwrap();
        }
        let error = allocate(&registry, &set(70_000)).unwrap_err().to_string();
        assert!(error.contains("65280") && error.contains("--labels"), "{error}");
        assert_eq!(allocate(&registry, &set(300)).unwrap(), 300, "known labels keep their number");
    }

    #[test]
    fn a_number_given_up_before_ours_does_not_renumber_us() {
        let registry = MemoryRegistry::default();
        let ours = set(1);
        let first = candidates(&ours).next().unwrap();
        registry.claim(first, &set(2)).unwrap();
        let number = allocate(&registry, &ours).unwrap();
        assert_ne!(number, u32::from(first));
        registry.give_up(first);
        assert_eq!(registry.claim(first, &ours).unwrap(), Claim::Taken, "a grave is not free");
        assert_eq!(allocate(&registry, &ours).unwrap(), number);
        registry.clear_graves();
        assert_eq!(allocate(&registry, &ours).unwrap(), number);
    }

    /// A registry so small that most claims collide: numbers fall into 64 slots.
    struct Crowded(MemoryRegistry);

    impl Registry for Crowded {
        type Error = std::convert::Infallible;

        fn claim(&self, number: u16, labels: &LabelSet) -> Result<Claim, Self::Error> {
            self.0.claim(256 + number % 64, labels)
        }

        fn labels(&self, number: u16) -> Result<Option<LabelSet>, Self::Error> {
            self.0.labels(256 + number % 64)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn claimants_at_once_agree_and_no_two_sets_share_a_number(apps in prop::collection::vec(0u32..40, 1..30)) {
            let registry = Crowded(MemoryRegistry::default());
            let slots = |app: u32| 256 + (allocate(&registry, &set(app)).unwrap() - 256) % 64;
            let agents: Vec<BTreeMap<u32, u32>> = std::thread::scope(|scope| {
                let agents: Vec<_> = (0..4).map(|agent| {
                    let mut order = apps.clone();
                    let by = agent * 7 % order.len();
                    order.rotate_left(by);
                    scope.spawn(move || order.into_iter().map(|app| (app, slots(app))).collect())
                }).collect();
                agents.into_iter().map(|agent| agent.join().unwrap()).collect()
            });
            for agent in &agents {
                prop_assert_eq!(agent, &agents[0]);
            }
            let numbers: BTreeSet<u32> = agents[0].values().copied().collect();
            prop_assert_eq!(numbers.len(), agents[0].len());
        }
    }
}
