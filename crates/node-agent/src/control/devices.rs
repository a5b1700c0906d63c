//! What the kernel says of this node's devices, in the network namespace the agent runs in.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{if_indextoname, if_nametoindex};

/// Asks about devices; a trait, so that tests have devices without a kernel.
pub trait Devices: Send {
    /// Whether the device of this name is the one with this index.
    fn is(&self, name: &str, ifindex: u32) -> bool;
    /// The name of a device, if there is one with this index.
    fn name(&self, ifindex: u32) -> Option<String>;
    /// Every address of the node, loopback left out.
    fn addresses(&self) -> std::io::Result<BTreeSet<IpAddr>>;
}

/// The running kernel.
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl Devices for Kernel {
    fn is(&self, name: &str, ifindex: u32) -> bool {
        if_nametoindex(name) == Ok(ifindex)
    }

    fn name(&self, ifindex: u32) -> Option<String> {
        if_indextoname(ifindex).ok()?.into_string().ok()
    }

    fn addresses(&self) -> std::io::Result<BTreeSet<IpAddr>> {
        let mut found = BTreeSet::new();
        for interface in getifaddrs()? {
            let Some(address) = interface.address else { continue };
            let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (_, Some(v6)) => IpAddr::V6(v6.ip()),
                _ => continue,
            };
            if !ip.is_loopback() {
                found.insert(ip);
            }
        }
        Ok(found)
    }
}
