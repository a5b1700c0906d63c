//! The kernel's tables, typed. Handles are cheap to clone and may be used from any thread.
//!
//! Order of a change, so that no packet meets a half-made table: first what is referred to
//! (ipcache, policy tables, backends), then what refers to it (endpoints, services), and last of all
//! [`Runtime::bump_revision`], which makes live connections look again.

mod conntrack;
mod counters;
mod ipcache;
mod policy;
mod runtime;
mod service;
mod table;
mod uplinks;

use std::collections::HashMap;
use std::os::fd::OwnedFd;

pub use conntrack::{Conntrack, Tracked};
pub use counters::{Counters, Ledger, LedgerSnapshot, Traffic};
pub use ipcache::Ipcache;
pub use policy::PolicyTables;
pub use runtime::Runtime;
pub use service::{Scope, ServiceSpec, Services};
pub use table::{Plain, Table};
pub use uplinks::{UplinkAddresses, Uplinks};

use crate::abi;
use crate::error::{Error, Result};

/// Every table of one datapath.
#[derive(Clone, Debug)]
pub struct Maps {
    /// ifindex of a pod's host-side device → the pod.
    pub endpoints: Table<u32, abi::Endpoint>,
    /// Network namespace cookie → ifindex of the pod's host-side device.
    pub netns_endpoints: Table<u64, u32>,
    /// Address or prefix → identity.
    pub ipcache: Ipcache,
    /// Local identity → its policy table.
    pub policy: PolicyTables,
    /// Frontend → backends.
    pub services: Services,
    /// Devices that lead off the node, and what is rewritten there.
    pub uplinks: Uplinks,
    /// Live connections.
    pub conntrack: Conntrack,
    /// Packets and bytes by direction and outcome, denials by rule.
    pub counters: Counters,
    /// What the kernel's half of the pipeline passed and lost.
    pub ledger: Ledger,
    /// What may move while programs run.
    pub runtime: Runtime,
}

impl Maps {
    /// Takes the descriptors of a loaded object, by map name.
    pub(crate) fn new(mut fds: HashMap<String, OwnedFd>, policy_entries: u32) -> Result<Self> {
        Ok(Self {
            endpoints: take(&mut fds, "endpoints")?,
            netns_endpoints: take(&mut fds, "netns_endpoints")?,
            ipcache: Ipcache::new(take(&mut fds, "ipcache_exact")?, take(&mut fds, "ipcache")?),
            policy: PolicyTables::new(take(&mut fds, "policy")?, policy_entries),
            services: Services::new(service::Tables {
                services: take(&mut fds, "services")?,
                slots: take(&mut fds, "backend_slots")?,
                backends: take(&mut fds, "backends")?,
                frontends: take(&mut fds, "frontends")?,
            })?,
            uplinks: Uplinks::new(take(&mut fds, "uplinks")?, take(&mut fds, "uplink_nets")?),
            conntrack: Conntrack::new(take(&mut fds, "ct4")?, take(&mut fds, "ct6")?),
            counters: Counters::new(take(&mut fds, "counters")?, take(&mut fds, "rule_denials")?),
            ledger: Ledger::new(take(&mut fds, "ledger")?),
            runtime: Runtime::new(take(&mut fds, "runtime")?),
        })
    }
}

/// Moves one map out of the set of descriptors and gives it its types.
fn take<K: Plain, V: Plain>(fds: &mut HashMap<String, OwnedFd>, name: &'static str) -> Result<Table<K, V>> {
    let fd = fds.remove(name).ok_or_else(|| Error::Map {
        map: name,
        operation: "find",
        source: std::io::ErrorKind::NotFound.into(),
    })?;
    Table::new(name, fd)
}
