//! `fathom.v1.Cni`: what the plugin asks, on a root-only unix socket.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fathom_api::fathom_v1::cni_server::Cni;
use fathom_api::fathom_v1::{
    ActivateRequest, ActivateResponse, AllocateRequest, AllocateResponse, CheckRequest, CheckResponse,
    HeldAttachment, ListRequest, ListResponse, ReleaseRequest, ReleaseResponse,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::attachments::{AttachError, Attachment, AttachmentKey, Attachments, DeviceRecord, EndpointState};
use super::ipam::IpamError;
use super::mtu;

/// Next hops inside every pod: link-local, behind the pod's own cable.
const GATEWAYS: [&str; 2] = ["169.254.1.1", "fe80::1"];

/// Answers the plugin.
pub struct CniService {
    pub attachments: Arc<Attachments>,
    pub node_name: String,
    /// `None`: as the node's way to others has it.
    pub mtu: Option<u32>,
    /// How long a call waits for objects it needs: less than the plugin's own patience (30 s).
    pub patience: Duration,
}

impl CniService {
    /// Waits until the node's pod prefixes are known: at start-up the objects may not be listed yet.
    async fn prefixes_known(&self, until: Instant) {
        let mut turns = self.attachments.watch();
        while self.attachments.prefixes().is_empty() {
            if tokio::time::timeout_at(until, turns.changed()).await.is_err() {
                return;
            }
        }
    }

    async fn mtu(&self) -> u32 {
        match self.mtu {
            Some(mtu) => mtu,
            None => mtu::of_default_routes().await.unwrap_or_else(|error| {
                let error = format!("{error:#}");
                tracing::warn!(error, mtu = mtu::DEFAULT, "the MTU of the node's uplink is not known");
                mtu::DEFAULT
            }),
        }
    }

    /// Waits until the endpoint is ready, or says what it waits for.
    async fn ready(&self, attachment: &Attachment, until: Instant) -> Result<u32, Status> {
        let mut turns = self.attachments.watch();
        loop {
            let state = self.attachments.state(attachment.id);
            if let Some(EndpointState::Ready { identity }) = state {
                return Ok(identity);
            }
            if self.attachments.get(&attachment.key).is_none() {
                return Err(Status::aborted(format!("{} was released meanwhile", attachment.key)));
            }
            if tokio::time::timeout_at(until, turns.changed()).await.is_err() {
                let pod = format!("{}/{}", attachment.namespace, attachment.pod_name);
                let why = match state {
                    Some(EndpointState::Waiting(why)) => why,
                    _ => "the reconciler has not come to it yet: see the agent's log".to_owned(),
                };
                let waited = self.patience.as_secs();
                return Err(Status::unavailable(format!("pod {pod} is not ready after {waited} s: {why}")));
            }
        }
    }
}

#[tonic::async_trait]
impl Cni for CniService {
    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let request = request.into_inner();
        let key = key_of(request.attachment)?;
        let mut requested: Vec<IpAddr> = Vec::new();
        for text in &request.requested_addresses {
            let bare = text.split('/').next().unwrap_or_default();
            let wrong = |_| Status::invalid_argument(format!("requested address {text:?} is no IP address"));
            requested.push(bare.parse().map_err(wrong)?);
        }
        self.prefixes_known(Instant::now() + self.patience).await;
        let attachment = self
            .attachments
            .allocate(
                &key,
                &request.namespace,
                &request.pod_name,
                &request.netns,
                &requested,
                &self.node_name,
            )
            .map_err(status)?;
        tracing::info!(
            pod = format!("{}/{}", attachment.namespace, attachment.pod_name),
            addresses = ?attachment.addresses,
            "addresses reserved"
        );
        let families: Vec<bool> = attachment.addresses.iter().map(IpAddr::is_ipv4).collect();
        let gateways = GATEWAYS.into_iter().filter(|gateway| families.contains(&gateway.contains('.')));
        Ok(Response::new(AllocateResponse {
            addresses: attachment.addresses.iter().map(with_length).collect(),
            gateways: gateways.map(str::to_owned).collect(),
            mtu: self.mtu().await,
            host_interface: attachment.host_interface,
        }))
    }

    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        let request = request.into_inner();
        let key = key_of(request.attachment)?;
        if request.ifindex == 0 || request.host_interface.is_empty() {
            return Err(Status::invalid_argument("host_interface and ifindex must be set"));
        }
        let device = DeviceRecord {
            ifindex: request.ifindex,
            pod_mac: request.pod_mac,
            host_mac: request.host_mac,
            netns_cookie: request.netns_cookie,
        };
        let attachment = self.attachments.wire(&key, &request.host_interface, device).map_err(status)?;
        let identity = self.ready(&attachment, Instant::now() + self.patience).await?;
        Ok(Response::new(ActivateResponse { endpoint_id: attachment.id.into(), identity }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let key = key_of(request.into_inner().attachment)?;
        if let Some(attachment) = self.attachments.release(&key).map_err(status)? {
            let pod = format!("{}/{}", attachment.namespace, attachment.pod_name);
            tracing::info!(pod, addresses = ?attachment.addresses, "addresses given back");
        }
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        let key = key_of(request.attachment)?;
        let Some(attachment) = self.attachments.get(&key) else {
            let problems = vec![format!("{key} is not known to the agent")];
            return Ok(Response::new(CheckResponse { problems }));
        };
        let mut problems = Vec::new();
        let held: Vec<String> = attachment.addresses.iter().map(with_length).collect();
        for address in &request.addresses {
            let bare = address.split('/').next().unwrap_or_default();
            if !attachment.addresses.iter().any(|held| held.to_string() == bare) {
                problems.push(format!("the pod has {address}, the agent gave {}", held.join(" and ")));
            }
        }
        match (&attachment.device, self.attachments.state(attachment.id)) {
            (None, _) => problems.push("the agent was never told the pod's device".to_owned()),
            (_, Some(EndpointState::Ready { .. })) => {}
            (_, Some(EndpointState::Waiting(why))) => {
                problems.push(format!("the endpoint is not ready: {why}"))
            }
            (_, None) => problems.push("the endpoint is not installed yet".to_owned()),
        }
        Ok(Response::new(CheckResponse { problems }))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let held = |attachment: Attachment| HeldAttachment {
            attachment: Some(fathom_api::fathom_v1::Attachment {
                container_id: attachment.key.container_id,
                interface: attachment.key.interface,
            }),
            host_interface: attachment.host_interface,
        };
        let attachments = self.attachments.list().into_iter().map(held).collect();
        Ok(Response::new(ListResponse { attachments }))
    }
}

fn key_of(attachment: Option<fathom_api::fathom_v1::Attachment>) -> Result<AttachmentKey, Status> {
    let attachment = attachment.unwrap_or_default();
    if attachment.container_id.is_empty() || attachment.interface.is_empty() {
        return Err(Status::invalid_argument("attachment.container_id and attachment.interface must be set"));
    }
    Ok(AttachmentKey { container_id: attachment.container_id, interface: attachment.interface })
}

fn with_length(address: &IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

fn status(error: AttachError) -> Status {
    let text = error.to_string();
    match error {
        AttachError::Ipam(IpamError::Exhausted { .. }) | AttachError::TooMany => {
            Status::resource_exhausted(text)
        }
        AttachError::Ipam(IpamError::NoPrefix(_)) => Status::unavailable(text),
        AttachError::Ipam(IpamError::Taken { .. }) => Status::already_exists(text),
        AttachError::Ipam(IpamError::Outside { .. }) => Status::invalid_argument(text),
        AttachError::OtherPod { .. } => Status::already_exists(text),
        AttachError::Unknown(_) => Status::failed_precondition(text),
        AttachError::Persist { .. } => Status::internal(text),
    }
}
