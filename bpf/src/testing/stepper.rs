//! Packets that differ from run to run, inside one measurement.
//!
//! `BPF_PROG_TEST_RUN` repeats one packet, so after the first run every flow is an old one. A small
//! program in front writes a running number into the packet, then tail-calls what is measured.
//! Measured in front of an empty program too, its own cost and the harness's are known.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use libbpf_sys as ffi;

use crate::error::{IoContext as _, Result};
use crate::load::{Datapath, Program};
use crate::sys::map::{MapInfo, RawMap};
use crate::sys::{self, TestRun, insn};

/// Where the running number goes, in bytes from the start of the Ethernet header.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Two bytes: the number's low 16 bits. A port.
    pub low: u16,
    /// One byte: the next 8 bits. The last byte of an address.
    pub high: u16,
}

/// What is run after the number has been written.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// `return 0`.
    Nothing,
    Program(&'a Datapath, Program),
}

/// The program in front, and its maps.
#[derive(Debug)]
pub struct Stepper {
    program: OwnedFd,
    empty: OwnedFd,
    next: RawMap,
    targets: RawMap,
}

impl Stepper {
    /// A stepper whose number counts from 0 to `period` - 1 and again. Packets must be at least
    /// two bytes longer than the farther field.
    ///
    /// # Panics
    /// When `period` is no power of two, or above 2^24: the fields hold no more.
    ///
    /// # Errors
    /// Without root.
    pub fn new(fields: Fields, period: u32) -> Result<Self> {
        assert!(period.is_power_of_two() && period <= 1 << 24, "a period the fields can hold");
        use insn::*;
        let (low, high) = (fields.low as i16, fields.high as i16);
        let writes =
            [and_imm(7, period as i32 - 1), store16(2, low, 7), shift_right_imm(7, 16), store8(2, high, 7)];
        Self::with(fields.low.max(fields.high) + 2, &writes)
    }

    /// A stepper for a stream: each packet's 32-bit sequence number, `at` bytes from the start, is the
    /// running number times `stride`.
    ///
    /// # Errors
    /// Without root.
    pub fn sequence(at: u16, stride: u16) -> Result<Self> {
        use insn::*;
        let writes = [multiply_imm(7, stride.into()), to_be32(7), store32(2, at as i16, 7), mov(1, 6)];
        Self::with(at + 4, &writes)
    }

    /// The same, the running number itself besides, in this machine's byte order `number_at` bytes from
    /// the start: what a message and its answer know each other by.
    ///
    /// # Errors
    /// Without root.
    pub fn numbered_sequence(at: u16, stride: u16, number_at: u16) -> Result<Self> {
        use insn::*;
        let number = store32(2, number_at as i16, 7);
        let writes = [number, multiply_imm(7, stride.into()), to_be32(7), store32(2, at as i16, 7)];
        Self::with(at.max(number_at) + 4, &writes)
    }

    /// The program that writes as told: the number is in register 7, the packet's start in 2.
    fn with(end: u16, writes: &[ffi::bpf_insn; 4]) -> Result<Self> {
        let map = |kind, value_size| {
            let info = MapInfo { kind, key_size: 4, value_size, max_entries: 1, flags: 0 };
            RawMap::create_like(&info, c"fathom_step", 1).context(|| "make a stepper's map".into())
        };
        let next = map(ffi::BPF_MAP_TYPE_ARRAY, 8)?;
        let targets = map(ffi::BPF_MAP_TYPE_PROG_ARRAY, 4)?;
        let code = code(end, writes, next.fd().as_raw_fd(), targets.fd().as_raw_fd());
        let program = sys::load_classifier(&code).context(|| "load a stepper".into())?;
        let empty = sys::load_empty_classifier().context(|| "load an empty program".into())?;
        Ok(Self { program, empty, next, targets })
    }

    /// Mean time of one run out of `repeat`, the harness's and the stepper's own included; the
    /// number goes on where the last call left it.
    ///
    /// # Errors
    /// As for [`super::run`].
    pub fn time(&self, target: Target<'_>, packet: &[u8], ifindex: u32, repeat: u32) -> Result<Duration> {
        let program = match target {
            Target::Nothing => self.empty.as_fd(),
            Target::Program(datapath, program) => datapath.program(program),
        };
        let value = program.as_raw_fd().to_ne_bytes();
        self.targets.update(&[0; 4], &value).context(|| "aim a stepper".into())?;
        let mut out = vec![0; packet.len() + 256];
        let run = TestRun { packet, out: &mut out, ifindex, repeat };
        let result = sys::test_run(self.program.as_fd(), run).context(|| "run a stepper".into())?;
        Ok(Duration::from_nanos(result.duration_ns.into()))
    }

    /// Goes on from `number`.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn seek(&self, number: u32) -> Result<()> {
        let value = u64::from(number).to_ne_bytes();
        self.next.update(&[0; 4], &value).context(|| "set a stepper's number".into())
    }
}

/// Mean time of one run of an empty tc program out of `repeat`: what the harness itself costs.
///
/// # Errors
/// Without root.
pub fn time_empty(packet: &[u8], ifindex: u32, repeat: u32) -> Result<Duration> {
    let empty = sys::load_empty_classifier().context(|| "load an empty program".into())?;
    let mut out = vec![0; packet.len() + 256];
    let run = TestRun { packet, out: &mut out, ifindex, repeat };
    let result = sys::test_run(empty.as_fd(), run).context(|| "run an empty program".into())?;
    Ok(Duration::from_nanos(result.duration_ns.into()))
}

/// The stepper in the kernel's instructions. Offsets 76 and 80 are `data` and `data_end` of
/// `struct __sk_buff`.
fn code(end: u16, writes: &[ffi::bpf_insn; 4], next: i32, targets: i32) -> Vec<ffi::bpf_insn> {
    use insn::*;
    let [first, second, third, fourth] = *writes;
    let [next_lo, next_hi] = map_address(1, next);
    let [targets_lo, targets_hi] = map_address(2, targets);
    vec![
        mov(6, 1),
        store_imm32(10, -4, 0),
        next_lo,
        next_hi,
        mov(2, 10),
        add_imm(2, -4),
        call(ffi::BPF_FUNC_map_lookup_elem),
        jump_if_zero(0, 18), // no element: out
        load64(7, 0, 0),
        mov(8, 7),
        add_imm(8, 1),
        store64(0, 0, 8),
        load32(2, 6, 76),
        load32(3, 6, 80),
        mov(1, 2),
        add_imm(1, end.into()),
        jump_if_greater(1, 3, 9), // too short: out
        first,
        second,
        third,
        fourth,
        mov(1, 6),
        targets_lo,
        targets_hi,
        mov_imm(3, 0),
        call(ffi::BPF_FUNC_tail_call),
        mov_imm(0, 0), // out, and where a tail call that failed ends
        exit(),
    ]
}
