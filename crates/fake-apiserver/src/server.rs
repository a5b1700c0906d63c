//! The listener, and what tests may do to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::access::{Asked, Grant, Log, Subject};
use crate::admission::NAMESPACES;
use crate::refusal::Refusal;
use crate::resources::{self, Resource};
use crate::store::{Key, Store};
use crate::write::{self, How, Place};
use crate::{handle, tokens};

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// Whose bearer may do everything. `None`: who sends no token at all may.
    pub admin_token: Option<String>,
    /// A file that keeps the objects when the process ends.
    pub journal: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options { listen: (Ipv4Addr::LOCALHOST, 0).into(), admin_token: None, journal: None }
    }
}

/// What can be changed while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Before every answer.
    pub delay: Duration,
    /// Answers to come that are refusals, and which.
    pub faults: Option<(u32, Refusal)>,
    /// A watch from too old a version is refused with 410 itself, not with an event that says so.
    pub expired_as_status: bool,
    pub bookmark_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            delay: Duration::ZERO,
            faults: None,
            expired_as_status: false,
            bookmark_every: Duration::from_secs(60),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    pub options: Options,
    store: Mutex<Store>,
    log: Mutex<Log>,
    settings: Mutex<Settings>,
    drops: watch::Sender<()>,
}

impl Shared {
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The delay before an answer, and the refusal it is, if any.
    pub fn trouble(&self) -> (Duration, Option<Refusal>) {
        let mut settings = self.settings();
        let fault = match &mut settings.faults {
            Some((left, refusal)) if *left > 0 => {
                *left -= 1;
                Some(refusal.clone())
            }
            _ => None,
        };
        (settings.delay, fault)
    }

    /// Every watch ends with 410, and nobody can watch or list on from an older version.
    pub fn expire(&self) {
        let mut store = self.store();
        store.compact();
        store.expire();
    }

    pub fn drop_connections(&self) {
        self.drops.send_replace(());
    }
}

