//! Everything between the kernel's records and the clients, put together.
//!
//! For `run.rs`:
//! ```ignore
//! let pipeline = Pipeline::new(config, snapshot, kernel_ledger)?;
//! let pipeline = pipeline.with_facts(facts);                 // fathom.v1.Agent's other answers
//! let reader = pipeline.spawn_reader(rings)?;                // drop or stop() it to end
//! pipeline.agent_events().agent_started();                   // the control side tells what it does
//! pipeline.peers().send_replace(peers);                      // what peer.Peer/Notify tells
//! pipeline.readiness().wait_for("objects", "first listing"); // /readyz, until reached("objects")
//! tokio::spawn(http::serve(listener, pipeline.http(), shutdown.clone()));
//! pipeline.serve(listeners, shutdown, drain).await?;
//! ```

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::http::HeaderValue;
use axum::response::Response;
use fathom_api::DESCRIPTORS;
use fathom_api::fathom_v1::agent_server::{self, AgentServer};
use fathom_api::fathom_v1::policies_server::{self, PoliciesServer};
use fathom_api::observer_raw::observer_server::{self, ObserverServer};
use fathom_api::peer::peer_server::{self, PeerServer};
use fathom_api::serve::{Listeners, ServeError};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server;
use tonic_reflection::pb::{v1, v1alpha};

use crate::cluster::snapshot::Snapshot;
use crate::events::agent_events::AgentEvents;
use crate::events::intake::{Intake, Shared};
use crate::events::l7::Redaction;
use crate::events::ledger::Ledger;
use crate::events::reader::Reader;
use crate::events::source::{KernelLedger, RecordSource};
use crate::events::store::{StoreSizeError, Writer};
use crate::events::{Store, StoreSize};
use crate::host_pods::HostPods;
use crate::http::{self, Readiness, SharedRegistry};
use crate::metrics::{Metrics, Scrape};
use crate::observer::agent::AgentService;
use crate::observer::facts::{NodeFacts, SnapshotFacts};
use crate::observer::node::NodeIdentity;
use crate::observer::peer::{Peer, PeerService};
use crate::observer::service::ObserverService;
use crate::policies::PoliciesService;

/// The services for clients, whose health can be asked by name.
const SERVED: [&str; 3] =
    [observer_server::SERVICE_NAME, peer_server::SERVICE_NAME, agent_server::SERVICE_NAME];

/// Served where there is a control side.
const SERVED_WITH_CONTROL: &str = policies_server::SERVICE_NAME;

/// The health service's other names: what Hubble's clients ask about before they trust an answer, and the whole.
const HEALTH_NAMES: [&str; 2] = ["hubble.server.Observer", ""];

/// What the pipeline is told at the start.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    pub cluster_name: String,
    /// Without the cluster.
    pub node_name: String,
    /// Semantic version; also the `hubble-server-version` header of every answer.
    pub version: String,
    pub size: StoreSize,
    /// A client is told of losses at most this often.
    pub lost_interval: Duration,
    /// Where other nodes reach this agent ("192.0.2.7:4244"), as GetNodes tells it.
    pub address: String,
    /// Name in this agent's certificate; `None` = plaintext.
    pub tls_server_name: Option<String>,
    /// What is taken out of messages before they are kept.
    pub redaction: Redaction,
}

impl PipelineConfig {
    /// Defaults for a node: 4,096 flows, losses once a second, this crate's version.
    pub fn new(cluster_name: &str, node_name: &str) -> Self {
        Self {
            cluster_name: cluster_name.to_owned(),
            node_name: node_name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            size: StoreSize::default(),
            lost_interval: Duration::from_secs(1),
            address: String::new(),
            tls_server_name: None,
            redaction: Redaction::default(),
        }
    }
}

/// The assembled parts. Cheap to share behind an `Arc`.
pub struct Pipeline {
    config: PipelineConfig,
    node: NodeIdentity,
    shared: Arc<Shared>,
    /// Given to the first reader.
    writer: Mutex<Option<Writer>>,
    facts: Arc<dyn NodeFacts>,
    policies: Option<PoliciesService>,
    agent_events: AgentEvents,
    peers: watch::Sender<Vec<Peer>>,
    registry: SharedRegistry,
    readiness: Readiness,
    shutdown: CancellationToken,
    started: Instant,
}

impl Pipeline {
    /// Builds the store and the books. `snapshot` is what the control side publishes to, `kernel` what
    /// the kernel counts; its first reading is taken here, so the rings must not be read before.
    ///
    /// # Errors
    /// When the store's size is not a power of two.
    pub fn new(
        config: PipelineConfig,
        snapshot: Arc<ArcSwap<Snapshot>>,
        kernel: Arc<dyn KernelLedger>,
    ) -> Result<Self, StoreSizeError> {
        let node = NodeIdentity::new(&config.cluster_name, &config.node_name, &config.version);
        let (store, writer) = Store::new(config.size)?;
        let ledger = Ledger::new(kernel, Arc::clone(&store), Arc::clone(&node.name));
        let metrics = Arc::new(Metrics::default());
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let shared = Arc::new(Shared::new(store, ledger, metrics, Arc::clone(&snapshot)));
        registry.register_collector(Box::new(Scrape::new(Arc::clone(&shared), Arc::clone(&node.version))));
        Ok(Self {
            config,
            node,
            shared,
            writer: Mutex::new(Some(writer)),
            facts: Arc::new(SnapshotFacts::new(snapshot)),
            policies: None,
            agent_events: AgentEvents::default(),
            peers: watch::Sender::new(Vec::new()),
            registry: Arc::new(Mutex::new(registry)),
            readiness: Readiness::default(),
            shutdown: CancellationToken::new(),
            started: Instant::now(),
        })
    }

