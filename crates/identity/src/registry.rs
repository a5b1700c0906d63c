//! Where all agents agree on which number stands for which labels.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::label_set::LabelSet;

/// What became of an attempt to take a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The number was free and now stands for these labels.
    Won,
    /// The number already stood for these labels.
    Same,
    /// The number stands for other labels: try the next candidate.
    Taken,
    /// The cluster is being asked which number these labels have; ask again when it has answered.
    Pending,
}

/// A cluster-wide store of numbers: a directory with one file each, or one custom resource each.
///
/// What an implementation owes:
/// * `claim` is atomic: of claimants that come at once for one number, one wins and the others
///   see its labels. Labels and number must appear together (write aside, then link or create),
///   never a number without labels.
/// * A number that is given up stays taken for other labels for longer than any claim may run
///   (a grave). Otherwise two agents, one of which probed past the number before it was given
///   up, could settle on different numbers for the same labels.
/// * If numbers are ever given up, `find` must be answered from all of them.
pub trait Registry {
    type Error: std::error::Error + Send + Sync + 'static;

    /// The number that stands for these labels already. Optional where numbers are never given
    /// up: there probing alone leads to it.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn find(&self, labels: &LabelSet) -> Result<Option<u16>, Self::Error> {
        let _ = labels;
        Ok(None)
    }

    /// Takes a number for these labels unless it stands for others.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn claim(&self, number: u16, labels: &LabelSet) -> Result<Claim, Self::Error>;

    /// The labels a number stands for.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn labels(&self, number: u16) -> Result<Option<LabelSet>, Self::Error>;

    /// Somebody on this node waits for the number of these labels, while for others the agent whose
    /// pod it is will ask.
    fn hurry(&self, labels: &LabelSet) {
        let _ = labels;
    }

    /// The numbers that pods of this node have: whoever collects unused numbers must hear of them.
    fn in_use(&self, numbers: &BTreeSet<u16>) {
        let _ = numbers;
    }

    /// Numbers that no longer stand for what they did, each told once: who used them must ask again.
    fn take_disowned(&self) -> Vec<u16> {
        Vec::new()
    }
}

macro_rules! pass_on {
    ($pointer:ty) => {
        impl<R: Registry + ?Sized> Registry for $pointer {
            type Error = R::Error;

            fn find(&self, labels: &LabelSet) -> Result<Option<u16>, Self::Error> {
                (**self).find(labels)
            }

            fn claim(&self, number: u16, labels: &LabelSet) -> Result<Claim, Self::Error> {
                (**self).claim(number, labels)
            }

            fn labels(&self, number: u16) -> Result<Option<LabelSet>, Self::Error> {
                (**self).labels(number)
            }

            fn hurry(&self, labels: &LabelSet) {
                (**self).hurry(labels);
            }

            fn in_use(&self, numbers: &BTreeSet<u16>) {
                (**self).in_use(numbers);
            }

            fn take_disowned(&self) -> Vec<u16> {
                (**self).take_disowned()
            }
        }
    };
}

pass_on!(&R);
pass_on!(std::sync::Arc<R>);

/// A registry within one process: for tests and for a node on its own.
#[derive(Debug, Default)]
pub struct MemoryRegistry {
    slots: Mutex<BTreeMap<u16, Slot>>,
}

#[derive(Debug)]
struct Slot {
    labels: LabelSet,
    given_up: bool,
}

impl MemoryRegistry {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<u16, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a number up: a grave until [`Self::clear_graves`], revived by the same labels.
    pub fn give_up(&self, number: u16) {
        if let Some(slot) = self.slots().get_mut(&number) {
            slot.given_up = true;
        }
    }

    /// Frees the numbers given up. Call when no claim that began before is still running.
    pub fn clear_graves(&self) {
        self.slots().retain(|_, slot| !slot.given_up);
    }

    /// Every number in use with its labels.
    pub fn list(&self) -> Vec<(u16, LabelSet)> {
        let slots = self.slots();
        slots
            .iter()
            .filter(|(_, slot)| !slot.given_up)
            .map(|(number, slot)| (*number, slot.labels.clone()))
            .collect()
    }
}

impl Registry for MemoryRegistry {
    type Error = Infallible;

    fn find(&self, labels: &LabelSet) -> Result<Option<u16>, Infallible> {
        Ok(self.slots().iter().find(|(_, slot)| slot.labels == *labels).map(|(number, _)| *number))
    }

    fn claim(&self, number: u16, labels: &LabelSet) -> Result<Claim, Infallible> {
        use std::collections::btree_map::Entry;
        Ok(match self.slots().entry(number) {
            Entry::Vacant(free) => {
                free.insert(Slot { labels: labels.clone(), given_up: false });
                Claim::Won
            }
            Entry::Occupied(mut slot) if slot.get().labels == *labels => {
                slot.get_mut().given_up = false;
                Claim::Same
            }
            Entry::Occupied(_) => Claim::Taken,
        })
    }

    fn labels(&self, number: u16) -> Result<Option<LabelSet>, Infallible> {
        Ok(self.slots().get(&number).map(|slot| slot.labels.clone()))
    }
}
