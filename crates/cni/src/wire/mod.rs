//! The pod's cable: a veth pair, addresses, routes and permanent neighbours on both sides.
//!
//! The pod owns single addresses (/32, /128) and reaches everything through a link-local next hop
//! that no device answers for: a permanent neighbour entry names the host-side device instead, as
//! one does for the pod on the host. So there is no ARP, no neighbour discovery and no duplicate
//! address detection on the cable, and nothing a pod could spoof with them.

pub mod host;
pub mod pod;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::time::Instant;

use crate::error::{Code, Error};

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Everything one cable is made of.
#[derive(Debug, Clone)]
pub struct Wiring {
    pub host_interface: String,
    pub pod_interface: String,
    pub host_mac: Mac,
    pub pod_mac: Mac,
    /// Full-length prefixes; at most one per family is usual, more are fine.
    pub addresses: Vec<IpNet>,
    /// At most one per family.
    pub gateways: Vec<IpAddr>,
    pub mtu: u32,
}

impl Wiring {
    /// The next hop of `address`'s family.
    pub fn gateway_for(&self, address: IpAddr) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|g| g.is_ipv4() == address.is_ipv4())
    }

    pub fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(|a| a.addr().is_ipv6())
    }
}

/// Both Ethernet addresses of a cable, from the pod's first address: unique on the node, readable
/// in a capture, and set by us, which keeps device managers from assigning others afterwards.
pub fn macs(first: IpAddr) -> (Mac, Mac) {
    let tail = match first {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            [a, b, c, d]
        }
    };
    let [a, b, c, d] = tail;
    (Mac([0x0e, 0xfa, a, b, c, d]), Mac([0x0a, 0xfa, a, b, c, d]))
}

/// A netlink connection in the calling thread's network namespace.
pub fn connect() -> Result<Handle, Error> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|e| Error::new(Code::Io, "cannot open a netlink socket").because(e))?;
    tokio::spawn(connection);
    Ok(handle)
}

/// The device of that name; `None` when there is none.
pub async fn find(handle: &Handle, name: &str) -> Result<Option<LinkMessage>, Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await {
        Ok(link) => Ok(link),
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::ENODEV => Ok(None),
        Err(e) => Err(failed(&format!("look up device {name}"), &e)),
    }
}

/// The device of that name.
pub async fn require(handle: &Handle, name: &str) -> Result<LinkMessage, Error> {
    let link = find(handle, name).await?;
    link.ok_or_else(|| Error::new(Code::Netlink, format!("device {name} is gone")))
}

/// How long a device may take to come up before we stop waiting for it.
const AWAKE_WITHIN: Duration = Duration::from_secs(2);

/// Waits until packets pass through a device. The kernel gives it its queue some time after both ends
/// are up, on a busy machine a tenth of a second, and until then drops everything without a trace: a
/// pod's first connection would wait a second for TCP to try again. A device that stays asleep is not
/// ours to judge.
pub async fn awake(handle: &Handle, name: &str) -> Result<(), Error> {
    let deadline = Instant::now() + AWAKE_WITHIN;
    let asleep = |a: &LinkAttribute| matches!(a, LinkAttribute::Qdisc(queue) if queue == "noop");
    while require(handle, name).await?.attributes.iter().any(asleep) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// A device's Ethernet address, when it has one.
pub fn mac_of(link: &LinkMessage) -> Option<Mac> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}

/// Routes to `destination` exactly, out of device `index`, in the main table.
pub async fn has_route(
    handle: &Handle,
    index: u32,
    destination: IpNet,
    gateway: Option<IpAddr>,
) -> Result<bool, Error> {
    let query = if destination.addr().is_ipv4() {
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build()
    } else {
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build()
    };
    let routes: Vec<RouteMessage> =
        handle.route().get(query).execute().try_collect().await.map_err(|e| failed("list routes", &e))?;
    Ok(routes.iter().any(|route| is_route(route, index, destination, gateway)))
}

fn is_route(route: &RouteMessage, index: u32, destination: IpNet, gateway: Option<IpAddr>) -> bool {
    let address = |a: &RouteAddress| match a {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    };
    let (mut to, mut via, mut out) = (None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(a) => to = address(a),
            RouteAttribute::Gateway(a) => via = address(a),
            RouteAttribute::Oif(i) => out = Some(*i),
            _ => {}
        }
    }
    // A default route carries no destination.
    let to_matches = to.map_or(destination.prefix_len() == 0, |to| to == destination.addr());
    route.header.destination_prefix_length == destination.prefix_len()
        && to_matches
        && out == Some(index)
        && (gateway.is_none() || via == gateway)
}

/// A netlink refusal, with what was tried.
pub fn failed(verb: &str, error: &rtnetlink::Error) -> Error {
    let cause = match error {
        rtnetlink::Error::NetlinkError(e) => e.to_io().to_string(),
        other => other.to_string(),
    };
    Error::new(Code::Netlink, format!("cannot {verb}")).because(cause)
}

/// Writes a network sysctl of the calling thread's namespace.
///
/// Absent files are passed over: without IPv6 in the kernel there is nothing to switch off.
pub fn sysctl(path: &str, value: &str) -> Result<(), Error> {
    match std::fs::write(format!("/proc/sys/net/{path}"), value) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(Code::Io, format!("cannot set net/{path} to {value}")).because(e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ends_never_share_a_mac_and_both_are_local_unicast() {
        let (host, pod) = macs("10.244.1.7".parse().unwrap());
        assert_eq!(host.to_string(), "0e:fa:0a:f4:01:07");
        assert_eq!(pod.to_string(), "0a:fa:0a:f4:01:07");
        for mac in [host, pod] {
            assert_eq!(mac.0[0] & 0b11, 0b10, "locally administered, not multicast");
        }
    }
}
