//! tc filters on a clsact qdisc.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use libbpf_sys as ffi;

use super::check;

/// A filter's place on one side of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub ifindex: u32,
    /// Packets that come in through the device; else those that go out.
    pub ingress: bool,
    pub handle: u32,
    pub priority: u32,
}

impl Filter {
    fn hook(self) -> ffi::bpf_tc_hook {
        ffi::bpf_tc_hook {
            sz: size_of::<ffi::bpf_tc_hook>() as ffi::size_t,
            ifindex: self.ifindex as i32,
            attach_point: if self.ingress { ffi::BPF_TC_INGRESS } else { ffi::BPF_TC_EGRESS },
            ..Default::default()
        }
    }

    fn opts(self) -> ffi::bpf_tc_opts {
        ffi::bpf_tc_opts {
            sz: size_of::<ffi::bpf_tc_opts>() as ffi::size_t,
            handle: self.handle,
            priority: self.priority,
            ..Default::default()
        }
    }
}

/// Puts `program` at the filter's place, over an older one; makes the qdisc where there is none.
pub(crate) fn attach(program: BorrowedFd<'_>, filter: Filter) -> io::Result<()> {
    let mut hook = filter.hook();
    // SAFETY: `hook` is valid for the call and its size field is right.
    match check(unsafe { ffi::bpf_tc_hook_create(&raw mut hook) }) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut opts =
        ffi::bpf_tc_opts { prog_fd: program.as_raw_fd(), flags: ffi::BPF_TC_F_REPLACE, ..filter.opts() };
    // SAFETY: as above; the program is open.
    check(unsafe { ffi::bpf_tc_attach(&raw const hook, &raw mut opts) }).map(drop)
}

/// Removes the filter; the qdisc stays, others may use it. Says whether there was a filter.
pub(crate) fn detach(filter: Filter) -> io::Result<bool> {
    let hook = filter.hook();
    let mut found = filter.opts();
    // SAFETY: as in `attach`.
    if let Err(error) = check(unsafe { ffi::bpf_tc_query(&raw const hook, &raw mut found) }) {
        return match error.raw_os_error() {
            // No filter, no qdisc, no device.
            Some(libc::ENOENT | libc::EINVAL | libc::ENODEV) => Ok(false),
            _ => Err(error),
        };
    }
    let opts = filter.opts();
    // SAFETY: as in `attach`.
    check(unsafe { ffi::bpf_tc_detach(&raw const hook, &raw const opts) }).map(|_| true)
}
