//! Watches: a stream of what changes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::handle::Form;
use crate::list;
use crate::refusal::Refusal;
use crate::resources::{self, Resource};
use crate::selector::Selector;
use crate::server::Shared;
use crate::store::{Change, Store};

/// What a watch asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub namespace: Option<String>,
    pub selector: Selector,
    pub version: String,
    pub version_match: String,
    /// The state first, as events, and a bookmark behind it.
    pub send_initial_events: Option<bool>,
    pub bookmarks: bool,
    pub timeout: Duration,
    pub form: Form,
}

/// The annotation of the bookmark behind the state.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

struct Watching {
    shared: Arc<Shared>,
    resource: Resource,
    asked: Asked,
    /// Changes up to here were told.
    told: u64,
    expirations: u64,
    news: watch::Receiver<()>,
    ready: VecDeque<Bytes>,
    deadline: Instant,
    ended: bool,
}

/// Begins a watch.
///
/// # Errors
/// 400, 410 where that is asked of the server, 422, 504.
pub fn begin(shared: &Arc<Shared>, resource: Resource, asked: Asked) -> Result<Body, Refusal> {
    check(&asked)?;
    let store = shared.store();
    let mut watching = Watching {
        shared: shared.clone(),
        told: store.version(),
        expirations: store.expirations(),
        news: store.news(),
        ready: VecDeque::new(),
        deadline: Instant::now() + asked.timeout,
        ended: false,
        resource,
        asked,
    };
    let initial = watching.asked.send_initial_events == Some(true);
    let from_any = ["", "0"].contains(&watching.asked.version.as_str());
    if !from_any {
        let version = list::version(&watching.asked.version)?;
        if initial {
            list::reached(&store, version)?;
        } else if let Err(refusal) = store.remembers(version) {
            if shared.settings().expired_as_status {
                return Err(refusal);
            }
            watching.say("ERROR", &refusal.status());
            watching.ended = true;
        } else {
            watching.told = version.min(store.version());
        }
    }
    if initial || (from_any && watching.asked.send_initial_events.is_none()) {
        watching.say_state(&store);
    }
    if initial && watching.asked.bookmarks {
        watching.say_bookmark(true);
    }
    drop(store);
    Ok(Body::from_stream(stream::unfold(watching, |mut watching| async move {
        let line = watching.next().await?;
        Some((Ok::<Bytes, Infallible>(line), watching))
    })))
}

fn check(asked: &Asked) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(422, "Invalid", message));
    match (asked.send_initial_events, asked.version_match.as_str()) {
        (None, "") | (Some(_), "NotOlderThan") => Ok(()),
        (None, _) => invalid(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (Some(_), "") => invalid(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (Some(_), other) => invalid(&format!(
            "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"NotOlderThan\""
        )),
    }
}

impl Watching {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            self.news.mark_unchanged();
            self.look();
            if !self.ready.is_empty() || self.ended {
                continue;
            }
            let bookmark = self.shared.settings().bookmark_every;
            tokio::select! {
                changed = self.news.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep(bookmark), if self.asked.bookmarks => self.say_bookmark(false),
                () = tokio::time::sleep_until(self.deadline) => self.ended = true,
            }
        }
    }

    /// Takes up what changed since the last look.
    fn look(&mut self) {
        let shared = self.shared.clone();
        let store = shared.store();
        if store.expirations() != self.expirations {
            let message = format!("too old resource version: {} ({})", self.told, store.version());
            self.say("ERROR", &Refusal::expired(message).status());
            self.ended = true;
            return;
        }
        let place = self.resource.place();
        for change in store.since(self.told).filter(|change| change.place == place) {
            if self.asked.namespace.as_ref().is_none_or(|namespace| *namespace == change.key.namespace)
                && let Some(what) = self.seen(change)
            {
                self.say(what, &change.object);
            }
        }
        self.told = store.version();
        // A definition that was removed takes its watches with it.
        let Resource { group, version, plural, custom, .. } = &self.resource;
        self.ended |= custom.is_some() && resources::find(&store, group, version, plural).is_none();
    }

    /// What a change is to somebody who sees the selected objects alone.
    fn seen(&self, change: &Change) -> Option<&'static str> {
        let selected = |object: &Value| self.asked.selector.matches(object);
        let was = change.before.as_deref().is_some_and(selected);
        match (was, !change.deleted && selected(&change.object)) {
            (true, true) => Some("MODIFIED"),
            (false, true) => Some("ADDED"),
            (true, false) => Some("DELETED"),
            (false, false) => None,
        }
    }

    fn say_state(&mut self, store: &Store) {
        let place = self.resource.place();
        let Asked { namespace, selector, .. } = &self.asked;
        let wanted = store.objects(&place).filter(|(key, object)| {
            namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace) && selector.matches(object)
        });
        let objects: Vec<Arc<Value>> = wanted.map(|(_, object)| object.clone()).collect();
        for object in objects {
            self.say("ADDED", &object);
        }
    }

    fn say_bookmark(&mut self, end_of_state: bool) {
        let mut metadata = json!({"resourceVersion": self.told.to_string(), "creationTimestamp": null});
        if end_of_state {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let object = json!({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata,
        });
        self.say("BOOKMARK", &object);
    }

    fn say(&mut self, what: &str, object: &Value) {
        let object = if what == "ERROR" { object.clone() } else { self.asked.form.of(object) };
        self.ready.push_back(Bytes::from(format!("{}\n", json!({"type": what, "object": object}))));
    }
}
