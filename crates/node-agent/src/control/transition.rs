//! From what is in the tables to what should be, in an order that leaves no gap.
//!
//! At no step is a packet allowed that both the old and the new state deny, nor denied that both allow.
//! A decision needs three things — who the remote is (ipcache), who the local is (endpoint), and the
//! local's table — and they cannot change at once; so each is prepared before another leans on it:
//!
//! 1. **New prefixes.** An address in a new prefix was judged as the prefix around it, so every table
//!    first repeats that one's entries for the new number. Then the prefix is set: nothing changes.
//! 2. **Moves.** Tables by the *old* policies learn the identities that addresses move to (after a restart:
//!    by repeating); then addresses move, then local endpoints. Each pod changes as if its labels had been
//!    saved by themselves.
//! 3. **Policies.** Tables by the new policies, swapped whole, still knowing all old numbers.
//! 4. **Arrivals.** New addresses, new endpoints: never before the policies that came with them.
//! 5. **Services**, then the **revision**: live connections are judged again, once, by all of the above.
//! 6. **Removals**: services, endpoints, addresses; then prefixes that no policy names, each as soon as every
//!    table in force decides alike without it, and tables of identities that nobody here has.
//!
//! A table that cannot be installed leaves the older one in force, which its endpoints say; a direction that
//! the older one leaves open and the new policies restrict is closed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use fathom_identity::reserved;
use fathom_policy::{Compiler, Entry, PodFacts, PolicyKey, Protocol, RuleRegistry, Table, World};
use ipnet::IpNet;

use super::unfit;
use crate::cluster::model::NetworkPolicy;
use crate::datapath::{Contents, Datapath, EndpointEntry, ServiceSpec};

mod removals;

/// Identity numbers with what policies can see of them.
pub type Facts = BTreeMap<u32, PodFacts>;

/// The state the tables should be in.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub addresses: BTreeMap<IpAddr, u32>,
    /// Of these: pods of this node whose application messages are reported at their own device.
    pub l7_here: BTreeSet<IpAddr>,
    /// `0.0.0.0/0` and `::/0` included.
    pub prefixes: BTreeMap<IpNet, u32>,
    /// Every identity that an address has, had until recently, or that a local endpoint has.
    pub facts: Facts,
    pub policies: Vec<Arc<NetworkPolicy>>,
    /// By ifindex.
    pub endpoints: BTreeMap<u32, WantedEndpoint>,
    pub services: BTreeMap<u32, ServiceSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedEndpoint {
    pub entry: EndpointEntry,
    /// 0 = unknown.
    pub netns_cookie: u64,
}

/// The state the tables are in, as far as every change so far succeeded.
#[derive(Debug)]
pub struct Applied {
    pub contents: Contents,
    /// What the tables were last compiled from; `None` until this process has done so.
    from: Option<(Vec<Arc<NetworkPolicy>>, Facts)>,
    attached: BTreeSet<u32>,
    /// Live connections may hold verdicts of tables that are no longer there. True from a change on until the
    /// revision has moved, over any number of attempts; and at the start, because an earlier process may
    /// have ended between the two.
    rejudge_due: bool,
    /// Identities whose table in force is older than `from`, because the one by it could not be installed.
    behind: BTreeSet<u32>,
}

/// An address or prefix that stands for somebody else now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renamed {
    pub prefix: IpNet,
    pub before: Option<u32>,
    pub now: Option<u32>,
}

/// What a transition did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One line per change that could not be made, other than those below.
    pub errors: Vec<String>,
    /// Identities whose table could not be installed, and what is in force instead.
    pub tables: BTreeMap<u32, String>,
    /// Endpoints that could not be given what they need, by ifindex.
    pub failed: BTreeMap<u32, String>,
    /// Addresses and prefixes with another identity than before.
    pub renamed: Vec<Renamed>,
    /// Changes made.
    pub changes: usize,
}

impl Applied {
    /// Begins with what an earlier process left.
    pub fn new(contents: Contents) -> Self {
        Applied {
            contents,
            from: None,
            attached: BTreeSet::new(),
            rejudge_due: true,
            behind: BTreeSet::new(),
        }
    }

