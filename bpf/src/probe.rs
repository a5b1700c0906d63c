//! What this kernel can do, found by trying, and what follows where it can't.

use std::fs;
use std::path::Path;

use libbpf_sys as ffi;

use crate::sys;

/// One fact about the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub available: bool,
    /// The first mainline kernel that has it.
    pub since: &'static str,
    /// What happens without it.
    pub consequence: &'static str,
}

/// Everything the loader decides from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// As uname(2) says it.
    pub kernel: String,
    /// tcx links: programs are replaced without a gap.
    pub tcx: bool,
    /// `bpf_set_retval`: a refused connect(2) can say ECONNREFUSED.
    pub set_retval: bool,
    /// `bpf_get_netns_cookie` in socket hooks.
    pub netns_cookie: bool,
    /// `SO_NETNS_COOKIE`: user space can tell which cookie a pod has.
    pub netns_cookie_option: bool,
    /// Ring buffers.
    pub ringbuf: bool,
    /// Type information of the kernel.
    pub btf: bool,
    /// Reads and writes of whole hashes per system call.
    pub batch: bool,
    /// cgroup v2 is mounted.
    pub cgroup2: bool,
}

impl Features {
    /// Asks the running kernel; needs CAP_BPF and CAP_NET_ADMIN for true answers.
    pub fn probe() -> Self {
        let sock_addr = ffi::BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
        let helper = |id| sys::helper_available(sock_addr, id).unwrap_or(false);
        Self {
            kernel: kernel_release(),
            tcx: tcx(),
            set_retval: helper(ffi::BPF_FUNC_set_retval),
            netns_cookie: helper(ffi::BPF_FUNC_get_netns_cookie),
            netns_cookie_option: sys::netns_cookie().is_ok(),
            ringbuf: sys::map_type_available(ffi::BPF_MAP_TYPE_RINGBUF),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            batch: sys::batch_available(),
            cgroup2: cgroup2_mount().is_some(),
        }
    }

    /// The same as rows for people.
    pub fn table(&self) -> Vec<Feature> {
        let row = |name, available, since, consequence| Feature { name, available, since, consequence };
        vec![
            row("ringbuf", self.ringbuf, "5.8", "no events at all: the datapath doesn't load"),
            row("cgroup2", self.cgroup2, "4.5", "services are translated at tc only, packet by packet"),
            row(
                "tcx",
                self.tcx,
                "6.6",
                "programs hang on clsact filters: replaced in place all the same, but found by endpoint, not by pin",
            ),
            row(
                "bpf_set_retval",
                self.set_retval,
                "5.18",
                "connecting to a service without backends fails with EPERM, not ECONNREFUSED",
            ),
            row(
                "bpf_get_netns_cookie",
                self.netns_cookie,
                "5.7",
                "session affinity of the socket layer is per socket, and its events name no pod",
            ),
            row(
                "SO_NETNS_COOKIE",
                self.netns_cookie_option,
                "5.14",
                "socket events name no pod; the packet events do",
            ),
            row(
                "map batch operations",
                self.batch,
                "5.6",
                "large updates and dumps take a system call per entry",
            ),
            row("kernel BTF", self.btf, "5.2", "nothing yet: no program reads kernel structures"),
        ]
    }
}

/// Where cgroup v2 is mounted, by /proc/self/mountinfo; the first mount counts.
pub fn cgroup2_mount() -> Option<std::path::PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        // 36 35 98:0 / /mnt2 rw,noatime master:1 - ext3 /dev/root rw  (proc(5))
        let (left, right) = line.split_once(" - ")?;
        let path = left.split(' ').nth(4)?;
        (right.split(' ').next() == Some("cgroup2")).then(|| path.replace("\\040", " ").into())
    })
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

/// A kernel with tcx looks for the device before it gives up; one without doesn't know the type.
fn tcx() -> bool {
    const NO_SUCH_DEVICE: i32 = i32::MAX;
    let Ok(program) = sys::load_empty_classifier() else { return false };
    let attempt = sys::link_create(std::os::fd::AsFd::as_fd(&program), NO_SUCH_DEVICE, ffi::BPF_TCX_INGRESS);
    matches!(attempt, Err(error) if error.raw_os_error() == Some(libc::ENODEV))
}
