//! Where everything of a lab is: names, paths and addresses, all derived from its name and spec.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::spec::{self, SpecError};

/// Directory of all labs.
pub const LABS: &str = "/run/fathom/lab";
/// Where `ip netns` keeps its names: so `ip netns exec` works on a lab by hand.
pub const NETNS: &str = "/run/netns";

/// A network namespace of a lab.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The bridge between the nodes.
    Underlay,
    /// Everything outside the cluster.
    Internet,
    /// Where the relay runs.
    Control,
    Node(String),
    /// `namespace/name`.
    Pod(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Underlay => f.write_str("underlay"),
            Self::Internet => f.write_str("internet"),
            Self::Control => f.write_str("control"),
            Self::Node(name) | Self::Pod(name) => f.write_str(name),
        }
    }
}

/// A lab's name: one plain word, so that no path made of it leads out of the labs' directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabName(String);

impl LabName {
    /// # Errors
    /// [`SpecError::Name`] says what a name looks like.
    pub fn new(name: &str) -> Result<Self, SpecError> {
        // The name ends up in unix socket paths, which the kernel limits to 107 bytes.
        spec::name("lab", name, 24)?;
        Ok(Self(name.to_owned()))
    }
}

/// Names and paths of one lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub name: String,
    pub dir: PathBuf,
}

impl Layout {
    pub fn new(name: &LabName) -> Self {
        Self { name: name.0.clone(), dir: Path::new(LABS).join(&name.0) }
    }

    /// Every namespace's name begins so. The dot keeps `demo` apart from `demo2`.
    pub fn netns_prefix(&self) -> String {
        format!("fathom-{}.", self.name)
    }

    pub fn netns(&self, place: &Place) -> PathBuf {
        let tail = match place {
            Place::Pod(key) => key.replace('/', "."),
            other => other.to_string(),
        };
        Path::new(NETNS).join(format!("{}{tail}", self.netns_prefix()))
    }

    /// Directory below the cgroup v2 mount.
    pub fn cgroup_name(&self) -> String {
        format!("fathom-lab-{}", self.name)
    }

    /// A place's cgroup, below the lab's own. Pods are inside their node's, named as the kubelet names them.
    pub fn cgroup_of(&self, place: &Place, node_of_pod: Option<&str>) -> PathBuf {
        match (place, node_of_pod) {
            (Place::Pod(key), Some(node)) => {
                Path::new("nodes").join(node).join("kubepods").join(format!("pod{}", self.pod_uid(key)))
            }
            (Place::Node(node), _) => Path::new("nodes").join(node).join("host"),
            // A process in no node's cgroup: no socket hook applies to it.
            _ => PathBuf::from("outside"),
        }
    }

    /// The UID of a pod (`namespace/name`): no two labs on the machine have the same.
    pub fn pod_uid(&self, key: &str) -> String {
        let hash = |begin: u64| {
            let bytes = self.name.bytes().chain([0]).chain(key.bytes());
            bytes.fold(begin, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
        };
        let (high, low) = (hash(0xcbf2_9ce4_8422_2325), hash(0x8422_2325_cbf2_9ce4));
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// The cgroup an agent attaches its socket hooks to, below the lab's own.
    pub fn node_cgroup(&self, node: &str) -> PathBuf {
        Path::new("nodes").join(node)
    }

    pub fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }
    pub fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }
    pub fn identities(&self) -> PathBuf {
        self.dir.join("identities")
    }
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }
    pub fn bpffs(&self) -> PathBuf {
        self.dir.join("bpf")
    }
    pub fn run_dir(&self, node: &str) -> PathBuf {
        self.dir.join("nodes").join(node)
    }
    pub fn relay_socket(&self) -> PathBuf {
        self.dir.join("relay.sock")
    }
    /// Names the DNS server answers for.
    pub fn hosts(&self) -> PathBuf {
        self.dir.join("hosts")
    }
    pub fn resolv_conf(&self) -> PathBuf {
        self.dir.join("resolv.conf")
    }
}

/// Addresses of node number `index` (from 0) on the network between nodes.
pub fn node_addresses(index: usize) -> [IpAddr; 2] {
    underlay(11 + index as u16)
}

pub fn control_addresses() -> [IpAddr; 2] {
    underlay(2)
}

pub fn internet_addresses() -> [IpAddr; 2] {
    underlay(1)
}

fn underlay(host: u16) -> [IpAddr; 2] {
    let v4 = Ipv4Addr::new(192, 168, 50, host as u8);
    [v4.into(), Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, host).into()]
}

/// Pod prefixes of node number `index`, both families.
pub fn pod_cidrs(index: usize) -> [String; 2] {
    let number = index + 1;
    [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")]
}

/// What every pod prefix is part of.
pub const CLUSTER_CIDRS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];

/// The service addresses number `index` (from 0), both families. The first is for DNS.
pub fn cluster_ips(index: usize) -> [IpAddr; 2] {
    let host = 10 + index as u16;
    let v4 = Ipv4Addr::new(10, 96, (host >> 8) as u8, host as u8);
    [v4.into(), Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, host).into()]
}

/// Prefix length of a single address.
pub fn full(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(name: &str) -> Layout {
        Layout::new(&LabName::new(name).unwrap())
    }

    #[test]
    fn no_two_labs_share_a_prefix() {
        assert!(!"fathom-demo2.node-a".starts_with(&layout("demo").netns_prefix()));
    }

    #[test]
    fn a_pod_has_a_uid_of_its_own_on_the_whole_machine() {
        let uid = layout("demo").pod_uid("default/web");
        assert_eq!(uid, layout("demo").pod_uid("default/web"));
        let lengths: Vec<usize> = uid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{uid}");
        assert_ne!(uid, layout("demo2").pod_uid("default/web"));
        assert_ne!(uid, layout("demo").pod_uid("default/web2"));
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_is_no_name() {
        for name in ["", ".", "..", "/", "a/b", "a/..", "/etc", "../demo", "A", "a b", "-a", &"x".repeat(25)]
        {
            assert!(LabName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn unix_sockets_of_the_longest_names_fit_the_kernels_limit() {
        let name = "x".repeat(24);
        let path = layout(&name).run_dir(&name).join("hubble.sock");
        assert!(path.as_os_str().len() < 108, "{}", path.display());
    }
}
