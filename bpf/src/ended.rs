//! Connections that ended in silence: found here, told by `ended.bpf.c`.
//!
//! Nothing in the kernel sweeps conntrack, and an entry that is never looked up again would keep to
//! itself what it counted since its last event. So somebody looks from time to time.

use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::abi::{Ct4Key, Ct6Key, CtEntry, EndedRequest};
use crate::error::{IoContext as _, Result};
use crate::load::{Datapath, Program};
use crate::sys::{self, TestRun};

const TCP: u8 = 6;
const SCTP: u8 = 132;
const ICMP: [u8; 2] = [1, 58];

const FIN: u8 = 1;
const RST: u8 = 4;

/// `CT_KIND_CONN`.
const CONNECTION: u8 = 0;

/// Records of one look: what a flood of datagrams left behind must not fill the ring by itself. The
/// rest keeps what it holds until the next look.
const TOLD_AT_ONCE: u64 = 16_384;

/// After how many ticks of silence an entry counts as gone; the programs have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    pub tcp: u32,
    pub tcp_opening: u32,
    pub tcp_closing: u32,
    pub any: u32,
    pub icmp: u32,
}

impl Lifetimes {
    /// `ct_lifetime` of conntrack.h.
    fn of(&self, proto: u8, [opener, other]: [u8; 2]) -> u32 {
        let closing = (opener | other) & RST != 0 || opener & other & FIN != 0;
        match proto {
            TCP | SCTP if closing => self.tcp_closing,
            TCP if other == 0 => self.tcp_opening,
            TCP => self.tcp,
            proto if ICMP.contains(&proto) => self.icmp,
            _ => self.any,
        }
    }
}

/// What one look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Entries there are, ended ones included.
    pub entries: u64,
    /// Records about ended ones, written or lost as the ledger says.
    pub records: u64,
}

impl Datapath {
    /// Looks at every connection and has the kernel tell what ended ones still held. Whether one has
    /// ended is the kernel's to say: a packet that came meanwhile makes it live.
    ///
    /// # Errors
    /// Whatever bpf(2) returns; what was told before that is told.
    pub fn tell_ended(&self) -> Result<Looked> {
        let now = self.ask_ended(&EndedRequest::new_zeroed())?;
        let mut looked = Looked::default();
        let mut failed = None;
        let mut consider = |family, key: &[u8], proto, kind, entry: &CtEntry| {
            looked.entries += 1;
            // Negative where two CPUs took the same: nothing to tell, see conntrack.h.
            let holds = entry.packets.iter().any(|packets| packets.cast_signed() > 0);
            let silent = now.wrapping_sub(entry.last_seen).cast_signed();
            let lifetime = self.lifetimes().of(proto, entry.tcp_flags);
            let ended = kind == CONNECTION && holds && silent > lifetime.cast_signed();
            if !ended || looked.records >= TOLD_AT_ONCE || failed.is_some() {
                return;
            }
            let mut request = EndedRequest { family, ..EndedRequest::new_zeroed() };
            request.key[..key.len()].copy_from_slice(key);
            match self.ask_ended(&request) {
                Ok(records) => looked.records += u64::from(records),
                Err(error) => failed = Some(error),
            }
        };
        let conntrack = &self.maps().conntrack;
        conntrack.v4.for_each(|key: &Ct4Key, entry| {
            consider(4, key.as_bytes(), key.proto, key.kind, entry);
        })?;
        conntrack.v6.for_each(|key: &Ct6Key, entry| {
            consider(6, key.as_bytes(), key.proto, key.kind, entry);
        })?;
        failed.map_or(Ok(looked), Err)
    }

    fn ask_ended(&self, request: &EndedRequest) -> Result<u32> {
        let mut out = [0; size_of::<EndedRequest>()];
        let run = TestRun { packet: request.as_bytes(), out: &mut out, ifindex: 0, repeat: 1 };
        let result = sys::test_run(self.program(Program::Ended), run);
        Ok(result.context(|| format!("run {}", Program::Ended.name()))?.retval.cast_unsigned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_those_of_the_programs() {
        let lifetimes = Lifetimes { tcp: 1, tcp_opening: 2, tcp_closing: 3, any: 4, icmp: 5 };
        let of = |proto, flags| lifetimes.of(proto, flags);
        assert_eq!((of(TCP, [2, 0]), of(TCP, [0x12, 0x12])), (2, 1));
        assert_eq!((of(TCP, [FIN, 0x10]), of(TCP, [FIN, FIN]), of(TCP, [RST, 0])), (1, 3, 3));
        assert_eq!((of(SCTP, [2, 0x10]), of(SCTP, [RST, 0])), (4, 3));
        assert_eq!((of(17, [0x10, 0]), of(1, [0x10, 0]), of(58, [0x10, 0])), (4, 5, 5));
    }
}
