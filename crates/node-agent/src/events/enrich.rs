//! The joiner: a kernel record and the snapshot of that moment become a flow.
//!
//! Nothing is allocated for an address or identity the snapshot knows. The local end is found by the
//! device and not by its address, so that a pod that forges its source is shown as itself.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use fathom_bpf::abi::{self, Event, direction, kind};
use hashbrown::HashMap;

use super::clock::WallClock;
use super::flow::{Flow, ServiceEnd, cgroup_id, has_ports};
use super::stand_in::StandIns;
use crate::cluster::snapshot::{Device, EndpointInfo, Snapshot};
use crate::host_pods::HostPods;

/// Identity of addresses outside the cluster.
const WORLD: u32 = 2;

/// (endpoint id, `abi` family) → address of a local endpoint.
pub type LocalAddresses = HashMap<(u32, u8), [u8; 16], foldhash::fast::RandomState>;

/// Joins records with names. One per reader thread.
pub struct Enricher {
    source: Arc<ArcSwap<Snapshot>>,
    snapshot: Arc<Snapshot>,
    host_pods: Cache<Arc<ArcSwap<HostPods>>, Arc<HostPods>>,
    local_addresses: LocalAddresses,
    clock: WallClock,
    stand_ins: StandIns,
}

impl Enricher {
    pub fn new(source: Arc<ArcSwap<Snapshot>>) -> Self {
        let snapshot = source.load_full();
        let local_addresses = local_addresses(&snapshot);
        Self {
            source,
            snapshot,
            host_pods: Cache::new(Arc::default()),
            local_addresses,
            clock: WallClock::new(),
            stand_ins: StandIns::default(),
        }
    }

    /// Pods in the node's own network are told by their cgroups.
    pub fn with_host_pods(self, host_pods: Arc<ArcSwap<HostPods>>) -> Self {
        Self { host_pods: Cache::new(host_pods), ..self }
    }

    /// Takes up the newest snapshot and clock offset: once per batch, so that the flows of a batch are
    /// joined with one state of the cluster.
    pub fn begin_batch(&mut self) {
        let newest = self.source.load();
        if !Arc::ptr_eq(&newest, &self.snapshot) {
            self.snapshot = Arc::clone(&newest);
            self.local_addresses = local_addresses(&newest);
            self.stand_ins.clear();
        }
        self.clock.refresh();
    }

    /// As of the batch.
    pub fn local_addresses(&self) -> &LocalAddresses {
        &self.local_addresses
    }

    /// Wall clock of a record's time.
    pub fn wall_ns(&self, boot_ns: u64) -> i64 {
        self.clock.wall_ns(boot_ns)
    }

    /// Joins one record. `seq` is left for the store to give, what the payload says for [`super::l7`].
    pub fn enrich(&mut self, event: &Event) -> Flow {
        let snapshot = Arc::clone(&self.snapshot);
        let mut flow = Flow {
            event: *event,
            seq: 0,
            time_ns: self.clock.wall_ns(event.time_ns),
            source: Arc::clone(self.stand_ins.nobody()),
            destination: Arc::clone(self.stand_ins.nobody()),
            service: None,
            rule: if event.rule_id == 0 { None } else { snapshot.rules.get(&event.rule_id).cloned() },
            device: if event.ifindex == 0 { None } else { snapshot.by_ifindex.get(&event.ifindex).cloned() },
            source_names: None,
            destination_names: None,
            payload: None,
            frontend: [0; 16],
            service_end: ServiceEnd::Destination,
        };
        self.complete_source(&mut flow);
        let (source, destination) = (flow.source_ip(), flow.destination_ip());
        find_service(&mut flow, &snapshot, source, destination);
        let device = flow.device.as_deref();
        let (local_source, local_destination) = local_ends(event, device);
        let is_frontend = |end| flow.service.is_some() && flow.service_end == end;
        let at = End { snapshot: &snapshot, local: local_source, frontend: is_frontend(ServiceEnd::Source) };
        let new_source = match self.host_pod(event) {
            Some(pod) => pod,
            None => self.endpoint(at, source, event.src_identity),
        };
        let at = End { local: local_destination, frontend: is_frontend(ServiceEnd::Destination), ..at };
        let new_destination = self.endpoint(at, destination, event.dst_identity);
        (flow.source, flow.destination) = (new_source, new_destination);
        flow
    }

