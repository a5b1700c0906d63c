//! Programs at the places where ours hang, whoever attached them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use libbpf_sys as ffi;

use crate::error::{IoContext as _, Result};
use crate::sys::{self, AttachType};

/// Handle of our filters on clsact qdiscs: by it they are told from others'.
pub use crate::attach::FILTER_HANDLE;

/// An attached program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    pub id: u32,
    /// As its author named it, at most 15 bytes; "?" when the kernel does not tell.
    pub name: String,
    /// "connect4", "tcx ingress" …
    pub place: &'static str,
}

/// The socket hooks by which services are translated.
const CGROUP_PLACES: [(AttachType, &str); 8] = [
    (ffi::BPF_CGROUP_INET4_CONNECT, "connect4"),
    (ffi::BPF_CGROUP_INET6_CONNECT, "connect6"),
    (ffi::BPF_CGROUP_UDP4_SENDMSG, "sendmsg4"),
    (ffi::BPF_CGROUP_UDP6_SENDMSG, "sendmsg6"),
    (ffi::BPF_CGROUP_UDP4_RECVMSG, "recvmsg4"),
    (ffi::BPF_CGROUP_UDP6_RECVMSG, "recvmsg6"),
    (ffi::BPF_CGROUP_INET4_GETPEERNAME, "getpeername4"),
    (ffi::BPF_CGROUP_INET6_GETPEERNAME, "getpeername6"),
];

const DEVICE_PLACES: [(AttachType, &str); 2] =
    [(ffi::BPF_TCX_INGRESS, "tcx ingress"), (ffi::BPF_TCX_EGRESS, "tcx egress")];

/// Programs that act on sockets of this cgroup, those of the cgroups above it included.
///
/// # Errors
/// When `path` is no cgroup v2 directory, or the kernel refuses.
pub fn of_cgroup(path: &Path) -> Result<Vec<Neighbour>> {
    let place = || format!("look for programs on cgroup {}", path.display());
    let directory = File::open(path).context(place)?;
    at(directory.as_raw_fd(), &CGROUP_PLACES, true).context(place)
}

/// Programs in a device's tcx chains; none on kernels without.
///
/// # Errors
/// When there is no such device, or the kernel refuses.
pub fn of_device(ifindex: u32) -> Result<Vec<Neighbour>> {
    at(ifindex as i32, &DEVICE_PLACES, false).context(|| format!("look for programs on device {ifindex}"))
}

fn at(target: i32, places: &[(AttachType, &'static str)], above: bool) -> io::Result<Vec<Neighbour>> {
    let mut found = Vec::new();
    for (at, place) in places {
        let ids = match sys::programs_at(target, *at, above) {
            Ok(ids) => ids,
            // A kernel that has no such place.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => continue,
            Err(error) => return Err(error),
        };
        found.extend(ids.into_iter().map(|id| Neighbour { id, name: name(id), place }));
    }
    Ok(found)
}

/// Name of a program; "?" when the kernel does not tell, for instance because it is gone.
pub fn name(id: u32) -> String {
    sys::program_name(id).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "?".to_owned())
}

/// Programs in links that agents pinned below `directory` ("/sys/fs/bpf/fathom"), of every instance.
pub fn ours(directory: &Path) -> BTreeSet<u32> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let links = entries(directory).flat_map(|instance| entries(&instance.join("links")).collect::<Vec<_>>());
    links.filter_map(|path| sys::link_program(sys::open_pin(&path).ok()?.as_fd()).ok()).collect()
}

/// Rules of a table of the legacy iptables, as the kernel keeps them; names of chains stand in it as they are.
///
/// Asking for a table loads its module: ask only for what /proc/net/ip_tables_names (ip6_…) lists.
///
/// # Errors
/// When there is no such table, or the kernel refuses.
pub fn legacy_iptables(table: &str, v6: bool) -> io::Result<Vec<u8>> {
    sys::xtables::entries(table, v6)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::probe::Features;
    use crate::testing::{Veth, in_new_netns};

    #[test]
    fn a_program_on_a_device_is_seen_with_its_place() {
        if !Features::probe().tcx {
            return;
        }
        in_new_netns(|| {
            let veth = Veth::new("nb").expect("veth");
            assert_eq!(of_device(veth.ifindex()).expect("look"), []);
            let program = sys::load_empty_classifier().expect("load (needs root)");
            let _link = sys::link_create(program.as_fd(), veth.ifindex() as i32, ffi::BPF_TCX_EGRESS)
                .expect("attach");
            let found = of_device(veth.ifindex()).expect("look");
            let [neighbour] = &found[..] else { panic!("{found:?}") };
            assert_eq!((neighbour.place, &*neighbour.name), ("tcx egress", "?"), "it has no name");
            assert!(of_device(i32::MAX as u32).is_err(), "no such device");
        });
    }
}