/// A server in this process.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl ApiServer {
    /// Starts one.
    ///
    /// # Errors
    /// The port is taken, or the journal cannot be read.
    pub async fn start(options: Options) -> anyhow::Result<ApiServer> {
        let mut store = match &options.journal {
            Some(path) => Store::open(path)?,
            None => Store::default(),
        };
        for name in NAMESPACES {
            if store.get("namespaces", &Key::new("", name)).is_some() {
                continue;
            }
            put(&mut store, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
        }
        let listener = listen(options.listen).await?;
        let address = listener.local_addr().context("the listener's address")?;
        let shared = Shared {
            options,
            store: Mutex::new(store),
            log: Mutex::default(),
            settings: Mutex::default(),
            drops: watch::Sender::new(()),
        };
        let shared = Arc::new(shared);
        let listening = Mutex::new(Some(tokio::spawn(serve(listener, shared.clone()))));
        Ok(ApiServer { shared, address, listening })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for a bearer.
    pub fn kubeconfig(&self, token: &str) -> String {
        kubeconfig(&self.url(), token)
    }

    /// What all connections share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The port is closed and every connection with it, as when the process is killed.
    pub async fn stop(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = listening {
            task.abort();
            let _ = task.await;
        }
    }

    /// Listens again on the same port, with what it knew.
    ///
    /// # Errors
    /// The port was taken meanwhile.
    pub async fn start_again(&self) -> anyhow::Result<()> {
        let listener = listen(self.address).await?;
        let task = tokio::spawn(serve(listener, self.shared.clone()));
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }

    /// As [`ApiServer::start_again`] with an empty watch cache: objects and versions go on, but changes so far are
    /// told to nobody.
    ///
    /// # Errors
    /// The port was taken meanwhile.
    pub async fn start_again_empty(&self) -> anyhow::Result<()> {
        self.shared.store().forget();
        self.start_again().await
    }

    /// A service account's token, good for an hour; the account is made if it is not there.
    ///
    /// # Errors
    /// The account cannot be made.
    pub fn token(&self, namespace: &str, name: &str) -> anyhow::Result<String> {
        let mut store = self.shared.store();
        if store.get("serviceaccounts", &Key::new(namespace, name)).is_none() {
            let metadata = json!({"namespace": namespace, "name": name});
            put(&mut store, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}))?;
        }
        let issued = tokens::issue(&store, namespace, name, 3600);
        issued.map(|(token, _)| token).context("the service account is gone")
    }

    /// Makes an object or writes over it, status included; namespaces are made as they are needed.
    ///
    /// # Errors
    /// It is refused.
    pub fn put(&self, object: &Value) -> anyhow::Result<()> {
        put(&mut self.shared.store(), object)
    }

    /// Deletes an object at once; absent is fine.
    ///
    /// # Errors
    /// It is refused.
    pub fn remove(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> anyhow::Result<()> {
        let mut store = self.shared.store();
        let resource = resource_of(&store, api_version, kind)?;
        let place = Place { resource: &resource, namespace, subresource: None };
        let deletion = write::Deletion { grace: Some(0), ..write::Deletion::default() };
        match write::delete(&mut store, place, name, &deletion, false) {
            Err(refusal) if refusal.code != 404 => anyhow::bail!("{}", refusal.message),
            _ => Ok(()),
        }
    }

    /// What was asked and allowed, and what was denied.
    pub fn asked(&self) -> (Vec<Asked>, Vec<Asked>) {
        let log = self.shared.log();
        (log.allowed(), log.denied())
    }

    /// Grants of a service account that it never used.
    pub fn unused(&self, namespace: &str, name: &str) -> Vec<Grant> {
        let subject = Subject::service_account(namespace, name);
        self.shared.log().unused(&self.shared.store(), &subject).into_iter().collect()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(task) = self.listening.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

/// A kubeconfig of one server and one bearer.
pub fn kubeconfig(url: &str, token: &str) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    format!("{config:#}\n")
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let service = TowerToHyperService::new(handle::router(shared.clone()));
    let mut connections = JoinSet::new();
    let mut drops = shared.drops.subscribe();
    drops.mark_unchanged();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let service = service.clone();
                connections.spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Ok(()) = drops.changed() => connections.abort_all(),
            Some(_) = connections.join_next() => {}
        }
    }
}

fn resource_of(store: &Store, api_version: &str, kind: &str) -> anyhow::Result<Resource> {
    let served = resources::all(store);
    let found = served.into_iter().find(|r| r.api_version() == api_version && r.kind == kind);
    found.with_context(|| format!("{kind} of {api_version} is not served"))
}

fn put(store: &mut Store, object: &Value) -> anyhow::Result<()> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let resource = resource_of(store, text("/apiVersion"), text("/kind"))?;
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let how = How { manager: "test".into(), force: true, dry_run: false };
    let refused = |refusal: Refusal| anyhow::anyhow!("{}", refusal.message);
    if resource.namespaced && store.get("namespaces", &Key::new("", namespace)).is_none() {
        put(store, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))?;
    }
    let place = Place { resource: &resource, namespace, subresource: None };
    let key = Key::new(if resource.namespaced { namespace } else { "" }, name);
    let Some(there) = store.get(&resource.place(), &key) else {
        write::create(store, place, object.clone(), &how).map_err(refused)?;
        return put_status(store, place, name, object, &how).map_err(refused);
    };
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("uid");
    }
    write::replace(store, place, name, object.clone(), &how).map_err(refused)?;
    put_status(store, place, name, &object, &how).map_err(refused)
}

fn put_status(
    store: &mut Store,
    place: Place<'_>,
    name: &str,
    object: &Value,
    how: &How,
) -> Result<(), Refusal> {
    let Some(status) = object.get("status").filter(|_| place.resource.status) else { return Ok(()) };
    let there = store.get(&place.resource.place(), &Key::new(place.namespace, name));
    let Some(there) = there else { return Ok(()) };
    let mut whole = (*there).clone();
    whole["status"] = status.clone();
    write::replace(store, Place { subresource: Some("status"), ..place }, name, whole, how).map(drop)
}
