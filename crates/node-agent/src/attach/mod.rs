//! Pods that another CNI plugin wires (`--mode attach`): found, adopted, and let go.
//!
//! Nobody tells the agent when such a pod comes. What it is told by are link changes on the node and the pods the
//! API has for it; each makes it look: which network namespaces there are and whose ([`namespaces`]), which
//! devices lead into them ([`devices`]), which of them is which pod's ([`matching`]). What was found becomes an
//! attachment like those of our own plugin, and the reconciler takes it from there.
//!
//! Between the moment the other plugin has wired a pod and the moment it is adopted, its packets are not judged:
//! who can't have that lets Fathom wire (`--mode cni`).

pub mod devices;
pub mod matching;
pub mod namespaces;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::index::Index;
use crate::cni::attachments::Attachments;
use devices::Host;
use matching::Adoption;
use namespaces::Namespaces;

/// A look waits this long for the rest of a burst of link changes: wiring one pod makes a dozen.
const SETTLE: Duration = Duration::from_millis(10);

/// Time until the next look while some pod is not found: a namespace tells nobody when a process or an address
/// comes into it.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(1);

/// Time until the next look when nothing is missing.
const IDLE: Duration = Duration::from_secs(30);

/// A pod the API has for this node that should have a network namespace of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPod {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// As the kubelet names its cgroup.
    pub uid: Arc<str>,
    /// Empty until its status has them.
    pub ips: Vec<IpAddr>,
}

/// The pods of this node that have a namespace of their own.
pub fn wanted(index: &Index, node: &str) -> Vec<WantedPod> {
    let here = index.pods.iter().filter(|pod| &*pod.node_name == node && !pod.host_network && !pod.finished);
    let wanted = here.map(|pod| WantedPod {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        ips: pod.ips.clone(),
    });
    wanted.collect()
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct Places {
    /// A proc file system that shows the node's processes.
    pub proc: PathBuf,
    /// Where container runtimes give network namespaces names.
    pub netns_dir: PathBuf,
}

/// Finds and lets go until told to stop.
///
/// # Errors
/// The kernel can't be asked about links, or ends telling about them.
pub async fn keep(
    places: Places,
    attachments: Arc<Attachments>,
    mut wanted: watch::Receiver<Option<Vec<WantedPod>>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (host, mut links) = Host::connect().context("ask the kernel about links")?;
    let mut keeper = Keeper { host, namespaces: Namespaces::new(places), attachments, said: BTreeSet::new() };
    let mut pause = SOONEST;
    loop {
        let pods = wanted.borrow_and_update().clone();
        let missing = keeper.look(pods.as_deref()).await;
        let next = if missing { pause } else { IDLE };
        pause = if missing { (pause * 2).min(LATEST) } else { SOONEST };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = wanted.changed() => {
                changed.context("the reconciler is gone")?;
                pause = SOONEST;
            }
            told = links.changed() => {
                told?;
                pause = SOONEST;
                tokio::time::sleep(SETTLE).await;
                links.forget();
            }
            () = tokio::time::sleep(next) => {}
        }
    }
}

struct Keeper {
    host: Host,
    namespaces: Namespaces,
    attachments: Arc<Attachments>,
    said: BTreeSet<String>,
}

impl Keeper {
    /// One look; whether some pod is not found yet.
    async fn look(&mut self, pods: Option<&[WantedPod]>) -> bool {
        let links = match self.host.links().await {
            Ok(links) => links,
            Err(error) => {
                self.say(BTreeSet::from([format!("the node's links can't be listed: {error:#}")]));
                return true;
            }
        };
        // What is gone from a complete list is gone, whatever the API says.
        for attachment in self.attachments.list().into_iter().filter(|a| a.adopted) {
            let device = attachment.device.as_ref().map_or(0, |device| device.ifindex);
            if links.get(&device).is_none_or(|link| link.name != attachment.host_interface) {
                self.release(&attachment.key, "its device is gone");
            }
        }
        // Nobody knows yet which pods there are: what was adopted stays.
        let Some(pods) = pods else { return true };
        let (seen, mut problems) = self.namespaces.look(&self.host, &links).await;
        let matched = matching::matches(pods, &seen);
        for adoption in &matched.adoptions {
            problems.extend(self.adopt(adoption).err());
        }
        problems.extend(matched.problems);
        self.say(problems);
        matched.adoptions.len() < pods.len()
    }

    fn adopt(&self, adoption: &Adoption) -> Result<(), String> {
        // A device is one pod's: who was behind it before is not any more.
        for other in self.attachments.list().into_iter().filter(|a| a.adopted && a.key != adoption.key()) {
            let pod_is_the_same =
                other.namespace == *adoption.namespace && other.pod_name == *adoption.pod_name;
            if pod_is_the_same || other.device.as_ref().is_some_and(|d| d.ifindex == adoption.device.ifindex)
            {
                self.release(&other.key, "another took its place");
            }
        }
        let pod = format!("{}/{}", adoption.namespace, adoption.pod_name);
        match self.attachments.adopt(adoption) {
            Ok(true) => {
                tracing::info!(
                    pod,
                    device = adoption.host_interface,
                    addresses = ?adoption.addresses,
                    "found a pod that another plugin wired"
                );
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => Err(format!("pod {pod} can't be adopted: {error}")),
        }
    }

    fn release(&self, key: &crate::cni::attachments::AttachmentKey, why: &str) {
        match self.attachments.release(key) {
            Ok(Some(gone)) => {
                tracing::info!(pod = format!("{}/{}", gone.namespace, gone.pod_name), why, "let a pod go");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%key, %error, "a pod that is gone can't be let go"),
        }
    }

    /// Each problem once when it comes and once when it goes.
    fn say(&mut self, problems: BTreeSet<String>) {
        for problem in problems.difference(&self.said) {
            tracing::warn!("{problem}");
        }
        for problem in self.said.difference(&problems) {
            tracing::info!("no longer: {problem}");
        }
        self.said = problems;
    }
}
