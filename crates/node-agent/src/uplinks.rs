//! Devices that lead off the node: which they are, the programs on them, and whose packets leave under the
//! node's address.
//!
//! A device counts that has a default route, or an address by which the cluster knows the node; or those that
//! `--devices` names. Devices come and go, and get addresses late: all of it is looked at again now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fathom_bpf::load::Datapath;
use fathom_bpf::maps::UplinkAddresses;
use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::index::Index;

/// Time between looks at the node's devices that nothing asked for.
const RECHECK: Duration = Duration::from_secs(10);
/// Time until another attempt after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Addresses that are never anybody outside: multicast, broadcast, the link.
const NOBODY: [&str; 4] = ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8", "fe80::/10"];

/// What the objects say of the outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Pods of every node, and the nodes: who talks to them keeps its address.
    pub inside: BTreeSet<IpNet>,
    /// This node's pods.
    pub own: BTreeSet<IpNet>,
    /// By which the cluster knows this node.
    pub internal: BTreeSet<IpAddr>,
}

/// Reads them off the nodes' objects.
pub fn surroundings(index: &Index, node: &str) -> Surroundings {
    let mut found = Surroundings::default();
    for other in index.nodes.iter() {
        found.inside.extend(other.pod_cidrs.iter().copied());
        found.inside.extend(other.internal_ips.iter().map(|ip| IpNet::from(*ip)));
        if &*other.name == node {
            found.own.extend(other.pod_cidrs.iter().copied());
            found.internal.extend(other.internal_ips.iter().copied());
        }
    }
    found
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Names of devices; `None` = found.
    pub devices: Option<Vec<String>>,
    /// Pods leave under the node's address.
    pub masquerade: bool,
    /// But not towards these.
    pub exclude: Vec<IpNet>,
}

/// A device of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Device {
    name: String,
    /// It carries Ethernet frames: the programs read no others.
    ethernet: bool,
    /// Of global scope, in the kernel's order.
    addresses: Vec<IpAddr>,
    default_route: bool,
}

impl Device {
    /// What replaces a source: the address the cluster knows, else the first.
    fn sources(&self, internal: &BTreeSet<IpAddr>) -> UplinkAddresses {
        let best = |of_family: fn(&&IpAddr) -> bool| {
            let known = self.addresses.iter().filter(of_family).find(|ip| internal.contains(*ip));
            known.or_else(|| self.addresses.iter().find(of_family)).copied()
        };
        let mut sources = UplinkAddresses::default();
        if let Some(IpAddr::V4(ip)) = best(|ip| ip.is_ipv4()) {
            sources.ipv4 = Some(ip);
        }
        if let Some(IpAddr::V6(ip)) = best(|ip| ip.is_ipv6()) {
            sources.ipv6 = Some(ip);
        }
        sources
    }

    fn is_uplink(&self, settings: &Settings, internal: &BTreeSet<IpAddr>) -> bool {
        match &settings.devices {
            Some(names) => names.contains(&self.name),
            None => self.default_route || self.addresses.iter().any(|ip| internal.contains(ip)),
        }
    }
}

