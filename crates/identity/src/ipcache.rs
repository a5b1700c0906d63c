//! Address or prefix → identity, as it should be, and what must change where it is applied.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::prefix::{canonical_address, canonical_prefix};
use crate::{NumericIdentity, reserved};

/// What an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub identity: NumericIdentity,
    /// Name of the node the address is on; empty when unknown.
    pub node: Arc<str>,
}

/// How well whoever claims an address can know: the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A Pod object: whoever may write a pod's status may write any address there.
    PodObject,
    /// A Node object.
    NodeObject,
    /// This node gave the address to a pod of its own.
    Local,
    /// The address is on this node itself.
    Host,
}

/// Several owners claim an address for different identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub address: IpAddr,
    pub counts: Arc<str>,
    pub passed_over: Arc<str>,
}

/// How much of the cluster the owner of an [`Ipcache`] has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Every source has been listed: what is not wanted may go.
    Full,
    /// Something may not have been listed yet: nothing is removed.
    Partial,
}

/// The wanted state: exact addresses (pods, nodes) beside prefixes (CIDR identities).
///
/// The two are apart because an address may be both: a pod, and inside a prefix that a policy names.
/// `0.0.0.0/0` and `::/0` are always there, as the world unless a policy names them: in the kernel's
/// one 128-bit table `::/0` alone would swallow IPv4 too.
#[derive(Debug)]
pub struct Ipcache {
    /// By rank, and by the time of the claim within it: the last one counts.
    addresses: BTreeMap<IpAddr, Vec<Claim>>,
    prefixes: BTreeMap<IpNet, NumericIdentity>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    owner: Arc<str>,
    rank: Rank,
    entry: Entry,
}

/// What a datapath holds: read from the kernel at start, then kept by `note_*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub addresses: BTreeMap<IpAddr, NumericIdentity>,
    pub prefixes: BTreeMap<IpNet, NumericIdentity>,
}

/// What must be done to get from applied to wanted. Do the upserts first: no address is without an
/// identity in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub upsert_addresses: Vec<(IpAddr, NumericIdentity)>,
    pub upsert_prefixes: Vec<(IpNet, NumericIdentity)>,
    pub remove_addresses: Vec<IpAddr>,
    pub remove_prefixes: Vec<IpNet>,
}

impl Default for Ipcache {
    fn default() -> Self {
        Self { addresses: BTreeMap::new(), prefixes: world_prefixes().into() }
    }
}

fn world_prefixes() -> [(IpNet, NumericIdentity); 2] {
    [(Ipv4Net::default().into(), reserved::WORLD), (Ipv6Net::default().into(), reserved::WORLD)]
}

impl Ipcache {
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `owner` (a pod's or node's unique name) has this address. Of several owners the one of
    /// the highest rank counts, and within a rank the one that spoke last: a new pod may get an address
    /// before the old pod is seen gone.
    pub fn upsert(&mut self, address: IpAddr, owner: &Arc<str>, rank: Rank, entry: Entry) {
        let claims = self.addresses.entry(canonical_address(address)).or_default();
        let claim = Claim { owner: owner.clone(), rank, entry };
        // Saying the same again is no news and does not take the address from anybody.
        if claims.contains(&claim) {
            return;
        }
        claims.retain(|known| known.owner != *owner);
        let place = claims.partition_point(|known| known.rank <= rank);
        claims.insert(place, claim);
    }

    /// Says that `owner` no longer has this address. Another owner's entry stays.
    pub fn remove(&mut self, address: IpAddr, owner: &str) {
        let address = canonical_address(address);
        if let Some(claims) = self.addresses.get_mut(&address) {
            claims.retain(|known| &*known.owner != owner);
            if claims.is_empty() {
                self.addresses.remove(&address);
            }
        }
    }

