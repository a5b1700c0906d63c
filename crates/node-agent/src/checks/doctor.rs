//! Looks the node over now and then, and whenever somebody asks: `fathom.v1.Doctor`, the log, `/metrics`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use fathom_api::fathom_v1::doctor_server::Doctor as Service;
use fathom_api::fathom_v1::{ExamineRequest, ExamineResponse, PingRequest, PingResponse};
use fathom_api::time::timestamp;
use fathom_bpf::load::Datapath as Loaded;
use fathom_bpf::probe::Features;
use fathom_bpf::ring::Gauge;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{Finding, Severity, machine, running, say};
use crate::cluster::source::SourceStatus;
use crate::cni::attachments::Attachments;
use crate::config::Config;
use crate::control::report::Report;
use crate::datapath::ended::Connections;
use crate::events::intake::Shared;
use crate::http::SharedRegistry;

/// What is looked over.
pub struct Parts {
    pub config: Config,
    pub features: Features,
    /// This node's name, as in flows.
    pub node_name: Arc<str>,
    pub loaded: Arc<Loaded>,
    pub attachments: Arc<Attachments>,
    pub connections: Arc<Connections>,
    pub gauge: Gauge,
    pub report: Arc<ArcSwap<Report>>,
    pub source: Arc<SourceStatus>,
    /// The books of the stream.
    pub shared: Arc<Shared>,
}

/// See the module.
#[derive(Clone)]
pub struct Doctor {
    parts: Arc<Parts>,
    last: Arc<ArcSwap<Vec<Finding>>>,
}

impl Doctor {
    /// `said`: what was found at the start, and is in the log already.
    pub fn new(parts: Parts, said: Vec<Finding>, registry: &SharedRegistry) -> Self {
        let doctor = Doctor { parts: Arc::new(parts), last: Arc::new(ArcSwap::from_pointee(said)) };
        let collector = Box::new(Scraped(doctor.last.clone()));
        registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
        doctor
    }

    /// Everything, now. What was not so before is said in the log, and so is what is over.
    pub async fn examine(&self) -> Arc<Vec<Finding>> {
        let parts = &self.parts;
        let attachments = parts.attachments.list();
        let pods: BTreeMap<u32, String> = attachments
            .iter()
            .filter_map(|pod| {
                Some((pod.device.as_ref()?.ifindex, format!("{}/{}", pod.namespace, pod.pod_name)))
            })
            .collect();
        let mut found = match parts.loaded.program_ids() {
            Ok(own) => machine(&parts.config, &parts.features, pods, own).await,
            Err(error) => vec![Finding::unknown("programs", error)],
        };
        let ledger = parts.shared.ledger.balance().await;
        let running = {
            let parts = parts.clone();
            tokio::task::spawn_blocking(move || running::examine(&parts, &ledger))
        };
        found.extend(running.await.unwrap_or_else(|error| vec![Finding::unknown("fill", error)]));
        let found = Arc::new(found);
        let before = self.last.swap(found.clone());
        let changed = |findings: &[Finding], others: &[Finding]| -> Vec<Finding> {
            let bad = findings.iter().filter(|finding| finding.severity >= Severity::Degraded);
            bad.filter(|finding| !others.contains(finding)).cloned().collect()
        };
        say(&changed(&found, &before));
        for finding in changed(&before, &found) {
            tracing::info!(check = finding.check, "no longer so: {}", finding.what);
        }
        found
    }

    /// Looks again and again until told to stop.
    pub async fn keep(self, stop: CancellationToken) {
        let interval = self.parts.config.check_interval;
        while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            self.examine().await;
        }
    }
}

#[tonic::async_trait]
impl Service for Doctor {
    async fn examine(&self, _: Request<ExamineRequest>) -> Result<Response<ExamineResponse>, Status> {
        let found = Doctor::examine(self).await;
        let findings = found.iter().map(|finding| finding.wire(&self.parts.node_name)).collect();
        Ok(Response::new(ExamineResponse { findings }))
    }

    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        Ok(Response::new(PingResponse {
            node_name: self.parts.node_name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: Some(timestamp(fathom_api::time::now())),
        }))
    }
}

struct Scraped(Arc<ArcSwap<Vec<Finding>>>);

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut worst: BTreeMap<&str, Severity> = BTreeMap::new();
        let findings = self.0.load();
        for finding in findings.iter() {
            let severity = worst.entry(finding.check).or_insert(finding.severity);
            *severity = finding.severity.max(*severity);
        }
        let mut metric = encoder.encode_descriptor(
            "fathom_check_status",
            "The worst that a check of node and agent found: 0 ok, 1 worth knowing, 2 degraded, 3 missing",
            None,
            MetricType::Gauge,
        )?;
        for (check, severity) in worst {
            ConstGauge::new(severity as i64).encode(metric.encode_family(&[("check", check)])?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scraped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraped").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_check_is_as_bad_as_the_worst_it_found() {
        let found = vec![
            Finding::ok("feature", "7 of 8"),
            Finding::degraded("feature", "no x"),
            Finding::ok("kernel", "6.1"),
        ];
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scraped(Arc::new(ArcSwap::from_pointee(found)))));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("fathom_check_status{check=\"feature\"} 2\n"), "{text}");
        assert!(text.contains("fathom_check_status{check=\"kernel\"} 0\n"), "{text}");
    }
}
