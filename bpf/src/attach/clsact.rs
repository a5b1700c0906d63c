//! tc filters on a clsact qdisc, for kernels before 6.6: no links, so nothing is pinned; a filter
//! stays with its device. A newer program replaces the filter under the same handle.

use std::os::fd::BorrowedFd;

use crate::error::{IoContext as _, Result};
use crate::sys::tc::{self, Filter};

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
    tc::attach(program, filter(ifindex, side))
        .context(|| format!("attach a filter to device {ifindex}, {side:?}"))
}

/// Removes our filter; says whether there was one.
pub(crate) fn detach(ifindex: u32, side: Side) -> Result<bool> {
    tc::detach(filter(ifindex, side)).context(|| format!("detach the filter of device {ifindex}, {side:?}"))
}

fn filter(ifindex: u32, side: Side) -> Filter {
    Filter { ifindex, ingress: side == Side::Ingress, handle: HANDLE, priority: PRIORITY }
}
