//! The node's end of a pod's cable.

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{Wiring, failed, require, sysctl};
use crate::error::Error;
use crate::netns::Netns;

/// Makes the pair, the peer born inside the container under its final name; both ends stay down.
///
/// Returns the host-side device's index.
///
/// # Errors
/// The kernel's refusal: a name that is taken, for example. Nothing is left behind then.
pub async fn create(handle: &Handle, wiring: &Wiring, netns: &Netns, alias: &str) -> Result<u32, Error> {
    let peer = LinkUnspec::new_with_name(&wiring.pod_interface)
        .address(wiring.pod_mac.0.to_vec())
        .mtu(wiring.mtu)
        .setns_by_fd(netns.as_file().as_raw_fd())
        .build();
    let pair = LinkVeth::new(&wiring.host_interface, &wiring.pod_interface)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .address(wiring.host_mac.0.to_vec())
        .mtu(wiring.mtu)
        .build();
    let verb = format!("create the veth pair {} – {}", wiring.host_interface, wiring.pod_interface);
    handle.link().add(pair).execute().await.map_err(|e| failed(&verb, &e))?;
    let index = require(handle, &wiring.host_interface).await?.header.index;

    // The kernel takes an alias only on a device that exists.
    let label = LinkUnspec::new_with_index(index).alias(alias).build();
    if let Err(e) = handle.link().set(label).execute().await {
        delete(handle, index).await?;
        return Err(failed(&format!("label {}", wiring.host_interface), &e));
    }
    Ok(index)
}

/// Brings the host's end up: from here on packets pass.
pub async fn bring_up(handle: &Handle, wiring: &Wiring, index: u32) -> Result<(), Error> {
    let name = &wiring.host_interface;
    // The cable speaks for one pod: nothing on it may configure the node.
    sysctl(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
    sysctl(&format!("ipv6/conf/{name}/accept_dad"), "0")?;
    sysctl(&format!("ipv4/conf/{name}/accept_redirects"), "0")?;
    sysctl(&format!("ipv6/conf/{name}/accept_redirects"), "0")?;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(|e| failed(&format!("bring {name} up"), &e))?;
    for net in &wiring.addresses {
        let pod = net.addr();
        let neighbour = handle.neighbours().add(index, pod).link_layer_address(&wiring.pod_mac.0).replace();
        neighbour.execute().await.map_err(|e| failed(&format!("add neighbour {pod} on {name}"), &e))?;
        // A stale route of an earlier owner of the address is replaced, not tripped over.
        let verb = format!("route {net} to {name}");
        let route = match pod {
            IpAddr::V4(v4) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(v4, net.prefix_len())
                .output_interface(index)
                .scope(RouteScope::Link)
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(v6, net.prefix_len())
                .output_interface(index)
                .build(),
        };
        handle.route().add(route).replace().execute().await.map_err(|e| failed(&verb, &e))?;
    }
    Ok(())
}

/// Removes a device; the peer, its addresses and all routes go with it. Gone already is fine.
pub async fn delete(handle: &Handle, index: u32) -> Result<(), Error> {
    match handle.link().del(index).execute().await {
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::ENODEV => Ok(()),
        Err(e) => Err(failed(&format!("delete device {index}"), &e)),
        Ok(()) => Ok(()),
    }
}

/// Whether a device of this name is there.
pub async fn exists(handle: &Handle, name: &str) -> Result<bool, Error> {
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(|e| failed("list devices", &e))?;
    let is_it = |a: &LinkAttribute| matches!(a, LinkAttribute::IfName(it) if it == name);
    Ok(links.iter().any(|link| link.attributes.iter().any(is_it)))
}

/// Every device that carries a label, with it.
pub async fn labelled(handle: &Handle) -> Result<Vec<(LinkMessage, String)>, Error> {
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(|e| failed("list devices", &e))?;
    let label = |link: &LinkMessage| {
        link.attributes.iter().find_map(|a| match a {
            LinkAttribute::IfAlias(alias) => Some(alias.clone()),
            _ => None,
        })
    };
    Ok(links.into_iter().filter_map(|link| label(&link).map(|l| (link, l))).collect())
}
