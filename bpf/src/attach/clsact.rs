//! tc filters on a clsact qdisc, for kernels before 6.6: no links, so nothing is pinned; a filter
//! stays with its device. A newer program replaces the filter under the same handle.

use std::os::fd::BorrowedFd;

use libbpf_rs::{TC_EGRESS, TC_INGRESS, TcAttachPoint, TcHook, TcHookBuilder};

use crate::error::{Error, Result};

/// Our filter's place on the device; chosen not to meet anybody else's.
const HANDLE: u32 = 0xfa70;
const PRIORITY: u32 = 2;

/// Which side of the device; the kernel's names are from the host's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Packets the pod sends.
    Ingress,
    /// Packets the pod receives.
    Egress,
}

pub(crate) fn attach(program: BorrowedFd<'_>, ifindex: u32, side: Side) -> Result<()> {
    let mut hook = hook(program, ifindex, side);
    // Creates the qdisc, or finds it.
    hook.create().map_err(|e| failed("create the clsact qdisc", ifindex, &e))?;
    hook.attach().map(drop).map_err(|e| failed("attach a filter", ifindex, &e))
}

/// Removes our filter; the qdisc stays, others may use it. Says whether there was a filter.
pub(crate) fn detach(program: BorrowedFd<'_>, ifindex: u32, side: Side) -> Result<bool> {
    let mut hook = hook(program, ifindex, side);
    if hook.query().is_err() {
        return Ok(false);
    }
    hook.detach().map(|()| true).map_err(|e| failed("detach the filter", ifindex, &e))
}

fn hook(program: BorrowedFd<'_>, ifindex: u32, side: Side) -> TcHook {
    let point: TcAttachPoint = match side {
        Side::Ingress => TC_INGRESS,
        Side::Egress => TC_EGRESS,
    };
    TcHookBuilder::new(program)
        .ifindex(ifindex as i32)
        .replace(true)
        .handle(HANDLE)
        .priority(PRIORITY)
        .hook(point)
}

fn failed(what: &str, ifindex: u32, error: &libbpf_rs::Error) -> Error {
    Error::Io {
        what: format!("{what} on device {ifindex}"),
        source: std::io::Error::other(format!("{error:#}")),
    }
}
