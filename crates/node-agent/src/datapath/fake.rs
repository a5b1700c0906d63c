//! A datapath of plain maps that remembers what it held after every single change.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fathom_policy::Table;
use ipnet::IpNet;

use super::{Contents, Datapath, EndpointEntry, ServiceSpec};

/// See the module.
#[derive(Debug, Default)]
pub struct Fake {
    pub contents: Contents,
    /// The change, and what the tables held after it.
    pub steps: Vec<(String, Contents)>,
    pub attached: BTreeSet<u32>,
    pub revision: u32,
    /// Changes whose description contains this fail.
    pub refuse: Option<String>,
    /// Entries a table may have; `None` = any number.
    pub table_limit: Option<usize>,
    /// Identities that may have a table; `None` = any number.
    pub tables_limit: Option<usize>,
}

impl Fake {
    fn step(&mut self, what: String, change: impl FnOnce(&mut Contents)) -> anyhow::Result<()> {
        if self.refuse.as_ref().is_some_and(|text| what.contains(text)) {
            anyhow::bail!("{what}: refused");
        }
        change(&mut self.contents);
        self.steps.push((what, self.contents.clone()));
        Ok(())
    }

    /// The changes since the last call.
    pub fn take_steps(&mut self) -> Vec<(String, Contents)> {
        std::mem::take(&mut self.steps)
    }
}

impl Datapath for Fake {
    fn contents(&self) -> anyhow::Result<Contents> {
        Ok(self.contents.clone())
    }

    fn set_address(&mut self, address: IpAddr, identity: u32, l7_here: bool) -> anyhow::Result<()> {
        let here = if l7_here { " l7" } else { "" };
        self.step(format!("address {address} = {identity}{here}"), |c| {
            c.addresses.insert(address, identity);
            match l7_here {
                true => c.l7_here.insert(address),
                false => c.l7_here.remove(&address),
            };
        })
    }

    fn remove_address(&mut self, address: IpAddr) -> anyhow::Result<()> {
        self.step(format!("address {address} gone"), |c| {
            c.addresses.remove(&address);
            c.l7_here.remove(&address);
        })
    }

    fn set_prefix(&mut self, prefix: IpNet, identity: u32) -> anyhow::Result<()> {
        self.step(format!("prefix {prefix} = {identity:#x}"), |c| _ = c.prefixes.insert(prefix, identity))
    }

    fn remove_prefix(&mut self, prefix: IpNet) -> anyhow::Result<()> {
        self.step(format!("prefix {prefix} gone"), |c| _ = c.prefixes.remove(&prefix))
    }

    fn swap_tables(&mut self, tables: &[(u32, Table)]) -> Vec<anyhow::Result<()>> {
        let swap = |(identity, table): &(u32, Table)| {
            let entries = table.entries.len();
            if let Some(limit) = self.table_limit.filter(|limit| entries > *limit) {
                anyhow::bail!("table {identity}: {entries} entries don't fit: the limit is {limit}");
            }
            let known = &self.contents.tables;
            let full = self.tables_limit.is_some_and(|limit| known.len() >= limit);
            anyhow::ensure!(!full || known.contains_key(identity), "table {identity}: no room");
            let copy = table.clone();
            self.step(format!("table {identity}"), |c| _ = c.tables.insert(*identity, copy))
        };
        tables.iter().map(swap).collect()
    }

    fn remove_table(&mut self, identity: u32) -> anyhow::Result<()> {
        self.step(format!("table {identity} gone"), |c| _ = c.tables.remove(&identity))
    }

    fn set_endpoint(&mut self, ifindex: u32, entry: EndpointEntry) -> anyhow::Result<()> {
        self.step(format!("endpoint {ifindex} = {entry:?}"), |c| _ = c.endpoints.insert(ifindex, entry))
    }

    fn remove_endpoint(&mut self, ifindex: u32) -> anyhow::Result<()> {
        self.step(format!("endpoint {ifindex} gone"), |c| _ = c.endpoints.remove(&ifindex))
    }

    fn set_netns(&mut self, cookie: u64, ifindex: u32) -> anyhow::Result<()> {
        self.step(format!("netns {cookie} = {ifindex}"), |c| _ = c.netns.insert(cookie, ifindex))
    }

    fn remove_netns(&mut self, cookie: u64) -> anyhow::Result<()> {
        self.step(format!("netns {cookie} gone"), |c| _ = c.netns.remove(&cookie))
    }

    fn replace_service(&mut self, spec: &ServiceSpec) -> anyhow::Result<()> {
        self.step(format!("service {}", spec.id), |c| _ = c.services.insert(spec.id, spec.clone()))
    }

    fn remove_service(&mut self, id: u32) -> anyhow::Result<()> {
        self.step(format!("service {id} gone"), |c| _ = c.services.remove(&id))
    }

    fn bump_revision(&mut self) -> anyhow::Result<()> {
        self.step("revision".into(), |_| ())?;
        self.revision += 1;
        Ok(())
    }

    fn sweep(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn attach(&mut self, ifindex: u32) -> anyhow::Result<()> {
        self.step(format!("attach {ifindex}"), |_| ())?;
        self.attached.insert(ifindex);
        Ok(())
    }

    fn detach(&mut self, ifindex: u32) -> anyhow::Result<()> {
        self.attached.remove(&ifindex);
        self.step(format!("detach {ifindex}"), |_| ())
    }
}
