//! The certificate a server shows, read again when its files change: a rotation needs no restart, and
//! connections that are open go on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::{ServeError, TlsFiles};

/// Time between looks at the files.
const LOOK: Duration = Duration::from_secs(2);
/// A client that has not finished its handshake by then is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at once, per listener; more wait in the kernel.
const HANDSHAKES: usize = 256;

/// What [`ServerTls::incoming`] yields.
pub type Incoming = ReceiverStream<io::Result<TlsStream<TcpStream>>>;

/// Certificate, key and client CA as they are in their files now.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    config: Option<Arc<ServerConfig>>,
    /// What `config` was made of.
    read: Option<Contents>,
    /// What is wrong with the files now.
    problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl ServerTls {
    /// Reads the files. With [`TlsFiles::may_come_later`] they may be missing: until they are there,
    /// connections are refused.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub fn load(files: &TlsFiles) -> Result<Self, ServeError> {
        let tls = ServerTls { files: files.clone(), current: Mutex::default() };
        match tls.read() {
            Ok((contents, config)) => tls.set(contents, config),
            Err(ServeError::File { path, source, .. })
                if files.may_come_later && source.kind() == io::ErrorKind::NotFound =>
            {
                tracing::warn!("no {} yet: connections are refused until it is there", path.display());
            }
            Err(error) => return Err(error),
        }
        Ok(tls)
    }

    fn set(&self, contents: Contents, config: Arc<ServerConfig>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Current { config: Some(config), read: Some(contents), problem: None };
    }

    fn config(&self) -> Option<Arc<ServerConfig>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    fn contents(&self) -> Result<Contents, ServeError> {
        let read = |what, path: &Path| {
            std::fs::read(path).map_err(|source| ServeError::File { what, path: path.to_owned(), source })
        };
        Ok(Contents {
            cert: read("certificate", &self.files.cert)?,
            key: read("key", &self.files.key)?,
            client_ca: self.files.client_ca.as_ref().map(|path| read("client CA", path)).transpose()?,
        })
    }

    fn read(&self) -> Result<(Contents, Arc<ServerConfig>), ServeError> {
        let contents = self.contents()?;
        let config = self.build(&contents)?;
        Ok((contents, config))
    }

    fn build(&self, contents: &Contents) -> Result<Arc<ServerConfig>, ServeError> {
        let certificates = certificates("certificate", &self.files.cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|error| not_pem("key", &self.files.key, &error.to_string()))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ServeError::Tls(error.to_string()))?;
        let builder = match (&self.files.client_ca, &contents.client_ca) {
            (Some(path), Some(ca)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates_of_ca(path, ca)? {
                    roots.add(certificate).map_err(|e| not_pem("client CA", path, &e.to_string()))?;
                }
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder
                    .with_client_cert_verifier(verifier.map_err(|error| ServeError::Tls(error.to_string()))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(|error| ServeError::Tls(format!("{}: {error}", self.files.cert.display())))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// Takes in what changed; true when the certificate is another now. Files that make no sense leave the
    /// old one in force: a rotation may be half done.
    fn renew(&self) -> bool {
        let result = self.contents().and_then(|contents| {
            let known = self.current.lock().unwrap_or_else(PoisonError::into_inner).read.clone();
            if known.as_ref() == Some(&contents) {
                Ok(None)
            } else {
                self.build(&contents).map(|c| Some((contents, c)))
            }
        });
        match result {
            Ok(None) => {
                self.current.lock().unwrap_or_else(PoisonError::into_inner).problem = None;
                false
            }
            Ok(Some((contents, config))) => {
                self.set(contents, config);
                tracing::info!(certificate = %self.files.cert.display(), "certificate read anew");
                true
            }
            Err(error) => {
                let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                let problem = error.to_string();
                if current.config.is_some() && current.problem.as_ref() != Some(&problem) {
                    tracing::warn!("{problem}; the last good certificate stays in force");
                }
                current.problem = Some(problem);
                false
            }
        }
    }

    /// Looks at the files again and again; never ends.
    pub async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = self.clone();
            let _ = tokio::task::spawn_blocking(move || tls.renew()).await;
        }
    }

    /// Connections whose handshake succeeded. Handshakes run beside each other: one that dawdles holds up
    /// nobody.
    pub fn incoming(self: Arc<Self>, listener: TcpListener) -> Incoming {
        let (sender, receiver) = mpsc::channel(16);
        let room = Arc::new(Semaphore::new(HANDSHAKES));
        tokio::spawn(async move {
            loop {
                let Ok(permit) = room.clone().acquire_owned().await else { return };
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = sender.closed() => return,
                };
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Of one connection, or for want of descriptors: in a moment it is better.
                        tracing::debug!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                };
                let Some(config) = self.config() else { continue };
                let sender = sender.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    // Without it the end of every answer waits for an acknowledgement: 40 ms.
                    let _ = stream.set_nodelay(true);
                    let handshake = TlsAcceptor::from(config).accept(stream);
                    match tokio::time::timeout(HANDSHAKE, handshake).await {
                        Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                });
            }
        });
        ReceiverStream::new(receiver)
    }
}

fn certificates(
    what: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(not_pem(what, path, "no certificate in it")),
        Err(error) => Err(not_pem(what, path, &error.to_string())),
    }
}

fn certificates_of_ca(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    certificates("client CA", path, pem)
}

fn not_pem(what: &'static str, path: &Path, problem: &str) -> ServeError {
    ServeError::NotPem { what, path: PathBuf::from(path), problem: problem.to_owned() }
}
