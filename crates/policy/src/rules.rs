//! Rule ids: 32-bit numbers in table entries and events that lead back to policies and rules.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use fathom_identity::hash::{finalize, stable_hash};

use crate::policy::PolicyMeta;
use crate::table::Direction;

/// A rule of a policy, or with no index the policy as a reason for a default deny.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleRef {
    pub policy: Arc<PolicyMeta>,
    pub direction: Direction,
    /// Place in the policy's list of that direction.
    pub index: Option<u32>,
}

/// What a rule id stands for: the rules that made the entry, or the policies behind a default deny.
#[derive(Clone, Debug)]
pub struct RuleSet {
    pub id: u32,
    /// Sorted, each once.
    pub refs: Vec<RuleRef>,
}

impl RuleSet {
    /// Whether this is the set of policies that select a pod, none of which allowed.
    pub fn default_deny(&self) -> bool {
        self.refs.iter().all(|rule| rule.index.is_none())
    }
}

/// All rule ids in use, and the most recent of those that were.
///
/// An id is a stable hash of what its rules are called (kind, namespace, name, direction, index), so
/// it is the same after a restart, and events from before it still lead to their rule. Two sets whose
/// hashes collide (about 1 % likely with 10,000 sets) get different ids, in the order of their coming;
/// only between those two a restart may swap names in events that were under way.
#[derive(Debug)]
pub struct RuleRegistry {
    slots: HashMap<u32, Slot>,
    /// Burials of sets no table uses any more, oldest first; may name sets that were revived since.
    graves: VecDeque<(u64, u32)>,
    graves_kept: usize,
    burials: u64,
}

#[derive(Debug)]
struct Slot {
    set: Arc<RuleSet>,
    live: bool,
    /// Number of its last burial.
    burial: u64,
}

impl Default for RuleRegistry {
    /// Keeps the last 16,384 sets that went out of use.
    fn default() -> Self {
        Self::new(16_384)
    }
}

impl RuleRegistry {
    /// `graves_kept`: how many sets that no table uses any more still resolve, for late events.
    pub fn new(graves_kept: usize) -> Self {
        Self { slots: HashMap::new(), graves: VecDeque::new(), graves_kept, burials: 0 }
    }

    /// The id of a set of rules.
    pub fn intern(&mut self, mut refs: Vec<RuleRef>) -> u32 {
        refs.sort_unstable();
        refs.dedup();
        let hash = stable_hash(canonical(&refs).as_bytes());
        let ids = (0u64..).map(|turn| finalize(hash.wrapping_add(turn)) as u32);
        for id in ids.filter(|id| *id != 0) {
            match self.slots.get_mut(&id) {
                Some(slot) if slot.set.refs == refs => {
                    // Same rules by name; their policy's labels may be newer.
                    if !same_objects(&slot.set.refs, &refs) {
                        slot.set = Arc::new(RuleSet { id, refs });
                    }
                    slot.live = true;
                    return id;
                }
                Some(_) => {}
                None => {
                    self.slots
                        .insert(id, Slot { set: Arc::new(RuleSet { id, refs }), live: true, burial: 0 });
                    return id;
                }
            }
        }
        unreachable!("the walk over ids does not end before a free one is found")
    }

    /// What an id stands for, or stood for until recently.
    pub fn resolve(&self, id: u32) -> Option<&Arc<RuleSet>> {
        self.slots.get(&id).map(|slot| &slot.set)
    }

    /// Says which ids tables use now (all of them). The others still resolve until enough newer ones have
    /// gone out of use.
    pub fn retain(&mut self, used: &BTreeSet<u32>) {
        let mut leaving: Vec<u32> = Vec::new();
        for (id, slot) in &mut self.slots {
            if slot.live && !used.contains(id) {
                slot.live = false;
                leaving.push(*id);
            }
        }
        leaving.sort_unstable();
        for id in leaving {
            self.burials += 1;
            self.graves.push_back((self.burials, id));
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.burial = self.burials;
            }
        }
        while self.graves.len() > self.graves_kept {
            let Some((burial, id)) = self.graves.pop_front() else { break };
            // A set may have been revived, and buried again: only its last burial counts.
            if self.slots.get(&id).is_some_and(|slot| !slot.live && slot.burial == burial) {
                self.slots.remove(&id);
            }
        }
    }

    /// Every set that resolves; `true` for those in use.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<RuleSet>, bool)> + '_ {
        self.slots.values().map(|slot| (&slot.set, slot.live))
    }
}

