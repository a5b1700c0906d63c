//! Of several processes one leads: a Lease that its holder renews and that others take when it is not renewed.
//!
//! Only durations that one process measured are compared, so clocks may differ. Two leaders at once are
//! possible for moments, as with every lease; what a leader does must be safe then.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connect::explain;

/// How an election goes.
#[derive(Clone, Debug)]
pub struct Timing {
    /// A lease that was not renewed for this long may be taken.
    pub lease: Duration,
    /// A leader that could not renew for this long no longer leads.
    pub renew: Duration,
    /// Time between attempts.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A candidate.
pub struct Election {
    api: Api<Lease>,
    name: String,
    holder: String,
    timing: Timing,
    /// What the lease said, and since when it says so.
    observed: Option<(Lease, Instant)>,
}

impl Election {
    /// `holder` must differ from every other candidate's: a pod's name does.
    pub fn new(client: Client, namespace: &str, name: &str, holder: &str, timing: Timing) -> Self {
        let api = Api::namespaced(client, namespace);
        Election { api, name: name.to_owned(), holder: holder.to_owned(), timing, observed: None }
    }

    /// Stands for election until `stop`; `leading` says at each moment whether it leads.
    pub async fn run(mut self, leading: watch::Sender<bool>, stop: CancellationToken) {
        let mut renewed = Instant::now();
        let mut said = String::new();
        while !stop.is_cancelled() {
            let attempt = tokio::time::timeout(self.timing.renew, self.attempt());
            match stop.run_until_cancelled(attempt).await {
                None => break,
                Some(Ok(Ok(holds))) => {
                    said.clear();
                    if holds {
                        renewed = Instant::now();
                    }
                    set(&leading, holds, &self.name);
                }
                Some(outcome) => {
                    let why = match outcome {
                        Ok(Err(error)) => explain(&error),
                        _ => "no answer".to_owned(),
                    };
                    if said != why {
                        tracing::warn!("lease {}: {why}; trying again", self.name);
                        said = why;
                    }
                    if renewed.elapsed() > self.timing.renew {
                        set(&leading, false, &self.name);
                    }
                }
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(self.timing.retry)).await;
        }
        if leading.send_replace(false) {
            let _ = tokio::time::timeout(self.timing.retry, self.release()).await;
        }
    }

    /// Takes or renews the lease if that is possible.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(None)),
            };
            return self.settle(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let other = spec.holder_identity.as_deref().is_some_and(|h| !h.is_empty() && h != self.holder);
        if other && !self.is_over(&lease) {
            return Ok(false);
        }
        let next = Lease { metadata: lease.metadata, spec: Some(self.spec(Some(spec))) };
        self.settle(self.api.replace(&self.name, &PostParams::default(), &next).await)
    }

    /// Whether another's lease has said the same for longer than it may.
    fn is_over(&mut self, lease: &Lease) -> bool {
        let now = Instant::now();
        let since = match &self.observed {
            Some((known, since)) if known.spec == lease.spec => *since,
            _ => now,
        };
        self.observed = Some((lease.clone(), since));
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let length =
            seconds.and_then(|s| u64::try_from(s).ok()).map_or(self.timing.lease, Duration::from_secs);
        since.elapsed() > length
    }

    fn spec(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        let ours = before.as_ref().is_some_and(|spec| spec.holder_identity.as_ref() == Some(&self.holder));
        let (acquired, transitions) = match &before {
            Some(spec) if ours => (spec.acquire_time.clone(), spec.lease_transitions),
            Some(spec) => (None, Some(spec.lease_transitions.unwrap_or(0) + 1)),
            None => (None, Some(0)),
        };
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: i32::try_from(self.timing.lease.as_secs().max(1)).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: transitions,
            ..LeaseSpec::default()
        }
    }

    /// Somebody who was faster is no error.
    fn settle(&self, result: kube::Result<Lease>) -> kube::Result<bool> {
        match result {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets the next one lead at once.
    async fn release(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
        if spec.holder_identity.as_ref() == Some(&self.holder) {
            spec.holder_identity = Some(String::new());
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}

fn set(leading: &watch::Sender<bool>, now: bool, name: &str) {
    let changed = leading.send_if_modified(|leads| std::mem::replace(leads, now) != now);
    if changed && now {
        tracing::info!(lease = name, "leading");
    } else if changed {
        tracing::info!(lease = name, "no longer leading");
    }
}
