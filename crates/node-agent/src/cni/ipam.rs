//! Addresses out of the node's pod prefixes: one of each family per attachment.
//!
//! An address that is given back rests before it is given out again, so that late packets and stale caches
//! on other nodes do not meet a new pod. Pure but for the clock, which is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How many addresses of a prefix are ever considered: a /64 is walked no further than this.
const WALKED: u128 = 1 << 16;
/// Addresses at the start of a prefix that are left alone: the network's own and, as a habit of many
/// networks, its router's.
const LEFT_ALONE: u128 = 2;

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IpamError {
    #[error("node {0} has no pod prefix: set spec.podCIDRs in its Node object")]
    NoPrefix(String),
    #[error(
        "no address is left in {cidr}: {used} in use, {resting} resting for up to {rest} s after release"
    )]
    Exhausted { cidr: IpNet, used: usize, resting: usize, rest: u64 },
    #[error("requested address {address} is in use by {owner}")]
    Taken { address: IpAddr, owner: String },
    #[error("requested address {address} is in none of this node's pod prefixes ({prefixes})")]
    Outside { address: IpAddr, prefixes: String },
}

/// The addresses of one node.
#[derive(Clone, Debug)]
pub struct Ipam {
    prefixes: Vec<IpNet>,
    rest: Duration,
    used: BTreeMap<IpAddr, String>,
    memory: Memory,
}

/// What outlives the process beside the attachments themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Last address given out, by prefix: the next search starts behind it.
    last: BTreeMap<String, IpAddr>,
    /// Addresses given back and when, in seconds since the epoch.
    resting: BTreeMap<IpAddr, u64>,
}

impl Ipam {
    pub fn new(rest: Duration, memory: Memory) -> Self {
        Ipam { prefixes: Vec::new(), rest, used: BTreeMap::new(), memory }
    }

    /// What to write down.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The node's pod prefixes; addresses outside new ones stay with who has them.
    pub fn set_prefixes(&mut self, prefixes: &[IpNet]) {
        if self.prefixes != prefixes {
            self.prefixes = prefixes.to_vec();
        }
    }

    pub fn prefixes(&self) -> &[IpNet] {
        &self.prefixes
    }

    /// Says that an address is in use, as found at the start.
    pub fn occupy(&mut self, address: IpAddr, owner: &str) {
        self.used.insert(address, owner.to_owned());
    }

    /// One address per family: the requested ones, else the next free. `elsewhere` holds addresses in use
    /// by others that this module cannot know of (pods' objects, the node itself).
    ///
    /// # Errors
    /// Nothing is given out when any family has none.
    pub fn allocate(
        &mut self,
        owner: &str,
        node: &str,
        requested: &[IpAddr],
        elsewhere: &BTreeSet<IpAddr>,
        now: SystemTime,
    ) -> Result<Vec<IpAddr>, IpamError> {
        if self.prefixes.is_empty() {
            return Err(IpamError::NoPrefix(node.to_owned()));
        }
        self.wake(now);
        let mut chosen: Vec<(IpAddr, IpNet)> = Vec::new();
        for address in requested {
            chosen.push((*address, self.request(*address, elsewhere)?));
        }
        for prefix in self.prefixes.clone() {
            let family_done = |(ip, _): &(IpAddr, IpNet)| ip.is_ipv4() == prefix.addr().is_ipv4();
            if chosen.iter().any(family_done) {
                continue;
            }
            match self.next(prefix, elsewhere) {
                Some(address) => chosen.push((address, prefix)),
                // Another prefix of the family may have one.
                None if self.more_of_family(prefix) => {}
                None => return Err(self.exhausted(prefix)),
            }
        }
        for (address, prefix) in &chosen {
            self.used.insert(*address, owner.to_owned());
            self.memory.resting.remove(address);
            self.memory.last.insert(prefix.to_string(), *address);
        }
        Ok(chosen.into_iter().map(|(address, _)| address).collect())
    }

    /// Gives an address back; it rests from now on.
    pub fn release(&mut self, address: IpAddr, now: SystemTime) {
        if self.used.remove(&address).is_some() {
            self.memory.resting.insert(address, seconds(now));
        }
    }

