//! Routes to other nodes' pods, and the switches that let a node forward at all.
//!
//! Ours carry a protocol number of their own; only those are ever removed or changed. Where somebody else's
//! route to a prefix is there already, it stays, and the log says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
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
            if refusal(index, prefix).is_some() {
                continue;
            }
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

/// Pod prefixes that get no route, and why.
pub fn refused(index: &Index) -> Vec<String> {
    let refusals = index.nodes.iter().flat_map(|node| {
        let why = |prefix| refusal(index, prefix).map(|why| format!("node {}: no route: {why}", node.name));
        node.pod_cidrs.iter().filter_map(why).collect::<Vec<_>>()
    });
    refusals.collect()
}

/// A route to such a prefix would take the nodes' own traffic with it.
fn refusal(index: &Index, prefix: &IpNet) -> Option<String> {
    if prefix.prefix_len() == 0 {
        return Some(format!("podCIDR {prefix} is everything"));
    }
    let mut nodes = index.nodes.iter().flat_map(|node| node.internal_ips.iter().map(move |ip| (node, ip)));
    let (node, ip) = nodes.find(|(_, ip)| prefix.contains(*ip))?;
    Some(format!("podCIDR {prefix} holds {ip}, an address of node {} itself", node.name))
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
        let mut added =
            handle.route().add(message(*prefix, *hop)).execute().await.map_err(anyhow::Error::from);
        if added.as_ref().is_err_and(is_taken) {
            added = taken(&handle, *prefix, *hop).await;
        }
        let added = added.with_context(|| match hop {
            Hop::Via(gateway) => format!("route {prefix} via {gateway}: is the node on the same network?"),
            Hop::Nowhere => format!("route {prefix} to nowhere"),
        });
        failed = failed.or(added.err());
    }
    failed.map_or(Ok(()), Err)
}

fn is_taken(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<rtnetlink::Error>(),
        Some(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::EEXIST
    )
}

/// Whose route to a prefix is there: ours is fine, another one stays.
async fn taken(handle: &Handle, prefix: IpNet, wanted: Hop) -> anyhow::Result<()> {
    let routes = listed(handle).await?;
    let there: Vec<&RouteMessage> = routes.iter().filter(|r| destination(r) == Some(prefix)).collect();
    if there.iter().any(|route| route.header.protocol == PROTOCOL && hop(route) == Some(wanted)) {
        return Ok(());
    }
    let protocol = there.first().map(|route| u8::from(route.header.protocol));
    let protocol = protocol.map_or_else(String::new, |number| format!(" (protocol {number})"));
    anyhow::bail!(
        "somebody else's route to it{protocol} is there and stays: remove it, or choose another podCIDR"
    )
}

pub(crate) fn connect() -> anyhow::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn ours(handle: &Handle) -> anyhow::Result<Vec<RouteMessage>> {
    let routes = listed(handle).await?;
    Ok(routes.into_iter().filter(|route| route.header.protocol == PROTOCOL).collect())
}

pub(crate) async fn listed(handle: &Handle) -> anyhow::Result<Vec<RouteMessage>> {
    let mut found = Vec::new();
    for filter in [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        let routes: Vec<RouteMessage> =
            handle.route().get(filter).execute().try_collect().await.context("list routes")?;
        found.extend(routes);
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
/// `proc` is where the switches can be written; a container's own /proc has them read-only.
///
/// # Errors
/// A switch that cannot be set.
pub fn enable_forwarding(proc: &Path) -> anyhow::Result<()> {
    let switches = proc.join("sys/net");
    let set = |path: &str, value: &str| {
        let path = switches.join(path);
        match std::fs::read_to_string(&path) {
            Ok(present) if present.trim() == value => return Ok(()),
            // A kernel without the family has nothing to forward.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            _ => {}
        }
        std::fs::write(&path, value).with_context(|| format!("write {value} to {}", path.display()))
    };
    set("ipv4/ip_forward", "1")?;
    if let Ok(interfaces) = std::fs::read_dir(switches.join("ipv6/conf")) {
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

    fn node(name: &str, ip: &str, cidr: &str) -> crate::cluster::source::Delta {
        let value = serde_json::json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
            "spec": { "podCIDRs": [cidr] },
            "status": { "addresses": [{ "type": "InternalIP", "address": ip }] },
        });
        let kind = crate::cluster::model::Kind::Node;
        let key = crate::cluster::model::ObjectKey::new(kind, "", name);
        let object = crate::cluster::convert::object(kind, &value).object.unwrap();
        crate::cluster::source::Delta::Upsert(key, object)
    }

    #[test]
    fn a_pod_prefix_that_holds_a_node_or_everything_gets_no_route_and_is_named() {
        let mut index = Index::default();
        index.apply(node("a", "192.168.0.1", "10.244.1.0/24"));
        index.apply(node("b", "192.168.0.2", "192.168.0.0/16"));
        index.apply(node("c", "192.168.0.3", "0.0.0.0/0"));
        assert_eq!(wanted(&index, "a").len(), 1);
        let refused = refused(&index);
        assert_eq!(refused.len(), 2);
        assert!(refused[0].contains("node b") && refused[0].contains("192.168.0.1"), "{refused:?}");
        assert!(refused[1].contains("0.0.0.0/0 is everything"), "{refused:?}");
    }

    /// Root only: in a network namespace of its own.
    #[test]
    fn a_route_of_somebody_else_stays_and_ours_follow_what_is_wanted() {
        fathom_bpf::testing::in_new_netns(|| {
            let ip = |line: &str| {
                let out = std::process::Command::new("ip").args(line.split(' ')).output().unwrap();
                assert!(out.status.success(), "ip {line}: {}", String::from_utf8_lossy(&out.stderr));
                String::from_utf8_lossy(&out.stdout).into_owned()
            };
            ip("link set lo up");
            ip("link add d0 type veth peer name d1");
            ip("link set d1 up");
            ip("address add 192.168.0.1/24 dev d0");
            ip("link set d0 up");
            ip("route add 10.244.2.0/24 via 192.168.0.77 proto static");
            let via = |gateway: &str| Hop::Via(gateway.parse().unwrap());
            let routes = |gateway| {
                Routes::from([
                    ("10.244.2.0/24".parse().unwrap(), via(gateway)),
                    ("10.244.3.0/24".parse().unwrap(), via(gateway)),
                ])
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for gateway in ["192.168.0.2", "192.168.0.2", "192.168.0.3"] {
                let refused = runtime.block_on(apply(&routes(gateway))).unwrap_err();
                assert!(format!("{refused:#}").contains("10.244.2.0/24"), "{refused:#}");
                assert!(format!("{refused:#}").contains("protocol 4"), "{refused:#}");
                assert!(ip("route show 10.244.2.0/24").contains("via 192.168.0.77"));
                assert!(ip("route show 10.244.3.0/24").contains(gateway));
            }
            ip("route del 10.244.2.0/24");
            runtime.block_on(apply(&routes("192.168.0.3"))).unwrap();
            assert!(ip("route show 10.244.2.0/24").contains("via 192.168.0.3"));
        });
    }
}
