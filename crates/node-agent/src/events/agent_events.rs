//! What the agent itself did: a bounded history, fed by the control side through a small handle.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fathom_api::flow::agent_event::Notification;
use fathom_api::flow::{
    AgentEvent, AgentEventType, AgentEventUnknown, EndpointRegenNotification, EndpointUpdateNotification,
    IpCacheNotification, PolicyUpdateNotification, TimeNotification,
};
use fathom_api::time::timestamp;
use tokio::sync::watch;

use crate::cluster::snapshot::EndpointInfo;

/// Events kept.
const CAPACITY: usize = 1024;

/// The history of one agent. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct AgentEvents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    events: Mutex<VecDeque<(i64, Arc<AgentEvent>)>>,
    /// One past the number of the newest event.
    grown: watch::Sender<u64>,
}

impl Default for AgentEvents {
    fn default() -> Self {
        let events = Mutex::new(VecDeque::with_capacity(CAPACITY));
        Self { inner: Arc::new(Inner { events, grown: watch::Sender::new(0) }) }
    }
}

/// An entry with its time, nanoseconds since the epoch.
pub type Stamped = (i64, Arc<AgentEvent>);

impl AgentEvents {
    /// The agent began to work.
    pub fn agent_started(&self) {
        let now = fathom_api::time::now();
        let start = Notification::AgentStart(TimeNotification { time: Some(timestamp(now)) });
        self.add(AgentEventType::AgentStarted, start);
    }

    /// Policies came or changed: those with these labels; `rule_count` rules are now in force, and
    /// `revision` grows with every change.
    pub fn policy_updated(&self, labels: &[Arc<str>], revision: u64, rule_count: usize) {
        let update = policy(labels, revision, rule_count);
        self.add(AgentEventType::PolicyUpdated, update);
    }

    /// Policies went; see [`AgentEvents::policy_updated`].
    pub fn policy_deleted(&self, labels: &[Arc<str>], revision: u64, rule_count: usize) {
        let update = policy(labels, revision, rule_count);
        self.add(AgentEventType::PolicyDeleted, update);
    }

    /// A pod was attached.
    pub fn endpoint_created(&self, endpoint: &EndpointInfo) {
        self.add(AgentEventType::EndpointCreated, endpoint_update(endpoint));
    }

    /// A pod went.
    pub fn endpoint_deleted(&self, endpoint: &EndpointInfo) {
        self.add(AgentEventType::EndpointDeleted, endpoint_update(endpoint));
    }

    /// A pod's programs or tables were installed anew, or could not be.
    pub fn endpoint_regenerated(&self, endpoint: &EndpointInfo, result: Result<(), &str>) {
        let kind = match result {
            Ok(()) => AgentEventType::EndpointRegenerateSuccess,
            Err(_) => AgentEventType::EndpointRegenerateFailure,
        };
        let regeneration = EndpointRegenNotification {
            id: endpoint.id.into(),
            labels: strings(&endpoint.labels),
            error: result.err().unwrap_or_default().to_owned(),
        };
        self.add(kind, Notification::EndpointRegenerate(regeneration));
    }

    /// An address or prefix ("10.244.1.7/32") now stands for an identity.
    pub fn ipcache_upserted(
        &self,
        cidr: &str,
        identity: u32,
        before: Option<u32>,
        endpoint: Option<&EndpointInfo>,
    ) {
        let update = ipcache(cidr, identity, before, endpoint);
        self.add(AgentEventType::IpcacheUpserted, update);
    }

    /// An address or prefix no longer stands for anybody.
    pub fn ipcache_deleted(&self, cidr: &str, identity: u32) {
        let update = ipcache(cidr, identity, None, None);
        self.add(AgentEventType::IpcacheDeleted, update);
    }

    /// Many addresses and prefixes changed at once: one event for all, which the contract has no place for.
    pub fn ipcache_changed(&self, upserted: usize, deleted: usize) {
        let notification =
            format!("{upserted} addresses and prefixes got an identity, {deleted} lost theirs, at once");
        let unknown = AgentEventUnknown { r#type: "ipcache".into(), notification };
        self.add(AgentEventType::AgentEventUnknown, Notification::Unknown(unknown));
    }

    /// Tells when there is more.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.grown.subscribe()
    }

    /// Number of the oldest event kept, and one past the newest.
    pub fn range(&self) -> (u64, u64) {
        let events = self.lock();
        let end = *self.inner.grown.borrow();
        (end - events.len() as u64, end)
    }

    /// The events from number `from` on, and how many of those wanted are no longer kept.
    pub fn read(&self, from: u64) -> (u64, Vec<Stamped>) {
        let events = self.lock();
        let end = *self.inner.grown.borrow();
        let oldest = end - events.len() as u64;
        let skip = from.saturating_sub(oldest) as usize;
        (oldest.saturating_sub(from), events.iter().skip(skip).cloned().collect())
    }

    fn add(&self, kind: AgentEventType, notification: Notification) {
        let event = AgentEvent { r#type: kind.into(), notification: Some(notification) };
        let mut events = self.lock();
        if events.len() >= CAPACITY {
            events.pop_front();
        }
        events.push_back((fathom_api::time::now(), Arc::new(event)));
        self.inner.grown.send_modify(|end| *end += 1);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Stamped>> {
        self.inner.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The event that stands for events a slow client missed: the contract has no other place for it.
pub fn missed(count: u64) -> AgentEvent {
    let notification = format!("{count} agent events were overwritten before this client read them");
    let unknown = AgentEventUnknown { r#type: "lost".into(), notification };
    AgentEvent {
        r#type: AgentEventType::AgentEventUnknown.into(),
        notification: Some(Notification::Unknown(unknown)),
    }
}

fn strings(labels: &[Arc<str>]) -> Vec<String> {
    labels.iter().map(ToString::to_string).collect()
}

fn policy(labels: &[Arc<str>], revision: u64, rule_count: usize) -> Notification {
    let rule_count = i64::try_from(rule_count).unwrap_or(i64::MAX);
    Notification::PolicyUpdate(PolicyUpdateNotification { labels: strings(labels), revision, rule_count })
}

fn endpoint_update(endpoint: &EndpointInfo) -> Notification {
    Notification::EndpointUpdate(EndpointUpdateNotification {
        id: endpoint.id.into(),
        labels: strings(&endpoint.labels),
        error: String::new(),
        pod_name: endpoint.pod_name.to_string(),
        namespace: endpoint.namespace.to_string(),
    })
}

fn ipcache(cidr: &str, identity: u32, before: Option<u32>, endpoint: Option<&EndpointInfo>) -> Notification {
    Notification::IpcacheUpdate(IpCacheNotification {
        cidr: cidr.to_owned(),
        identity,
        old_identity: before,
        namespace: endpoint.map(|e| e.namespace.to_string()).unwrap_or_default(),
        pod_name: endpoint.map(|e| e.pod_name.to_string()).unwrap_or_default(),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_history_forgets_the_oldest_and_says_how_many_a_reader_missed() {
        let events = AgentEvents::default();
        let more = 10;
        for _ in 0..CAPACITY + more {
            events.agent_started();
        }
        assert_eq!(events.range(), (more as u64, (CAPACITY + more) as u64));
        let (missed, read) = events.read(3);
        assert_eq!((missed, read.len()), (more as u64 - 3, CAPACITY));
        let (missed, read) = events.read((CAPACITY + more) as u64 - 1);
        assert_eq!((missed, read.len()), (0, 1));
    }
}
