//! Opens channels to agents.

use std::time::Duration;

use anyhow::Context;
use fathom_api::connect::{Target, TlsOptions, connect_as_one_of_many};
use futures::future::{BoxFuture, FutureExt};
use tonic::transport::Channel;

use crate::config::Tls;
use crate::peers::{Dial, Peer};

const CONNECT: Duration = Duration::from_secs(5);

/// Dials what a peer's target says, with the relay's certificates.
pub struct Dialer {
    tls: TlsOptions,
}

impl Dialer {
    /// Agents are dialled with TLS when there is a CA to check them against.
    pub fn new(tls: &Tls) -> anyhow::Result<Self> {
        // They are read anew for each connection; --tls wait says that they may come later.
        for path in
            tls.tls_agent_ca_file.iter().chain(&tls.tls_agent_cert_file).chain(&tls.tls_agent_key_file)
        {
            if tls.mode == "wait" && !path.exists() {
                continue;
            }
            std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        Ok(Dialer {
            tls: TlsOptions {
                enabled: !tls.tls_agent_ca_file.is_empty(),
                ca_files: tls.tls_agent_ca_file.clone(),
                client_cert_file: tls.tls_agent_cert_file.clone(),
                client_key_file: tls.tls_agent_key_file.clone(),
                ..Default::default()
            },
        })
    }
}

impl Dial for Dialer {
    fn dial(&self, peer: &Peer) -> BoxFuture<'static, anyhow::Result<Channel>> {
        let target = peer.target.parse::<Target>();
        let mut tls = self.tls.clone();
        tls.server_name = peer.tls_server_name.as_deref().map(str::to_owned);
        async move {
            let target = target?;
            if matches!(target, Target::Unix(_)) {
                tls = TlsOptions::default();
            }
            Ok(connect_as_one_of_many(&target, &tls, CONNECT).await?)
        }
        .boxed()
    }
}
