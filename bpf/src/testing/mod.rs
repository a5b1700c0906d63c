//! For tests and benchmarks: programs run on packets of their choosing, and throw-away places for
//! them to run in. Nothing here is used by the product.

mod places;
mod stepper;
mod veth;

use std::time::Duration;

pub use places::{TempBpffs, TempCgroup, in_new_netns, unmount};
pub use stepper::{Fields, Stepper, Target, time_empty};
pub use veth::Veth;

use crate::abi::Event;
use crate::error::{IoContext as _, Result};
use crate::load::{Datapath, L7Mode, LoadConfig, Program, Sizes};
use crate::ring::{Lane, Reader};
use crate::sys::{self, TestRun};

/// What a program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The program's return value: `TC_ACT_*` or `TCX_*`.
    pub retval: i32,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
}

/// A datapath of [`Sizes::small`] that pins nothing and reads no messages.
///
/// # Errors
/// As for [`Datapath::load`]; without root that is a refusal by the kernel.
pub fn datapath() -> Result<Datapath> {
    Datapath::load(&LoadConfig { l7: L7Mode::Off, sizes: Sizes::small(), ..LoadConfig::default() })
}

/// Runs a tc program once on a packet (from the Ethernet header on), as if on device `ifindex` of
/// this network namespace; 0 and 1 mean its loopback device.
///
/// # Errors
/// `EINVAL` when the packet is shorter than 14 bytes or the device doesn't exist.
pub fn run(datapath: &Datapath, program: Program, packet: &[u8], ifindex: u32) -> Result<Outcome> {
    let mut out = vec![0; packet.len() + 256];
    let run = TestRun { packet, out: &mut out, ifindex, repeat: 1 };
    let result =
        sys::test_run(datapath.program(program), run).context(|| format!("run {}", program.name()))?;
    out.truncate(result.out_len);
    Ok(Outcome { retval: result.retval, packet: out })
}

/// Mean time of one run out of `repeat`, the harness's own 35 to 40 ns included.
///
/// # Errors
/// As for [`run`].
pub fn time(
    datapath: &Datapath,
    program: Program,
    packet: &[u8],
    ifindex: u32,
    repeat: u32,
) -> Result<Duration> {
    let mut out = vec![0; packet.len() + 256];
    let run = TestRun { packet, out: &mut out, ifindex, repeat };
    let result =
        sys::test_run(datapath.program(program), run).context(|| format!("run {}", program.name()))?;
    Ok(Duration::from_nanos(result.duration_ns.into()))
}

/// Everything both lanes hold, drops first.
pub fn drain(reader: &mut Reader) -> Vec<(Lane, Event)> {
    let mut all = Vec::new();
    while reader.consume(|record, lane| all.push((lane, *record.event))).more {}
    all
}