    fn request(&self, address: IpAddr, elsewhere: &BTreeSet<IpAddr>) -> Result<IpNet, IpamError> {
        let prefix = self.prefixes.iter().find(|prefix| prefix.contains(&address));
        let prefix = prefix.ok_or_else(|| IpamError::Outside {
            address,
            prefixes: self.prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        })?;
        match self.used.get(&address) {
            // Whoever has it is another attachment: one that asks again is answered without coming here.
            Some(owner) => Err(IpamError::Taken { address, owner: owner.clone() }),
            None if elsewhere.contains(&address) => {
                Err(IpamError::Taken { address, owner: "another pod or the node itself".to_owned() })
            }
            None => Ok(*prefix),
        }
    }

    /// The first free address behind the last one given out, round the prefix once.
    fn next(&self, prefix: IpNet, elsewhere: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let size = size(prefix);
        let last = self.memory.last.get(&prefix.to_string()).and_then(|last| offset(prefix, *last));
        let start = last.map_or(LEFT_ALONE, |last| last + 1);
        let walk = (0..size).map(|step| (start + step) % size);
        // A prefix of one or two addresses leaves none alone, and has no broadcast address (RFC 3021).
        let whole = size <= 2;
        let broadcast = (prefix.addr().is_ipv4() && !whole).then(|| size - 1);
        let free = |address: &IpAddr| {
            !self.used.contains_key(address)
                && !self.memory.resting.contains_key(address)
                && !elsewhere.contains(address)
        };
        walk.filter(|at| whole || (*at >= LEFT_ALONE && Some(*at) != broadcast))
            .map(|at| nth(prefix, at))
            .find(free)
    }

    fn more_of_family(&self, prefix: IpNet) -> bool {
        let same = |other: &&IpNet| other.addr().is_ipv4() == prefix.addr().is_ipv4();
        self.prefixes.iter().rfind(same) != Some(&prefix)
    }

    fn exhausted(&self, cidr: IpNet) -> IpamError {
        IpamError::Exhausted {
            cidr,
            used: self.used.keys().filter(|ip| cidr.contains(*ip)).count(),
            resting: self.memory.resting.keys().filter(|ip| cidr.contains(*ip)).count(),
            rest: self.rest.as_secs(),
        }
    }

    fn wake(&mut self, now: SystemTime) {
        let (now, rest) = (seconds(now), self.rest.as_secs());
        self.memory.resting.retain(|_, since| {
            // A time in the future is a clock that was set back: it rests once more from now.
            *since = (*since).min(now);
            now - *since < rest
        });
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Addresses of the prefix that are considered.
fn size(prefix: IpNet) -> u128 {
    let bits = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
    1u128.checked_shl(bits).unwrap_or(WALKED).min(WALKED)
}

fn nth(prefix: IpNet, at: u128) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(network) => IpAddr::V4(Ipv4Addr::from_bits(network.to_bits() + at as u32)),
        IpAddr::V6(network) => IpAddr::V6(Ipv6Addr::from_bits(network.to_bits() + at)),
    }
}

