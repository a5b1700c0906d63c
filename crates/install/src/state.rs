//! How far Fathom's pods are.

use std::time::Duration;

use anyhow::bail;
use fathom_kubernetes::connect::explain;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

/// Problems named at once.
const NAMED: usize = 5;
/// Time between looks.
const LOOK: Duration = Duration::from_millis(500);

/// Agents, or relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// "DaemonSet/fathom-agent".
    pub name: String,
    /// As it should be, and how many of that are ready. `None`: it is not installed.
    pub pods: Option<Pods>,
    /// "fathom-agent-x7k2p on node-1: agent: ImagePullBackOff: …".
    pub problems: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pods {
    pub wanted: i32,
    /// Of the newest version, and ready.
    pub ready: i32,
    /// The controller has seen the newest version.
    pub observed: bool,
}

impl Part {
    pub fn is_ready(&self) -> bool {
        self.pods.is_some_and(|pods| pods.observed && pods.ready >= pods.wanted)
    }
}

/// Agents and relays as they are now.
///
/// # Errors
/// The API server can't be asked.
pub async fn look(client: &Client, namespace: &str) -> anyhow::Result<Vec<Part>> {
    let failed = |what: &str, error: &kube::Error| {
        anyhow::anyhow!("{what} in {namespace} can't be read: {}", explain(error))
    };
    let agents: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let agents =
        agents.get_opt("fathom-agent").await.map_err(|error| failed("DaemonSet fathom-agent", &error))?;
    let relays: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let relays =
        relays.get_opt("fathom-relay").await.map_err(|error| failed("Deployment fathom-relay", &error))?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=fathom");
    let pods = pods.list(&ours).await.map_err(|error| failed("pods", &error))?.items;
    Ok(vec![
        part("DaemonSet/fathom-agent", "fathom-agent", agents.as_ref().map(of_agents), &pods),
        part("Deployment/fathom-relay", "fathom-relay", relays.as_ref().map(of_relays), &pods),
    ])
}

/// Looks until everything is ready; `told` hears each time something changed.
///
/// # Errors
/// The time is up: what is not ready is named.
pub async fn wait(
    client: &Client,
    namespace: &str,
    limit: Duration,
    mut told: impl FnMut(&[Part]),
) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + limit;
    let mut before = Vec::new();
    loop {
        let parts = look(client, namespace).await?;
        if parts != before {
            told(&parts);
        }
        if parts.iter().all(Part::is_ready) {
            return Ok(());
        }
        if tokio::time::Instant::now() + LOOK > end {
            let waiting: Vec<String> = parts.iter().filter(|part| !part.is_ready()).map(lines).collect();
            bail!("not ready after {limit:?}:\n{}", waiting.join("\n"));
        }
        before = parts;
        tokio::time::sleep(LOOK).await;
    }
}

/// "DaemonSet/fathom-agent: 2 of 3 ready", and a line for each problem.
pub fn lines(part: &Part) -> String {
    let state = match part.pods {
        None => "not installed".to_owned(),
        Some(pods) => {
            let late = if pods.observed { "" } else { ", not rolled out yet" };
            format!("{} of {} ready{late}", pods.ready, pods.wanted)
        }
    };
    let mut text = format!("{}: {state}", part.name);
    for problem in part.problems.iter().take(NAMED) {
        text.push_str(&format!("\n  {problem}"));
    }
    if part.problems.len() > NAMED {
        text.push_str(&format!("\n  and {} more", part.problems.len() - NAMED));
    }
    text
}

fn of_agents(set: &DaemonSet) -> Pods {
    let status = set.status.clone().unwrap_or_default();
    let observed =
        status.observed_generation >= set.metadata.generation && status.observed_generation.is_some();
    let updated = status.updated_number_scheduled.unwrap_or(0);
    Pods { wanted: status.desired_number_scheduled, ready: status.number_ready.min(updated), observed }
}

fn of_relays(deployment: &Deployment) -> Pods {
    let status = deployment.status.clone().unwrap_or_default();
    let observed =
        status.observed_generation >= deployment.metadata.generation && status.observed_generation.is_some();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = status.ready_replicas.unwrap_or(0).min(status.updated_replicas.unwrap_or(0));
    Pods { wanted, ready, observed }
}

fn part(name: &str, label: &str, pods: Option<Pods>, all: &[Pod]) -> Part {
    let ours = all.iter().filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get("app.kubernetes.io/name")).is_some_and(|name| name == label)
    });
    let mut problems: Vec<String> = ours.filter_map(problem).collect();
    problems.sort();
    Part { name: name.to_owned(), pods, problems }
}

/// Why a pod is not ready; `None` for one that is, or that goes.
fn problem(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let ready = condition("Ready").is_some_and(|condition| condition.status == "True");
    if ready || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let place = node.map_or(String::new(), |node| format!(" on {node}"));
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let containers = init.iter().chain(status.container_statuses.as_deref().unwrap_or_default());
    let unscheduled = condition("PodScheduled").filter(|condition| condition.status != "True");
    let why = unscheduled
        .map(|condition| {
            format!("not scheduled: {}", condition.message.as_deref().unwrap_or("no reason given"))
        })
        .or_else(|| containers.filter_map(of_container).next())
        .unwrap_or_else(|| "starting".to_owned());
    Some(format!("{}{place}: {why}", pod.name_any()))
}

fn of_container(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    // What ended it last says more than that it waits for its next start.
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0).or(last);
    if let Some(ended) = ended.filter(|_| !status.ready) {
        let message = ended.message.as_deref().unwrap_or_default().trim();
        let message = message.lines().last().unwrap_or_default();
        return Some(format!("{}: ended with {}: {message}", status.name, ended.exit_code));
    }
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let message = waiting.message.as_deref().map_or(String::new(), |message| format!(": {message}"));
        return Some(format!("{}: {reason}{message}", status.name));
    }
    (state.running.is_some() && !status.ready).then(|| format!("{}: runs, not ready yet", status.name))
}
