//! What one relay does for all agents: give up identity numbers nobody uses, keep certificates. Of several relays
//! one leads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use fathom_kubernetes::certificates::keep::Keeper;
use fathom_kubernetes::collector::{self, Collected};
use fathom_kubernetes::connect;
use fathom_kubernetes::lease::{Election, Timing};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Certificates, Identities};

/// Name of the Lease.
const LEASE: &str = "fathom-relay";
/// Where a pod finds the name of its namespace.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The tasks.
pub struct Collecting {
    collected: Arc<Collected>,
    certificates: Option<Arc<Keeper>>,
    leading: watch::Receiver<bool>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Starts collecting; `None` where there is no API server.
///
/// # Errors
/// There should be one, but how to reach it cannot be read.
pub async fn start(config: &Identities, certificates: &Certificates) -> anyhow::Result<Option<Collecting>> {
    let wanted = config.kubeconfig.is_some() || connect::in_a_pod();
    let lives = certificates.lives()?;
    if !wanted {
        anyhow::ensure!(
            !certificates.keep_certificates,
            "--keep-certificates needs an API server: give --kubeconfig, or run in a pod"
        );
        return Ok(None);
    }
    let connection = connect::connect(config.kubeconfig.as_deref(), "fathom-relay").await?;
    let namespace = namespace(config)?;
    let holder = config.pod_name.clone().or_else(host_name).context("--pod-name")?;
    let (lead, leading) = watch::channel(false);
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let client = connection.client;
    let election = Election::new(client.clone(), &namespace, LEASE, &holder, Timing::default());
    tasks.spawn(election.run(lead, stop.clone()));
    let collected: Arc<Collected> = Arc::default();
    let certificates = certificates
        .keep_certificates
        .then(|| Arc::new(Keeper::new(client.clone(), &namespace, &certificates.cluster_name, lives)));
    if let Some(keeper) = certificates.clone() {
        let (leading, stop) = (leading.clone(), stop.clone());
        tasks.spawn(async move { keeper.run(leading, stop).await });
    }
    tasks.spawn(collector::run(
        client,
        leading.clone(),
        config.identity_grace,
        collected.clone(),
        stop.clone(),
    ));
    tasks.close();
    tracing::info!(address = connection.address, namespace, "one relay gives up identities nobody uses");
    Ok(Some(Collecting { collected, certificates, leading, tasks, stop }))
}

impl Collecting {
    /// What is known of identities and certificates, read at scrape time.
    pub fn metrics(&self) -> Box<dyn Collector> {
        Box::new(LeaderMetrics {
            collected: self.collected.clone(),
            certificates: self.certificates.clone(),
            leading: self.leading.clone(),
        })
    }

    /// Ends; the next relay may lead at once.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

struct LeaderMetrics {
    collected: Arc<Collected>,
    certificates: Option<Arc<Keeper>>,
    leading: watch::Receiver<bool>,
}

impl fmt::Debug for LeaderMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderMetrics").finish_non_exhaustive()
    }
}

impl Collector for LeaderMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let mut gauge = |name, help, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        gauge("fathom_relay_leader", "1 on the relay that leads", (*self.leading.borrow()).into())?;
        gauge("fathom_identities", "Identity numbers in the cluster", load(&self.collected.identities))?;
        if let Some(keeper) = &self.certificates {
            let help = "When a certificate that this relay keeps expires, in Unix seconds";
            let mut metric = encoder.encode_descriptor(
                "fathom_certificate_expiry_timestamp_seconds",
                help,
                None,
                MetricType::Gauge,
            )?;
            for (secret, expires) in keeper.expiry() {
                ConstGauge::new(expires).encode(metric.encode_family(&[("secret", secret)])?)?;
            }
        }
        let help = "Identity numbers this relay gave up because no agent used them";
        let metric =
            encoder.encode_descriptor("fathom_identities_given_up", help, None, MetricType::Counter)?;
        ConstCounter::new(load(&self.collected.removed)).encode(metric)
    }
}

fn namespace(config: &Identities) -> anyhow::Result<String> {
    if let Some(namespace) = &config.namespace {
        return Ok(namespace.clone());
    }
    match std::fs::read_to_string(NAMESPACE) {
        Ok(namespace) => Ok(namespace.trim().to_owned()),
        Err(_) => anyhow::bail!("in which namespace is the Lease of relays? give --namespace"),
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
