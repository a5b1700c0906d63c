//! Devices that lead from the node into other network namespaces.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use anyhow::{Context, bail};
use fathom_netns::Netns;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::{Handle, MulticastGroup};

/// A device of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLink {
    pub name: String,
    pub mac: String,
    /// The device at the other end: its index, in the namespace with this number here.
    pub peer: Option<(u32, i32)>,
}

/// A device inside a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLink {
    pub name: String,
    pub mac: String,
    /// Those of global scope.
    pub addresses: Vec<IpAddr>,
    /// The node's end of it.
    pub host_end: Option<HostEnd>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    pub ifindex: u32,
    pub name: String,
    pub mac: String,
}

/// What a namespace holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    pub cookie: u64,
    pub links: Vec<PodLink>,
}

/// The node's own namespace: whatever this agent runs in.
pub struct Host {
    handle: Handle,
}

/// Tells when links of the node change.
pub struct Links {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr)>,
    /// Its end ends the messages.
    _handle: Handle,
}

impl Links {
    /// Waits for a change.
    ///
    /// # Errors
    /// The kernel's socket is closed.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        match self.messages.next().await {
            Some(_) => Ok(()),
            None => bail!("the kernel ended telling about links"),
        }
    }

    /// Passes over changes that were told already.
    pub fn forget(&mut self) {
        while self.messages.try_recv().is_ok() {}
    }
}

impl Host {
    /// # Errors
    /// No netlink socket.
    pub fn connect() -> anyhow::Result<(Self, Links)> {
        let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
        tokio::spawn(connection);
        let (connection, told, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
            .context("join the kernel's group for links")?;
        tokio::spawn(connection);
        Ok((Host { handle }, Links { messages, _handle: told }))
    }

    /// The node's devices, by index.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn links(&self) -> anyhow::Result<BTreeMap<u32, HostLink>> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.context("list links")?;
        Ok(links.iter().map(|link| (link.header.index, host_link(link))).collect())
    }

    /// What is in another namespace, and which of its devices end here.
    ///
    /// # Errors
    /// The namespace can't be entered, or the kernel's.
    pub async fn look_into(&self, netns: &Netns, links: &BTreeMap<u32, HostLink>) -> anyhow::Result<Inside> {
        let (cookie, found) = netns.inside(|| async { (fathom_netns::cookie(), list().await) }).await?;
        let found = found?;
        let number = self.number_of(netns).await?;
        let links = found.into_iter().map(|(link, ends_at, addresses)| PodLink {
            host_end: host_end(link.header.index, ends_at, number, links),
            name: name_of(&link),
            mac: mac_of(&link),
            addresses,
        });
        Ok(Inside { cookie, links: links.collect() })
    }

    /// The number by which this namespace knows another; links name it so.
    async fn number_of(&self, netns: &Netns) -> anyhow::Result<Option<i32>> {
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Fd(u32::try_from(netns.as_file().as_raw_fd())?));
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
        message.header.flags = NLM_F_REQUEST;
        let mut handle = self.handle.clone();
        let mut answers = handle.request(message).context("ask for a namespace's number")?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) => {
                    let number = answer.attributes.iter().find_map(|attribute| match attribute {
                        NsidAttribute::Id(number) => Some(*number),
                        _ => None,
                    });
                    return Ok(number.filter(|number| *number >= 0));
                }
                NetlinkPayload::Error(error) => {
                    return Err(error.to_io()).context("ask for a namespace's number");
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The node's end of a pod's device: both name each other, and the node's names the pod's namespace.
fn host_end(
    index: u32,
    ends_at: Option<u32>,
    number: Option<i32>,
    links: &BTreeMap<u32, HostLink>,
) -> Option<HostEnd> {
    let (ifindex, number) = (ends_at?, number?);
    let link = links.get(&ifindex).filter(|link| link.peer == Some((index, number)))?;
    Some(HostEnd { ifindex, name: link.name.clone(), mac: link.mac.clone() })
}

/// Devices of the calling thread's namespace, loopback left out: with the index of the other end, and addresses.
async fn list() -> anyhow::Result<Vec<(LinkMessage, Option<u32>, Vec<IpAddr>)>> {
    let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
    tokio::spawn(connection);
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await.context("list links")?;
    let addresses: Vec<_> = handle.address().get().execute().try_collect().await.context("list addresses")?;
    let mut by_device: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for message in &addresses {
        if message.header.scope != AddressScope::Universe {
            continue;
        }
        // IFA_LOCAL is the device's own where a peer's address is given too.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(ip) => Some(*ip),
            _ => None,
        });
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        });
        by_device.entry(message.header.index).or_default().extend(local.or(address));
    }
    let others = links.into_iter().filter(|link| !link.header.flags.contains(LinkFlags::Loopback));
    let device = |link: LinkMessage| {
        let addresses = by_device.remove(&link.header.index).unwrap_or_default();
        let ends_at = other_end(&link);
        (link, ends_at, addresses)
    };
    Ok(others.map(device).collect())
}

fn host_link(link: &LinkMessage) -> HostLink {
    let number = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkNetNsId(number) => Some(*number),
        _ => None,
    });
    HostLink { name: name_of(link), mac: mac_of(link), peer: other_end(link).zip(number) }
}

fn other_end(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })
}

fn name_of(link: &LinkMessage) -> String {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    name.unwrap_or_default()
}

fn mac_of(link: &LinkMessage) -> String {
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => Some(bytes),
        _ => None,
    });
    let digits = mac.into_iter().flatten().map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, peer: Option<(u32, i32)>) -> HostLink {
        HostLink { name: name.into(), mac: String::new(), peer }
    }

    #[test]
    fn an_end_counts_when_both_name_each_other_and_the_namespace() {
        let links = BTreeMap::from([(7, link("veth7", Some((2, 3)))), (8, link("veth8", None))]);
        let end = |index, ends_at, number| host_end(index, ends_at, number, &links).map(|end| end.name);
        assert_eq!(end(2, Some(7), Some(3)).as_deref(), Some("veth7"));
        for (what, found) in [
            ("another namespace", end(2, Some(7), Some(4))),
            ("another device", end(3, Some(7), Some(3))),
            ("no peer", end(2, Some(8), Some(3))),
            ("no such device", end(2, Some(9), Some(3))),
            ("a namespace without a number", end(2, Some(7), None)),
            ("no cable", end(2, None, Some(3))),
        ] {
            assert_eq!(found, None, "{what}");
        }
    }
}
