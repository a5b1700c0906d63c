//! Spawns every task of the agent and waits for the end.
//!
//! | task | on | ends when |
//! |---|---|---|
//! | `objects`: the source of objects | runtime | told to stop |
//! | `fathom-control`: the reconciler, the only writer of tables | a thread of its own, since map writes block | told to stop |
//! | `routes`: routes to other nodes | runtime | told to stop |
//! | `uplinks`: devices that lead off the node, and who keeps its address there | runtime | told to stop |
//! | `health ports`: what load balancers ask of services | runtime | told to stop |
//! | `attach`: pods that another plugin wires (`--mode attach`) | runtime | told to stop |
//! | `host pods`: cgroups of pods in the node's network | runtime | told to stop |
//! | `notes`: pods that went while the agent was away | runtime | told to stop |
//! | `fathom-reader`: drains the rings | a thread of its own, with the lowest latency there is | after the last drain |
//! | `cni`: the plugin's socket | runtime | calls in flight have ended, or [`DRAIN`] |
//! | `flows`: gRPC on TCP and the unix socket | runtime | streams have ended, or [`DRAIN`] |
//! | `http`: metrics and health | runtime | told to stop |
//!
//! Queues between them: deltas from the source (64 batches, [`Feed::new`]) and questions to the reconciler
//! (16, [`Asker::new`]); everything else is a watched value, of which only the newest counts. Nothing the kernel
//! does waits for any of this: at the end programs, maps and undelivered events stay where they are.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use fathom_api::fathom_v1::Feature;
use fathom_api::fathom_v1::cni_server::CniServer;
use fathom_api::serve::{Listeners, TlsFiles};
use fathom_bpf::load::Datapath as Loaded;
use fathom_bpf::probe::Features;
use fathom_identity::LabelFilter;
use fathom_kubernetes::connect;
use fathom_kubernetes::registry::ClusterRegistry;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::attach::{self, Places, WantedPod};
use crate::checks;
use crate::cluster::kube::ApiServer;
use crate::cluster::snapshot::Snapshot;
use crate::cluster::source::{Delta, Feed, Source};
use crate::cluster::yaml::YamlDirectory;
use crate::cni::attachments::Attachments;
use crate::cni::notes;
use crate::cni::server::CniService;
use crate::config::{Cli, Command, Config, L7, ObjectSource, Wiring};
use crate::control::devices;
use crate::control::metrics::ControlMetrics;
use crate::control::plan::{Planner, ThisNode};
use crate::control::publish::Publisher;
use crate::control::reconcile::{Outputs, Parts, PeerNaming, Reconciler};
use crate::control::registry::{AgentRegistry, DirectoryRegistry};
use crate::control::report::{ControlFacts, Report, tls_server_name};
use crate::control::routes;
use crate::control::state::{Asker, Question};
use crate::control::transition::Applied;
use crate::datapath::ended::Connections;
use crate::datapath::records::{KernelAccounts, Rings};
use crate::datapath::{Datapath as _, Kernel};
use crate::events::StoreSize;
use crate::events::reader::Reader;
use crate::health_ports;
use crate::host_pods::{self, HostPod};
use crate::pipeline::{Pipeline, PipelineConfig};
use crate::policies::PoliciesService;
use crate::tasks::{Tasks, unasked};
use crate::uplinks::{self, Surroundings};

/// Open calls have this long to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(2);

/// Tasks that are waited for at the end, by name.
const CNI: &str = "the plugin's server";
const FLOWS: &str = "serving flows";

/// Does what the command line says; runs until SIGTERM or SIGINT.
///
/// # Errors
/// What kept the agent from starting, or made it end.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Some(Command::Cleanup(place)) => {
            log("text");
            crate::cleanup::cleanup(&place)
        }
        Some(Command::Prepare(prepare)) => {
            log("text");
            crate::prepare::prepare(&prepare)
        }
        Some(Command::Check(config)) => checks::report(&config),
        None => {
            log(&cli.run.log_format);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("start the runtime")?;
            let result = runtime.block_on(Agent::start_and_serve(cli.run));
            // A blocking call that hangs must not keep the process.
            runtime.shutdown_timeout(Duration::from_secs(1));
            result
        }
    }
}

