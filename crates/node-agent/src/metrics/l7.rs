//! What the reader's thread remembers of messages.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::events::l7::Sizes;

type Count = Gauge<u64, AtomicU64>;

/// Sizes and evictions.
#[derive(Debug, Default)]
pub struct Tables {
    pairs: Count,
    pairs_evicted: Counter,
    names: Count,
    names_evicted: Counter,
    connections: Count,
    connections_evicted: Counter,
}

impl Tables {
    pub fn register(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, gauge: &Count| registry.register(name, help, gauge.clone());
        gauge("fathom_l7_pending_requests", "Requests that wait for their response", &self.pairs);
        gauge("fathom_l7_names_addresses", "Addresses with names learned from DNS, per client", &self.names);
        gauge("fathom_l7_encrypted_connections", "Connections known to be encrypted", &self.connections);
        let mut counter =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter(
            "fathom_l7_pending_requests_evicted",
            "Requests that made room for others before their response came",
            &self.pairs_evicted,
        );
        counter(
            "fathom_l7_names_addresses_evicted",
            "Addresses whose names made room for others'",
            &self.names_evicted,
        );
        counter(
            "fathom_l7_encrypted_connections_evicted",
            "Encrypted connections that made room for others",
            &self.connections_evicted,
        );
    }

    /// Called by one thread.
    pub fn set(&self, sizes: Sizes) {
        self.pairs.set(sizes.pairs);
        self.names.set(sizes.names);
        self.connections.set(sizes.connections);
        let up_to = |counter: &Counter, count: u64| {
            counter.inc_by(count.saturating_sub(counter.get()));
        };
        up_to(&self.pairs_evicted, sizes.pairs_evicted);
        up_to(&self.names_evicted, sizes.names_evicted);
        up_to(&self.connections_evicted, sizes.connections_evicted);
    }
}
