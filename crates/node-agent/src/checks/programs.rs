//! Programs of others at the places where ours hang: another datapath, or what one left behind.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use fathom_bpf::neighbours::{self, FILTER_HANDLE, Neighbour};

use super::finding::Finding;
use super::netlink;
use super::network::Device;

/// On the cgroup's socket hooks, then device by device.
pub fn examine(
    bpffs: &Path,
    mut ours: BTreeSet<u32>,
    cgroup: Option<&Path>,
    devices: &[Device],
) -> Vec<Finding> {
    ours.extend(neighbours::ours(&bpffs.join("fathom")));
    let mut found = Vec::new();
    if let Some(cgroup) = cgroup {
        match neighbours::of_cgroup(cgroup) {
            Ok(all) => found.extend(on_sockets(&foreign(&all, &ours), cgroup)),
            Err(error) => found.push(Finding::unknown("programs", error)),
        }
    }
    for device in devices {
        match of_device(device.ifindex, &ours) {
            Ok(all) => found.extend(on_device(&all, device)),
            Err(error) => {
                found.push(Finding::unknown("programs", format!("device {}: {error:#}", device.name)));
            }
        }
    }
    if found.is_empty() {
        let places = devices.len() + usize::from(cgroup.is_some());
        found.push(Finding::ok("programs", format!("no programs of others at {places} places of ours")));
    }
    found
}

fn foreign(all: &[Neighbour], ours: &BTreeSet<u32>) -> Vec<(String, String)> {
    let foreign = all.iter().filter(|neighbour| !ours.contains(&neighbour.id));
    foreign.map(|neighbour| (neighbour.name.clone(), neighbour.place.to_owned())).collect()
}

/// Name and place of each, on tcx and on clsact.
fn of_device(ifindex: u32, ours: &BTreeSet<u32>) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = foreign(&neighbours::of_device(ifindex)?, ours);
    for (ingress, place) in [(true, "tc ingress"), (false, "tc egress")] {
        let filters = match netlink::bpf_filters(ifindex, ingress) {
            // The device went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            filters => filters?,
        };
        let foreign = filters.into_iter().filter(|filter| filter.handle != FILTER_HANDLE);
        found.extend(foreign.map(|filter| (filter.name, place.to_owned())));
    }
    Ok(found)
}

/// "cil_sock4_conne (connect4), …".
fn listed(programs: &[(String, String)]) -> String {
    let text: Vec<String> = programs.iter().map(|(name, place)| format!("{name} ({place})")).collect();
    text.join(", ")
}

fn on_sockets(programs: &[(String, String)], cgroup: &Path) -> Option<Finding> {
    if programs.is_empty() {
        return None;
    }
    let what = format!("others' socket hooks on {} or above it: {}", cgroup.display(), listed(programs));
    Some(
        Finding::degraded("programs", what)
            .so("a socket may be translated before Fathom sees it: its service is then not known, and Fathom's choice of a backend not asked")
            .then("if another datapath translates services, start Fathom with --cgroup none, or switch off its socket load balancing; if it is gone, remove what it left (its cleanup command, or bpftool cgroup detach)"),
    )
}

fn on_device(programs: &[(String, String)], device: &Device) -> Option<Finding> {
    if programs.is_empty() {
        return None;
    }
    let what = format!("others' programs on {device}: {}", listed(programs));
    Some(
        Finding::degraded("programs", what)
            .so("it may drop, change or redirect packets before Fathom sees them or after: a flow told as forwarded may not arrive")
            .then("if they belong to a datapath that is gone, remove them (its cleanup command, bpftool net detach, or tc filter del); if to one in use, only one of both should enforce policy"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::network::Role;

    #[test]
    fn programs_of_others_are_named_with_their_places_and_ours_are_not() {
        let neighbour = |id, name: &str, place| Neighbour { id, name: name.into(), place };
        let all = [neighbour(1, "sock_connect4", "connect4"), neighbour(9, "cil_sock4_conne", "connect4")];
        let foreign = foreign(&all, &BTreeSet::from([1]));
        let finding = on_sockets(&foreign, Path::new("/cg")).unwrap();
        assert_eq!(finding.what, "others' socket hooks on /cg or above it: cil_sock4_conne (connect4)");
        assert_eq!(on_sockets(&[], Path::new("/cg")), None);
        let device = Device { ifindex: 3, name: "eth0".into(), mtu: 1500, role: Role::Uplink };
        let finding = on_device(&[("x".into(), "tc egress".into())], &device).unwrap();
        assert_eq!(finding.what, "others' programs on eth0: x (tc egress)");
    }
}