    /// Claims that lose and would mean another identity.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> + '_ {
        self.addresses.iter().flat_map(|(address, claims)| {
            let counts = claims.last();
            let differs = move |claim: &&Claim| {
                counts.is_some_and(|counts| counts.entry.identity != claim.entry.identity)
            };
            claims.iter().filter(differs).map(move |claim| Conflict {
                address: *address,
                counts: counts.map(|counts| counts.owner.clone()).unwrap_or_default(),
                passed_over: claim.owner.clone(),
            })
        })
    }

    /// Replaces the prefixes (all CIDR identities in use).
    pub fn set_prefixes(&mut self, prefixes: impl IntoIterator<Item = (IpNet, NumericIdentity)>) {
        let given = prefixes.into_iter().map(|(prefix, number)| (canonical_prefix(prefix), number));
        self.prefixes = world_prefixes().into_iter().chain(given).collect();
    }

    /// The pod or node at an address.
    pub fn address(&self, address: IpAddr) -> Option<&Entry> {
        self.addresses.get(&canonical_address(address))?.last().map(|claim| &claim.entry)
    }

    /// Identity of the longest prefix around an address; the world when no policy names one.
    pub fn prefix(&self, address: IpAddr) -> NumericIdentity {
        let address = canonical_address(address);
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest)
            .rev()
            .filter_map(|length| IpNet::new(address, length).ok())
            .find_map(|prefix| self.prefixes.get(&prefix.trunc()).copied())
            .unwrap_or(reserved::WORLD)
    }

    /// What a packet's remote address is judged as: the exact identity first, else the prefix's.
    pub fn identity(&self, address: IpAddr) -> NumericIdentity {
        self.address(address).map_or_else(|| self.prefix(address), |entry| entry.identity)
    }

    /// Every exact address with what counts for it.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, &Entry)> + '_ {
        self.addresses.iter().filter_map(|(address, claims)| Some((*address, &claims.last()?.entry)))
    }

    /// Every prefix with its number.
    pub fn prefixes(&self) -> impl Iterator<Item = (IpNet, NumericIdentity)> + '_ {
        self.prefixes.iter().map(|(prefix, number)| (*prefix, *number))
    }

    /// What must change in a datapath. From a partial view nothing is removed.
    pub fn delta(&self, applied: &Applied, view: View) -> Delta {
        let addresses: BTreeMap<IpAddr, NumericIdentity> =
            self.addresses().map(|(address, entry)| (address, entry.identity)).collect();
        Delta {
            upsert_addresses: missing(&addresses, &applied.addresses),
            upsert_prefixes: missing(&self.prefixes, &applied.prefixes),
            remove_addresses: surplus(&addresses, &applied.addresses, view),
            remove_prefixes: surplus(&self.prefixes, &applied.prefixes, view),
        }
    }
}

fn missing<K: Ord + Copy>(
    wanted: &BTreeMap<K, NumericIdentity>,
    applied: &BTreeMap<K, NumericIdentity>,
) -> Vec<(K, NumericIdentity)> {
    wanted.iter().filter(|(key, number)| applied.get(key) != Some(number)).map(|(k, n)| (*k, *n)).collect()
}