    /// Makes it so. `announce` is called before new tables are swapped in, with the rules they cite: an event
    /// may cite one the moment after.
    pub fn transition(
        &mut self,
        wanted: &Wanted,
        datapath: &mut dyn Datapath,
        rules: &mut RuleRegistry,
        announce: &mut dyn FnMut(&RuleRegistry),
    ) -> Outcome {
        let outcome = Outcome::default();
        let unfit = BTreeMap::new();
        let mut work = Work { applied: self, wanted, datapath, rules, announce, outcome, unfit };
        work.new_prefixes();
        work.marks(false);
        work.moves();
        work.policies();
        work.late_moves();
        work.arrivals();
        work.marks(true);
        work.services();
        work.revision();
        work.removals();
        work.say_what_is_behind();
        work.outcome
    }

    /// Identities whose table in force is older than the policies, because the new one could not be installed.
    pub fn behind(&self) -> &BTreeSet<u32> {
        &self.behind
    }

    /// What the tables were last compiled from; empty before this process has done so.
    pub fn facts(&self) -> &Facts {
        static NONE: Facts = Facts::new();
        self.from.as_ref().map_or(&NONE, |(_, facts)| facts)
    }

    /// Rule ids in any table.
    pub fn rule_ids(&self) -> BTreeSet<u32> {
        self.contents.tables.values().flat_map(Table::rule_ids).collect()
    }
}

/// Addresses with their new identities, endpoints with their new entries.
type Movers = (Vec<(IpAddr, u32)>, Vec<(u32, EndpointEntry)>);

struct Work<'a> {
    applied: &'a mut Applied,
    wanted: &'a Wanted,
    datapath: &'a mut dyn Datapath,
    rules: &'a mut RuleRegistry,
    announce: &'a mut dyn FnMut(&RuleRegistry),
    outcome: Outcome,
    /// Tables by the new policies that could not be installed.
    unfit: BTreeMap<u32, Table>,
}

