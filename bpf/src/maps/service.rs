//! Services: frontend → set of backends, replaced so that nobody sees half of a change.
//!
//! A new set of backends gets a new number. Its backends and slots are written first, then the
//! service entry is pointed at it, in one map update. The old set stays until every program that
//! may still read it has returned.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Table;
use crate::abi::{
    self, Backend, BackendSlotKey, Frontend, SERVICE_F_AFFINITY, SERVICE_F_LOCAL, ServiceKey, ip_from_bytes,
    ip_to_bytes, service_scope,
};
use crate::error::{IoContext as _, Result};
use crate::sys;

/// Slots that may wait for removal before [`Services::replace`] removes them by itself.
const SWEEP_AT: usize = 4096;

/// Who asks: a frontend may have other backends for clients outside the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Sockets of this node, and pods.
    #[default]
    Inside,
    /// What comes in through an uplink.
    Outside,
}

/// One frontend and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// 1 and up; belongs to this frontend for as long as it exists.
    pub id: u32,
    pub address: IpAddr,
    pub port: u16,
    /// IANA protocol number.
    pub proto: u8,
    pub scope: Scope,
    /// The backends are this node's alone: without one, clients outside are told nothing.
    pub local: bool,
    /// Order counts for nothing; doubles are one.
    pub backends: Vec<(IpAddr, u16)>,
    /// How long a client stays with its backend after its last connection (whole seconds);
    /// `None` = a random one each time.
    pub affinity: Option<Duration>,
}

pub(super) struct Tables {
    pub services: Table<ServiceKey, abi::Service>,
    pub slots: Table<BackendSlotKey, u32>,
    pub backends: Table<u32, Backend>,
    pub frontends: Table<u32, Frontend>,
}

/// The service tables, and the memory of what is in them.
#[derive(Clone)]
pub struct Services {
    tables: Arc<Tables>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    installed: HashMap<u32, Installed>,
    /// What no service refers to any more, but a running program may still read.
    retired_slots: Vec<BackendSlotKey>,
    retired_backends: Vec<u32>,
    retired_frontends: Vec<u32>,
    used_backend_ids: HashSet<u32>,
    last_set: u32,
    last_backend: u32,
}

struct Installed {
    key: ServiceKey,
    value: abi::Service,
    /// Backend → its id, which stays while the service has the backend.
    backends: HashMap<(IpAddr, u16), u32>,
}

impl Services {
    /// Reads what an earlier process left in the tables.
    pub(super) fn new(tables: Tables) -> Result<Self> {
        let state = State::adopt(&tables)?;
        Ok(Self { tables: Arc::new(tables), state: Arc::new(Mutex::new(state)) })
    }

