//! Devices that lead off the node: the sources that replace others there, and whose don't.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Table;
use super::ipcache::{lpm_key, prefix_of};
use crate::abi::{IpcacheLpmKey, NET_INSIDE, NET_MASQUERADE, Uplink, ip_to_bytes};
use crate::error::Result;

/// The addresses under which packets leave by a device when their own source can't be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UplinkAddresses {
    /// Without one, IPv4 packets keep their source.
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

/// The tables of the uplinks' programs.
#[derive(Clone, Debug)]
pub struct Uplinks {
    devices: Table<u32, Uplink>,
    nets: Table<IpcacheLpmKey, u32>,
}

impl Uplinks {
    pub(super) fn new(devices: Table<u32, Uplink>, nets: Table<IpcacheLpmKey, u32>) -> Self {
        Self { devices, nets }
    }

    /// Sets a device's addresses.
    ///
    /// # Errors
    /// `E2BIG` when there are more than 256 devices.
    pub fn set_device(&self, ifindex: u32, addresses: UplinkAddresses) -> Result<()> {
        let bytes = |ip: Option<IpAddr>| ip.map_or([0; 16], ip_to_bytes);
        let ipv4 = bytes(addresses.ipv4.map(IpAddr::V4));
        let ipv6 = bytes(addresses.ipv6.map(IpAddr::V6));
        self.devices.upsert(&ifindex, &Uplink { ipv4, ipv6 })
    }

    /// Forgets a device; says whether it was known.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn remove_device(&self, ifindex: u32) -> Result<bool> {
        self.devices.remove(&ifindex)
    }

    /// Devices that are known, by index.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn devices(&self) -> Result<Vec<u32>> {
        Ok(self.devices.list()?.into_iter().map(|(ifindex, _)| ifindex).collect())
    }

    /// Makes the table of prefixes hold this and no more: destinations that see a pod's own address, and
    /// sources (pods of this node) that leave under the node's address else. Additions come first.
    ///
    /// # Errors
    /// `ENOSPC` when there are more than 16384 prefixes.
    pub fn set_nets(&self, inside: &[IpNet], masquerade: &[IpNet]) -> Result<()> {
        let wanted = flags(inside, masquerade);
        let present: BTreeMap<IpNet, u32> = self
            .nets
            .list()?
            .into_iter()
            .filter_map(|(key, flags)| Some((prefix_of(&key)?, flags)))
            .collect();
        for (net, flags) in &wanted {
            if present.get(net) != Some(flags) {
                self.nets.upsert(&lpm_key(*net), flags)?;
            }
        }
        for net in present.keys().filter(|net| !wanted.contains_key(net)) {
            self.nets.remove(&lpm_key(*net))?;
        }
        Ok(())
    }
}

/// The longest prefix alone counts: what a wider one says of it must be said again.
fn flags(inside: &[IpNet], masquerade: &[IpNet]) -> BTreeMap<IpNet, u32> {
    let trunc = |net: &IpNet| net.trunc();
    let nets = inside.iter().chain(masquerade).map(trunc);
    let mut flags: BTreeMap<IpNet, u32> = nets.map(|net| (net, 0)).collect();
    for (outers, flag) in [(inside, NET_INSIDE), (masquerade, NET_MASQUERADE)] {
        for outer in outers.iter().map(trunc) {
            // In order, what a prefix holds follows it.
            let held = flags.range_mut(outer..).take_while(|(net, _)| outer.contains(&net.network()));
            for (net, flags) in held {
                if outer.contains(net) {
                    *flags |= flag;
                }
            }
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    #[test]
    fn a_prefix_says_what_wider_ones_say_of_it() {
        let inside = nets(&["10.0.0.0/8", "10.244.1.1/32", "fd00::/16"]);
        let found = flags(&inside, &nets(&["10.244.1.0/24", "fd00:1::/64", "192.0.2.0/24"]));
        let of = |text: &str| found[&text.parse::<IpNet>().expect("a prefix")];
        assert_eq!(of("10.0.0.0/8"), NET_INSIDE);
        assert_eq!(of("10.244.1.0/24"), NET_INSIDE | NET_MASQUERADE);
        assert_eq!(of("10.244.1.1/32"), NET_INSIDE | NET_MASQUERADE);
        assert_eq!(of("fd00:1::/64"), NET_INSIDE | NET_MASQUERADE);
        assert_eq!(of("192.0.2.0/24"), NET_MASQUERADE);
        assert_eq!(found.len(), 6);
    }
}