fn log(format: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FATHOM_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal() && colours_wanted(std::env::var_os("NO_COLOR").as_deref());
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    if format == "json" { lines.json().init() } else { lines.init() }
}

/// <https://no-color.org>: any value but an empty one says no.
fn colours_wanted(no_color: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty)
}

/// Keeps a second agent out of the run directory.
///
/// # Errors
/// Another agent has it, or the file cannot be made.
pub fn lock(run_dir: &Path) -> anyhow::Result<Flock<File>> {
    let path = run_dir.join("agent.lock");
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("make {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| anyhow::Error::from(error))
        .with_context(|| format!("another agent runs with --run-dir {}", run_dir.display()))
}

/// What comes to the reconciler: objects, and questions about what it made of them.
struct Inputs {
    feed: Feed,
    deltas: mpsc::Receiver<Vec<Delta>>,
    questions: mpsc::Receiver<Question>,
}

impl Inputs {
    fn new() -> (Self, Asker) {
        let ((feed, deltas), (asker, questions)) = (Feed::new(), Asker::new());
        (Self { feed, deltas, questions }, asker)
    }
}

/// The parts that outlive the start.
struct Agent {
    config: Config,
    node_name: String,
    loaded: Arc<Loaded>,
    pipeline: Arc<Pipeline>,
    attachments: Arc<Attachments>,
    source: Box<dyn Source>,
    registry: Arc<AgentRegistry>,
    stop: CancellationToken,
}

/// Where the reconciler says what others look for.
struct Lists {
    routes: watch::Sender<Option<routes::Routes>>,
    pods: watch::Sender<Option<Vec<WantedPod>>>,
    host_pods: watch::Sender<Vec<HostPod>>,
    surroundings: watch::Sender<Option<Surroundings>>,
    health: watch::Sender<health_ports::Ports>,
}

impl Agent {
    async fn start_and_serve(config: Config) -> anyhow::Result<()> {
        let features = Features::probe();
        checks::refuse_the_impossible(&config, &features)?;
        checks::say_what_is_missing(&config, &features);
        let run_dir = &config.place.run_dir;
        fs::create_dir_all(run_dir).with_context(|| format!("make {}", run_dir.display()))?;
        let _lock = lock(run_dir)?;
        let node_name = node_name(&config)?;
        let stop = CancellationToken::new();
        let (source, registry) = source_and_registry(&config, &stop).await?;
        if config.keeps_routes() {
            routes::enable_forwarding(&config.proc).context("switch forwarding on")?;
        }

        let loaded = Arc::new(Loaded::load(&config.load()).context("load the datapath")?);
        tracing::info!(kernel = features.kernel, pins = %config.place.pin_dir().display(), "datapath loaded");
        match checks::cgroup(&config) {
            Some(cgroup) => {
                loaded.attach_cgroup(&cgroup).with_context(|| format!("attach to {}", cgroup.display()))?;
                tracing::info!(cgroup = %cgroup.display(), "services are translated at the socket");
            }
            None => {
                loaded.detach_cgroup().context("detach from the cgroup")?;
            }
        }
        let rings = loaded.reader().context("open the rings")?;
        let accounts = KernelAccounts::new(loaded.clone(), rings.gauge());
        let taken = accounts.taken();
        let snapshot: Arc<ArcSwap<Snapshot>> = Arc::default();
        let report: Arc<ArcSwap<Report>> = Arc::default();
        let facts = control_facts(&loaded, &snapshot, &report, &features, &node_name);
        let pipeline =
            Pipeline::new(pipeline_config(&config, &node_name), snapshot.clone(), Arc::new(accounts))
                .context("--store-size")?
                .with_facts(Arc::new(facts));
        let (inputs, asker) = Inputs::new();
        let policies = PoliciesService {
            asker,
            source: inputs.feed.status.clone(),
            node_name: pipeline.node_name().clone(),
        };
        let pipeline = pipeline.with_policies(policies);
        let attachments = Attachments::open(run_dir, config.address_rest)
            .with_context(|| format!("read endpoints in {}", run_dir.display()))?;
        let agent = Agent {
            node_name,
            loaded,
            pipeline: Arc::new(pipeline),
            attachments: Arc::new(attachments),
            source,
            registry: Arc::new(registry),
            stop,
            config,
        };
        let rings = Rings::new(rings, taken, agent.pipeline.readiness());
        agent.serve(rings, snapshot, report, inputs).await
    }

    async fn serve(
        self,
        rings: Rings,
        snapshot: Arc<ArcSwap<Snapshot>>,
        report: Arc<ArcSwap<Report>>,
        Inputs { feed, deltas, questions }: Inputs,
    ) -> anyhow::Result<()> {
        // Everything that can be refused is opened before anything is started.
        let hubble = self.config.place.run_dir.join("hubble.sock");
        let cni = self.config.place.run_dir.join("cni.sock");
        let tls = tls_files(&self.config);
        let flows =
            Listeners::bind(&self.config.listen, &[hubble], tls.as_ref(), self.config.tls.mode == "off")
                .await?;
        // Our plugin has nothing to ask where another one wires pods: it says that the agent does not listen.
        let sockets: &[PathBuf] = if self.config.wiring == Wiring::Cni { &[cni] } else { &[] };
        let plugin = Listeners::bind(&[], sockets, None, false).await?;
        let http = self.listen_http().await?;

        let (route_list, wanted_routes) = watch::channel(None);
        let (pod_list, wanted_pods) = watch::channel(None);
        let (inside, surroundings) = watch::channel(None);
        let (health, health_ports) = watch::channel(health_ports::Ports::new());
        let (host_pod_list, wanted_host_pods) = watch::channel(Vec::new());
        let lists = Lists {
            routes: route_list,
            pods: pod_list,
            host_pods: host_pod_list,
            surroundings: inside,
            health,
        };
        let reconciler = self.reconciler(snapshot, report.clone(), lists)?.answering(questions);
        ControlMetrics::register(
            &self.pipeline.registry(),
            report,
            feed.status.clone(),
            self.attachments.clone(),
        );
        let reader = self.pipeline.spawn_reader(rings).context("start the reader")?;
        let (control, control_ended) = self.spawn_control(reconciler, deltas)?;
        let mut tasks = Tasks::default();
        tasks.spawn_sure("the reconciler", async { _ = control_ended.await });
        tracing::info!("following {}", self.source.describe());
        tasks.spawn("the source of objects", self.source.run(feed, self.stop.clone()));
        if self.config.keeps_routes() {
            tasks.spawn_sure("routes", routes::keep(wanted_routes, self.stop.clone()));
        }
        let uplinks =
            uplinks::keep(self.loaded.clone(), self.config.uplinks(), surroundings, self.stop.clone());
        tasks.spawn_sure("uplinks", uplinks);
        tasks.spawn_sure("health ports", health_ports::keep(health_ports, self.stop.clone()));
        if self.config.wiring == Wiring::Attach {
            let places = Places { proc: self.config.proc.clone(), netns_dir: self.config.netns_dir.clone() };
            let keep = attach::keep(places, self.attachments.clone(), wanted_pods, self.stop.clone());
            tasks.spawn("attach", async { keep.await.context("find pods that another plugin wired") });
        }
        if let Some(cgroup) = checks::cgroup(&self.config) {
            let found = self.pipeline.host_pods();
            let keep = host_pods::keep(cgroup, wanted_host_pods, found, self.stop.clone());
            tasks.spawn_sure("host pods", keep);
        }
        let run_dir = self.config.place.run_dir.clone();
        tasks.spawn_sure("notes", notes::follow(run_dir, self.attachments.clone(), self.stop.clone()));
        let connections = Connections::new(self.loaded.clone(), &self.pipeline.registry());
        tasks.spawn_sure("connections", connections.look(self.config.ended_interval, self.stop.clone()));
        let (ending, end) = watch::channel(false);
        let service = CniService {
            attachments: self.attachments.clone(),
            node_name: self.node_name.clone(),
            mtu: self.config.mtu,
            patience: self.config.cni_wait,
        };
        let plugin = plugin.serve(Routes::new(CniServer::new(service)), end.clone(), DRAIN);
        tasks.spawn(CNI, async { plugin.await.context("serve the plugin") });
        if let Some(listener) = http {
            let http = crate::http::serve(listener, self.pipeline.http(), end.clone());
            tasks.spawn("http", async { http.await.context("serve metrics and health") });
        }
        for address in flows.tcp_addresses() {
            tracing::info!(%address, "serving flows");
        }
        self.pipeline.agent_events().agent_started();
        tracing::info!(node = self.node_name, version = env!("CARGO_PKG_VERSION"), "running");

        let pipeline = self.pipeline.clone();
        tasks.spawn(FLOWS, async move { pipeline.serve(flows, end, DRAIN).await.context("serve flows") });
        // A part that ends by itself ends the agent: half an agent would look like a whole one.
        let failed = tokio::select! {
            () = signalled() => None,
            () = ended(&reader) => Some(anyhow::anyhow!("the reader of the rings ended by itself")),
            Some(first) = tasks.next() => Some(unasked(first)),
        };
        tracing::info!("shutting down: programs, maps and undelivered events stay in the kernel");
        ending.send_replace(true);
        // The plugin's calls first, while the reconciler can still fulfil them.
        if let Err(error) = tasks.end_of(CNI).await {
            tracing::error!(error = format!("{error:#}"), "the plugin's socket");
        }
        self.stop.cancel();
        tokio::task::spawn_blocking(move || {
            if control.join().is_err() {
                tracing::error!("the reconciler had panicked");
            }
            reader.stop();
        })
        .await
        .context("stop the threads")?;
        match failed {
            // Whatever else still runs has no more to say and ends with `tasks`.
            None => tasks.end_of(FLOWS).await,
            Some(error) => Err(error),
        }
    }

    async fn listen_http(&self) -> anyhow::Result<Option<tokio::net::TcpListener>> {
        let address = &self.config.metrics_listen;
        if address.is_empty() {
            return Ok(None);
        }
        let listener = tokio::net::TcpListener::bind(address).await;
        listener.map(Some).with_context(|| format!("cannot listen on --metrics-listen {address}"))
    }

    fn reconciler(
        &self,
        snapshot: Arc<ArcSwap<Snapshot>>,
        report: Arc<ArcSwap<Report>>,
        Lists { routes, pods, host_pods, surroundings, health }: Lists,
    ) -> anyhow::Result<Reconciler> {
        let config = &self.config;
        let filter = LabelFilter::with_user_rules(&config.labels).context("--labels")?;
        let node = ThisNode {
            name: self.node_name.as_str().into(),
            cluster: config.cluster_name.as_str().into(),
            l7: config.l7 != L7::Off,
            host_ports: config.wiring == Wiring::Cni,
        };
        let kernel = Kernel::new(self.loaded.clone());
        let contents = kernel.contents().context("read the tables an earlier agent left")?;
        if !contents.endpoints.is_empty() {
            tracing::info!(
                endpoints = contents.endpoints.len(),
                addresses = contents.addresses.len(),
                tables = contents.tables.len(),
                services = contents.services.len(),
                "taking over what an earlier agent left"
            );
        }
        Ok(Reconciler::new(Parts {
            planner: Planner::new(node.clone(), filter, self.registry.clone(), &contents),
            applied: Applied::new(contents),
            datapath: Box::new(kernel),
            devices: Box::new(devices::Kernel),
            attachments: self.attachments.clone(),
            publisher: Publisher::new(node, snapshot),
            outputs: Outputs {
                pods,
                host_pods,
                routes,
                surroundings,
                health,
                peers: self.pipeline.peers(),
                events: self.pipeline.agent_events(),
                readiness: self.pipeline.readiness(),
                report,
            },
            peers: PeerNaming {
                cluster: config.cluster_name.clone(),
                node: self.node_name.clone(),
                port: config.port(),
                tls: config.tls.tls_cert_file.is_some(),
            },
        }))
    }

    fn spawn_control(
        &self,
        reconciler: Reconciler,
        deltas: mpsc::Receiver<Vec<Delta>>,
    ) -> anyhow::Result<(JoinHandle<()>, oneshot::Receiver<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start the reconciler's runtime")?;
        let stop = self.stop.clone();
        // Dropped when the thread ends, by a panic too.
        let (running, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("fathom-control".into()).spawn(move || {
            let _running: oneshot::Sender<()> = running;
            runtime.block_on(reconciler.run(deltas, stop));
        });
        Ok((thread.context("start the reconciler's thread")?, ended))
    }
}

/// Where objects come from, and where agents agree on identities: both the API server or both directories.
async fn source_and_registry(
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<(Box<dyn Source>, AgentRegistry)> {
    match config.source(connect::in_a_pod()) {
        ObjectSource::Directory(root) => {
            let last_good = Some(config.place.run_dir.join("objects"));
            let registry = DirectoryRegistry::open(&config.identities()).context("open --identities")?;
            Ok((Box::new(YamlDirectory { root, last_good }), AgentRegistry::Directory(registry)))
        }
        ObjectSource::Server(kubeconfig) => {
            let connection = connect::connect(kubeconfig.as_deref(), "fathom-agent").await?;
            let registry = ClusterRegistry::new(config.identity_refresh);
            let (client, stop, keeper) = (connection.client.clone(), stop.clone(), registry.clone());
            tokio::spawn(async move { keeper.run(client, stop).await });
            let source = ApiServer { connection, registry: registry.clone() };
            Ok((Box::new(source), AgentRegistry::Cluster(registry)))
        }
    }
}

/// Ends when the reader's thread does.
async fn ended(reader: &Reader) {
    while reader.is_alive() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn node_name(config: &Config) -> anyhow::Result<String> {
    if let Some(name) = config.node_name.clone().filter(|name| !name.is_empty()) {
        return Ok(name);
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").context("ask for the host's name")?;
    let host = host.trim();
    anyhow::ensure!(!host.is_empty() && host != "(none)", "the host has no name: give --node-name");
    Ok(host.to_owned())
}

fn pipeline_config(config: &Config, node_name: &str) -> PipelineConfig {
    let address = config.listen.iter().find(|listen| !listen.is_empty()).cloned().unwrap_or_default();
    let tls = config.tls.tls_cert_file.is_some();
    PipelineConfig {
        size: StoreSize { flows: config.store_size, denials: config.store_denials },
        lost_interval: config.lost_interval,
        address,
        tls_server_name: tls.then(|| tls_server_name(&config.cluster_name, node_name)),
        redaction: config.l7_redact.clone(),
        ..PipelineConfig::new(&config.cluster_name, node_name)
    }
}

fn tls_files(config: &Config) -> Option<TlsFiles> {
    let tls = &config.tls;
    let (cert, key): (&PathBuf, &PathBuf) = tls.tls_cert_file.as_ref().zip(tls.tls_key_file.as_ref())?;
    Some(TlsFiles {
        cert: cert.clone(),
        key: key.clone(),
        client_ca: tls.tls_client_ca_file.clone(),
        may_come_later: tls.mode == "wait",
    })
}

fn control_facts(
    loaded: &Arc<Loaded>,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    report: &Arc<ArcSwap<Report>>,
    features: &Features,
    node_name: &str,
) -> ControlFacts {
    let maps = loaded.maps().clone();
    let feature = |feature: fathom_bpf::probe::Feature| Feature {
        name: feature.name.to_owned(),
        available: feature.available,
        since: feature.since.to_owned(),
        consequence: feature.consequence.to_owned(),
        node_name: node_name.to_owned(),
    };
    ControlFacts {
        snapshot: snapshot.clone(),
        report: report.clone(),
        denials: Box::new(move || {
            maps.counters.rule_denials().unwrap_or_else(|error| {
                tracing::warn!(%error, "what rules denied can't be read");
                Vec::new()
            })
        }),
        features: features.table().into_iter().map(feature).collect(),
    }
}

/// SIGTERM or SIGINT.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_counts_when_it_says_something() {
        assert!(colours_wanted(None) && colours_wanted(Some(OsStr::new(""))));
        assert!(!colours_wanted(Some(OsStr::new("0"))));
    }
}
