//! Tells the authors of policies, in the objects' status, what is not enforced and why.
//!
//! One writer for the whole cluster: of all relays the one that leads. The condition `Valid` is written once for
//! each form of an object; where somebody else writes it differently afterwards, theirs stays.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{Patch, PatchParams};
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::read;
use crate::connect::explain;
use crate::raw::RawObject;
use crate::registry::explain_watch;
use crate::retry::Retry;

/// Type of the condition.
const VALID: &str = "Valid";
/// Longest message that is written, in bytes; the API server takes 32 KiB.
const LONGEST: usize = 16 * 1024;
/// Time between looks at what is still to be written.
const LOOK: Duration = Duration::from_secs(2);

/// What was done, for metrics.
#[derive(Debug, Default)]
pub struct Told {
    /// Statuses written since the start.
    pub written: AtomicU64,
    /// Policies of which something is not enforced.
    pub invalid: AtomicU64,
}

/// Follows the policies of both kinds until `stop`, and while `leading` says so writes their status.
pub async fn run(client: Client, leading: watch::Receiver<bool>, told: Arc<Told>, stop: CancellationToken) {
    let follow = async {
        let own = Follower::new(&client, false);
        let clusterwide = Follower::new(&client, true);
        tokio::join!(own.run(leading.clone(), told.clone()), clusterwide.run(leading, told.clone()));
    };
    stop.run_until_cancelled(follow).await;
}

/// The condition as this version of an object deserves it.
fn condition(clusterwide: bool, value: &Value) -> (bool, String) {
    let read = read(clusterwide, value);
    let mut text = read.faults.join("; ");
    if !read.harmless.is_empty() {
        let paths = crate::unknown::listed(&read.harmless);
        text = format!("{text}{}unknown fields: {paths}", if text.is_empty() { "" } else { "; " });
    }
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" …");
    }
    match (read.faults.is_empty(), text.is_empty()) {
        (valid, false) => (valid, text),
        (valid, true) => (valid, "everything in it is enforced".to_owned()),
    }
}

/// A status that is still to be written.
struct Due {
    object: RawObject,
    valid: bool,
    message: String,
}

struct Follower {
    api_of: Box<dyn Fn(&str) -> Api<RawObject> + Send + Sync>,
    all: Api<RawObject>,
    clusterwide: bool,
    /// By uid; with what was written for that object last.
    due: HashMap<String, Due>,
    written: HashMap<String, (bool, String)>,
    invalid: HashMap<String, bool>,
    seen: Vec<String>,
}

impl Follower {
    fn new(client: &Client, clusterwide: bool) -> Self {
        let (kind, plural) = match clusterwide {
            true => ("CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies"),
            false => ("CiliumNetworkPolicy", "ciliumnetworkpolicies"),
        };
        let resource = ApiResource {
            group: "cilium.io".into(),
            version: "v2".into(),
            api_version: "cilium.io/v2".into(),
            kind: kind.into(),
            plural: plural.into(),
        };
        let all = Api::all_with(client.clone(), &resource);
        let client = client.clone();
        let api_of: Box<dyn Fn(&str) -> Api<RawObject> + Send + Sync> = match clusterwide {
            true => Box::new(move |_| Api::all_with(client.clone(), &resource)),
            false => Box::new(move |namespace| Api::namespaced_with(client.clone(), namespace, &resource)),
        };
        Self {
            api_of,
            all,
            clusterwide,
            due: HashMap::new(),
            written: HashMap::new(),
            invalid: HashMap::new(),
            seen: Vec::new(),
        }
    }

    async fn run(mut self, leading: watch::Receiver<bool>, told: Arc<Told>) {
        let retry = Retry::new(Duration::from_millis(500), Duration::from_secs(30));
        let events = watcher(self.all.clone(), watcher::Config::default()).backoff(retry);
        let mut events = std::pin::pin!(events);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut said = String::new();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    None => return,
                    Some(Ok(event)) => {
                        self.take(event, &told);
                        said.clear();
                    }
                    Some(Err(error)) if is_absent(&error) => {}
                    Some(Err(error)) => {
                        let why = explain_watch(&error);
                        if said != why {
                            tracing::warn!("policies of Cilium cannot be followed: {why}; trying again");
                            said = why;
                        }
                    }
                },
                _ = look.tick(), if !self.due.is_empty() && *leading.borrow() => self.write_all(&told).await,
            }
        }
    }

    fn take(&mut self, event: Event<RawObject>, told: &Told) {
        match event {
            Event::Init => self.seen.clear(),
            Event::InitApply(object) => {
                self.seen.push(uid(&object));
                self.exists(object, told);
            }
            Event::Apply(object) => self.exists(object, told),
            Event::Delete(object) => self.gone(&uid(&object), told),
            Event::InitDone => {
                let seen = std::mem::take(&mut self.seen);
                let gone: Vec<String> =
                    self.invalid.keys().filter(|uid| !seen.contains(uid)).cloned().collect();
                gone.iter().for_each(|uid| self.gone(uid, told));
            }
        }
    }

    fn exists(&mut self, object: RawObject, told: &Told) {
        let uid = uid(&object);
        let (valid, message) = condition(self.clusterwide, &object.value);
        let before = self.invalid.insert(uid.clone(), !valid);
        count(told, before.unwrap_or(false), !valid);
        let there = present(&object.value);
        let same = there.is_some_and(|c| {
            c["status"] == json!(if valid { "True" } else { "False" }) && c["message"] == json!(message)
        });
        if same || self.written.get(&uid) == Some(&(valid, message.clone())) {
            self.due.remove(&uid);
            return;
        }
        self.due.insert(uid, Due { object, valid, message });
    }

    fn gone(&mut self, uid: &str, told: &Told) {
        self.due.remove(uid);
        self.written.remove(uid);
        count(told, self.invalid.remove(uid).unwrap_or(false), false);
    }

    async fn write_all(&mut self, told: &Told) {
        let uids: Vec<String> = self.due.keys().cloned().collect();
        for uid in uids {
            let Some(due) = self.due.remove(&uid) else { continue };
            match self.write(&due).await {
                Ok(()) => {
                    told.written.fetch_add(1, Ordering::Relaxed);
                    self.written.insert(uid, (due.valid, due.message));
                }
                // Somebody was faster, or it is gone: the watch tells.
                Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
                Err(error) => {
                    let (name, why) = (due.object.name(), explain(&error));
                    tracing::warn!("the status of policy {name} cannot be written: {why}; trying again");
                    self.due.insert(uid, due);
                    return;
                }
            }
        }
    }

    /// Conditions of others stay as they are in the version that was seen.
    async fn write(&self, due: &Due) -> kube::Result<()> {
        let value = &due.object.value;
        let status = if due.valid { "True" } else { "False" };
        let before = present(value);
        let since = before.filter(|c| c["status"] == json!(status)).map(|c| c["lastTransitionTime"].clone());
        let since = since.filter(Value::is_string).unwrap_or_else(|| json!(crate::identity::now()));
        let mut conditions: Vec<Value> =
            conditions(value).filter(|condition| condition["type"] != json!(VALID)).cloned().collect();
        conditions.push(json!({
            "type": VALID,
            "status": status,
            "reason": if due.valid { "Enforced" } else { "NotAllEnforced" },
            "message": due.message,
            "lastTransitionTime": since,
        }));
        let patch = json!({
            "metadata": { "resourceVersion": value["metadata"]["resourceVersion"] },
            "status": { "conditions": conditions },
        });
        let api = (self.api_of)(due.object.namespace());
        let params = PatchParams::default();
        api.patch_status(due.object.name(), &params, &Patch::Merge(&patch)).await.map(|_| ())
    }
}

