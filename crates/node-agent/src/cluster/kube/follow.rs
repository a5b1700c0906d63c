//! One kind: listed, watched, converted, handed on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fathom_kubernetes::raw::RawObject;
use fathom_kubernetes::registry::explain_watch;
use fathom_kubernetes::retry::Retry;
use fathom_kubernetes::watch::watch;
use futures::StreamExt as _;
use kube::api::ListParams;
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};

use super::absent;
use super::problems::Problems;
use crate::cluster::convert::{self, Converted, InForce};
use crate::cluster::model::{Kind, ObjectKey};
use crate::cluster::source::{Delta, Feed};

/// Waits between attempts begin with this …
pub const FIRST_WAIT: Duration = Duration::from_millis(200);
/// … and grow to this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Time between looks whether a server that was away is back.
const PROBE: Duration = Duration::from_secs(5);
/// Objects in one page of a listing.
const PAGE: u32 = 500;

/// Follows a kind until nobody reads any more.
pub async fn follow(kind: Kind, client: Client, feed: Feed, problems: Arc<Problems>) {
    let mut state = Following { kind, problems, in_force: BTreeSet::new(), listed: None, is_cut_off: false };
    loop {
        let api: Api<RawObject> = Api::all_with(client.clone(), &resource(kind));
        let config = watcher::Config::default().page_size(PAGE);
        let retry = Retry::new(FIRST_WAIT, LONGEST_WAIT);
        // A page is ready at once: it is one batch.
        let events = watch(api.clone(), config).backoff(retry).ready_chunks(PAGE as usize);
        let mut events = std::pin::pin!(events);
        let definition = loop {
            let chunk = tokio::select! {
                chunk = events.next() => chunk,
                () = state.is_over(&api), if state.is_cut_off => continue,
            };
            let Some(chunk) = chunk else { return };
            let (deltas, not_found) = state.take(chunk);
            if !feed.send(deltas).await {
                return;
            }
            let Some(definition) = kind.definition().filter(|_| not_found) else { continue };
            match absent::is_absent(client.clone(), &definition).await {
                Ok(true) => break definition,
                Ok(false) => {}
                Err(error) => {
                    let why = fathom_kubernetes::connect::explain(&error);
                    state.problems.kind(kind, Some(format!("cannot see whether {definition} exists: {why}")));
                }
            }
        };
        tracing::info!("{definition} is not installed: no {} to follow until it is", kind.name());
        if !feed.send(state.nothing()).await {
            return;
        }
        absent::appears(client.clone(), &definition).await;
    }
}

fn resource(kind: Kind) -> ApiResource {
    let api_version = kind.api_version();
    let version = api_version.rsplit_once('/').map_or(api_version, |(_, version)| version);
    ApiResource {
        group: kind.group().into(),
        version: version.into(),
        api_version: api_version.into(),
        kind: kind.name().into(),
        plural: kind.plural().into(),
    }
}

struct Following {
    kind: Kind,
    problems: Arc<Problems>,
    /// Objects of which a good form is in force, for kinds where that makes a difference.
    in_force: BTreeSet<ObjectKey>,
    /// What the listing under way has named.
    listed: Option<BTreeSet<ObjectKey>>,
    /// The last attempt to list or watch failed.
    is_cut_off: bool,
}

impl Following {
    /// Deltas of some events, and whether the server does not know the kind.
    fn take(&mut self, events: Vec<watcher::Result<Event<RawObject>>>) -> (Vec<Delta>, bool) {
        let mut deltas = Vec::with_capacity(events.len());
        let mut remarks = Vec::new();
        let mut not_found = false;
        for event in events {
            match event {
                Ok(Event::Init) => {
                    self.listed = Some(BTreeSet::new());
                    deltas.push(Delta::Listing(self.kind));
                }
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    self.exists(&object, &mut deltas, &mut remarks);
                }
                Ok(Event::Delete(object)) => {
                    let key = self.key(&object);
                    self.in_force.remove(&key);
                    remarks.push((key.clone(), None));
                    deltas.push(Delta::Remove(key));
                }
                Ok(Event::InitDone) => {
                    self.problems.objects(std::mem::take(&mut remarks));
                    let listed = self.listed.take().unwrap_or_default();
                    self.problems.only(self.kind, |key| listed.contains(key));
                    self.in_force.retain(|key| listed.contains(key));
                    self.connected();
                    deltas.push(Delta::Complete(self.kind));
                }
                Err(error) => {
                    not_found = is_not_found(&error);
                    if !is_routine(&error) {
                        let message = format!("{}; what is known stays in force", explain_watch(&error));
                        self.problems.kind(self.kind, Some(message));
                        self.is_cut_off = true;
                    }
                    continue;
                }
            }
            not_found = false;
            if self.is_cut_off && self.listed.is_none() {
                self.connected();
            }
        }
        self.problems.objects(remarks);
        (deltas, not_found)
    }

    fn connected(&mut self) {
        self.is_cut_off = false;
        self.problems.kind(self.kind, None);
    }

    /// A watch that works again says nothing until something happens: the server is asked whether it is there.
    async fn is_over(&mut self, api: &Api<RawObject>) {
        loop {
            tokio::time::sleep(PROBE).await;
            if api.list_metadata(&ListParams::default().limit(1)).await.is_ok() {
                break self.connected();
            }
        }
    }

    fn exists(
        &mut self,
        object: &RawObject,
        deltas: &mut Vec<Delta>,
        remarks: &mut Vec<(ObjectKey, Option<String>)>,
    ) {
        let key = self.key(object);
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
        let Converted { object, error, in_force, .. } = convert::from_server(self.kind, &object.value);
        let older = self.in_force.contains(&key);
        let (delta, good, what_now) = match (object, in_force) {
            (Some(object), InForce::AsWritten | InForce::Restricted) => {
                (Delta::Upsert(key.clone(), object), true, "")
            }
            (_, InForce::OlderOrRestricted | InForce::Older) if older => {
                (Delta::Keep(key.clone()), true, "; its last good form stays in force")
            }
            (Some(object), InForce::OlderOrRestricted) => {
                (Delta::Upsert(key.clone(), object), false, "; until it is mended it allows nothing")
            }
            (_, _) => (Delta::Keep(key.clone()), false, "; skipped"),
        };
        if good {
            self.in_force.insert(key.clone());
        }
        deltas.push(delta);
        remarks.push((key, error.map(|error| format!("{error}{what_now}"))));
    }

    /// Deltas that say there are no objects of this kind.
    fn nothing(&mut self) -> Vec<Delta> {
        self.in_force.clear();
        self.listed = None;
        self.problems.only(self.kind, |_| false);
        self.connected();
        vec![Delta::Listing(self.kind), Delta::Complete(self.kind)]
    }

    fn key(&self, object: &RawObject) -> ObjectKey {
        ObjectKey::new(self.kind, object.namespace(), object.name())
    }
}

/// The server has no such resource.
fn is_not_found(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    matches!(error, InitialListFailed(kube::Error::Api(s)) | WatchStartFailed(kube::Error::Api(s)) if s.code == 404)
}

/// What happens to every watch now and then: the version it began with is too old, or the connection was
/// closed. It lists again, or watches on.
fn is_routine(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        WatchFailed(_) => true,
        WatchError(status) => status.code == 410,
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => {
            status.code == 410
        }
        _ => false,
    }
}
