//! Rings of a lane that were replaced by one of another size: the kernel's ledger goes on counting over
//! all of them, so the books need what went through each.

use std::sync::Arc;

use super::mapped::MappedRing;

/// Ring bytes that went through rings a lane no longer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Former {
    /// Taken out by readers.
    pub taken: u64,
    /// Written, and still there when the ring was replaced, or written later by programs that were
    /// not replaced yet: nobody reads that any more.
    pub abandoned: u64,
}

impl Former {
    /// With what went through one more ring.
    pub(crate) fn and(self, ring: &MappedRing) -> Self {
        let (taken, end) = ring.positions();
        Self { taken: self.taken + taken, abandoned: self.abandoned + (end - taken) }
    }
}

/// All former rings of one lane: those nobody writes to any more, and the one that was replaced last.
#[derive(Clone, Debug, Default)]
pub(crate) struct FormerRings {
    pub settled: Former,
    pub last: Option<Arc<MappedRing>>,
}

impl FormerRings {
    pub(crate) fn counts(&self) -> Former {
        self.last.as_ref().map_or(self.settled, |ring| self.settled.and(ring))
    }
}