    /// Sets who answers for rules, endpoints and features; without, it is what the snapshot tells.
    #[must_use]
    pub fn with_facts(mut self, facts: Arc<dyn NodeFacts>) -> Self {
        self.facts = facts;
        self
    }

    /// Sets who answers for policies; without, nobody does.
    #[must_use]
    pub fn with_policies(mut self, policies: PoliciesService) -> Self {
        self.policies = Some(policies);
        self
    }

    /// This node's name as flows and answers tell it.
    pub fn node_name(&self) -> &Arc<str> {
        &self.node.name
    }

    /// The services for clients.
    fn served(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        SERVED.into_iter().chain(self.policies.is_some().then_some(SERVED_WITH_CONTROL))
    }

    /// Starts the thread that drains the rings.
    ///
    /// # Errors
    /// When there is a reader already, or no thread to be had.
    pub fn spawn_reader(&self, source: impl RecordSource + 'static) -> io::Result<Reader> {
        let intake = self.intake().ok_or_else(|| io::Error::other("the store has its writer already"))?;
        Reader::spawn(source, intake, Arc::clone(&self.shared))
    }

    /// The way of a record, for who brings records without a thread (tests, benchmarks). `None` when
    /// it was given away before: there is one writer.
    pub fn intake(&self) -> Option<Intake> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Intake::new(Arc::clone(&self.shared), writer, self.config.redaction.clone()))
    }

    /// The store, the losses and the books.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The handle through which the control side tells what it does.
    pub fn agent_events(&self) -> AgentEvents {
        self.agent_events.clone()
    }

    /// The list that `peer.Peer/Notify` tells; this agent is in it too.
    pub fn peers(&self) -> watch::Sender<Vec<Peer>> {
        self.peers.clone()
    }

    /// What `/readyz` waits for.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Where other parts of the agent register their metrics.
    pub fn registry(&self) -> SharedRegistry {
        Arc::clone(&self.registry)
    }

    /// `/metrics`, `/healthz`, `/readyz`.
    pub fn http(&self) -> axum::Router {
        http::router(self.registry(), self.readiness())
    }

    /// The gRPC services: Observer, Peer, fathom.v1.Agent and Policies, health, reflection.
    pub async fn services(&self) -> Routes {
        let observer = ObserverService {
            shared: Arc::clone(&self.shared),
            agent_events: self.agent_events.clone(),
            node: self.node.clone(),
            address: self.config.address.clone(),
            tls_server_name: self.config.tls_server_name.clone(),
            started: self.started,
            lost_interval: self.config.lost_interval,
            shutdown: self.shutdown.clone(),
        };
        let agent = AgentService {
            shared: Arc::clone(&self.shared),
            facts: Arc::clone(&self.facts),
            node: self.node.clone(),
        };
        let peer = PeerService { peers: self.peers.subscribe(), shutdown: self.shutdown.clone() };
        let (health, health_service) = tonic_health::server::health_reporter();
        let served = self.served();
        let names = served.clone().chain(HEALTH_NAMES);
        for name in names.clone() {
            health.set_service_status(name, ServingStatus::Serving).await;
        }
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            for name in names {
                health.set_service_status(name, ServingStatus::NotServing).await;
            }
        });
        let routes = Routes::new(ObserverServer::new(observer))
            .add_service(PeerServer::new(peer))
            .add_service(AgentServer::new(agent))
            .add_service(health_service);
        let routes = match &self.policies {
            Some(policies) => routes.add_service(PoliciesServer::new(policies.clone())),
            None => routes,
        };
        with_version(with_reflection(routes, served), &self.node.version)
    }

    /// Who runs in this node's network; whoever finds out writes it here.
    pub fn host_pods(&self) -> Arc<ArcSwap<HostPods>> {
        Arc::clone(&self.shared.host_pods)
    }

    /// Serves everything until `shutdown` turns true; then answers that follow end, others get `drain`
    /// to finish.
    ///
    /// # Errors
    /// The first listener that fails.
    pub async fn serve(
        &self,
        listeners: Listeners,
        mut shutdown: watch::Receiver<bool>,
        drain: Duration,
    ) -> Result<(), ServeError> {
        let routes = self.services().await;
        let serving = listeners.serve(routes, shutdown.clone(), drain);
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended,
            // A sender that is gone means the same.
            _ = shutdown.wait_for(|down| *down) => {}
        }
        self.shutdown.cancel();
        serving.await
    }
}

/// Descriptors for clients that ask for them, in both versions of the protocol. The descriptors know services
/// that others serve (the plugin's, a relay's): only those that answer here are advertised.
fn with_reflection(routes: Routes, served: impl Iterator<Item = &'static str> + Clone) -> Routes {
    let builder = |itself: &'static str| {
        let builder = tonic_reflection::server::Builder::configure();
        let names = served.clone().chain([health_server::SERVICE_NAME, itself]);
        names
            .fold(builder, |builder, name| builder.with_service_name(name))
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (
        builder(v1::server_reflection_server::SERVICE_NAME).build_v1(),
        builder(v1alpha::server_reflection_server::SERVICE_NAME).build_v1alpha(),
    ) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            // The descriptors are part of the program: a test would have found it.
            tracing::error!(%error, "no reflection: the descriptors can't be read");
            routes
        }
    }
}

/// Adds the header by which clients learn the server's version.
fn with_version(routes: Routes, version: &str) -> Routes {
    let Ok(version) = HeaderValue::from_str(version) else { return routes };
    let add = move |mut response: Response| {
        let version = version.clone();
        async move {
            response.headers_mut().insert("hubble-server-version", version);
            response
        }
    };
    routes.into_axum_router().layer(axum::middleware::map_response(add)).into()
}