    /// A socket that connects is not bound yet: its packets will carry the pod's own address.
    fn complete_source(&self, flow: &mut Flow) {
        if flow.event.kind == kind::SOCK
            && flow.source_ip().is_none()
            && let Some(device) = &flow.device
            && let Some(address) = self.local_addresses.get(&(device.endpoint.id, flow.event.family))
        {
            flow.event.saddr = *address;
        }
    }

    /// Who called or sent in the node's own network, if it was a pod.
    fn host_pod(&mut self, event: &Event) -> Option<Arc<EndpointInfo>> {
        let cgroup = if event.kind == kind::SOCK && event.ifindex != 0 { 0 } else { cgroup_id(event) };
        if cgroup == 0 {
            return None;
        }
        self.host_pods.load().of_cgroup(cgroup).cloned()
    }

    /// Who is at this end: the local pod, else who has the address, else what the identity says.
    fn endpoint(&mut self, at: End<'_>, ip: Option<IpAddr>, identity: u32) -> Arc<EndpointInfo> {
        let known = at.local.map(|device| &device.endpoint);
        let known = known.or_else(|| at.snapshot.by_ip.get(&ip?));
        if let Some(known) = known {
            // The record's identity is the one the verdict was found with: it stands, even while a
            // label change is under way.
            return self.stand_ins.with_identity(known, identity, at.snapshot);
        }
        // The kernel asked nobody (a drop before the look-up, a socket event): an address that no pod,
        // node or service has is outside.
        let identity = if identity == 0 && ip.is_some() && !at.frontend { WORLD } else { identity };
        match at.snapshot.by_identity.get(&identity) {
            Some(known) => Arc::clone(known),
            None => self.stand_ins.for_identity(identity),
        }
    }
}

/// The addresses of local endpoints: those with an id.
fn local_addresses(snapshot: &Snapshot) -> LocalAddresses {
    let local = snapshot.by_ip.iter().filter(|(_, endpoint)| endpoint.id != 0);
    let entry = |(ip, endpoint): (&IpAddr, &Arc<EndpointInfo>)| {
        ((endpoint.id, if ip.is_ipv4() { 4 } else { 6 }), abi::ip_to_bytes(*ip))
    };
    local.map(entry).collect()
}

/// What is known of one end before its address is looked up.
#[derive(Clone, Copy)]
struct End<'a> {
    snapshot: &'a Snapshot,
    local: Option<&'a Device>,
    /// The end is a service's frontend, which has no identity.
    frontend: bool,
}

/// The device as source or as destination: a packet leaves its pod on egress, and a socket call is
/// made by the pod whatever it is about.
fn local_ends<'a>(event: &Event, device: Option<&'a Device>) -> (Option<&'a Device>, Option<&'a Device>) {
    match (event.kind, event.direction) {
        (kind::SOCK, _) | (_, direction::EGRESS) => (device, None),
        (_, direction::INGRESS) => (None, device),
        _ => (None, None),
    }
}

/// Names the service of a flow: by the number the kernel gives, else by the frontend's address.
/// Requests go to a service, replies come from it.
fn find_service(flow: &mut Flow, snapshot: &Snapshot, source: Option<IpAddr>, destination: Option<IpAddr>) {
    let event = &flow.event;
    let reply = event.kind != kind::SOCK && flow.reply() == Some(true);
    flow.service_end = if reply { ServiceEnd::Source } else { ServiceEnd::Destination };
    if event.service_id != 0 {
        if let Some((service, address)) = snapshot.services_by_id.get(&event.service_id) {
            flow.service = Some(Arc::clone(service));
            flow.frontend = abi::ip_to_bytes(*address);
        }
    } else if has_ports(event.proto) && !snapshot.services.is_empty() {
        let (ip, port) = if reply { (source, event.sport()) } else { (destination, event.dport()) };
        flow.service = ip.and_then(|ip| snapshot.services.get(&(ip, port, event.proto)).cloned());
    }
}

#[cfg(test)]
#[path = "enrich_tests.rs"]
mod tests;
