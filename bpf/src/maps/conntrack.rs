//! Live connections, read only: the kernel alone writes them.

use std::net::{IpAddr, Ipv6Addr};

use super::Table;
use crate::abi::{Ct4Key, Ct6Key, CtEntry};
use crate::error::Result;

/// The connection tables of both families.
#[derive(Clone, Debug)]
pub struct Conntrack {
    pub(crate) v4: Table<Ct4Key, CtEntry>,
    pub(crate) v6: Table<Ct6Key, CtEntry>,
}

/// One connection of a local endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The endpoint's address, whoever opened the connection.
    pub local: IpAddr,
    pub local_port: u16,
    pub remote: IpAddr,
    pub remote_port: u16,
    pub proto: u8,
    /// `CT_KIND_*` of abi.h: 0 = a connection, 1 = the choice of a backend at tc, without counters.
    pub kind: u8,
    pub entry: CtEntry,
}

impl Conntrack {
    pub(super) fn new(v4: Table<Ct4Key, CtEntry>, v6: Table<Ct6Key, CtEntry>) -> Self {
        Self { v4, v6 }
    }

    /// Visits every entry, expired ones included: expiry is judged on look-up. Connections that
    /// come or go meanwhile may be missed or seen twice.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn for_each(&self, mut visit: impl FnMut(&Tracked)) -> Result<()> {
        self.v4.for_each(|key, entry| {
            visit(&Tracked {
                local: key.local.into(),
                local_port: u16::from_be_bytes(key.lport_be),
                remote: key.remote.into(),
                remote_port: u16::from_be_bytes(key.rport_be),
                proto: key.proto,
                kind: key.kind,
                entry: *entry,
            });
        })?;
        self.v6.for_each(|key, entry| {
            visit(&Tracked {
                local: Ipv6Addr::from(key.local).into(),
                local_port: u16::from_be_bytes(key.lport_be),
                remote: Ipv6Addr::from(key.remote).into(),
                remote_port: u16::from_be_bytes(key.rport_be),
                proto: key.proto,
                kind: key.kind,
                entry: *entry,
            });
        })
    }

    /// Number of entries, expired ones included.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn len(&self) -> Result<usize> {
        let mut count = 0;
        self.for_each(|_| count += 1)?;
        Ok(count)
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Entries both tables together can hold.
    pub fn capacity(&self) -> u32 {
        self.v4.capacity().saturating_add(self.v6.capacity())
    }
}
