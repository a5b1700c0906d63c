//! Node-local identity numbers of prefixes that policies name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ipnet::IpNet;
use thiserror::Error;

use crate::NumericIdentity;
use crate::label::Label;
use crate::label_set::LabelSet;
use crate::prefix::canonical_prefix;
use crate::reserved;

/// Smallest number of a CIDR identity.
pub const CIDR_MIN: u32 = 0x0100_0001;
/// Largest number of a CIDR identity.
pub const CIDR_MAX: u32 = 0x01ff_ffff;

/// Prefixes that nobody uses any more but whose number is remembered.
const REMEMBERED: usize = 65_536;

/// No CIDR identity number is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "all CIDR identity numbers ({CIDR_MIN:#x}..={CIDR_MAX:#x}) are in use: policies name too many prefixes"
)]
pub struct CidrExhausted;

/// Numbers by prefix, counted by their users.
///
/// A prefix nobody uses keeps its number in memory for when it comes back, so that an edit that is
/// undone does not renumber; a number is handed to another prefix only when 65,536 later ones have been
/// left, or numbers run out.
#[derive(Debug, Default)]
pub struct CidrIdentities {
    by_prefix: BTreeMap<IpNet, Slot>,
    by_number: BTreeMap<NumericIdentity, IpNet>,
    /// Prefixes without users, oldest first; may hold prefixes that found users again.
    left: VecDeque<IpNet>,
    free: VecDeque<NumericIdentity>,
    /// Numbers from `CIDR_MIN` on that were handed out or found restored.
    handed_out: u32,
}

#[derive(Debug)]
struct Slot {
    number: NumericIdentity,
    users: u32,
}

impl CidrIdentities {
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers numbers from before a restart (the pinned ipcache says them). Numbers outside the CIDR
    /// range and prefixes or numbers already known are ignored.
    pub fn restore(&mut self, known: impl IntoIterator<Item = (IpNet, NumericIdentity)>) {
        for (prefix, number) in known {
            let prefix = canonical_prefix(prefix);
            let fits = (CIDR_MIN..=CIDR_MAX).contains(&number);
            if fits && !self.by_prefix.contains_key(&prefix) && !self.by_number.contains_key(&number) {
                self.insert(prefix, number, 0);
                self.left.push_back(prefix);
            }
        }
    }

    fn insert(&mut self, prefix: IpNet, number: NumericIdentity, users: u32) {
        self.by_number.insert(number, prefix);
        self.by_prefix.insert(prefix, Slot { number, users });
    }

    /// The prefix's number, with one more user.
    ///
    /// # Errors
    /// All numbers are in use.
    pub fn acquire(&mut self, prefix: IpNet) -> Result<NumericIdentity, CidrExhausted> {
        let prefix = canonical_prefix(prefix);
        if let Some(slot) = self.by_prefix.get_mut(&prefix) {
            slot.users += 1;
            return Ok(slot.number);
        }
        let number = self.next_number().ok_or(CidrExhausted)?;
        self.insert(prefix, number, 1);
        Ok(number)
    }

    fn next_number(&mut self) -> Option<NumericIdentity> {
        if let Some(number) = self.free.pop_front() {
            return Some(number);
        }
        while self.handed_out <= CIDR_MAX - CIDR_MIN {
            let number = CIDR_MIN + self.handed_out;
            self.handed_out += 1;
            if !self.by_number.contains_key(&number) {
                return Some(number);
            }
        }
        self.forget_oldest();
        self.free.pop_front()
    }

    /// One user less; true when that was the last and the prefix may leave the ipcache.
    pub fn release(&mut self, prefix: IpNet) -> bool {
        let prefix = canonical_prefix(prefix);
        let Some(slot) = self.by_prefix.get_mut(&prefix).filter(|slot| slot.users > 0) else { return false };
        slot.users -= 1;
        if slot.users > 0 {
            return false;
        }
        self.left.push_back(prefix);
        if self.left.len() > REMEMBERED {
            self.forget_oldest();
        }
        true
    }

    fn forget_oldest(&mut self) {
        while let Some(prefix) = self.left.pop_front() {
            if let Some(slot) = self.by_prefix.get(&prefix).filter(|slot| slot.users == 0) {
                self.free.push_back(slot.number);
                self.by_number.remove(&slot.number);
                self.by_prefix.remove(&prefix);
                return;
            }
        }
    }

    /// Makes `wanted` the prefixes with exactly one user each, and returns all of them with their numbers.
    ///
    /// # Errors
    /// All numbers are in use; what was acquired so far stays.
    pub fn set(
        &mut self,
        wanted: &BTreeSet<IpNet>,
    ) -> Result<BTreeMap<IpNet, NumericIdentity>, CidrExhausted> {
        let wanted: BTreeSet<IpNet> = wanted.iter().copied().map(canonical_prefix).collect();
        let leaving: Vec<IpNet> =
            self.iter().map(|(prefix, _)| prefix).filter(|p| !wanted.contains(p)).collect();
        for prefix in leaving {
            if let Some(slot) = self.by_prefix.get_mut(&prefix) {
                slot.users = 1;
            }
            self.release(prefix);
        }
        for prefix in &wanted {
            if self.by_prefix.get(prefix).is_none_or(|slot| slot.users == 0) {
                self.acquire(*prefix)?;
            }
        }
        Ok(self.iter().collect())
    }

