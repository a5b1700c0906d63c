//! Tables out: what the control side asks of the kernel, and the thin layer that does it.
//!
//! Behind a trait, so that the order of changes can be judged against a datapath of plain maps.

mod encode;
pub mod ended;
#[cfg(test)]
pub mod fake;
mod kernel;
pub mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fathom_policy::Table;
use ipnet::IpNet;

pub use encode::{table_from_kernel, table_to_kernel};
pub use fathom_bpf::maps::{Scope, ServiceSpec};
pub use kernel::Kernel;

/// A local endpoint as the kernel knows it, by the ifindex of its host-side device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointEntry {
    pub identity: u32,
    /// 1..=65535, unique on the node.
    pub id: u32,
    /// Without it every packet is dropped (`EP_NOT_READY`).
    pub ready: bool,
    /// Its application messages are not looked at.
    pub l7_off: bool,
    pub ipv4: Option<std::net::Ipv4Addr>,
    pub ipv6: Option<std::net::Ipv6Addr>,
}

/// Everything that is in the kernel's tables: what an earlier process left, read once at the start.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub addresses: BTreeMap<IpAddr, u32>,
    /// Of these: pods of this node whose messages are reported at their own device.
    pub l7_here: BTreeSet<IpAddr>,
    /// Which addresses are marked so could not be read: each is to be written again.
    pub l7_unread: bool,
    pub prefixes: BTreeMap<IpNet, u32>,
    pub tables: BTreeMap<u32, Table>,
    pub endpoints: BTreeMap<u32, EndpointEntry>,
    /// Network namespace cookie → ifindex.
    pub netns: BTreeMap<u64, u32>,
    pub services: BTreeMap<u32, ServiceSpec>,
}

/// Single changes to the kernel's tables; each is atomic for every packet.
pub trait Datapath: Send {
    /// Reads all tables.
    ///
    /// # Errors
    /// A table cannot be read.
    fn contents(&self) -> anyhow::Result<Contents>;

    /// Sets who is at an address, and whether it is a pod of this node whose application messages are
    /// reported at its own device.
    ///
    /// # Errors
    /// The table is full, or the kernel refuses; the same holds for every change below.
    fn set_address(&mut self, address: IpAddr, identity: u32, l7_here: bool) -> anyhow::Result<()>;
    fn remove_address(&mut self, address: IpAddr) -> anyhow::Result<()>;

    /// Sets who is in a prefix, as far as no longer prefix says otherwise.
    fn set_prefix(&mut self, prefix: IpNet, identity: u32) -> anyhow::Result<()>;
    fn remove_prefix(&mut self, prefix: IpNet) -> anyhow::Result<()>;

    /// Replaces the whole policy tables of identities, each in one step; says of each how it went. Many at
    /// once cost hardly more than one: a swap ends with a wait for all packets under way.
    fn swap_tables(&mut self, tables: &[(u32, Table)]) -> Vec<anyhow::Result<()>>;
    fn remove_table(&mut self, identity: u32) -> anyhow::Result<()>;

    fn set_endpoint(&mut self, ifindex: u32, entry: EndpointEntry) -> anyhow::Result<()>;
    fn remove_endpoint(&mut self, ifindex: u32) -> anyhow::Result<()>;

    /// Says which device sockets of a network namespace are behind.
    fn set_netns(&mut self, cookie: u64, ifindex: u32) -> anyhow::Result<()>;
    fn remove_netns(&mut self, cookie: u64) -> anyhow::Result<()>;

    /// Creates a service or replaces all of it.
    fn replace_service(&mut self, spec: &ServiceSpec) -> anyhow::Result<()>;
    fn remove_service(&mut self, id: u32) -> anyhow::Result<()>;

    /// Makes live connections be judged again.
    fn bump_revision(&mut self) -> anyhow::Result<()>;
    /// Frees what replaced and removed services left behind.
    fn sweep(&mut self) -> anyhow::Result<()>;

    /// Puts the programs on a pod's device, in place of older ones.
    fn attach(&mut self, ifindex: u32) -> anyhow::Result<()>;
    /// Takes them off; a device that is gone is fine.
    fn detach(&mut self, ifindex: u32) -> anyhow::Result<()>;
}
