//! Routes to other nodes' pods, and the switches that let a node forward at all.
//!
//! Ours carry a protocol number of their own; only those are ever removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::index::Index;

/// `rtm_protocol` of our routes: free in the kernel's and in iproute2's lists.
pub const PROTOCOL: RouteProtocol = RouteProtocol::Other(102);

/// Time between looks at the table that nothing asked for: somebody else may remove our routes.
const RECHECK: Duration = Duration::from_secs(30);
/// Time until another attempt after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Where a prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    Via(IpAddr),
    /// This node's own prefix: addresses of no pod must not leave by the default route and come back.
    Nowhere,
}

/// Prefix → hop.
pub type Routes = BTreeMap<IpNet, Hop>;

/// The routes that the nodes' objects ask for.
pub fn wanted(index: &Index, node: &str) -> Routes {
    let mut routes = Routes::new();
    for other in index.nodes.iter() {
        for prefix in &other.pod_cidrs {
            if &*other.name == node {
                routes.insert(*prefix, Hop::Nowhere);
                continue;
            }
            let gateway = other.internal_ips.iter().find(|ip| ip.is_ipv4() == prefix.addr().is_ipv4());
            if let Some(gateway) = gateway {
                routes.insert(*prefix, Hop::Via(*gateway));
            }
        }
    }
    routes
}

/// Keeps the kernel's table to what is wanted, until `stop`. `None` = not known yet: nothing is touched.
pub async fn keep(mut routes: watch::Receiver<Option<Routes>>, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let current = routes.borrow_and_update().clone();
        let mut wait = RECHECK;
        if let Some(current) = current {
            match apply(&current).await {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("routes to other nodes' pods are in place");
                    }
                }
                Err(error) => {
                    wait = RETRY;
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            error = format!("{error:#}"),
                            "routes to other nodes' pods are not complete"
                        );
                    }
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = routes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Makes the table hold `wanted` and none of our older routes.
///
/// # Errors
/// The first route that cannot be set, after trying all.
pub async fn apply(wanted: &Routes) -> anyhow::Result<()> {
    let handle = connect()?;
    let mut present: BTreeSet<(IpNet, Hop)> = BTreeSet::new();
    let mut failed = None;
    for route in ours(&handle).await? {
        match destination(&route) {
            Some(prefix) if hop(&route).is_some_and(|hop| wanted.get(&prefix) == Some(&hop)) => {
                present.extend(hop(&route).map(|hop| (prefix, hop)));
            }
            _ => {
                let what = destination(&route).map_or_else(|| "a route".to_owned(), |p| p.to_string());
                let removed = handle.route().del(route).execute().await;
                failed = failed.or(removed.with_context(|| format!("remove {what}")).err());
            }
        }
    }
    for (prefix, hop) in wanted.iter().filter(|(prefix, hop)| !present.contains(&(**prefix, **hop))) {
        let added = handle.route().add(message(*prefix, *hop)).replace().execute().await;
        let added = added.with_context(|| match hop {
            Hop::Via(gateway) => format!("route {prefix} via {gateway}: is the node on the same network?"),
            Hop::Nowhere => format!("route {prefix} to nowhere"),
        });
        failed = failed.or(added.err());
    }
    failed.map_or(Ok(()), Err)
}

fn connect() -> anyhow::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn ours(handle: &Handle) -> anyhow::Result<Vec<RouteMessage>> {
    let mut found = Vec::new();
    for filter in [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        let routes: Vec<RouteMessage> =
            handle.route().get(filter).execute().try_collect().await.context("list routes")?;
        found.extend(routes.into_iter().filter(|route| route.header.protocol == PROTOCOL));
    }
    Ok(found)
}

fn message(prefix: IpNet, hop: Hop) -> RouteMessage {
    let kind = if hop == Hop::Nowhere { RouteType::Unreachable } else { RouteType::Unicast };
    match prefix {
        IpNet::V4(net) => {
            let mut route = RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(net.addr(), net.prefix_len())
                .protocol(PROTOCOL)
                .kind(kind);
            if let Hop::Via(IpAddr::V4(gateway)) = hop {
                route = route.gateway(gateway);
            }
            route.build()
        }
        IpNet::V6(net) => {
            let mut route = RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(net.addr(), net.prefix_len())
                .protocol(PROTOCOL)
                .kind(kind);
            if let Hop::Via(IpAddr::V6(gateway)) = hop {
                route = route.gateway(gateway);
            }
            route.build()
        }
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn destination(route: &RouteMessage) -> Option<IpNet> {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    })?;
    IpNet::new(address, route.header.destination_prefix_length).ok()
}

fn hop(route: &RouteMessage) -> Option<Hop> {
    if route.header.kind == RouteType::Unreachable {
        return Some(Hop::Nowhere);
    }
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address).map(Hop::Via),
        _ => None,
    })
}

/// Lets the node forward, both families. Where an interface takes its default route from router
/// advertisements, it goes on doing so: forwarding alone would end that.
///
/// # Errors
/// A switch that cannot be set.
pub fn enable_forwarding() -> anyhow::Result<()> {
    let set = |path: &str, value: &str| {
        let path = format!("/proc/sys/net/{path}");
        match std::fs::read_to_string(&path) {
            Ok(present) if present.trim() == value => return Ok(()),
            // A kernel without the family has nothing to forward.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            _ => {}
        }
        std::fs::write(&path, value).with_context(|| format!("write {value} to {path}"))
    };
    set("ipv4/ip_forward", "1")?;
    if let Ok(interfaces) = std::fs::read_dir("/proc/sys/net/ipv6/conf") {
        for interface in interfaces.flatten() {
            let path = interface.path().join("accept_ra");
            if std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
                std::fs::write(&path, "2").with_context(|| format!("write 2 to {}", path.display()))?;
            }
        }
    }
    set("ipv6/conf/all/forwarding", "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_message_says_what_it_was_made_of() {
        for (prefix, hop_wanted) in [
            ("10.244.2.0/24", Hop::Via("192.168.0.2".parse().unwrap())),
            ("fd00:2::/64", Hop::Via("fd00::2".parse().unwrap())),
            ("10.244.1.0/24", Hop::Nowhere),
        ] {
            let prefix: IpNet = prefix.parse().unwrap();
            let route = message(prefix, hop_wanted);
            assert_eq!((destination(&route), hop(&route)), (Some(prefix), Some(hop_wanted)));
            assert_eq!(route.header.protocol, PROTOCOL);
        }
    }
}
