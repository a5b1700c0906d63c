//! Devices, what they let through, and the switches of the kernel's forwarding.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context;
use futures::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;

use super::finding::Finding;
use crate::cni::mtu;
use crate::config::{Config, Wiring};
use crate::control::routes;

/// What a device is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A default route leads over it.
    Uplink,
    /// A pod is behind it; empty when its name is not known.
    Pod(String),
}

/// A device that programs of ours hang on, or could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub ifindex: u32,
    pub name: String,
    pub mtu: u32,
    pub role: Role,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.role {
            Role::Pod(pod) if !pod.is_empty() => write!(f, "{} of pod {pod}", self.name),
            _ => f.write_str(&self.name),
        }
    }
}

/// The node's uplinks and the devices of these pods, by index; those that are gone are left out. An uplink has a
/// default route, or carries our programs for uplinks.
///
/// # Errors
/// The kernel can't be asked.
pub async fn devices(pods: &BTreeMap<u32, String>, pin_dir: &Path) -> anyhow::Result<Vec<Device>> {
    let handle = routes::connect()?;
    let links: Vec<_> = handle.link().get().execute().try_collect().await.context("list the node's links")?;
    let mut uplinks = with_program(pin_dir, "from_uplink-");
    uplinks.extend(mtu::devices_of_default_routes(&routes::listed(&handle).await?));
    let device = |link: &rtnetlink::packet_route::link::LinkMessage| {
        let ifindex = link.header.index;
        let role = match pods.get(&ifindex) {
            Some(pod) => Role::Pod(pod.clone()),
            None => uplinks.contains(&ifindex).then_some(Role::Uplink)?,
        };
        let (mut name, mut mtu) = (String::new(), 0);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name.clone_from(text),
                LinkAttribute::Mtu(bytes) => mtu = *bytes,
                _ => {}
            }
        }
        Some(Device { ifindex, name, mtu, role })
    };
    Ok(links.iter().filter_map(device).collect())
}

/// Indexes of the devices that an agent's programs hang on, by the names of its pins; none where they hang on
/// clsact qdiscs.
pub fn pinned(pin_dir: &Path) -> BTreeMap<u32, String> {
    with_program(pin_dir, "from_pod-").into_iter().map(|ifindex| (ifindex, String::new())).collect()
}

fn with_program(pin_dir: &Path, program: &str) -> BTreeSet<u32> {
    let links = fs::read_dir(pin_dir.join("links")).into_iter().flatten().flatten();
    links.filter_map(|link| link.file_name().to_str()?.strip_prefix(program)?.parse().ok()).collect()
}

/// MTUs of pods that are larger than what the node's way out lets through.
pub fn mtus(devices: &[Device], wiring: Wiring) -> Vec<Finding> {
    let uplinks = || devices.iter().filter(|device| device.role == Role::Uplink);
    let Some(narrowest) = uplinks().min_by_key(|device| device.mtu) else {
        return vec![
            Finding::info("mtu", "no default route: the way off the node is not known")
                .so(format!("pods that are wired now take an MTU of {}", mtu::DEFAULT)),
        ];
    };
    let (narrowest, out) = (&narrowest.name, narrowest.mtu);
    let wide = devices.iter().filter(|device| device.role != Role::Uplink && device.mtu > out);
    let mut found: Vec<Finding> = wide
        .map(|device| {
            let remedy = match wiring {
                Wiring::Cni => "restart the pod: it is given the node's MTU when it is wired (or what --mtu says)",
                Wiring::Attach => "set the MTU in the configuration of the plugin that wires pods, and restart the pod",
            };
            Finding::degraded("mtu", format!("{device} has {}, the way out over {narrowest} {out}", device.mtu))
                .so("large packets to other nodes do not fit: connections that ignore ICMP's \"too big\" hang in the middle")
                .then(remedy)
        })
        .collect();
    if let Some(widest) = uplinks().map(|device| device.mtu).max().filter(|widest| *widest > out) {
        let what = format!("uplinks differ: {narrowest} has {out}, another {widest}");
        found.push(Finding::info("mtu", what).so("pods that are wired now take the smaller one"));
    }
    if found.is_empty() {
        found.push(Finding::ok("mtu", format!("{out} on the way out, and no pod has more")));
    }
    found
}

/// Forwarding and reverse path filters, by /proc/sys/net of this network namespace.
pub fn switches(config: &Config, devices: &[Device]) -> Vec<Finding> {
    let read = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys/net").join(name)).ok()?;
        text.trim().parse::<u32>().ok()
    };
    let mut found = forwarding(&read, config.keeps_routes());
    let uplinks: Vec<&str> = devices.iter().filter(|d| d.role == Role::Uplink).map(|d| &*d.name).collect();
    found.extend(reverse_paths(&read, &uplinks));
    found
}

