//! A server that says what it is told to, and the binary asking it.
#![allow(dead_code)]

pub mod flows;
pub mod messages;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use fathom_api::Raw;
use fathom_api::fathom_v1::agent_server::{Agent, AgentServer};
use fathom_api::fathom_v1::policies_server::{Policies, PoliciesServer};
use fathom_api::fathom_v1::*;
use fathom_api::observer::*;
use fathom_api::observer_raw::observer_server::{Observer, ObserverServer};
use fathom_api::peer::peer_server::{Peer, PeerServer};
use fathom_api::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// What the server answers.
#[derive(Default)]
pub struct Script {
    pub flows: Vec<Raw>,
    /// Flows that come after those, in follow mode; the stream stays open as long as the sender does.
    pub live: Mutex<Option<mpsc::Receiver<Result<Raw, Status>>>>,
    /// Instead of flows.
    pub refuse: Option<Status>,
    pub status: ServerStatusResponse,
    pub nodes: Option<GetNodesResponse>,
    pub namespaces: GetNamespacesResponse,
    /// `None`: a server that is not Fathom's.
    pub ledger: Option<GetLedgerResponse>,
    pub agent_events: Vec<GetAgentEventsResponse>,
    pub policies: ListPoliciesResponse,
    pub sick: bool,
    /// Flows looked at, as the trailers of an answer say.
    pub examined: Option<u64>,
    /// Nodes an answer is without, as a relay names them; with none behind it, it fails.
    pub missing: Vec<&'static str>,
    pub nobody_answered: bool,
    /// What was asked.
    pub asked: Mutex<Vec<GetFlowsRequest>>,
    pub asked_policies: Mutex<Vec<ListPoliciesRequest>>,
    pub authorization: Mutex<Option<String>>,
}

struct Service(Arc<Script>);

impl Service {
    fn with_missing<T>(&self, answer: T) -> Result<Response<T>, Status> {
        let mut metadata = MetadataMap::new();
        for node in &self.0.missing {
            metadata.append("fathom-nodes-missing", node.parse().unwrap());
        }
        if self.0.nobody_answered {
            return Err(Status::with_metadata(Code::Unavailable, "no node answered", metadata));
        }
        let mut response = Response::new(answer);
        *response.metadata_mut() = metadata;
        Ok(response)
    }
}

#[tonic::async_trait]
impl Observer for Service {
    type GetFlowsStream = BoxStream<'static, Result<Raw, Status>>;
    type GetAgentEventsStream = BoxStream<'static, Result<GetAgentEventsResponse, Status>>;
    type GetDebugEventsStream = BoxStream<'static, Result<GetDebugEventsResponse, Status>>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        let authorization = request.metadata().get("authorization");
        *self.0.authorization.lock().unwrap() = authorization.map(|v| v.to_str().unwrap().to_owned());
        self.0.asked.lock().unwrap().push(request.into_inner());
        if let Some(status) = &self.0.refuse {
            return Err(status.clone());
        }
        let script = self.0.clone();
        let past = futures::stream::iter((0..script.flows.len()).map(move |at| Ok(script.flows[at].clone())));
        let end = self.0.examined.map(|examined| {
            let mut trailers = MetadataMap::new();
            trailers.insert("fathom-flows-examined", examined.to_string().parse().unwrap());
            Err(Status::with_metadata(Code::Ok, "", trailers))
        });
        Ok(Response::new(match self.0.live.lock().unwrap().take() {
            Some(live) => past.chain(ReceiverStream::new(live)).boxed(),
            None => past.chain(futures::stream::iter(end)).boxed(),
        }))
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        let events = self.0.agent_events.clone();
        Ok(Response::new(futures::stream::iter(events.into_iter().map(Ok)).boxed()))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(Status::unimplemented("no debug events here"))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let nodes = self.0.nodes.clone();
        nodes.map(Response::new).ok_or_else(|| Status::unimplemented("ask a relay"))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        self.with_missing(self.0.namespaces.clone())
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        Ok(Response::new(self.0.status.clone()))
    }
}

