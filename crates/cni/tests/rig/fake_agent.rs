//! The agent's CNI service: hands out addresses in order, writes down what it is asked, and refuses on demand.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use fathom_api::fathom_v1::cni_server::{Cni, CniServer};
use fathom_api::fathom_v1::{
    ActivateRequest, ActivateResponse, AllocateRequest, AllocateResponse, Attachment, CheckRequest,
    CheckResponse, HeldAttachment, ListRequest, ListResponse, ReleaseRequest, ReleaseResponse,
};
use tonic::{Request, Response, Status};

/// What the agent is to refuse.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    #[default]
    Nothing,
    Allocate,
    Activate,
    /// Hands out a device name that exists already.
    NameTaken,
}

#[derive(Default)]
pub struct State {
    pub refuse: Refuse,
    pub problems: Vec<String>,
    /// Container ids, in the order of their addresses.
    pub allocated: Vec<String>,
    pub activated: Vec<ActivateRequest>,
    pub released: Vec<String>,
    pub checked: Vec<CheckRequest>,
}

#[derive(Clone)]
struct Service(Arc<Mutex<State>>);

/// A running fake; its socket is gone when it is dropped.
pub struct FakeAgent {
    state: Arc<Mutex<State>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FakeAgent {
    pub fn start(socket: &Path) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let service = CniServer::new(Service(state.clone()));
        let _ = std::fs::remove_file(socket);
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
                tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming_shutdown(incoming, async { drop(stopped.await) })
                    .await
                    .unwrap();
            });
        });
        Self { state, stop: Some(stop), thread: Some(thread) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn id(attachment: Option<fathom_api::fathom_v1::Attachment>) -> String {
    attachment.unwrap().container_id
}

#[tonic::async_trait]
impl Cni for Service {
    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let mut state = self.0.lock().unwrap();
        if state.refuse == Refuse::Allocate {
            return Err(Status::resource_exhausted("10.244.1.0/24 is used up"));
        }
        let id = id(request.into_inner().attachment);
        let known = state.allocated.iter().position(|i| *i == id);
        let n = known.unwrap_or_else(|| {
            state.allocated.push(id);
            state.allocated.len() - 1
        }) + 2;
        let host_interface = if state.refuse == Refuse::NameTaken { "lo".into() } else { format!("fh{n}") };
        Ok(Response::new(AllocateResponse {
            addresses: vec![format!("10.244.1.{n}/32"), format!("fd00:10:244:1::{n:x}/128")],
            gateways: vec!["169.254.1.1".into(), "fe80::1".into()],
            mtu: 1400,
            host_interface,
        }))
    }

    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        let mut state = self.0.lock().unwrap();
        if state.refuse == Refuse::Activate {
            return Err(Status::internal("the program would not load"));
        }
        state.activated.push(request.into_inner());
        Ok(Response::new(ActivateResponse { endpoint_id: 1, identity: 256 }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        self.0.lock().unwrap().released.push(id(request.into_inner().attachment));
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let mut state = self.0.lock().unwrap();
        state.checked.push(request.into_inner());
        Ok(Response::new(CheckResponse { problems: state.problems.clone() }))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let state = self.0.lock().unwrap();
        let held = state.allocated.iter().enumerate();
        let held = held.filter(|(_, id)| !state.released.contains(id)).map(|(n, id)| HeldAttachment {
            attachment: Some(Attachment { container_id: id.clone(), interface: "eth0".into() }),
            host_interface: format!("fh{}", n + 2),
        });
        Ok(Response::new(ListResponse { attachments: held.collect() }))
    }
}
