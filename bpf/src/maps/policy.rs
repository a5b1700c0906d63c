//! Policy tables: one inner map per local identity, built aside and swapped in whole.

use std::os::fd::AsRawFd as _;

use libbpf_sys as ffi;

use super::Table;
use crate::abi::{PolicyEntry, PolicyKey};
use crate::error::{Error, Result};
use crate::sys::map::{MapInfo, RawMap, by_id};

/// Smallest inner map: two meta entries and a few rules.
const MIN_ENTRIES: usize = 16;

/// The outer map: identity → table.
///
/// A packet sees the old table or the new one. An identity without a table drops everything
/// (`NO_POLICY_CONFIG`), so set the table before the first endpoint that has the identity.
#[derive(Clone, Debug)]
pub struct PolicyTables {
    /// System calls read the inner map's id here and write its descriptor.
    outer: Table<u32, u32>,
    /// Entries one table may have.
    limit: u32,
}

impl PolicyTables {
    pub(super) fn new(outer: Table<u32, u32>, limit: u32) -> Self {
        Self { outer, limit }
    }

    /// Entries one table may have, meta entries included.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Replaces the whole table of `identity`, meta entries included.
    ///
    /// The old table is freed once no packet looks at it. Costs an RCU grace period, some 10 ms:
    /// for many tables use [`PolicyTables::swap_all`].
    ///
    /// # Errors
    /// [`Error::TooManyEntries`] beyond [`PolicyTables::limit`], and when there are more identities
    /// than the outer map holds. The old table then stays in force.
    pub fn swap(&self, identity: u32, entries: &[(PolicyKey, PolicyEntry)]) -> Result<()> {
        self.swap_all([(identity, entries)])
    }

    /// [`PolicyTables::swap`] for many identities at the price of one (since 5.13). Each table is
    /// swapped whole; between the first and the last some identities have the new one already.
    ///
    /// # Errors
    /// As for [`PolicyTables::swap`]. A table that is too large is found before any is swapped;
    /// with too many identities those before it are in force.
    pub fn swap_all<'a>(
        &self,
        tables: impl IntoIterator<Item = (u32, &'a [(PolicyKey, PolicyEntry)])>,
    ) -> Result<()> {
        let mut made = Vec::new();
        for (identity, entries) in tables {
            made.push((identity, self.make(entries)?));
        }
        let swaps: Vec<(u32, u32)> =
            made.iter().map(|(identity, inner)| (*identity, inner.fd().as_raw_fd() as u32)).collect();
        self.outer.upsert_all(&swaps).map_err(|error| match error.raw_os_error() {
            Some(libc::E2BIG) => {
                let limit = self.outer.capacity();
                Error::TooManyEntries { map: "policy (identities)", wanted: limit as usize + 1, limit }
            }
            _ => error,
        })
    }

    /// An inner map with these entries, nowhere yet.
    fn make(&self, entries: &[(PolicyKey, PolicyEntry)]) -> Result<Table<PolicyKey, PolicyEntry>> {
        if entries.len() > self.limit as usize {
            return Err(Error::TooManyEntries { map: "policy", wanted: entries.len(), limit: self.limit });
        }
        // Inner maps may differ in size since 5.10: take what this table needs.
        let size = entries.len().max(MIN_ENTRIES) as u32;
        let raw = RawMap::create_like(&template(), c"policy_inner", size).map_err(|source| Error::Map {
            map: "policy",
            operation: "make an inner map for",
            source,
        })?;
        let inner = Table::from_raw("policy", raw)?;
        inner.upsert_all(entries)?;
        Ok(inner)
    }

    /// Removes the table of `identity`; its packets are then dropped. Says whether there was one.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn remove(&self, identity: u32) -> Result<bool> {
        self.outer.remove(&identity)
    }

    /// Identities that have a table, in no order.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn identities(&self) -> Result<Vec<u32>> {
        Ok(self.outer.list()?.into_iter().map(|(identity, _)| identity).collect())
    }

    /// The table of `identity` as the kernel has it, in no order.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn get(&self, identity: u32) -> Result<Option<Vec<(PolicyKey, PolicyEntry)>>> {
        let Some(id) = self.outer.get(&identity)? else { return Ok(None) };
        let fd = match by_id(id) {
            Ok(fd) => fd,
            // Swapped away between the two calls: ask again.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return self.get(identity),
            Err(source) => return Err(Error::Map { map: "policy", operation: "open", source }),
        };
        Table::new("policy", fd)?.list().map(Some)
    }
}

/// The inner map as `maps.h` declares it.
fn template() -> MapInfo {
    MapInfo {
        kind: ffi::BPF_MAP_TYPE_HASH,
        key_size: size_of::<PolicyKey>() as u32,
        value_size: size_of::<PolicyEntry>() as u32,
        max_entries: 0,
        flags: 0,
    }
}
