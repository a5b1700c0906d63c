//! The relay's counters and gauges.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::pool::{Nodes, State};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

/// What became of the flows taken from agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    pub received: u64,
    pub sent: u64,
    /// On purpose: beyond the N that a client asked for, or its client had gone.
    pub left_out: u64,
    /// Waiting for others' flows, or for the client.
    pub held: u64,
}

/// All metrics, and the registry that prints them.
pub struct Metrics {
    registry: Registry,
    /// Changed as a whole, so that it balances at any moment.
    books: Mutex<Books>,
    received: Counter<u64, AtomicU64>,
    sent: Counter<u64, AtomicU64>,
    requests: Gauge<i64, AtomicI64>,
    peers: Family<Status, Gauge>,
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let (received, sent) = (Counter::default(), Counter::default());
        let (requests, peers) = (Gauge::default(), Family::default());
        registry.register(
            "fathom_relay_responses_received",
            "Responses taken from agents, before the merge",
            received.clone(),
        );
        registry.register(
            "fathom_relay_responses_sent",
            "Responses handed to clients, the relay's own node messages included",
            sent.clone(),
        );
        registry.register("fathom_relay_requests", "GetFlows requests being answered", requests.clone());
        registry.register(
            "hubble_relay_pool_peer_connection_status",
            "Nodes by the state of the connection to them",
            peers.clone(),
        );
        Metrics { registry, books: Mutex::default(), received, sent, requests, peers }
    }

    /// Adds what another part has to tell.
    pub fn add(&mut self, collector: Box<dyn Collector>) {
        self.registry.register_collector(collector);
    }

    /// Counts responses taken from agents.
    pub fn received(&self, n: usize) {
        self.received.inc_by(n as u64);
    }

    /// Counts responses handed to clients.
    pub fn sent(&self, n: usize) {
        self.sent.inc_by(n as u64);
    }

    /// Books flows: those taken, sent and left out since the last time, and by how much those held
    /// have changed.
    pub fn book(&self, received: u64, sent: u64, left_out: u64, held: i64) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.received += received;
        books.sent += sent;
        books.left_out += left_out;
        books.held = books.held.wrapping_add_signed(held);
    }

    /// The books as they are.
    pub fn books(&self) -> Books {
        *self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request for as long as the returned guard lives.
    pub fn request(self: &std::sync::Arc<Self>) -> RequestGuard {
        self.requests.inner().fetch_add(1, Ordering::Relaxed);
        RequestGuard(self.clone())
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self, nodes: &Nodes) -> String {
        for status in ["READY", "CONNECTING", "TRANSIENT_FAILURE"] {
            let n = nodes.values().filter(|node| connection_status(&node.state) == status).count();
            self.peers.get_or_create(&Status { status }).set(n as i64);
        }
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn connection_status(state: &State) -> &'static str {
    match state {
        State::Connected(_) => "READY",
        State::Connecting => "CONNECTING",
        State::Unavailable(_) => "TRANSIENT_FAILURE",
    }
}

/// See [`Metrics::request`].
pub struct RequestGuard(std::sync::Arc<Metrics>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.requests.inner().fetch_sub(1, Ordering::Relaxed);
    }
}