/// Keeps programs and tables of the uplinks to what is asked for, until `stop`. `None` = not known yet: nothing
/// is touched.
pub async fn keep(
    loaded: Arc<Datapath>,
    settings: Settings,
    mut wanted: watch::Receiver<Option<Surroundings>>,
    stop: CancellationToken,
) {
    let mut keeper = Keeper { loaded, settings, last: BTreeMap::new(), said: BTreeSet::new() };
    loop {
        let current = wanted.borrow_and_update().clone();
        let mut wait = RECHECK;
        if let Some(current) = current
            && let Err(error) = keeper.look(&current).await
        {
            wait = RETRY;
            keeper.warn(format!("devices that lead off the node: {error:#}"));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Keeper {
    loaded: Arc<Datapath>,
    settings: Settings,
    last: BTreeMap<u32, UplinkAddresses>,
    said: BTreeSet<String>,
}

impl Keeper {
    async fn look(&mut self, surroundings: &Surroundings) -> anyhow::Result<()> {
        let uplinks = &self.loaded.maps().uplinks;
        let (inside, masquerade) = nets(surroundings, &self.settings);
        uplinks.set_nets(&inside, &masquerade).context("say who is inside the cluster")?;
        let devices = devices().await?;
        let mut wanted = BTreeMap::new();
        let mut passed_over = Vec::new();
        for (ifindex, device) in &devices {
            if !device.is_uplink(&self.settings, &surroundings.internal) {
                continue;
            }
            if device.ethernet {
                wanted.insert(*ifindex, device.sources(&surroundings.internal));
            } else {
                passed_over.push(format!(
                    "device {} carries no Ethernet frames: services are not reachable from outside through it",
                    device.name
                ));
            }
        }
        for name in self.settings.devices.iter().flatten() {
            if !devices.values().any(|device| device.name == *name) {
                passed_over.push(format!("--devices names {name}, which is not there (yet)"));
            }
        }
        // Also those of an earlier process.
        for ifindex in self.loaded.maps().uplinks.devices().context("list uplinks")? {
            if !wanted.contains_key(&ifindex) {
                self.loaded.detach_uplink(ifindex).with_context(|| format!("leave device {ifindex}"))?;
            }
        }
        for (ifindex, sources) in &wanted {
            let name = &devices[ifindex].name;
            uplinks.set_device(*ifindex, *sources).with_context(|| format!("write down {name}"))?;
            self.loaded.attach_uplink(*ifindex).with_context(|| format!("attach to {name}"))?;
            if self.last.get(ifindex) != Some(sources) {
                tracing::info!(device = name, ?sources, "services are reachable from outside");
            }
        }
        self.last = wanted;
        for text in passed_over {
            self.warn(text);
        }
        Ok(())
    }

    fn warn(&mut self, text: String) {
        if !self.said.contains(&text) {
            tracing::warn!("{text}");
            self.said.insert(text);
        }
    }
}

/// Who keeps its address whom it talks to, and whose address is replaced else.
fn nets(surroundings: &Surroundings, settings: &Settings) -> (Vec<IpNet>, Vec<IpNet>) {
    let nobody = NOBODY.iter().filter_map(|net| net.parse().ok());
    let inside = surroundings.inside.iter().copied().chain(settings.exclude.iter().copied()).chain(nobody);
    let masquerade = settings.masquerade.then(|| surroundings.own.iter().copied());
    (inside.collect(), masquerade.into_iter().flatten().collect())
}

/// Every device of the node that is up, loopback left out, by index.
async fn devices() -> anyhow::Result<BTreeMap<u32, Device>> {
    let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let found = listed(&handle).await;
    connection.abort();
    found
}

async fn listed(handle: &Handle) -> anyhow::Result<BTreeMap<u32, Device>> {
    let mut found: BTreeMap<u32, Device> = BTreeMap::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await.context("list devices")? {
        let flags = link.header.flags;
        if flags.contains(LinkFlags::Loopback) || !flags.contains(LinkFlags::Up) {
            continue;
        }
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        let device = Device {
            name: name.unwrap_or_default(),
            ethernet: link.header.link_layer_type == LinkLayerType::Ether,
            ..Device::default()
        };
        found.insert(link.header.index, device);
    }
    let mut addresses = handle.address().get().execute();
    while let Some(address) = addresses.try_next().await.context("list addresses")? {
        let Some(device) = found.get_mut(&address.header.index) else { continue };
        if address.header.scope != AddressScope::Universe {
            continue;
        }
        // A point-to-point device has its own address in Local, and the peer's in Address.
        let of = |local: bool| {
            address.attributes.iter().find_map(move |attribute| match attribute {
                AddressAttribute::Local(ip) if local => Some(*ip),
                AddressAttribute::Address(ip) if !local => Some(*ip),
                _ => None,
            })
        };
        device.addresses.extend(of(true).or_else(|| of(false)));
    }
    for filter in [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        let mut routes = handle.route().get(filter).execute();
        while let Some(route) = routes.try_next().await.context("list routes")? {
            for ifindex in leads_off_by(&route) {
                if let Some(device) = found.get_mut(&ifindex) {
                    device.default_route = true;
                }
            }
        }
    }
    Ok(found)
}

/// The devices of a default route.
fn leads_off_by(route: &RouteMessage) -> Vec<u32> {
    if route.header.destination_prefix_length != 0 || route.header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let mut devices = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => devices.push(*ifindex),
            RouteAttribute::MultiPath(hops) => devices.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_uplink_has_a_default_route_or_the_nodes_address_or_was_named() {
        let internal: BTreeSet<IpAddr> = ips(&["192.168.0.1"]).into_iter().collect();
        let found = Settings::default();
        let named = Settings { devices: Some(vec!["eth1".into()]), ..Settings::default() };
        let device = |name: &str, default_route, addresses: &[&str]| Device {
            name: name.into(),
            ethernet: true,
            addresses: ips(addresses),
            default_route,
        };
        for (device, by_itself, by_name) in [
            (device("eth0", true, &[]), true, false),
            (device("eth1", false, &["192.168.0.1"]), true, true),
            (device("eth1", false, &["192.168.0.2"]), false, true),
        ] {
            assert_eq!(device.is_uplink(&found, &internal), by_itself, "{device:?}");
            assert_eq!(device.is_uplink(&named, &internal), by_name, "{device:?}");
        }
    }

    #[test]
    fn what_replaces_a_source_is_the_address_that_the_cluster_knows() {
        let internal: BTreeSet<IpAddr> = ips(&["192.168.0.1"]).into_iter().collect();
        let addresses = ips(&["192.168.0.7", "192.168.0.1", "fd00::7", "fd00::1"]);
        let device = Device { addresses, ..Device::default() };
        let sources = device.sources(&internal);
        assert_eq!(sources.ipv4, Some([192, 168, 0, 1].into()));
        assert_eq!(sources.ipv6, Some("fd00::7".parse().unwrap()), "the first, as none is known");
        assert_eq!(Device::default().sources(&internal), UplinkAddresses::default());
    }

    #[test]
    fn pods_keep_their_address_in_the_cluster_and_where_it_was_said() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let surroundings = Surroundings {
            inside: [net("10.244.0.0/16"), net("192.168.0.1/32")].into_iter().collect(),
            own: [net("10.244.1.0/24")].into_iter().collect(),
            internal: BTreeSet::new(),
        };
        let settings = Settings { masquerade: true, exclude: vec![net("10.0.0.0/8")], devices: None };
        let (inside, masquerade) = nets(&surroundings, &settings);
        for part in ["10.244.0.0/16", "192.168.0.1/32", "10.0.0.0/8", "224.0.0.0/4"] {
            assert!(inside.contains(&net(part)), "{part} of {inside:?}");
        }
        assert_eq!(masquerade, [net("10.244.1.0/24")]);
        let off = Settings { masquerade: false, ..settings };
        assert_eq!(nets(&surroundings, &off).1, []);
    }

    /// Root only: in a network namespace of its own.
    #[test]
    fn devices_are_told_with_their_addresses_and_routes() {
        fathom_bpf::testing::in_new_netns(|| {
            let ip = |line: &str| {
                let out = std::process::Command::new("ip").args(line.split(' ')).output().unwrap();
                assert!(out.status.success(), "ip {line}: {}", String::from_utf8_lossy(&out.stderr));
            };
            ip("link set lo up");
            ip("link add d0 type veth peer name d1");
            ip("link set d1 up");
            ip("address add 192.168.0.1/24 dev d0");
            ip("address add fd00::1/64 dev d0 nodad");
            ip("link set d0 up");
            ip("route add default via 192.168.0.77");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let found = runtime.block_on(devices()).unwrap();
            let by_name = |name: &str| found.values().find(|device| device.name == name).unwrap();
            let d0 = by_name("d0");
            assert!(d0.ethernet && d0.default_route, "{d0:?}");
            assert_eq!(d0.addresses, ips(&["192.168.0.1", "fd00::1"]));
            let d1 = by_name("d1");
            assert!(!d1.default_route && d1.addresses.is_empty(), "{d1:?}");
            assert_eq!(found.len(), 2);
        });
    }
}
