//! Addresses to identities, in two maps: a hash asked first, a prefix tree asked second.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Table;
use crate::abi::{IpcacheEntry, IpcacheLpmKey, ip_from_bytes, ip_to_bytes};
use crate::error::Result;

/// Bits an IPv4 prefix is moved by when it stands as `::ffff:a.b.c.d`.
const V4_MAPPED_BITS: u32 = 96;

/// Who is behind an address.
///
/// Pods and nodes go into the hash, by whole address; CIDR identities into the tree, /32 and /128
/// included. The two are asked apart: policy may match an address by either.
#[derive(Clone, Debug)]
pub struct Ipcache {
    exact: Table<[u8; 16], IpcacheEntry>,
    prefixes: Table<IpcacheLpmKey, IpcacheEntry>,
}

impl Ipcache {
    pub(super) fn new(
        exact: Table<[u8; 16], IpcacheEntry>,
        prefixes: Table<IpcacheLpmKey, IpcacheEntry>,
    ) -> Self {
        Self { exact, prefixes }
    }

    /// Sets the identity of a pod's or node's address.
    ///
    /// # Errors
    /// `E2BIG` when the map is full.
    pub fn upsert(&self, address: IpAddr, identity: u32) -> Result<()> {
        self.upsert_flags(address, identity, 0)
    }

    /// Like [`Ipcache::upsert`], with flags ([`crate::abi::IPCACHE_L7_HERE`]).
    ///
    /// # Errors
    /// `E2BIG` when the map is full.
    pub fn upsert_flags(&self, address: IpAddr, identity: u32, flags: u32) -> Result<()> {
        self.exact.upsert(&ip_to_bytes(address), &IpcacheEntry { identity, flags })
    }

    /// Like [`Ipcache::upsert`] for many.
    ///
    /// # Errors
    /// `E2BIG` when the map is full; addresses before the failing one are in place.
    pub fn upsert_all(&self, addresses: impl IntoIterator<Item = (IpAddr, u32)>) -> Result<()> {
        let entries: Vec<_> = addresses.into_iter().map(|(ip, id)| (ip_to_bytes(ip), entry(id))).collect();
        self.exact.upsert_all(&entries)
    }

    /// Forgets an address; says whether it was known.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn remove(&self, address: IpAddr) -> Result<bool> {
        self.exact.remove(&ip_to_bytes(address))
    }

    /// Sets the identity of a CIDR; of several that contain an address, the longest counts.
    ///
    /// # Errors
    /// `ENOSPC` when the map is full.
    pub fn upsert_prefix(&self, prefix: IpNet, identity: u32) -> Result<()> {
        self.prefixes.upsert(&lpm_key(prefix), &entry(identity))
    }

    /// Forgets a CIDR; says whether it was known.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn remove_prefix(&self, prefix: IpNet) -> Result<bool> {
        self.prefixes.remove(&lpm_key(prefix))
    }

    /// Every whole address, in no order.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn list(&self) -> Result<Vec<(IpAddr, u32)>> {
        let mut list = Vec::new();
        self.exact.for_each(|key, value| list.push((ip_from_bytes(*key), value.identity)))?;
        Ok(list)
    }

    /// Every CIDR, in no order.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn list_prefixes(&self) -> Result<Vec<(IpNet, u32)>> {
        let mut list = Vec::new();
        self.prefixes.for_each(|key, value| {
            if let Some(prefix) = prefix_of(key) {
                list.push((prefix, value.identity));
            }
        })?;
        Ok(list)
    }
}

fn entry(identity: u32) -> IpcacheEntry {
    IpcacheEntry { identity, flags: 0 }
}

pub(super) fn lpm_key(prefix: IpNet) -> IpcacheLpmKey {
    let shift = if prefix.addr().is_ipv4() { V4_MAPPED_BITS } else { 0 };
    IpcacheLpmKey { prefixlen: shift + u32::from(prefix.prefix_len()), addr: ip_to_bytes(prefix.network()) }
}

pub(super) fn prefix_of(key: &IpcacheLpmKey) -> Option<IpNet> {
    let address = ip_from_bytes(key.addr);
    // ::ffff:0:0 with a shorter prefix than 96 is IPv6 space, whatever its bytes look like.
    let (address, bits) = match address {
        IpAddr::V4(_) if key.prefixlen >= V4_MAPPED_BITS => (address, key.prefixlen - V4_MAPPED_BITS),
        _ => (IpAddr::V6(key.addr.into()), key.prefixlen),
    };
    IpNet::new(address, u8::try_from(bits).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ipv4_prefix_is_moved_behind_the_mapping_prefix() {
        let key = lpm_key("10.1.0.0/16".parse().expect("a prefix"));
        assert_eq!(key.prefixlen, 112);
        assert_eq!(key.addr, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 0]);
    }

    #[test]
    fn the_default_routes_of_both_families_are_apart() {
        let v4 = lpm_key("0.0.0.0/0".parse().expect("a prefix"));
        let v6 = lpm_key("::/0".parse().expect("a prefix"));
        assert_eq!((v4.prefixlen, v6.prefixlen), (96, 0));
        assert_ne!(v4.addr, v6.addr);
    }

    proptest! {
        #[test]
        fn a_prefix_survives_the_way_to_its_key_and_back(bytes: [u8; 16], v4: bool, bits in 0u8..=128) {
            let prefix = if v4 {
                let ip: [u8; 4] = [bytes[0], bytes[1], bytes[2], bytes[3]];
                IpNet::new(ip.into(), bits % 33)
            } else {
                IpNet::new(bytes.into(), bits)
            };
            let prefix = prefix.expect("in range").trunc();
            prop_assert_eq!(prefix_of(&lpm_key(prefix)), Some(prefix));
        }
    }
}
