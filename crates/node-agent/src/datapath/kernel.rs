//! The kernel's tables through fathom-bpf.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Context;
use fathom_bpf::abi;
use fathom_bpf::load::Datapath as Loaded;
use fathom_policy::Table;
use ipnet::IpNet;

use super::{Contents, Datapath, EndpointEntry, ServiceSpec, table_from_kernel, table_to_kernel};

/// Writes to the loaded datapath's maps.
#[derive(Clone, Debug)]
pub struct Kernel {
    loaded: Arc<Loaded>,
}

impl Kernel {
    pub fn new(loaded: Arc<Loaded>) -> Self {
        Kernel { loaded }
    }
}

fn to_abi(entry: &EndpointEntry) -> abi::Endpoint {
    abi::Endpoint {
        identity: entry.identity,
        id: entry.id,
        flags: flag(entry.ready, abi::ENDPOINT_READY) | flag(entry.l7_off, abi::ENDPOINT_L7_OFF),
        ipv4_be: entry.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
        ipv6: entry.ipv6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets(),
    }
}

fn flag(set: bool, flag: u32) -> u32 {
    if set { flag } else { 0 }
}

fn from_abi(entry: &abi::Endpoint) -> EndpointEntry {
    EndpointEntry {
        identity: entry.identity,
        id: entry.id,
        ready: entry.flags & abi::ENDPOINT_READY != 0,
        l7_off: entry.flags & abi::ENDPOINT_L7_OFF != 0,
        ipv4: Some(Ipv4Addr::from(entry.ipv4_be)).filter(|ip| !ip.is_unspecified()),
        ipv6: Some(Ipv6Addr::from(entry.ipv6)).filter(|ip| !ip.is_unspecified()),
    }
}

/// Backends in the order in which they are planned, so that equal services compare equal.
fn sorted(mut spec: ServiceSpec) -> ServiceSpec {
    spec.backends.sort_unstable();
    spec
}

impl Datapath for Kernel {
    fn contents(&self) -> anyhow::Result<Contents> {
        let maps = self.loaded.maps();
        let mut contents = Contents {
            addresses: maps.ipcache.list()?.into_iter().collect(),
            // The list tells no flags.
            l7_unread: true,
            prefixes: maps.ipcache.list_prefixes()?.into_iter().collect(),
            endpoints: maps.endpoints.list()?.iter().map(|(ifindex, e)| (*ifindex, from_abi(e))).collect(),
            netns: maps.netns_endpoints.list()?.into_iter().collect(),
            services: maps.services.list().into_iter().map(sorted).map(|spec| (spec.id, spec)).collect(),
            ..Contents::default()
        };
        for identity in maps.policy.identities()? {
            if let Some(entries) = maps.policy.get(identity)? {
                contents.tables.insert(identity, table_from_kernel(&entries));
            }
        }
        Ok(contents)
    }

    fn set_address(&mut self, address: IpAddr, identity: u32, l7_here: bool) -> anyhow::Result<()> {
        let set =
            self.loaded.maps().ipcache.upsert_flags(address, identity, flag(l7_here, abi::IPCACHE_L7_HERE));
        set.with_context(|| format!("set {address}"))
    }

    fn remove_address(&mut self, address: IpAddr) -> anyhow::Result<()> {
        self.loaded.maps().ipcache.remove(address).with_context(|| format!("remove {address}"))?;
        Ok(())
    }

    fn set_prefix(&mut self, prefix: IpNet, identity: u32) -> anyhow::Result<()> {
        self.loaded.maps().ipcache.upsert_prefix(prefix, identity).with_context(|| format!("set {prefix}"))
    }

    fn remove_prefix(&mut self, prefix: IpNet) -> anyhow::Result<()> {
        self.loaded.maps().ipcache.remove_prefix(prefix).with_context(|| format!("remove {prefix}"))?;
        Ok(())
    }

    fn swap_tables(&mut self, tables: &[(u32, Table)]) -> Vec<anyhow::Result<()>> {
        let encoded: Vec<_> =
            tables.iter().map(|(identity, table)| (*identity, table_to_kernel(table))).collect();
        let policy = &self.loaded.maps().policy;
        if policy.swap_all(encoded.iter().map(|(identity, entries)| (*identity, &**entries))).is_ok() {
            return tables.iter().map(|_| Ok(())).collect();
        }
        // One does not fit: the others must not suffer for it.
        let swap = |(identity, entries): &(u32, Vec<_>)| {
            let swapped = policy.swap(*identity, entries);
            swapped.with_context(|| format!("install the policy table of identity {identity}"))
        };
        encoded.iter().map(swap).collect()
    }

    fn remove_table(&mut self, identity: u32) -> anyhow::Result<()> {
        let removed = self.loaded.maps().policy.remove(identity);
        removed.with_context(|| format!("remove the policy table of identity {identity}"))?;
        Ok(())
    }

    fn set_endpoint(&mut self, ifindex: u32, entry: EndpointEntry) -> anyhow::Result<()> {
        let set = self.loaded.maps().endpoints.upsert(&ifindex, &to_abi(&entry));
        set.with_context(|| format!("set endpoint {} of device {ifindex}", entry.id))
    }

    fn remove_endpoint(&mut self, ifindex: u32) -> anyhow::Result<()> {
        let removed = self.loaded.maps().endpoints.remove(&ifindex);
        removed.with_context(|| format!("remove the endpoint of device {ifindex}"))?;
        Ok(())
    }

    fn set_netns(&mut self, cookie: u64, ifindex: u32) -> anyhow::Result<()> {
        let set = self.loaded.maps().netns_endpoints.upsert(&cookie, &ifindex);
        set.with_context(|| format!("set the device of network namespace {cookie}"))
    }

    fn remove_netns(&mut self, cookie: u64) -> anyhow::Result<()> {
        let removed = self.loaded.maps().netns_endpoints.remove(&cookie);
        removed.with_context(|| format!("remove network namespace {cookie}"))?;
        Ok(())
    }

    fn replace_service(&mut self, spec: &ServiceSpec) -> anyhow::Result<()> {
        let replaced = self.loaded.maps().services.replace(spec);
        replaced.with_context(|| format!("install service {}:{}", spec.address, spec.port))
    }

    fn remove_service(&mut self, id: u32) -> anyhow::Result<()> {
        self.loaded.maps().services.remove(id).with_context(|| format!("remove service {id}"))?;
        Ok(())
    }

    fn bump_revision(&mut self) -> anyhow::Result<()> {
        self.loaded.maps().runtime.bump_revision().context("move the revision")?;
        Ok(())
    }

    fn sweep(&mut self) -> anyhow::Result<()> {
        self.loaded.maps().services.sweep().context("sweep the service tables")?;
        Ok(())
    }

    fn attach(&mut self, ifindex: u32) -> anyhow::Result<()> {
        self.loaded.attach_endpoint(ifindex).with_context(|| format!("attach programs to device {ifindex}"))
    }

    fn detach(&mut self, ifindex: u32) -> anyhow::Result<()> {
        self.loaded
            .detach_endpoint(ifindex)
            .with_context(|| format!("detach programs from device {ifindex}"))?;
        Ok(())
    }
}