fn offset(prefix: IpNet, address: IpAddr) -> Option<u128> {
    match (prefix.network(), address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            address.to_bits().checked_sub(network.to_bits()).map(u128::from)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => address.to_bits().checked_sub(network.to_bits()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(30);

    fn ipam(prefixes: &[&str]) -> Ipam {
        let mut ipam = Ipam::new(REST, Memory::default());
        ipam.set_prefixes(&prefixes.iter().map(|p| p.parse().unwrap()).collect::<Vec<_>>());
        ipam
    }

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second)
    }

    fn one(ipam: &mut Ipam, owner: &str, second: u64) -> Result<String, IpamError> {
        let given = ipam.allocate(owner, "n", &[], &BTreeSet::new(), at(second))?;
        Ok(given.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_attachment_gets_one_address_of_each_family_past_the_routers() {
        let mut ipam = ipam(&["10.244.1.0/24", "fd00:10:244:1::/64"]);
        assert_eq!(one(&mut ipam, "a", 0).unwrap(), "10.244.1.2 fd00:10:244:1::2");
        assert_eq!(one(&mut ipam, "b", 0).unwrap(), "10.244.1.3 fd00:10:244:1::3");
    }

    #[test]
    fn an_address_rests_before_it_is_given_out_again_and_a_full_prefix_says_so() {
        let mut ipam = ipam(&["10.244.1.0/29"]);
        for owner in ["a", "b", "c", "d", "e"] {
            one(&mut ipam, owner, 0).unwrap();
        }
        let full = one(&mut ipam, "f", 0).unwrap_err();
        assert_eq!(
            full.to_string(),
            "no address is left in 10.244.1.0/29: 5 in use, 0 resting for up to 30 s after release"
        );
        ipam.release("10.244.1.4".parse().unwrap(), at(10));
        assert!(matches!(one(&mut ipam, "f", 39), Err(IpamError::Exhausted { resting: 1, .. })));
        assert_eq!(one(&mut ipam, "f", 40).unwrap(), "10.244.1.4");
    }

    #[test]
    fn a_released_address_is_not_the_next_one_given_out() {
        let mut ipam = ipam(&["10.244.1.0/24"]);
        one(&mut ipam, "a", 0).unwrap();
        ipam.release("10.244.1.2".parse().unwrap(), at(0));
        assert_eq!(one(&mut ipam, "b", 100).unwrap(), "10.244.1.3");
    }

    #[test]
    fn memory_survives_a_restart() {
        let mut before = ipam(&["10.244.1.0/24"]);
        one(&mut before, "a", 0).unwrap();
        one(&mut before, "b", 0).unwrap();
        before.release("10.244.1.3".parse().unwrap(), at(5));
        let text = serde_json::to_string(before.memory()).unwrap();
        let mut after = Ipam::new(REST, serde_json::from_str(&text).unwrap());
        after.set_prefixes(before.prefixes());
        after.occupy("10.244.1.2".parse().unwrap(), "a");
        assert_eq!(one(&mut after, "c", 6).unwrap(), "10.244.1.4");
    }

    #[test]
    fn requests_are_honoured_or_refused_by_name() {
        let mut ipam = ipam(&["10.244.1.0/24"]);
        let ask = |ipam: &mut Ipam, owner: &str, ip: &str| {
            ipam.allocate(owner, "n", &[ip.parse().unwrap()], &BTreeSet::new(), at(0))
                .map_err(|e| e.to_string())
        };
        ask(&mut ipam, "a", "10.244.1.9").unwrap();
        assert!(ask(&mut ipam, "a", "10.244.1.9").is_err(), "the same pod under another container");
        let elsewhere: BTreeSet<IpAddr> = ["10.244.1.8".parse().unwrap()].into();
        let taken = ipam.allocate("b", "n", &["10.244.1.8".parse().unwrap()], &elsewhere, at(0));
        assert!(matches!(taken, Err(IpamError::Taken { .. })), "{taken:?}");
        assert_eq!(
            ask(&mut ipam, "b", "10.244.1.9").unwrap_err(),
            "requested address 10.244.1.9 is in use by a"
        );
        assert!(
            ask(&mut ipam, "b", "10.0.0.1")
                .unwrap_err()
                .contains("none of this node's pod prefixes (10.244.1.0/24)")
        );
        assert!(
            one(&mut Ipam::new(REST, Memory::default()), "a", 0)
                .unwrap_err()
                .to_string()
                .contains("podCIDRs")
        );
    }

    #[test]
    fn addresses_that_others_use_and_broadcast_are_passed_over_and_two_prefixes_of_a_family_follow_each_other()
     {
        let mut ipam = ipam(&["10.244.1.0/30", "10.244.9.0/31"]);
        let elsewhere: BTreeSet<IpAddr> = ["10.244.1.2".parse().unwrap()].into();
        let given = ipam.allocate("a", "n", &[], &elsewhere, at(0)).unwrap();
        assert_eq!(given, ["10.244.9.0".parse::<IpAddr>().unwrap()]);
    }
}
