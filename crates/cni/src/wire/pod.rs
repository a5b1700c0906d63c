//! The container's end of a pod's cable. Everything here runs inside the container's namespace.

use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::{Wiring, failed, require, sysctl};
use crate::error::Error;

/// Gives the interface its addresses, routes and neighbours, and brings it up.
pub async fn configure(handle: &Handle, wiring: &Wiring) -> Result<(), Error> {
    let name = &wiring.pod_interface;
    let index = require(handle, name).await?.header.index;
    let loopback = LinkUnspec::new_with_name("lo").up().build();
    handle.link().set(loopback).execute().await.map_err(|e| failed("bring lo up", &e))?;

    if wiring.has_ipv6() {
        // Some runtimes switch IPv6 off by default; we were asked to give an address.
        sysctl("ipv6/conf/lo/disable_ipv6", "0")?;
        sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "0")?;
    }
    sysctl(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
    sysctl(&format!("ipv6/conf/{name}/accept_dad"), "0")?;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(|e| failed(&format!("bring {name} up"), &e))?;

    for net in &wiring.addresses {
        let mut request = handle.address().add(index, net.addr(), net.prefix_len());
        if net.addr().is_ipv6() {
            // Usable at once: the agent hands an address to one pod only.
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            request.message_mut().attributes.push(AddressAttribute::Flags(flags));
        }
        request.execute().await.map_err(|e| failed(&format!("add address {net} to {name}"), &e))?;
    }
    for gateway in &wiring.gateways {
        let neighbour =
            handle.neighbours().add(index, *gateway).link_layer_address(&wiring.host_mac.0).replace();
        neighbour.execute().await.map_err(|e| failed(&format!("add neighbour {gateway} on {name}"), &e))?;
        let route = match gateway {
            IpAddr::V4(v4) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .gateway(*v4)
                .output_interface(index)
                .onlink()
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .gateway(*v6)
                .output_interface(index)
                .onlink()
                .build(),
        };
        let verb = format!("add the default route via {gateway}");
        handle.route().add(route).execute().await.map_err(|e| failed(&verb, &e))?;
    }
    Ok(())
}

/// The addresses on device `index`, with prefix length.
pub async fn addresses(handle: &Handle, index: u32) -> Result<Vec<(IpAddr, u8)>, Error> {
    let mut found = Vec::new();
    let mut messages = handle.address().get().set_link_index_filter(index).execute();
    while let Some(message) = messages.try_next().await.map_err(|e| failed("list addresses", &e))? {
        for attribute in &message.attributes {
            if let AddressAttribute::Address(address) = attribute {
                found.push((*address, message.header.prefix_len));
            }
        }
    }
    Ok(found)
}