fn same_objects(one: &[RuleRef], other: &[RuleRef]) -> bool {
    one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(&one.policy, &other.policy))
}

/// One line per rule. Names of Kubernetes objects have no line breaks or slashes; were one to, the sets
/// would at worst share a first candidate.
fn canonical(refs: &[RuleRef]) -> String {
    let mut text = String::with_capacity(refs.len() * 48);
    for RuleRef { policy, direction, index } in refs {
        let PolicyMeta { kind, namespace, name, .. } = &**policy;
        text.push_str(&format!("{kind}/{namespace}/{name}/{}/", direction.name()));
        text.push_str(&index.map_or_else(|| "default-deny\n".to_owned(), |index| format!("{index}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, index: Option<u32>) -> RuleRef {
        let meta = PolicyMeta {
            kind: "NetworkPolicy".into(),
            namespace: "live".into(),
            name: name.into(),
            ..PolicyMeta::default()
        };
        RuleRef { policy: Arc::new(meta), direction: Direction::Ingress, index }
    }

    #[test]
    fn the_same_rules_have_the_same_id_in_any_order_and_in_another_process() {
        let mut one = RuleRegistry::default();
        let mut two = RuleRegistry::default();
        let id = one.intern(vec![rule("a", Some(0)), rule("b", Some(1))]);
        two.intern(vec![rule("c", None)]);
        assert_eq!(two.intern(vec![rule("b", Some(1)), rule("a", Some(0)), rule("a", Some(0))]), id);
        assert_ne!(one.intern(vec![rule("a", Some(0))]), id);
        assert_ne!(one.intern(vec![rule("a", None)]), one.intern(vec![rule("a", Some(0))]));
    }

    #[test]
    fn the_id_of_a_known_rule_never_changes() {
        assert_eq!(RuleRegistry::default().intern(vec![rule("a", Some(0))]), 0xe474_3f28);
    }

    #[test]
    fn a_rule_that_is_gone_still_has_a_name_until_enough_others_are_gone_too() {
        let mut rules = RuleRegistry::new(2);
        let ids: Vec<u32> = (0..3).map(|index| rules.intern(vec![rule("a", Some(index))])).collect();
        for id in &ids {
            rules.retain(&ids.iter().copied().filter(|other| other > id).collect());
            assert!(rules.resolve(*id).is_some());
        }
        let mut rules = RuleRegistry::new(2);
        for index in 0..9 {
            rules.intern(vec![rule("a", Some(index))]);
            rules.retain(&BTreeSet::new());
        }
        assert_eq!(rules.iter().count(), 2);
        assert!(rules.iter().all(|(_, live)| !live));
    }

    #[test]
    fn a_rule_that_comes_back_is_not_forgotten_with_its_grave() {
        let mut rules = RuleRegistry::new(1);
        let id = rules.intern(vec![rule("a", None)]);
        rules.retain(&BTreeSet::new());
        assert_eq!(rules.intern(vec![rule("a", None)]), id);
        rules.intern(vec![rule("b", None)]);
        rules.intern(vec![rule("c", None)]);
        rules.retain(&[id].into());
        assert_eq!(rules.resolve(id).unwrap().refs, [rule("a", None)]);
        assert!(rules.resolve(id).unwrap().default_deny());
    }

    #[test]
    fn colliding_sets_get_different_ids() {
        let mut rules = RuleRegistry::default();
        let id = rules.intern(vec![rule("a", None)]);
        let taken = rules.slots.remove(&id).unwrap();
        let other = RuleSet { id, refs: vec![rule("b", None)] };
        rules.slots.insert(id, Slot { set: Arc::new(other), live: true, burial: 0 });
        let moved = rules.intern(taken.set.refs.clone());
        assert_ne!(moved, id);
        assert_eq!(rules.resolve(moved).unwrap().refs, taken.set.refs);
    }
}
