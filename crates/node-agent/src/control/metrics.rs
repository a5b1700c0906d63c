//! Metrics of the control side, read at scrape time.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::report::Report;
use crate::cluster::source::SourceStatus;
use crate::cni::attachments::{Attachments, EndpointState};
use crate::http::SharedRegistry;

/// Objects that were refused, endpoints by state, tables that could not be written.
pub struct ControlMetrics {
    report: Arc<ArcSwap<Report>>,
    source: Arc<SourceStatus>,
    attachments: Arc<Attachments>,
}

impl ControlMetrics {
    /// Adds these metrics to the agent's.
    pub fn register(
        registry: &SharedRegistry,
        report: Arc<ArcSwap<Report>>,
        source: Arc<SourceStatus>,
        attachments: Arc<Attachments>,
    ) {
        let metrics = ControlMetrics { report, source, attachments };
        registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(metrics));
    }
}

impl Collector for ControlMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut counter = |name, help, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)
        };
        let load = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
        counter(
            "fathom_object_problems",
            "Objects or files that could not be understood, mended ones included",
            load(&self.source.problems_total),
        )?;
        counter("fathom_object_deltas", "Changes of objects taken in", load(&self.source.deltas_total))?;
        let mut gauge = |name, help, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        let report = self.report.load();
        gauge(
            "fathom_objects_in_trouble",
            "Objects or files that cannot be understood now",
            self.source.problems.load().len() as u64,
        )?;
        gauge(
            "fathom_table_problems",
            "Changes to the kernel's tables that fail now and are tried again",
            report.problems.len() as u64,
        )?;
        gauge(
            "fathom_policy_tables_behind",
            "Identities whose policy table could not be installed: an older one is in force, or none",
            report.tables_behind as u64,
        )?;
        gauge(
            "fathom_unattached_pods",
            "Pods of this node that have addresses and no endpoint: neither observed nor enforced",
            report.unattached.len() as u64,
        )?;
        gauge("fathom_policy_rules", "Rules that tables cite", report.rules.len() as u64)?;
        let attachments = self.attachments.list();
        let ready = |id| matches!(self.attachments.state(id), Some(EndpointState::Ready { .. }));
        let ready = attachments.iter().filter(|attachment| ready(attachment.id)).count();
        let mut metric =
            encoder.encode_descriptor("fathom_endpoints", "Local endpoints", None, MetricType::Gauge)?;
        for (state, count) in [("ready", ready), ("waiting", attachments.len() - ready)] {
            ConstGauge::new(count as u64).encode(metric.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ControlMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlMetrics").finish_non_exhaustive()
    }
}