    /// Creates the service or replaces all of it; nothing happens when nothing changed.
    ///
    /// # Errors
    /// `E2BIG` when a table is full; the service then is as it was.
    pub fn replace(&self, spec: &ServiceSpec) -> Result<()> {
        let mut state = self.lock();
        let key = ServiceKey {
            addr: ip_to_bytes(spec.address),
            port_be: spec.port.to_be_bytes(),
            proto: spec.proto,
            scope: match spec.scope {
                Scope::Inside => service_scope::INSIDE,
                Scope::Outside => service_scope::OUTSIDE,
            },
        };
        let wanted: HashSet<(IpAddr, u16)> = spec.backends.iter().copied().collect();
        let (flags, affinity_s) = match spec.affinity {
            Some(time) => (SERVICE_F_AFFINITY, u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
            None => (0, 0),
        };
        let flags = flags | if spec.local { SERVICE_F_LOCAL } else { 0 };
        let old = state.installed.get(&spec.id);
        let known = old.map(|old| old.backends.clone()).unwrap_or_default();
        let same_backends = old.is_some_and(|old| {
            old.value.backend_count as usize == wanted.len()
                && old.backends.len() == wanted.len()
                && wanted.iter().all(|backend| known.contains_key(backend))
        });
        let old_entry = old.map(|old| (old.key, old.value));
        if same_backends
            && old_entry.is_some_and(|(k, v)| k == key && (v.flags, v.affinity_s) == (flags, affinity_s))
        {
            return Ok(());
        }

        // What is referred to.
        let mut backends: HashMap<(IpAddr, u16), u32> = HashMap::with_capacity(wanted.len());
        for backend in &wanted {
            let id = known.get(backend).copied().unwrap_or_else(|| state.new_backend_id());
            backends.insert(*backend, id);
        }
        let set = match old_entry {
            Some((_, value)) if same_backends => value.backend_set,
            _ => state.new_set(),
        };
        let placed = self.place(spec, set, &backends, same_backends);
        let value = abi::Service {
            id: spec.id,
            backend_set: set,
            backend_count: backends.len() as u32,
            flags,
            affinity_s,
        };
        // The switch.
        if let Err(error) = placed.and_then(|()| self.tables.services.upsert(&key, &value)) {
            if !same_backends {
                state.retire_set(set, value.backend_count);
            }
            let fresh: Vec<u32> = backends
                .iter()
                .filter(|(backend, _)| !known.contains_key(backend))
                .map(|(_, id)| *id)
                .collect();
            state.retired_backends.extend(fresh);
            return Err(error);
        }
        // What nothing refers to any more.
        if let Some((old_key, old_value)) = old_entry {
            if old_key != key {
                self.tables.services.remove(&old_key)?;
            }
            if !same_backends {
                state.retire_set(old_value.backend_set, old_value.backend_count);
                let gone = known.iter().filter(|(backend, _)| !backends.contains_key(backend));
                state.retired_backends.extend(gone.map(|(_, id)| *id));
            }
        }
        state.installed.insert(spec.id, Installed { key, value, backends });
        if state.retired_slots.len() > SWEEP_AT { self.sweep_locked(&mut state) } else { Ok(()) }
    }

    /// Removes a service; says whether it was there.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn remove(&self, id: u32) -> Result<bool> {
        let mut state = self.lock();
        let Some(old) = state.installed.remove(&id) else { return Ok(false) };
        if let Err(error) = self.tables.services.remove(&old.key) {
            state.installed.insert(id, old);
            return Err(error);
        }
        state.retire_set(old.value.backend_set, old.value.backend_count);
        state.retired_backends.extend(old.backends.values());
        state.retired_frontends.push(id);
        Ok(true)
    }

    /// Removes what replaced and removed services left behind, after an RCU grace period.
    /// Call it at the end of a round of changes; returns how many entries went.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn sweep(&self) -> Result<usize> {
        let mut state = self.lock();
        let count = state.retired_slots.len() + state.retired_backends.len() + state.retired_frontends.len();
        self.sweep_locked(&mut state)?;
        Ok(count)
    }

    /// Every service as it stands in the kernel, by id.
    pub fn list(&self) -> Vec<ServiceSpec> {
        let state = self.lock();
        let mut list: Vec<ServiceSpec> = state.installed.values().map(Installed::spec).collect();
        list.sort_by_key(|spec| spec.id);
        list
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes everything that the service entry will refer to.
    fn place(
        &self,
        spec: &ServiceSpec,
        set: u32,
        backends: &HashMap<(IpAddr, u16), u32>,
        slots_in_place: bool,
    ) -> Result<()> {
        let frontend = Frontend {
            addr: ip_to_bytes(spec.address),
            port_be: spec.port.to_be_bytes(),
            proto: spec.proto,
            pad: 0,
        };
        self.tables.frontends.upsert(&spec.id, &frontend)?;
        if slots_in_place {
            return Ok(());
        }
        let values: Vec<(u32, Backend)> = backends
            .iter()
            .map(|((address, port), id)| {
                let backend = Backend {
                    addr: ip_to_bytes(*address),
                    port_be: port.to_be_bytes(),
                    proto: spec.proto,
                    pad: 0,
                    service_id: spec.id,
                };
                (*id, backend)
            })
            .collect();
        self.tables.backends.upsert_all(&values)?;
        let slots: Vec<(BackendSlotKey, u32)> = values
            .iter()
            .enumerate()
            .map(|(slot, (id, _))| (BackendSlotKey { set, slot: slot as u32 }, *id))
            .collect();
        self.tables.slots.upsert_all(&slots)
    }

    fn sweep_locked(&self, state: &mut State) -> Result<()> {
        let State { retired_slots, retired_backends, retired_frontends, .. } = state;
        if retired_slots.is_empty() && retired_backends.is_empty() && retired_frontends.is_empty() {
            return Ok(());
        }
        sys::wait_for_running_programs().context(|| "wait for running programs".into())?;
        while let Some(slot) = state.retired_slots.last() {
            self.tables.slots.remove(slot)?;
            state.retired_slots.pop();
        }
        while let Some(id) = state.retired_backends.last().copied() {
            self.tables.backends.remove(&id)?;
            state.used_backend_ids.remove(&id);
            state.retired_backends.pop();
        }
        while let Some(id) = state.retired_frontends.last().copied() {
            // The service may have come back under the same id meanwhile.
            if !state.installed.contains_key(&id) {
                self.tables.frontends.remove(&id)?;
            }
            state.retired_frontends.pop();
        }
        Ok(())
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("installed", &self.lock().installed.len()).finish()
    }
}