impl Work<'_> {
    /// Notes how a change went; true when it is made.
    fn done(&mut self, result: anyhow::Result<()>, policy_relevant: bool) -> bool {
        match result {
            Ok(()) => {
                self.outcome.changes += 1;
                self.applied.rejudge_due |= policy_relevant;
                true
            }
            Err(error) => {
                self.outcome.errors.push(format!("{error:#}"));
                false
            }
        }
    }

    fn new_prefixes(&mut self) {
        let current = &self.applied.contents.prefixes;
        let new: Vec<(IpNet, u32)> = self
            .wanted
            .prefixes
            .iter()
            .filter(|(prefix, number)| current.get(*prefix) != Some(number) && **number != reserved::WORLD)
            .map(|(prefix, number)| (*prefix, *number))
            .collect();
        let world = self.wanted.prefixes.iter().filter(|(prefix, _)| !current.contains_key(*prefix));
        let world: Vec<(IpNet, u32)> =
            world.filter(|(_, n)| **n == reserved::WORLD).map(|(p, n)| (*p, *n)).collect();
        let inherited: BTreeMap<u32, u32> =
            new.iter().map(|(prefix, number)| (*number, around(current, *prefix))).collect();
        self.swap(extended_all(&self.applied.contents.tables, &inherited));
        // Longest first: until the inner prefix is known, its addresses are not in the outer one either.
        let mut ordered = new;
        ordered.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
        for (prefix, number) in world.into_iter().chain(ordered) {
            self.set_prefix(prefix, number, true);
        }
    }

    fn set_prefix(&mut self, prefix: IpNet, number: u32, policy_relevant: bool) {
        let result = self.datapath.set_prefix(prefix, number);
        if self.done(result, policy_relevant) {
            let before = self.applied.contents.prefixes.insert(prefix, number);
            self.outcome.renamed.push(Renamed { prefix, before, now: Some(number) });
        }
    }

    fn moves(&mut self) {
        let (addresses, endpoints) = self.movers();
        if addresses.is_empty() && endpoints.is_empty() {
            return;
        }
        let later = match self.applied.from.clone() {
            Some((policies, facts)) => {
                self.know_by_old_policies(&policies, facts, &endpoints);
                BTreeSet::new()
            }
            None => self.know_by_repeating(&addresses, &endpoints),
        };
        self.move_all(addresses, endpoints, &later);
    }

    /// Moves that had to wait for the new policies.
    fn late_moves(&mut self) {
        let (addresses, endpoints) = self.movers();
        self.move_all(addresses, endpoints, &BTreeSet::new());
    }

    /// Addresses and ready endpoints that get another identity.
    fn movers(&self) -> Movers {
        let known = &self.applied.contents;
        let addresses = self.wanted.addresses.iter().map(|(ip, identity)| (*ip, *identity));
        let addresses = addresses.filter(|(ip, new)| known.addresses.get(ip).is_some_and(|old| old != new));
        let endpoints = self.wanted.endpoints.iter().map(|(ifindex, wanted)| (*ifindex, wanted.entry));
        let endpoints = endpoints
            .filter(|(ifindex, new)| known.endpoints.get(ifindex).is_some_and(|old| moves(old, new)));
        (addresses.collect(), endpoints.collect())
    }

    fn move_all(
        &mut self,
        addresses: Vec<(IpAddr, u32)>,
        endpoints: Vec<(u32, EndpointEntry)>,
        later: &BTreeSet<u32>,
    ) {
        for (address, identity) in addresses.into_iter().filter(|(_, new)| !later.contains(new)) {
            self.set_address(address, identity);
        }
        for (ifindex, entry) in endpoints.into_iter().filter(|(_, new)| !later.contains(&new.identity)) {
            self.set_endpoint(ifindex, entry);
        }
    }

    /// Tables by the policies in force, knowing the identities that pods move to.
    fn know_by_old_policies(
        &mut self,
        policies: &[Arc<NetworkPolicy>],
        old_facts: Facts,
        endpoints: &[(u32, EndpointEntry)],
    ) {
        let had: BTreeSet<u32> = self.applied.contents.addresses.values().copied().collect();
        let mut facts = self.wanted.facts.clone();
        for (number, old) in old_facts {
            match facts.get_mut(&number) {
                // Ports' names that come are right for those who come, names that go for those who stay.
                Some(new) if had.contains(&number) => new.named_ports.extend(old.named_ports),
                Some(_) => {}
                None => _ = facts.insert(number, old),
            }
        }
        let present = self.applied.contents.endpoints.values().map(|entry| entry.identity);
        let subjects = present.chain(endpoints.iter().map(|(_, entry)| entry.identity));
        // A table that is older still stays as it is: these policies never were in force for it.
        let subjects = subjects.filter(|identity| !self.applied.behind.contains(identity)).collect();
        self.compile(policies, &facts, &subjects);
    }

    /// After a restart nobody knows which policies made the tables. So an identity that nobody had is given
    /// what the tables say of the one it was: the move changes nothing, and the new policies come after it.
    /// Returns the identities that several become: those moves come after the new policies, which know all.
    fn know_by_repeating(
        &mut self,
        addresses: &[(IpAddr, u32)],
        endpoints: &[(u32, EndpointEntry)],
    ) -> BTreeSet<u32> {
        let known = &self.applied.contents;
        let had: BTreeSet<u32> = known.addresses.values().copied().collect();
        let mut came_from: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (ip, new) in addresses.iter().filter(|(_, new)| !had.contains(new)) {
            came_from.entry(*new).or_default().extend(known.addresses.get(ip));
        }
        let later: BTreeSet<u32> =
            came_from.iter().filter(|(_, from)| from.len() > 1).map(|(new, _)| *new).collect();
        let single = came_from.iter().filter(|(new, _)| !later.contains(new));
        let single: BTreeMap<u32, u32> =
            single.filter_map(|(new, from)| Some((*new, *from.first()?))).collect();
        self.swap(extended_all(&known.tables, &single));
        let known = &self.applied.contents;
        let mut first: BTreeMap<u32, Table> = BTreeMap::new();
        for (ifindex, entry) in endpoints.iter().filter(|(_, entry)| !later.contains(&entry.identity)) {
            let old = known.endpoints.get(ifindex).and_then(|old| known.tables.get(&old.identity));
            if let (false, Some(old)) = (known.tables.contains_key(&entry.identity), old) {
                first.insert(entry.identity, old.clone());
            }
        }
        self.swap(first.into_iter().collect());
        later
    }

    fn policies(&mut self) {
        let mut facts = self.wanted.facts.clone();
        if let Some((_, old)) = &self.applied.from {
            // Identities that leave with this change are still somebody's until the removals.
            for (identity, old) in old {
                facts.entry(*identity).or_insert_with(|| old.clone());
            }
        }
        let wanted = self.wanted.endpoints.values().map(|wanted| wanted.entry);
        let present = self.applied.contents.endpoints.values().copied();
        let subjects = wanted.chain(present).filter(|e| e.ready).map(|e| e.identity).collect();
        let policies = self.wanted.policies.clone();
        self.unfit = self.compile(&policies, &facts, &subjects);
        self.applied.behind = self.unfit.keys().copied().collect();
        self.applied.from = Some((policies, self.wanted.facts.clone()));
        self.close();
    }

    /// Closes what the policies restrict and the tables in force leave open, where the right table could not
    /// be installed: a table without entries is a small one. What an older policy restricts, it goes on to.
    fn close(&mut self) {
        let moving = self.movers().1;
        let moving: BTreeSet<u32> = moving.into_iter().map(|(_, entry)| entry.identity).collect();
        let closed = self.unfit.iter().filter_map(|(identity, wanted)| {
            let table = match self.applied.contents.tables.get(identity) {
                Some(in_force) => unfit::closed(in_force, wanted)?,
                // Nobody has it yet. Who comes new waits; who moves to it must not go on as it was.
                None if moving.contains(identity) => unfit::closed(&Table::default(), wanted)?,
                None => return None,
            };
            Some((*identity, table))
        });
        let closed: Vec<(u32, Table)> = closed.collect();
        let reasons = self.outcome.tables.clone();
        self.swap(closed);
        // Of both reasons, why the whole table did not fit is the one to mend.
        self.outcome.tables.extend(reasons);
    }

    /// Compiles and swaps the tables that differ; returns those that could not be installed.
    fn compile(
        &mut self,
        policies: &[Arc<NetworkPolicy>],
        facts: &Facts,
        subjects: &BTreeSet<u32>,
    ) -> BTreeMap<u32, Table> {
        let mut cidrs: BTreeMap<IpNet, u32> = self.applied.contents.prefixes.clone();
        cidrs.extend(self.wanted.prefixes.iter().map(|(prefix, number)| (*prefix, *number)));
        // A prefix on its way out keeps its number beside the one that replaces it.
        let leaving = self.applied.contents.prefixes.iter().filter(|(p, n)| cidrs.get(*p) != Some(n));
        let leaving: Vec<(IpNet, u32)> = leaving.map(|(p, n)| (*p, *n)).collect();
        let cidrs = cidrs.into_iter().chain(leaving).filter(|(_, number)| *number != reserved::WORLD);
        let world = World::new(facts.iter().map(|(number, facts)| (*number, facts.clone())), cidrs);
        let mut compiler = Compiler::new(policies.iter().map(|policy| &policy.meaning), &world);
        let compiled: Vec<(u32, Table)> = subjects
            .iter()
            .filter_map(|identity| Some((*identity, compiler.compile(*identity, self.rules)?)))
            .collect();
        // Also when no table differs: after a restart they are those an earlier agent installed, and this
        // one has just learned what their rules are called.
        if !compiled.is_empty() {
            (self.announce)(self.rules);
        }
        let (same, differ): (Vec<_>, Vec<_>) = compiled
            .into_iter()
            .partition(|(identity, table)| self.applied.contents.tables.get(identity) == Some(table));
        for (identity, _) in same {
            // What an earlier step could not add to it is not needed.
            self.outcome.tables.remove(&identity);
        }
        self.swap(differ)
    }

    /// Swaps tables in; returns those that could not be.
    fn swap(&mut self, tables: Vec<(u32, Table)>) -> BTreeMap<u32, Table> {
        let mut refused = BTreeMap::new();
        if tables.is_empty() {
            return refused;
        }
        let results = self.datapath.swap_tables(&tables);
        for ((identity, table), result) in tables.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    self.done(Ok(()), true);
                    self.outcome.tables.remove(&identity);
                    self.applied.contents.tables.insert(identity, table);
                }
                Err(error) => {
                    self.outcome.tables.insert(identity, format!("{error:#}"));
                    refused.insert(identity, table);
                }
            }
        }
        refused
    }

    fn set_address(&mut self, address: IpAddr, identity: u32) {
        let known = &self.applied.contents;
        let marked = if known.addresses.contains_key(&address) && !known.l7_unread {
            known.l7_here.contains(&address)
        } else {
            self.wanted.l7_here.contains(&address)
        };
        let result = self.datapath.set_address(address, identity, marked);
        if self.done(result, true) {
            self.note_mark(address, marked);
            let before = self.applied.contents.addresses.insert(address, identity);
            self.outcome.renamed.push(Renamed { prefix: address.into(), before, now: Some(identity) });
        }
    }

    /// Marks addresses of pods whose messages are reported at their own device, and takes marks away: these
    /// before the pod's messages are let alone, those after they are looked at, so that between the two
    /// somebody reports them. No verdict depends on it.
    fn marks(&mut self, here: bool) {
        let (wanted, known) = (&self.wanted.l7_here, &self.applied.contents);
        let unread = here && known.l7_unread;
        let differ = |ip: &IpAddr| match here {
            _ if unread => true,
            true => wanted.contains(ip) && !known.l7_here.contains(ip),
            false => known.l7_here.contains(ip) && !wanted.contains(ip),
        };
        let changed = known.addresses.iter().filter(|(ip, _)| differ(ip));
        let changed: Vec<(IpAddr, u32)> = changed.map(|(ip, identity)| (*ip, *identity)).collect();
        let mut all = true;
        for (address, identity) in changed {
            let marked = self.wanted.l7_here.contains(&address);
            let result = self.datapath.set_address(address, identity, marked);
            if self.done(result, false) {
                self.note_mark(address, marked);
            } else {
                all = false;
            }
        }
        self.applied.contents.l7_unread &= !(unread && all);
    }

    fn note_mark(&mut self, address: IpAddr, marked: bool) {
        let marks = &mut self.applied.contents.l7_here;
        _ = if marked { marks.insert(address) } else { marks.remove(&address) };
    }

    fn set_endpoint(&mut self, ifindex: u32, entry: EndpointEntry) {
        if entry.ready && !self.applied.contents.tables.contains_key(&entry.identity) {
            self.fail(ifindex, format!("its identity {} has no policy table", entry.identity));
            self.close_endpoint(ifindex, entry);
            return;
        }
        let result = self.datapath.set_endpoint(ifindex, entry);
        if self.done(result, true) {
            self.applied.contents.endpoints.insert(ifindex, entry);
        } else if let Some(why) = self.outcome.errors.last() {
            self.fail(ifindex, why.clone());
        }
    }

    /// The endpoint cannot become who it is by the new policies, not even with a closed table (there is no
    /// room for any). Where they restrict what its present table leaves open, it may send and get nothing.
    fn close_endpoint(&mut self, ifindex: u32, entry: EndpointEntry) {
        let Some(wanted) = self.unfit.get(&entry.identity) else { return };
        let Some(present) = self.applied.contents.endpoints.get(&ifindex).filter(|e| e.ready) else { return };
        let table = self.applied.contents.tables.get(&present.identity);
        if table.is_some_and(|in_force| unfit::closed(in_force, wanted).is_some()) {
            self.set_endpoint(ifindex, EndpointEntry { ready: false, ..*present });
        }
    }

    fn fail(&mut self, ifindex: u32, why: String) {
        let said = self.outcome.failed.entry(ifindex).or_default();
        if why.contains(&**said) {
            *said = why;
        } else if !said.contains(&why) {
            *said = format!("{said}; {why}");
        }
    }

    fn arrivals(&mut self) {
        for (address, identity) in &self.wanted.addresses {
            if !self.applied.contents.addresses.contains_key(address) {
                self.set_address(*address, *identity);
            }
        }
        for (ifindex, wanted) in &self.wanted.endpoints {
            if self.applied.contents.endpoints.get(ifindex) != Some(&wanted.entry) {
                self.set_endpoint(*ifindex, wanted.entry);
            }
            let cookie = wanted.netns_cookie;
            if cookie != 0 && self.applied.contents.netns.get(&cookie) != Some(ifindex) {
                let result = self.datapath.set_netns(cookie, *ifindex);
                if self.done(result, false) {
                    self.applied.contents.netns.insert(cookie, *ifindex);
                }
            }
            // Last: the programs find everything in place. Until then the device has none or the older.
            if !self.applied.attached.contains(ifindex) {
                match self.datapath.attach(*ifindex) {
                    Ok(()) => _ = self.applied.attached.insert(*ifindex),
                    // The device's own trouble: nothing else waits for it.
                    Err(error) => self.fail(*ifindex, format!("{error:#}")),
                }
            }
        }
    }

    fn services(&mut self) {
        let mut sweep = false;
        for (id, spec) in &self.wanted.services {
            let known = self.applied.contents.services.get(id);
            if known != Some(spec) {
                // What was sent to the address before it was a service's is a live connection to nobody: it is
                // looked at, and translated, when the revision moves.
                let new = known.is_none();
                let left = known.is_some_and(|known| loses_datagrams(known, spec));
                let result = self.datapath.replace_service(spec);
                if self.done(result, new || left) {
                    sweep |= left;
                    self.applied.contents.services.insert(*id, spec.clone());
                }
            }
        }
        if sweep {
            self.sweep();
        }
    }

    /// A backend counts as gone once it is out of its table: before anything looks again.
    fn sweep(&mut self) {
        if let Err(error) = self.datapath.sweep() {
            self.outcome.errors.push(format!("{error:#}"));
        }
    }

    fn revision(&mut self) {
        if self.applied.rejudge_due {
            let result = self.datapath.bump_revision();
            if self.done(result, false) {
                self.applied.rejudge_due = false;
            }
        }
    }

    /// Puts into words, for each identity and endpoint, what is in force instead of the new policies.
    fn say_what_is_behind(&mut self) {
        for (identity, why) in std::mem::take(&mut self.outcome.tables) {
            let in_force = self.applied.contents.tables.get(&identity);
            let text = unfit::text(identity, in_force, self.unfit.get(&identity), &why);
            for (ifindex, wanted) in &self.wanted.endpoints {
                if wanted.entry.identity != identity {
                    continue;
                }
                let present = self.applied.contents.endpoints.get(ifindex);
                let present = present.filter(|present| present.ready && present.identity != identity);
                let text = present.map_or_else(
                    || text.clone(),
                    |as_before| {
                        format!("{text}; enforcing an older policy, that of identity {}", as_before.identity)
                    },
                );
                self.fail(*ifindex, text);
            }
            self.outcome.tables.insert(identity, text);
        }
    }
}

