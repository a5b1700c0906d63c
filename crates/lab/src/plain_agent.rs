//! An agent without programs: addresses from the node's pod prefixes and plain forwarding.
//!
//! What a lab with `datapath: none` runs: the yardstick of benchmarks, and the lab's own test.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::Args;
use fathom_api::fathom_v1::cni_server::{Cni, CniServer};
use fathom_api::fathom_v1::{
    ActivateRequest, ActivateResponse, AllocateRequest, AllocateResponse, Attachment, CheckRequest,
    CheckResponse, ListRequest, ListResponse, ReleaseRequest, ReleaseResponse,
};
use ipnet::IpNet;
use tonic::{Request, Response, Status};

/// Where it lives and what it gives out.
#[derive(Debug, Args)]
pub struct PlainAgentArgs {
    #[arg(long)]
    run_dir: PathBuf,
    #[arg(long = "pod-cidr")]
    pod_cidrs: Vec<IpNet>,
}

/// Serves until it is killed.
pub fn run(args: PlainAgentArgs) -> Result<()> {
    for (path, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")] {
        std::fs::write(Path::new("/proc/sys/net").join(path), value)
            .with_context(|| format!("set net/{path}"))?;
    }
    let socket = args.run_dir.join("cni.sock");
    let _ = std::fs::remove_file(&socket);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start an async runtime")?;
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(&socket)
            .with_context(|| format!("listen on {}", socket.display()))?;
        println!("ready");
        tonic::transport::Server::builder()
            .add_service(CniServer::new(PlainAgent { pod_cidrs: args.pod_cidrs, given: Mutex::default() }))
            .serve_with_incoming(tokio_stream::wrappers::UnixListenerStream::new(listener))
            .await
            .context("serve")
    })
}

struct PlainAgent {
    pod_cidrs: Vec<IpNet>,
    /// Number of each attachment's addresses within the prefixes.
    given: Mutex<BTreeMap<(String, String), u32>>,
}

impl PlainAgent {
    fn number(&self, attachment: Option<Attachment>) -> u32 {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(attachment);
        let free = (2..).find(|n| !given.values().any(|g| g == n)).unwrap_or(u32::MAX);
        *given.entry(key).or_insert(free)
    }
}

fn key(attachment: Option<Attachment>) -> (String, String) {
    let attachment = attachment.unwrap_or_default();
    (attachment.container_id, attachment.interface)
}

fn nth(net: &IpNet, n: u32) -> IpNet {
    let address = match net.network() {
        IpAddr::V4(v4) => IpAddr::from(std::net::Ipv4Addr::from_bits(v4.to_bits() + n)),
        IpAddr::V6(v6) => IpAddr::from(std::net::Ipv6Addr::from_bits(v6.to_bits() + u128::from(n))),
    };
    IpNet::from(address)
}

#[tonic::async_trait]
impl Cni for PlainAgent {
    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let n = self.number(request.into_inner().attachment);
        Ok(Response::new(AllocateResponse {
            addresses: self.pod_cidrs.iter().map(|net| nth(net, n).to_string()).collect(),
            gateways: vec!["169.254.1.1".into(), "fe80::1".into()],
            mtu: 1500,
            host_interface: format!("pod{n}"),
        }))
    }

    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        let endpoint_id = self.number(request.into_inner().attachment);
        Ok(Response::new(ActivateResponse { endpoint_id, identity: 0 }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let key = key(request.into_inner().attachment);
        self.given.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Ok(Response::new(ListResponse { attachments: Vec::new() }))
    }

    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse { problems: Vec::new() }))
    }
}
