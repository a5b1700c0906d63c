//! Holes in the kernel's numbering: the check on its own count of losses.

use fathom_bpf::abi::{Event, TRIGGER_LANE_DROPS};
use hashbrown::HashMap;

/// The kernel numbers records per CPU, lane and kind, lost ones included. As one number, which is quick
/// to hash.
fn counter(event: &Event, drops: bool) -> u32 {
    u32::from(event.cpu) << 16 | u32::from(event.kind) << 8 | u32::from(drops)
}

/// Records that the numbering says existed and that never came.
#[derive(Default)]
pub struct Sequences {
    next: HashMap<u32, u32, foldhash::fast::RandomState>,
    holes: [u64; 2],
}

impl Sequences {
    /// Notes one record.
    pub fn see(&mut self, event: &Event) {
        let drops = event.trigger & TRIGGER_LANE_DROPS != 0;
        let after = event.seq.wrapping_add(1);
        let counter = counter(event, drops);
        let Some(next) = self.next.get_mut(&counter) else {
            // What came before this process is not its to judge.
            self.next.insert(counter, after);
            return;
        };
        if event.seq == *next {
            *next = after;
            return;
        }
        let holes = &mut self.holes[usize::from(drops)];
        match event.seq.wrapping_sub(*next) {
            ahead if ahead < u32::MAX / 2 => {
                *holes += u64::from(ahead);
                *next = after;
            }
            // A socket hook was interrupted by another between counting and writing: it comes late.
            _ => *holes = holes.saturating_sub(1),
        }
    }

    /// Records missing on the lane for events and on the lane for drops, since this process began.
    pub fn holes(&self) -> [u64; 2] {
        self.holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::testing::event;

    fn see(sequences: &mut Sequences, cpu: u16, seqs: &[u32]) {
        for seq in seqs {
            sequences.see(&Event { cpu, seq: *seq, ..event() });
        }
    }

    #[test]
    fn a_record_that_never_came_is_a_hole_on_its_lane() {
        let mut sequences = Sequences::default();
        see(&mut sequences, 0, &[7, 8, 11]);
        see(&mut sequences, 1, &[1_000, 1_001]);
        assert_eq!(sequences.holes(), [2, 0]);
        sequences.see(&Event { seq: 5, trigger: TRIGGER_LANE_DROPS, ..event() });
        sequences.see(&Event { seq: 7, trigger: TRIGGER_LANE_DROPS, ..event() });
        assert_eq!(sequences.holes(), [2, 1]);
    }

    #[test]
    fn the_number_wraps_and_a_late_record_fills_its_hole() {
        let mut sequences = Sequences::default();
        see(&mut sequences, 0, &[u32::MAX - 1, u32::MAX, 0, 2, 1, 3]);
        assert_eq!(sequences.holes(), [0, 0]);
    }
}