fn count(told: &Told, before: bool, now: bool) {
    match (before, now) {
        (false, true) => _ = told.invalid.fetch_add(1, Ordering::Relaxed),
        (true, false) => _ = told.invalid.fetch_sub(1, Ordering::Relaxed),
        _ => {}
    }
}

fn uid(object: &RawObject) -> String {
    object.value.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn conditions(value: &Value) -> impl Iterator<Item = &Value> + '_ {
    value.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

fn present(value: &Value) -> Option<&Value> {
    conditions(value).find(|condition| condition["type"] == json!(VALID))
}

/// Such policies are not defined in this cluster (yet).
fn is_absent(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    matches!(error, InitialListFailed(kube::Error::Api(s)) | WatchStartFailed(kube::Error::Api(s)) if s.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rule: Value) -> Value {
        json!({
            "metadata": { "name": "p", "namespace": "live", "uid": "u" },
            "spec": { "endpointSelector": {}, "ingress": [rule] },
        })
    }

    #[test]
    fn the_condition_names_what_is_refused_and_why() {
        let (valid, message) = condition(false, &policy(json!({ "fromEntities": ["cluster"] })));
        assert_eq!((valid, &*message), (true, "everything in it is enforced"));
        let (valid, message) = condition(
            false,
            &policy(json!({ "toPorts": [{ "ports": [{ "port": "80" }], "rules": { "http": [{}] } }] })),
        );
        assert!(!valid && message.contains("spec.ingress[0].toPorts[0].rules.http"), "{message}");
        assert!(message.contains("is not enforced by Fathom; until then this rule allows nothing"), "{message}");
        let many: Vec<String> = (0..5000).map(|n| format!("nobody-{n}")).collect();
        let (_, message) = condition(false, &policy(json!({ "fromEntities": many })));
        assert!(message.len() <= LONGEST + 4, "{} bytes", message.len());
    }

    fn follower() -> Follower {
        // Never connects: nothing is asked of it.
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        Follower::new(&Client::try_from(config).unwrap(), false)
    }

    #[tokio::test]
    async fn a_status_is_due_once_for_each_form_of_an_object() {
        let (mut follower, told) = (follower(), Told::default());
        let good = policy(json!({ "fromEntities": ["cluster"] }));
        follower.take(Event::Apply(RawObject::new(good.clone())), &told);
        assert_eq!(follower.due.len(), 1);
        // As if written.
        let due = follower.due.remove("u").unwrap();
        follower.written.insert("u".into(), (due.valid, due.message.clone()));
        let mut others = good.clone();
        others["status"] = json!({ "conditions": [{ "type": "Valid", "status": "True", "message": "mine" }] });
        follower.take(Event::Apply(RawObject::new(others)), &told);
        assert!(follower.due.is_empty(), "what somebody else writes stays");
        follower.take(Event::Apply(RawObject::new(policy(json!({ "fromNodes": [{}] })))), &told);
        assert_eq!(follower.due.len(), 1);
        assert_eq!(told.invalid.load(Ordering::Relaxed), 1);
        follower.take(Event::Init, &told);
        follower.take(Event::InitDone, &told);
        assert!(follower.due.is_empty() && follower.written.is_empty());
        assert_eq!(told.invalid.load(Ordering::Relaxed), 0);
        // Already said: nothing to write.
        let mut said = good;
        let message = "everything in it is enforced";
        said["status"] = json!({ "conditions": [{ "type": "Valid", "status": "True", "message": message }] });
        follower.take(Event::Apply(RawObject::new(said)), &told);
        assert!(follower.due.is_empty());
    }
}