impl State {
    fn adopt(tables: &Tables) -> Result<Self> {
        let mut state = Self::default();
        let backends: HashMap<u32, Backend> = tables.backends.list()?.into_iter().collect();
        let slots: HashMap<(u32, u32), u32> =
            tables.slots.list()?.into_iter().map(|(k, id)| ((k.set, k.slot), id)).collect();
        let mut live_sets = HashSet::new();
        let mut live_backends = HashSet::new();
        for (key, value) in tables.services.list()? {
            let mut own = HashMap::new();
            for slot in 0..value.backend_count {
                let Some(id) = slots.get(&(value.backend_set, slot)) else { continue };
                if let Some(backend) = backends.get(id) {
                    let port = u16::from_be_bytes(backend.port_be);
                    own.insert((ip_from_bytes(backend.addr), port), *id);
                    live_backends.insert(*id);
                }
            }
            live_sets.insert(value.backend_set);
            state.installed.insert(value.id, Installed { key, value, backends: own });
        }
        state.last_set =
            slots.keys().map(|(set, _)| *set).chain(live_sets.iter().copied()).max().unwrap_or(0);
        state.last_backend = backends.keys().copied().max().unwrap_or(0);
        state.used_backend_ids = backends.keys().copied().collect();
        let orphans = slots.keys().filter(|(set, _)| !live_sets.contains(set));
        state.retired_slots = orphans.map(|&(set, slot)| BackendSlotKey { set, slot }).collect();
        state.retired_backends = backends.keys().filter(|id| !live_backends.contains(id)).copied().collect();
        for (id, _) in tables.frontends.list()? {
            if !state.installed.contains_key(&id) {
                state.retired_frontends.push(id);
            }
        }
        Ok(state)
    }

    /// A number no slot carries: they only grow, and a wrap takes four thousand million changes.
    fn new_set(&mut self) -> u32 {
        self.last_set = self.last_set.wrapping_add(1).max(1);
        self.last_set
    }

    fn new_backend_id(&mut self) -> u32 {
        loop {
            self.last_backend = self.last_backend.wrapping_add(1).max(1);
            if self.used_backend_ids.insert(self.last_backend) {
                return self.last_backend;
            }
        }
    }

    fn retire_set(&mut self, set: u32, count: u32) {
        self.retired_slots.extend((0..count).map(|slot| BackendSlotKey { set, slot }));
    }
}

impl Installed {
    fn spec(&self) -> ServiceSpec {
        let mut backends: Vec<_> = self.backends.keys().copied().collect();
        backends.sort_unstable();
        ServiceSpec {
            id: self.value.id,
            address: ip_from_bytes(self.key.addr),
            port: u16::from_be_bytes(self.key.port_be),
            proto: self.key.proto,
            scope: if self.key.scope == service_scope::INSIDE { Scope::Inside } else { Scope::Outside },
            local: self.value.flags & SERVICE_F_LOCAL != 0,
            backends,
            affinity: (self.value.flags & SERVICE_F_AFFINITY != 0)
                .then(|| Duration::from_secs(self.value.affinity_s.into())),
        }
    }
}
