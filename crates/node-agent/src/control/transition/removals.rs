//! The last step of a transition: what nobody wants any more goes, as far as nothing older still leans on it.

use std::collections::{BTreeMap, BTreeSet};

use fathom_identity::reserved;
use ipnet::IpNet;

use super::{Renamed, Work};
use crate::control::unfit;

impl Work<'_> {
    pub(super) fn removals(&mut self) {
        for id in surplus(&self.applied.contents.services, &self.wanted.services) {
            let result = self.datapath.remove_service(id);
            if self.done(result, false) {
                self.applied.contents.services.remove(&id);
            }
        }
        let cookies: BTreeMap<u64, u32> =
            self.wanted.endpoints.iter().map(|(ifindex, e)| (e.netns_cookie, *ifindex)).collect();
        for cookie in surplus(&self.applied.contents.netns, &cookies) {
            let result = self.datapath.remove_netns(cookie);
            if self.done(result, false) {
                self.applied.contents.netns.remove(&cookie);
            }
        }
        for ifindex in surplus(&self.applied.contents.endpoints, &self.wanted.endpoints) {
            // Programs first: without its entry they would drop what is still on its way.
            let detached = self.datapath.detach(ifindex);
            self.done(detached, false);
            self.applied.attached.remove(&ifindex);
            let result = self.datapath.remove_endpoint(ifindex);
            if self.done(result, false) {
                self.applied.contents.endpoints.remove(&ifindex);
            }
        }
        for address in surplus(&self.applied.contents.addresses, &self.wanted.addresses) {
            let result = self.datapath.remove_address(address);
            if self.done(result, false) {
                let before = self.applied.contents.addresses.remove(&address);
                self.applied.contents.l7_here.remove(&address);
                self.outcome.renamed.push(Renamed { prefix: address.into(), before, now: None });
            }
        }
        self.old_prefixes();
        self.old_tables();
        if self.outcome.changes > 0 {
            let result = self.datapath.sweep();
            self.done(result, false);
        }
    }

    fn old_tables(&mut self) {
        let present = self.applied.contents.endpoints.values().map(|entry| entry.identity);
        let wanted = self.wanted.endpoints.values().map(|wanted| wanted.entry.identity);
        let used: BTreeSet<u32> = present.chain(wanted).collect();
        let unused: Vec<u32> = self
            .applied
            .contents
            .tables
            .keys()
            .filter(|identity| !used.contains(identity))
            .copied()
            .collect();
        for identity in unused {
            let result = self.datapath.remove_table(identity);
            if self.done(result, false) {
                self.applied.contents.tables.remove(&identity);
            }
        }
    }

    /// Prefixes that no policy names any more: by the new tables the prefix around them decides the same.
    fn old_prefixes(&mut self) {
        // Back to the world first, then longest first, so that each falls to one that decides alike.
        let wanted = &self.wanted.prefixes;
        let current = &self.applied.contents.prefixes;
        let back: Vec<(IpNet, u32)> = wanted
            .iter()
            .filter(|(prefix, number)| **number == reserved::WORLD && current.get(*prefix) != Some(number))
            .map(|(prefix, number)| (*prefix, *number))
            .collect();
        let mut gone = surplus(current, wanted);
        gone.sort_by_key(|prefix| std::cmp::Reverse(prefix.prefix_len()));
        for (prefix, number) in back {
            if self.decide_alike(self.applied.contents.prefixes.get(&prefix).copied(), number) {
                self.set_prefix(prefix, number, false);
            }
        }
        for prefix in gone {
            if !self.may_go(prefix) {
                continue;
            }
            let result = self.datapath.remove_prefix(prefix);
            if self.done(result, false) {
                let before = self.applied.contents.prefixes.remove(&prefix);
                self.outcome.renamed.push(Renamed { prefix, before, now: None });
            }
        }
    }

    /// Whether the prefixes around are those the new policies count on, and older tables decide alike too.
    fn may_go(&self, prefix: IpNet) -> bool {
        let current = &self.applied.contents.prefixes;
        let mut outer = prefix.supernet();
        let mut next = None;
        while let Some(candidate) = outer {
            let (wanted, number) = (self.wanted.prefixes.get(&candidate), current.get(&candidate));
            if wanted.is_some() && wanted != number {
                return false;
            }
            next = next.or(number.copied());
            outer = candidate.supernet();
        }
        self.decide_alike(current.get(&prefix).copied(), next.unwrap_or(reserved::WORLD))
    }

    /// Whether the tables that are older than the policies make no difference between two numbers.
    fn decide_alike(&self, one: Option<u32>, other: u32) -> bool {
        let behind = self.outcome.tables.keys();
        let mut tables = behind.filter_map(|identity| self.applied.contents.tables.get(identity));
        one.is_none_or(|one| tables.all(|table| unfit::decides_alike(table, one, other)))
    }
}

fn surplus<K: Ord + Clone, V, W>(present: &BTreeMap<K, V>, wanted: &BTreeMap<K, W>) -> Vec<K> {
    present.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect()
}