fn forwarding(read: &impl Fn(&str) -> Option<u32>, keeps: bool) -> Vec<Finding> {
    let families = [
        ("ipv4/ip_forward", "net.ipv4.ip_forward"),
        // No IPv6 at all is no fault.
        ("ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
    ];
    let off: Vec<&str> =
        families.into_iter().filter(|(path, _)| read(path) == Some(0)).map(|(_, name)| name).collect();
    if off.is_empty() {
        return vec![Finding::ok("forwarding", "on")];
    }
    let switch = |name: &str| {
        let what = format!("{name} is 0");
        if keeps {
            return Finding::info("forwarding", what).so("the agent switches it on when it starts");
        }
        Finding::degraded("forwarding", what)
            .so("packets between pods and the world are not forwarded, unless a bridge carries them")
            .then(format!("sysctl -w {name}=1, or start the agent with --routes on"))
    };
    off.into_iter().map(switch).collect()
}

fn reverse_paths(read: &impl Fn(&str) -> Option<u32>, uplinks: &[&str]) -> Option<Finding> {
    if uplinks.len() < 2 {
        return None;
    }
    // The larger of the two counts (ip-sysctl.rst): 1 = strict, 2 = loose.
    let all = read("ipv4/conf/all/rp_filter").unwrap_or(0);
    let of = |device: &str| read(&format!("ipv4/conf/{device}/rp_filter")).unwrap_or(0).max(all);
    let strict: Vec<&str> = uplinks.iter().copied().filter(|device| of(device) == 1).collect();
    if strict.is_empty() {
        return Some(Finding::ok("rp_filter", format!("not strict on {} uplinks", uplinks.len())));
    }
    let name = strict.join(" and ");
    Some(
        Finding::degraded("rp_filter", format!("strict on {name}, one of {} uplinks", uplinks.len()))
            .so("what comes in by another uplink than the way back leads over is dropped in silence: no flow tells of it")
            .then(format!("sysctl -w net.ipv4.conf.{}.rp_filter=2, and net.ipv4.conf.all.rp_filter=2", strict[0])),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Severity;

    fn device(name: &str, mtu: u32, role: Role) -> Device {
        Device { ifindex: 1, name: name.into(), mtu, role }
    }

    #[test]
    fn pods_wider_than_the_way_out_are_named() {
        let pod = |mtu| device("lxc1", mtu, Role::Pod("shop/web".into()));
        let found = mtus(&[device("eth0", 1450, Role::Uplink), pod(1500)], Wiring::Cni);
        assert_eq!(found[0].severity, Severity::Degraded);
        assert_eq!(found[0].what, "lxc1 of pod shop/web has 1500, the way out over eth0 1450");
        let found = mtus(&[device("eth0", 1500, Role::Uplink), pod(1500)], Wiring::Cni);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Ok));
        let two = [device("eth0", 1500, Role::Uplink), device("eth1", 9000, Role::Uplink)];
        assert_eq!(mtus(&two, Wiring::Cni)[0].severity, Severity::Info);
        assert_eq!(mtus(&[pod(1500)], Wiring::Cni)[0].severity, Severity::Info);
    }

    #[test]
    fn forwarding_that_nobody_switches_on_is_a_fault() {
        let off = |path: &str| (path == "ipv4/ip_forward").then_some(0);
        let found = forwarding(&off, false);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Degraded));
        assert!(found[0].remedy.contains("net.ipv4.ip_forward=1"), "{found:?}");
        assert_eq!(forwarding(&off, true)[0].severity, Severity::Info);
        assert_eq!(forwarding(&|_: &str| Some(1), false)[0].severity, Severity::Ok);
        assert_eq!(forwarding(&|_: &str| None, false)[0].severity, Severity::Ok);
    }

    #[test]
    fn strict_filters_count_where_there_are_two_ways() {
        let strict = |path: &str| Some(u32::from(path.contains("eth1")));
        assert_eq!(reverse_paths(&strict, &["eth1"]), None);
        let finding = reverse_paths(&strict, &["eth0", "eth1"]).unwrap();
        assert_eq!(finding.severity, Severity::Degraded);
        assert!(finding.what.starts_with("strict on eth1"), "{finding:?}");
        let loose = |path: &str| Some(if path.contains("all") { 2 } else { 1 });
        assert_eq!(
            reverse_paths(&loose, &["eth0", "eth1"]).unwrap().severity,
            Severity::Ok,
            "the larger counts"
        );
    }

    #[test]
    fn devices_are_known_by_their_pins() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("links")).unwrap();
        for name in ["from_pod-12", "to_pod-12", "sock_connect4", "from_pod-x"] {
            fs::write(directory.path().join("links").join(name), "").unwrap();
        }
        assert_eq!(pinned(directory.path()).into_keys().collect::<Vec<_>>(), [12]);
    }
}