/// Whether a backend for datagrams leaves: sockets that are connected to it are moved to another when the
/// revision moves.
fn loses_datagrams(known: &ServiceSpec, spec: &ServiceSpec) -> bool {
    known.proto == Protocol::Udp.number() && known.backends.iter().any(|b| !spec.backends.contains(b))
}

/// A ready endpoint that gets another identity: everything else about it may wait for the arrivals.
fn moves(old: &EndpointEntry, new: &EndpointEntry) -> bool {
    old.ready && new.ready && old.identity != new.identity
}

/// The number an address of this prefix is judged as before the prefix is known.
fn around(prefixes: &BTreeMap<IpNet, u32>, prefix: IpNet) -> u32 {
    let mut candidate = Some(prefix);
    while let Some(outer) = candidate {
        if let Some(number) = prefixes.get(&outer) {
            return *number;
        }
        candidate = outer.supernet();
    }
    reserved::WORLD
}

/// The tables in which something is to be repeated, with it.
fn extended_all(tables: &BTreeMap<u32, Table>, inherited: &BTreeMap<u32, u32>) -> Vec<(u32, Table)> {
    tables.iter().filter_map(|(identity, table)| Some((*identity, extended(table, inherited)?))).collect()
}

/// The table with every entry of an older number repeated for the number that inherits from it; `None`
/// when there is nothing to repeat.
fn extended(table: &Table, inherited: &BTreeMap<u32, u32>) -> Option<Table> {
    let mut repeated: Vec<(PolicyKey, Entry)> = Vec::new();
    for (new, old) in inherited {
        let entries = table.entries.iter().filter(|(key, _)| key.identity == *old);
        repeated.extend(entries.map(|(key, entry)| (PolicyKey { identity: *new, ..*key }, *entry)));
    }
    repeated.retain(|(key, entry)| table.entries.get(key) != Some(entry));
    if repeated.is_empty() {
        return None;
    }
    let mut table = table.clone();
    table.entries.extend(repeated);
    Some(table)
}

#[cfg(test)]
#[path = "transition_tests.rs"]
mod tests;
