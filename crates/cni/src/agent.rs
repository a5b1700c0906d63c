//! The agent on this node, asked over its unix socket.

use std::path::Path;
use std::time::Duration;

use fathom_api::fathom_v1 as api;
use fathom_api::fathom_v1::cni_client::CniClient;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::attachment::Attachment;
use crate::error::{Code, Error};

/// An answer that takes longer than this is no answer.
const CALL_LIMIT: Duration = Duration::from_secs(30);
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// A connection to the agent.
pub struct Agent {
    client: CniClient<Channel>,
}

impl Agent {
    /// Connects; an agent that is not listening yet is waited for up to `patience`.
    ///
    /// # Errors
    /// [`Code::TryAgainLater`] with the socket's path when nobody answers in time.
    pub async fn connect(socket: &Path, patience: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + patience;
        loop {
            match connect_once(socket).await {
                Ok(channel) => return Ok(Self { client: CniClient::new(channel) }),
                Err(cause) if Instant::now() + RETRY_EVERY >= deadline => {
                    return Err(Error::new(
                        Code::TryAgainLater,
                        format!("the agent does not answer on {}", socket.display()),
                    )
                    .because(chain(&cause)));
                }
                Err(_) => tokio::time::sleep(RETRY_EVERY).await,
            }
        }
    }

    /// Reserves addresses.
    pub async fn allocate(&mut self, request: api::AllocateRequest) -> Result<api::AllocateResponse, Error> {
        let answer = self.client.allocate(request).await;
        answer.map(tonic::Response::into_inner).map_err(|s| refused("allocate addresses", &s))
    }

    /// Tells that the pod is wired; programs and policy are on its device afterwards.
    pub async fn activate(&mut self, request: api::ActivateRequest) -> Result<api::ActivateResponse, Error> {
        let answer = self.client.activate(request).await;
        answer.map(tonic::Response::into_inner).map_err(|s| refused("activate the endpoint", &s))
    }

    /// Gives the attachment's addresses back.
    pub async fn release(&mut self, attachment: &Attachment) -> Result<(), Error> {
        let request = api::ReleaseRequest { attachment: Some(attachment.into()) };
        let answer = self.client.release(request).await;
        answer.map(|_| ()).map_err(|s| refused("release the addresses", &s))
    }

    /// Everything that holds addresses: the attachment and the name of its host-side device.
    pub async fn list(&mut self) -> Result<Vec<(Attachment, String)>, Error> {
        let answer = self.client.list(api::ListRequest {}).await;
        let held = answer.map_err(|s| refused("list the attachments", &s))?.into_inner().attachments;
        let read = |held: api::HeldAttachment| {
            let api::Attachment { container_id, interface } = held.attachment?;
            Some((Attachment { container_id, interface }, held.host_interface))
        };
        Ok(held.into_iter().filter_map(read).collect())
    }

    /// What the agent finds wrong with the attachment: one line each.
    pub async fn check(
        &mut self,
        attachment: &Attachment,
        addresses: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let request = api::CheckRequest { attachment: Some(attachment.into()), addresses };
        let answer = self.client.check(request).await;
        answer.map(|r| r.into_inner().problems).map_err(|s| refused("check the endpoint", &s))
    }
}

impl From<&Attachment> for api::Attachment {
    fn from(attachment: &Attachment) -> Self {
        Self { container_id: attachment.container_id.clone(), interface: attachment.interface.clone() }
    }
}

async fn connect_once(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let path = socket.to_owned();
    // The URI only fills the :authority header; the connector decides where the bytes go.
    Endpoint::from_static("http://agent")
        .timeout(CALL_LIMIT)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
}

fn refused(verb: &str, status: &Status) -> Error {
    let code = match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
            Code::TryAgainLater
        }
        tonic::Code::ResourceExhausted => Code::NoAddress,
        _ => Code::Agent,
    };
    Error::new(code, format!("the agent could not {verb}")).because(status.message())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