fn surplus<K: Ord + Copy>(
    wanted: &BTreeMap<K, NumericIdentity>,
    applied: &BTreeMap<K, NumericIdentity>,
    view: View,
) -> Vec<K> {
    match view {
        View::Full => applied.keys().filter(|key| !wanted.contains_key(key)).copied().collect(),
        View::Partial => Vec::new(),
    }
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Applied {
    /// Records that the upserts of a delta are in place.
    pub fn note_upserts(&mut self, delta: &Delta) {
        self.addresses.extend(delta.upsert_addresses.iter().copied());
        self.prefixes.extend(delta.upsert_prefixes.iter().copied());
    }

    /// Records that the removals of a delta are done.
    pub fn note_removals(&mut self, delta: &Delta) {
        delta.remove_addresses.iter().for_each(|address| _ = self.addresses.remove(address));
        delta.remove_prefixes.iter().for_each(|prefix| _ = self.prefixes.remove(prefix));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(identity: u32) -> Entry {
        Entry { identity, node: "node-a".into() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_late_goodbye_of_the_old_pod_does_not_take_the_new_pods_address() {
        let mut cache = Ipcache::new();
        let (old, new): (Arc<str>, Arc<str>) = ("live/old".into(), "live/new".into());
        cache.upsert(ip("10.0.0.5"), &old, Rank::PodObject, entry(300));
        cache.upsert(ip("10.0.0.5"), &new, Rank::PodObject, entry(400));
        cache.upsert(ip("10.0.0.5"), &old, Rank::PodObject, entry(300));
        cache.remove(ip("10.0.0.5"), "live/old");
        assert_eq!(cache.address(ip("::ffff:10.0.0.5")), Some(&entry(400)));
        cache.remove(ip("10.0.0.5"), "live/new");
        assert_eq!(cache.address(ip("10.0.0.5")), None);
        assert_eq!(cache.identity(ip("10.0.0.5")), reserved::WORLD);
    }

    #[test]
    fn an_object_takes_no_address_from_whoever_knows_better_however_late_it_speaks() {
        let mut cache = Ipcache::new();
        let at = ip("10.0.0.1");
        let owners: [(Arc<str>, Rank, u32); 4] = [
            ("this node".into(), Rank::Host, 1),
            ("live/here".into(), Rank::Local, 300),
            ("node b".into(), Rank::NodeObject, 6),
            ("live/liar".into(), Rank::PodObject, 400),
        ];
        for (owner, rank, identity) in &owners {
            cache.upsert(at, owner, *rank, entry(*identity));
        }
        for (gone, (owner, _, identity)) in owners.iter().enumerate() {
            assert_eq!(cache.identity(at), *identity);
            let lost: Vec<_> = cache.conflicts().map(|conflict| conflict.passed_over).collect();
            assert_eq!(lost.len(), 3 - gone, "{lost:?}");
            assert!(!lost.contains(owner), "{lost:?}");
            cache.remove(at, owner);
        }
    }

    #[test]
    fn the_longest_prefix_counts_and_ipv6_never_swallows_ipv4() {
        let mut cache = Ipcache::new();
        let nets = [("::/0", 9001), ("10.0.0.0/8", 9002), ("10.1.0.0/16", 9003)];
        cache.set_prefixes(nets.map(|(net, number)| (net.parse().unwrap(), number)));
        assert_eq!(cache.prefix(ip("10.1.2.3")), 9003);
        assert_eq!(cache.prefix(ip("10.2.2.3")), 9002);
        assert_eq!(cache.prefix(ip("2001:db8::1")), 9001);
        assert_eq!(cache.prefix(ip("192.0.2.1")), reserved::WORLD);
        let delta = cache.delta(&Applied::default(), View::Partial);
        assert!(delta.upsert_prefixes.contains(&("0.0.0.0/0".parse().unwrap(), reserved::WORLD)));
    }

    #[test]
    fn nothing_is_removed_while_the_view_is_partial() {
        let applied = Applied {
            addresses: [(ip("10.0.0.5"), 300), (ip("10.0.0.6"), 300)].into(),
            prefixes: [("192.0.2.0/24".parse().unwrap(), 9001)].into(),
        };
        let mut cache = Ipcache::new();
        cache.upsert(ip("10.0.0.6"), &"live/web".into(), Rank::PodObject, entry(301));
        let partial = cache.delta(&applied, View::Partial);
        assert_eq!(partial.upsert_addresses, [(ip("10.0.0.6"), 301)]);
        assert!(partial.remove_addresses.is_empty() && partial.remove_prefixes.is_empty());
        let full = cache.delta(&applied, View::Full);
        assert_eq!(full.remove_addresses, [ip("10.0.0.5")]);
        assert_eq!(full.remove_prefixes, ["192.0.2.0/24".parse().unwrap()]);
    }

    proptest! {
        #[test]
        fn applying_a_delta_leaves_nothing_to_do(
            steps in prop::collection::vec((0u8..8, 0u8..3, prop::option::of(256u32..260)), 0..40),
            stale in prop::collection::btree_map(0u8..12, 256u32..260, 0..6),
        ) {
            let address = |last: u8| IpAddr::from([10, 0, 0, last]);
            let mut cache = Ipcache::new();
            for (last, owner, identity) in steps {
                let owner: Arc<str> = format!("pod-{owner}").into();
                match identity {
                    Some(identity) => cache.upsert(address(last), &owner, Rank::PodObject, entry(identity)),
                    None => cache.remove(address(last), &owner),
                }
            }
            let addresses = stale.into_iter().map(|(last, number)| (address(last), number)).collect();
            let mut applied = Applied { addresses, prefixes: BTreeMap::new() };
            let delta = cache.delta(&applied, View::Full);
            applied.note_upserts(&delta);
            for (address, entry) in cache.addresses() {
                prop_assert_eq!(applied.addresses.get(&address), Some(&entry.identity));
            }
            applied.note_removals(&delta);
            prop_assert!(cache.delta(&applied, View::Full).is_empty());
            prop_assert_eq!(applied.addresses.len(), cache.addresses().count());
        }
    }
}