    /// Number of a prefix that has users.
    pub fn get(&self, prefix: IpNet) -> Option<NumericIdentity> {
        self.by_prefix.get(&canonical_prefix(prefix)).filter(|slot| slot.users > 0).map(|slot| slot.number)
    }

    /// Prefix of a number, also one without users whose number is still remembered, so that late events
    /// have a name.
    pub fn prefix(&self, number: NumericIdentity) -> Option<IpNet> {
        self.by_number.get(&number).copied()
    }

    /// Prefixes that have users, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, NumericIdentity)> + '_ {
        self.by_prefix.iter().filter(|(_, slot)| slot.users > 0).map(|(prefix, slot)| (*prefix, slot.number))
    }

    /// Labels of a prefix: `cidr:<prefix>` and `reserved:world`.
    pub fn labels(prefix: IpNet) -> LabelSet {
        let world = reserved::name(reserved::WORLD).expect("world is reserved");
        LabelSet::new([Label::cidr(canonical_prefix(prefix)), Label::reserved(world)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_start_where_clients_expect_and_spellings_share_one() {
        let mut cidrs = CidrIdentities::new();
        assert_eq!(cidrs.acquire(net("10.0.0.0/8")), Ok(0x0100_0001));
        assert_eq!(cidrs.acquire(net("10.9.0.0/8")), Ok(0x0100_0001));
        assert_eq!(cidrs.acquire(net("::ffff:10.0.0.0/104")), Ok(0x0100_0001));
        assert_eq!(cidrs.acquire(net("2001:db8::/32")), Ok(0x0100_0002));
        assert_eq!(cidrs.prefix(0x0100_0002), Some(net("2001:db8::/32")));
        let labels = CidrIdentities::labels(net("10.0.0.0/8")).rendered();
        assert_eq!(labels.iter().map(|l| &**l).collect::<Vec<_>>(), ["cidr:10.0.0.0/8", "reserved:world"]);
    }

    #[test]
    fn a_prefix_leaves_with_its_last_user_and_comes_back_with_its_number() {
        let mut cidrs = CidrIdentities::new();
        let number = cidrs.acquire(net("10.0.0.0/8")).unwrap();
        cidrs.acquire(net("10.0.0.0/8")).unwrap();
        assert!(!cidrs.release(net("10.0.0.0/8")));
        assert!(cidrs.release(net("10.0.0.0/8")));
        assert!(!cidrs.release(net("10.0.0.0/8")), "nobody is left to release");
        assert_eq!(cidrs.get(net("10.0.0.0/8")), None);
        assert_eq!(cidrs.prefix(number), Some(net("10.0.0.0/8")), "late events still find its name");
        assert_ne!(cidrs.acquire(net("11.0.0.0/8")), Ok(number));
        assert_eq!(cidrs.acquire(net("10.0.0.0/8")), Ok(number));
    }

    #[test]
    fn numbers_survive_a_restart() {
        let mut cidrs = CidrIdentities::new();
        cidrs.restore([
            (net("10.0.0.0/8"), CIDR_MIN + 4),
            (net("11.0.0.0/8"), 2),
            (net("12.0.0.0/8"), CIDR_MIN + 4),
        ]);
        assert_eq!(cidrs.iter().count(), 0, "remembered is not used");
        assert_eq!(cidrs.acquire(net("12.0.0.0/8")), Ok(CIDR_MIN));
        assert_eq!(cidrs.acquire(net("10.0.0.0/8")), Ok(CIDR_MIN + 4));
        let more: Vec<u32> = (20..25).map(|i| cidrs.acquire(net(&format!("{i}.0.0.0/8"))).unwrap()).collect();
        assert_eq!(more, [CIDR_MIN + 1, CIDR_MIN + 2, CIDR_MIN + 3, CIDR_MIN + 5, CIDR_MIN + 6]);
    }

    #[test]
    fn setting_the_wanted_prefixes_keeps_numbers_of_those_that_stay() {
        let mut cidrs = CidrIdentities::new();
        let first = cidrs.set(&[net("10.0.0.0/8"), net("11.0.0.0/8")].into()).unwrap();
        let second = cidrs.set(&[net("11.0.0.0/8"), net("12.0.0.0/8")].into()).unwrap();
        assert_eq!(first[&net("11.0.0.0/8")], second[&net("11.0.0.0/8")]);
        assert_eq!(second.len(), 2);
        let third = cidrs.set(&[net("10.0.0.0/8")].into()).unwrap();
        assert_eq!(third, BTreeMap::from([(net("10.0.0.0/8"), first[&net("10.0.0.0/8")])]));
    }

    #[test]
    fn memory_of_prefixes_that_left_is_bounded() {
        let mut cidrs = CidrIdentities::new();
        for i in 0..70_000u32 {
            let prefix = IpNet::new(std::net::Ipv4Addr::from(i << 8).into(), 24).unwrap();
            cidrs.acquire(prefix).unwrap();
            cidrs.release(prefix);
        }
        assert!(cidrs.by_prefix.len() <= REMEMBERED + 1 && cidrs.left.len() <= REMEMBERED + 1);
        assert_eq!(cidrs.by_prefix.len(), cidrs.by_number.len());
    }
}
