//! How a client checks the server and shows who it is itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::unverified::Unverified;
use super::{ConnectError, Target};

/// TLS on the client's side. With none of it set, a target without `tls://` is dialled in plain text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// Where systems keep their authorities, when SSL_CERT_FILE does not say: Debian and Alpine, Fedora
/// old and new, SUSE, the BSDs.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl TlsOptions {
    pub(super) fn apply(&self, endpoint: Endpoint, target: &Target) -> Result<Endpoint, ConnectError> {
        let Some(host) = target.host() else {
            return Err(ConnectError::Options("TLS over a unix socket is not supported".to_owned()));
        };
        let mut config = ClientTlsConfig::new()
            // Servers of old do not say by ALPN that they speak HTTP/2; there is nothing else they could speak.
            .assume_http2(true)
            .domain_name(self.server_name.as_deref().unwrap_or(host));
        if let Some(identity) = self.identity()? {
            config = config.identity(identity);
        }
        let configured = if self.allow_insecure {
            endpoint.tls_config_with_verifier(config, Arc::new(Unverified::new()))
        } else {
            endpoint.tls_config(config.ca_certificates(self.authorities()?))
        };
        configured.map_err(|error| ConnectError::new(target, &error))
    }

    fn identity(&self) -> Result<Option<Identity>, ConnectError> {
        match (&self.client_cert_file, &self.client_key_file) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => {
                let cert = read_pem("client certificate", cert, "CERTIFICATE-----")?;
                let key = read_pem("client key", key, "PRIVATE KEY-----")?;
                Ok(Some(Identity::from_pem(cert, key)))
            }
            (Some(_), None) => {
                Err(ConnectError::Options("a client certificate is given, but not its key".to_owned()))
            }
            (None, Some(_)) => {
                Err(ConnectError::Options("a client key is given, but not its certificate".to_owned()))
            }
        }
    }

    fn authorities(&self) -> Result<Vec<Certificate>, ConnectError> {
        if self.ca_files.is_empty() {
            let system = system_bundle()?;
            return Ok(vec![Certificate::from_pem(read_pem(
                "system CA bundle",
                &system,
                "CERTIFICATE-----",
            )?)]);
        }
        let read =
            |path: &PathBuf| read_pem("CA certificate", path, "CERTIFICATE-----").map(Certificate::from_pem);
        self.ca_files.iter().map(read).collect()
    }
}

fn system_bundle() -> Result<PathBuf, ConnectError> {
    let configured = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.exists());
    let none = "this system has no bundle of certificate authorities: name the server's CA certificate files";
    configured.or(known).ok_or_else(|| ConnectError::Options(none.to_owned()))
}

/// Reads a file and checks that it holds what its name promises, which TLS libraries answer with silence.
fn read_pem(what: &'static str, path: &Path, marker: &str) -> Result<Vec<u8>, ConnectError> {
    let pem =
        std::fs::read(path).map_err(|source| ConnectError::File { what, path: path.to_owned(), source })?;
    if pem.windows(marker.len()).any(|part| part == marker.as_bytes()) {
        Ok(pem)
    } else {
        Err(ConnectError::NotPem { what, path: path.to_owned() })
    }
}
