//! Looks now and then for connections that ended in silence, and counts those there are.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fathom_bpf::abi::LedgerStage;
use fathom_bpf::load::Datapath as Loaded;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio_util::sync::CancellationToken;

use crate::http::SharedRegistry;

/// The kernel's connections: told when they end in silence, counted for `/metrics`.
#[derive(Debug)]
pub struct Connections {
    loaded: Arc<Loaded>,
    /// As of the last look.
    entries: AtomicU64,
}

impl Connections {
    pub fn new(loaded: Arc<Loaded>, registry: &SharedRegistry) -> Arc<Self> {
        let connections = Arc::new(Connections { loaded, entries: AtomicU64::new(0) });
        let collector = Box::new(Scraped(connections.clone()));
        registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
        connections
    }

    /// Looks every `interval` until told to stop.
    pub async fn look(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        let mut said = false;
        loop {
            let this = self.clone();
            // A full table takes a good part of a second to read.
            let looked = tokio::task::spawn_blocking(move || this.loaded.tell_ended()).await;
            match looked {
                Ok(Ok(looked)) => {
                    said = false;
                    self.entries.store(looked.entries, Ordering::Relaxed);
                    tracing::debug!(?looked, "connections looked at");
                }
                Ok(Err(error)) if !said => {
                    said = true;
                    tracing::warn!(%error, "connections that ended in silence are not told");
                }
                Ok(Err(_)) => {}
                Err(error) => tracing::error!(%error, "the look at connections broke off"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
                return;
            }
        }
    }
}

#[derive(Debug)]
struct Scraped(Arc<Connections>);

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        let entries = self.0.entries.load(Ordering::Relaxed);
        gauge("fathom_conntrack_entries", "Connections in the kernel's tables at the last look", entries)?;
        let capacity = self.0.loaded.maps().conntrack.capacity();
        gauge("fathom_conntrack_capacity", "Connections both tables together can hold", capacity.into())?;
        // Unreadable maps leave these series out: a zero would be a lie.
        let Ok(ledger) = self.0.loaded.maps().ledger.read() else { return Ok(()) };
        let mut counter = |name, help, stage| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(ledger[stage]).encode(metric)
        };
        counter("fathom_conntrack_created", "Connections begun", LedgerStage::CtCreated)?;
        counter(
            "fathom_conntrack_replaced",
            "Of these, in the place of one that had ended",
            LedgerStage::CtReplaced,
        )?;
        counter(
            "fathom_conntrack_insert_failed",
            "Connections refused for want of an entry",
            LedgerStage::CtInsertFailed,
        )
    }
}
