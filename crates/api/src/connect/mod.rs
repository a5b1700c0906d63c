//! Client channels to agents and relays: one way to read targets and TLS options for everybody.

mod error;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

pub use error::ConnectError;
pub use target::Target;

/// How a client checks the server and shows who it is itself.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// TLS even when the target does not say `tls://`.
    pub enabled: bool,
    /// PEM bundles of authorities; none = the system's.
    pub ca_files: Vec<PathBuf>,
    /// PEM certificate chain and key, both or neither.
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    /// The name the server's certificate must carry, when it is not the target's host.
    pub server_name: Option<String>,
    /// Accept any certificate: for trying things out, never for production.
    pub allow_insecure: bool,
}

/// Connects, within `timeout`.
///
/// # Errors
/// Names the target and what failed: reading a file, reaching the server, its certificate.
pub async fn connect(target: &Target, tls: &TlsOptions, timeout: Duration) -> Result<Channel, ConnectError> {
    let endpoint = endpoint(target, tls, timeout)?;
    endpoint.connect().await.map_err(|error| ConnectError::new(target, &error))
}

/// A channel that connects at its first call, and again when the connection breaks.
///
/// # Errors
/// When the options can't be used.
pub fn connect_lazy(target: &Target, tls: &TlsOptions, timeout: Duration) -> Result<Channel, ConnectError> {
    Ok(endpoint(target, tls, timeout)?.connect_lazy())
}

fn endpoint(target: &Target, _tls: &TlsOptions, timeout: Duration) -> Result<Endpoint, ConnectError> {
    let endpoint = Endpoint::from_shared(target.uri()).map_err(|error| ConnectError::new(target, &error))?;
    Ok(endpoint.connect_timeout(timeout))
}
