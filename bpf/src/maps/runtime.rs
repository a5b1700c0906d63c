//! The few numbers that move while programs run.

use std::sync::{Arc, Mutex, PoisonError};

use super::Table;
use crate::abi;
use crate::error::Result;

/// The revision of all tables that a verdict depends on.
///
/// A connection remembers the revision it was judged under and is judged again when that moved.
#[derive(Clone, Debug)]
pub struct Runtime {
    table: Table<u32, abi::Runtime>,
    /// One writer at a time: a read and a write make a step.
    step: Arc<Mutex<()>>,
}

impl Runtime {
    pub(super) fn new(table: Table<u32, abi::Runtime>) -> Self {
        Self { table, step: Arc::default() }
    }

    /// The revision that new verdicts are stamped with.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn revision(&self) -> Result<u32> {
        Ok(self.table.get(&0)?.unwrap_or_default().revision)
    }

    /// Moves the revision on, the last step of every change; returns the new one. Wraps.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn bump_revision(&self) -> Result<u32> {
        let _step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let mut runtime = self.table.get(&0)?.unwrap_or_default();
        runtime.revision = runtime.revision.wrapping_add(1);
        self.table.upsert(&0, &runtime)?;
        Ok(runtime.revision)
    }
}
