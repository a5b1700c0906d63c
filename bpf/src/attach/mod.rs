//! Programs to their places: pod devices and the cgroup tree.

mod clsact;
mod links;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use clsact::Side;
use libbpf_sys as ffi;
pub(crate) use links::Links;
use links::Made;

use crate::error::{IoContext as _, Result};
use crate::load::{Datapath, Program};
use crate::sys::{AttachType, LinkTarget};

/// How a pod's device carries its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// tcx links: pinned, replaced without a gap.
    Tcx,
    /// Filters on a clsact qdisc.
    Clsact,
}

/// The two programs of a pod's device. `from_pod` sees what the pod sends: that is ingress here.
const ENDPOINT_HOOKS: [(Program, AttachType, Side); 2] = [
    (Program::FromPod, ffi::BPF_TCX_INGRESS, Side::Ingress),
    (Program::ToPod, ffi::BPF_TCX_EGRESS, Side::Egress),
];

/// The two programs of a device that leads off the node.
const UPLINK_HOOKS: [(Program, AttachType, Side); 2] = [
    // Answers before questions: what leaves under another source is known when it comes back.
    (Program::FromUplink, ffi::BPF_TCX_INGRESS, Side::Ingress),
    (Program::ToUplink, ffi::BPF_TCX_EGRESS, Side::Egress),
];

/// The programs of the cgroup tree.
const CGROUP_HOOKS: [(Program, AttachType); 8] = [
    // Replies before requests: a socket never meets a hook that translates and none that reverses.
    (Program::SockRecvmsg4, ffi::BPF_CGROUP_UDP4_RECVMSG),
    (Program::SockRecvmsg6, ffi::BPF_CGROUP_UDP6_RECVMSG),
    (Program::SockGetpeername4, ffi::BPF_CGROUP_INET4_GETPEERNAME),
    (Program::SockGetpeername6, ffi::BPF_CGROUP_INET6_GETPEERNAME),
    (Program::SockSendmsg4, ffi::BPF_CGROUP_UDP4_SENDMSG),
    (Program::SockSendmsg6, ffi::BPF_CGROUP_UDP6_SENDMSG),
    (Program::SockConnect4, ffi::BPF_CGROUP_INET4_CONNECT),
    (Program::SockConnect6, ffi::BPF_CGROUP_INET6_CONNECT),
];

impl Datapath {
    /// How this kernel carries programs on devices.
    pub fn mechanism(&self) -> Mechanism {
        if self.features().tcx { Mechanism::Tcx } else { Mechanism::Clsact }
    }

    /// Puts `from_pod` and `to_pod` on a pod's host-side device, by its index in the calling
    /// thread's network namespace. Where older versions of them hang there already, by this process
    /// or an earlier one, each is replaced in place: every packet meets the old or the new.
    ///
    /// The device may carry packets before its endpoint is in the table; they are dropped as
    /// `EP_NOT_READY`. So: identity and policy first, then the endpoint, then this.
    ///
    /// # Errors
    /// When the kernel refuses, for instance because the device is gone. A device that had no
    /// programs before has none then.
    pub fn attach_endpoint(&self, ifindex: u32) -> Result<()> {
        self.attach_device(ifindex, ENDPOINT_HOOKS)
    }

    /// Puts `from_uplink` and `to_uplink` on a device that leads off the node, like
    /// [`Datapath::attach_endpoint`]. Its addresses come first ([`crate::maps::Uplinks::set_device`]).
    ///
    /// # Errors
    /// As for [`Datapath::attach_endpoint`].
    pub fn attach_uplink(&self, ifindex: u32) -> Result<()> {
        self.attach_device(ifindex, UPLINK_HOOKS)
    }