#[tonic::async_trait]
impl Agent for Service {
    async fn get_ledger(&self, _: Request<GetLedgerRequest>) -> Result<Response<GetLedgerResponse>, Status> {
        let ledger = self.0.ledger.clone();
        ledger.map(Response::new).ok_or_else(|| Status::unimplemented("unknown service fathom.v1.Agent"))
    }

    async fn list_rules(&self, _: Request<ListRulesRequest>) -> Result<Response<ListRulesResponse>, Status> {
        Ok(Response::new(ListRulesResponse::default()))
    }

    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        let endpoint = LocalEndpoint {
            id: 7,
            namespace: "shop".into(),
            pod_name: "cart".into(),
            identity: 1001,
            labels: vec!["k8s:app=cart".into()],
            addresses: vec!["10.244.1.5".into(), "fd00::5".into()],
            interface: "lxc7".into(),
            ifindex: 12,
            ingress_enforced: true,
            egress_enforced: false,
            state: "ready".into(),
            node_name: "node-1".into(),
        };
        self.with_missing(ListEndpointsResponse { endpoints: vec![endpoint] })
    }

    async fn get_features(
        &self,
        _: Request<GetFeaturesRequest>,
    ) -> Result<Response<GetFeaturesResponse>, Status> {
        let feature = |name: &str, available, consequence: &str| Feature {
            name: name.into(),
            available,
            since: "6.6".into(),
            consequence: consequence.into(),
            node_name: "node-1".into(),
        };
        let features =
            vec![feature("tcx", false, "programs hang on clsact"), feature("ringbuf", true, "none")];
        Ok(Response::new(GetFeaturesResponse { features }))
    }
}

#[tonic::async_trait]
impl Policies for Service {
    async fn list_policies(
        &self,
        request: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        self.0.asked_policies.lock().unwrap().push(request.into_inner());
        self.with_missing(self.0.policies.clone())
    }
}

#[tonic::async_trait]
impl Peer for Service {
    type NotifyStream = BoxStream<'static, Result<ChangeNotification, Status>>;

    async fn notify(&self, _: Request<NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        let added = ChangeNotification {
            name: "node-1".into(),
            address: "10.0.0.1:4244".into(),
            r#type: ChangeNotificationType::PeerAdded.into(),
            tls: None,
        };
        Ok(Response::new(futures::stream::iter([Ok(added)]).boxed()))
    }
}

/// A running server on a unix socket of its own.
pub struct Server {
    pub script: Arc<Script>,
    runtime: Option<tokio::runtime::Runtime>,
    directory: tempfile::TempDir,
}

impl Server {
    pub fn start(script: Script) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = Arc::new(script);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(directory.path().join("hubble.sock")).unwrap()
        };
        let served = script.clone();
        runtime.spawn(async move {
            let (reporter, health) = tonic_health::server::health_reporter();
            let state = match served.sick {
                true => tonic_health::ServingStatus::NotServing,
                false => tonic_health::ServingStatus::Serving,
            };
            reporter.set_service_status("hubble.server.Observer", state).await;
            tonic::transport::Server::builder()
                .add_service(health)
                .add_service(ObserverServer::new(Service(served.clone())))
                .add_service(AgentServer::new(Service(served.clone())))
                .add_service(PoliciesServer::new(Service(served.clone())))
                .add_service(PeerServer::new(Service(served)))
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
        });
        Self { script, runtime: Some(runtime), directory }
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.directory.path().join("hubble.sock").display())
    }

    /// The binary, asking this server.
    pub fn fathom(&self, line: &str) -> Command {
        let mut command = fathom(line);
        command.env("FATHOM_SERVER", self.address());
        command
    }

    pub fn asked(&self) -> GetFlowsRequest {
        self.script.asked.lock().unwrap().last().expect("a request for flows").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// The binary with words split at spaces, in an environment without settings.
pub fn fathom(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fathom"));
    command
        .args(line.split_whitespace())
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How a run ended: (exit status, standard output, standard error).
pub fn ended(output: Output) -> (i32, String, String) {
    (
        output.status.code().expect("an exit status, not a signal"),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

pub fn run(mut command: Command) -> (i32, String, String) {
    ended(command.output().unwrap())
}

pub fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read_to_string(path).unwrap()
}