    fn attach_device(&self, ifindex: u32, hooks: [(Program, AttachType, Side); 2]) -> Result<()> {
        let mut made = Vec::new();
        for (program, at, side) in hooks {
            let attached = match self.mechanism() {
                Mechanism::Tcx => self
                    .links()
                    .attach(
                        &link_name(program, ifindex),
                        self.program(program),
                        LinkTarget::Tcx(ifindex),
                        ifindex as i32,
                        at,
                    )
                    .map(|result| result == Made::New),
                Mechanism::Clsact => clsact::attach(self.program(program), ifindex, side).map(|()| false),
            };
            match attached {
                Ok(true) => made.push(program),
                Ok(false) => {}
                Err(error) => {
                    for program in made {
                        self.links().remove(&link_name(program, ifindex))?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes both programs off a device; says whether there were any. A device that is gone took
    /// its programs along: then this only removes the pins.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn detach_endpoint(&self, ifindex: u32) -> Result<bool> {
        self.detach_device(ifindex, ENDPOINT_HOOKS)
    }

    /// The same for a device that leads off the node; its addresses are forgotten.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn detach_uplink(&self, ifindex: u32) -> Result<bool> {
        let any = self.detach_device(ifindex, UPLINK_HOOKS)?;
        self.maps().uplinks.remove_device(ifindex)?;
        Ok(any)
    }

    fn detach_device(&self, ifindex: u32, hooks: [(Program, AttachType, Side); 2]) -> Result<bool> {
        let mut any = false;
        for (program, _, side) in hooks {
            any |= match self.mechanism() {
                Mechanism::Tcx => self.links().remove(&link_name(program, ifindex))?,
                Mechanism::Clsact => clsact::detach(ifindex, side)?,
            };
        }
        Ok(any)
    }

    /// Devices that carry programs of this datapath, by index; on clsact, those of its endpoints.
    ///
    /// # Errors
    /// When the pin directory can't be read.
    pub fn attached_endpoints(&self) -> Result<Vec<u32>> {
        if self.mechanism() == Mechanism::Clsact {
            return Ok(self.maps().endpoints.list()?.into_iter().map(|(index, _)| index).collect());
        }
        let mut found = Vec::new();
        let ours = |name: &String| ENDPOINT_HOOKS.iter().any(|(program, ..)| is_link_of(*program, name));
        for name in self.links().names()?.into_iter().filter(ours) {
            if let Some(LinkTarget::Tcx(ifindex)) = self.links().target(&name)? {
                found.push(ifindex);
            }
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|ifindex| *ifindex != 0);
        Ok(found)
    }

    /// Puts the socket hooks on a cgroup v2 directory; they act on every process in it and below.
    /// In production that is the root of the tree. Replaces older ones in place, like
    /// [`Datapath::attach_endpoint`].
    ///
    /// # Errors
    /// When `path` is no cgroup v2 directory or the kernel refuses.
    pub fn attach_cgroup(&self, path: &Path) -> Result<()> {
        let directory = File::open(path).context(|| format!("open cgroup {}", path.display()))?;
        // A cgroup's id is the inode number of its directory.
        let id = directory.metadata().context(|| format!("inspect cgroup {}", path.display()))?.ino();
        for (program, at) in CGROUP_HOOKS {
            self.links()
                .attach(
                    program.name(),
                    self.program(program),
                    LinkTarget::Cgroup(id),
                    directory.as_raw_fd(),
                    at,
                )
                .map(drop)?;
        }
        Ok(())
    }

    /// Takes the socket hooks off their cgroup; says whether there were any.
    ///
    /// # Errors
    /// When a pin can't be removed.
    pub fn detach_cgroup(&self) -> Result<bool> {
        let mut any = false;
        for (program, _) in CGROUP_HOOKS.iter().rev() {
            any |= self.links().remove(program.name())?;
        }
        Ok(any)
    }

    /// Removes pins whose device or cgroup is gone; returns how many.
    ///
    /// # Errors
    /// When the pin directory can't be read.
    pub fn sweep_links(&self) -> Result<usize> {
        self.links().sweep().map(|names| names.len())
    }

    /// Takes every program off its place. Traffic then flows unjudged: for removing the product,
    /// not for stopping the agent.
    ///
    /// # Errors
    /// When a pin can't be removed; the rest stays.
    pub fn detach_all(&self) -> Result<()> {
        self.detach_cgroup()?;
        for ifindex in self.attached_endpoints()? {
            self.detach_endpoint(ifindex)?;
        }
        for ifindex in self.maps().uplinks.devices()? {
            self.detach_uplink(ifindex)?;
        }
        for name in self.links().names()? {
            self.links().remove(&name)?;
        }
        Ok(())
    }
}

/// Whether a link's name is that of `program` on some device.
fn is_link_of(program: Program, name: &str) -> bool {
    name.strip_prefix(program.name()).is_some_and(|rest| rest.starts_with('-'))
}

fn link_name(program: Program, ifindex: u32) -> String {
    format!("{}-{ifindex}", program.name())
}
