//! Serving gRPC on TCP and on unix sockets: what the agent and the relay do alike.
//!
//! Flows are not for everybody: a TCP listener is loopback, or has TLS, or was told `--tls off`;
//! a unix socket is its owner's alone.

mod tls;

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use self::tls::ServerTls;

/// Why something can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("listen address {address:?}: {source}")]
    Resolve { address: String, source: std::io::Error },
    #[error("cannot listen on {address}: {source}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error(
        "listen address plain://{address}: only a loopback address may be read without TLS beside others with it"
    )]
    NotLoopback { address: SocketAddr },
    #[error(
        "refusing to serve {address} without TLS: anyone who reaches it could read all flows. \
         Give a certificate and key, listen on loopback, or say --tls off"
    )]
    Exposed { address: SocketAddr },
    #[error("cannot make unix socket {}: {source}", path.display())]
    Socket { path: PathBuf, source: std::io::Error },
    #[error("unix socket {}: something that is no socket has this name; move it away", path.display())]
    NoSocket { path: PathBuf },
    #[error("unix socket {}: another process is serving it", path.display())]
    InUse { path: PathBuf },
    #[error("cannot read {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{what} {}: {problem}", path.display())]
    NotPem { what: &'static str, path: PathBuf, problem: String },
    #[error("TLS set-up: {0}")]
    Tls(String),
    #[error("serving: {0}")]
    Serve(tonic::transport::Error),
}

/// Certificate files of a server.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Clients must show a certificate of this CA.
    pub client_ca: Option<PathBuf>,
    /// Files that are not there yet are waited for, and connections refused meanwhile.
    pub may_come_later: bool,
}

/// Sockets that are open and ready to be served.
pub struct Listeners {
    tcp: Vec<TcpListener>,
    /// Without TLS, whatever `tls` says.
    plain: Vec<TcpListener>,
    unix: Vec<(PathBuf, UnixListener)>,
    tls: Option<Arc<ServerTls>>,
}

impl Listeners {
    /// Opens all of them, or none. `plain://` before a loopback address leaves TLS out there: who may enter the
    /// pod's network, by a port forward for instance, was let in by others.
    ///
    /// # Errors
    /// See [`ServeError`]; each names the address or path, and what to do.
    pub async fn bind(
        tcp: &[String],
        unix: &[PathBuf],
        tls: Option<&TlsFiles>,
        tls_off: bool,
    ) -> Result<Self, ServeError> {
        let tls = tls.map(ServerTls::load).transpose()?.map(Arc::new);
        let mut bound = Listeners { tcp: Vec::new(), plain: Vec::new(), unix: Vec::new(), tls };
        for text in tcp.iter().filter(|text| !text.is_empty()) {
            let (host, plain) = text.strip_prefix(PLAIN).map_or((text.as_str(), false), |host| (host, true));
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host(host)
                .await
                .map_err(|source| ServeError::Resolve { address: text.clone(), source })?
                .collect();
            for address in addresses {
                if plain && !address.ip().is_loopback() {
                    return Err(ServeError::NotLoopback { address });
                }
                if !address.ip().is_loopback() && bound.tls.is_none() && !tls_off {
                    return Err(ServeError::Exposed { address });
                }
                let listener = TcpListener::bind(address)
                    .await
                    .map_err(|source| ServeError::Bind { address, source })?;
                if plain { bound.plain.push(listener) } else { bound.tcp.push(listener) }
            }
        }
        for path in unix {
            let listener = bind_unix(path, 0o600).await?;
            bound.unix.push((path.clone(), listener));
        }
        Ok(bound)
    }

    /// Addresses as bound: port 0 has become a real one.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().chain(&self.plain).filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves `routes` on all sockets, if there are any, until `shutdown` turns true; then open calls have
    /// `drain` to end by themselves. Unix sockets are removed.
    ///
    /// # Errors
    /// The first listener that failed.
    pub async fn serve(
        self,
        routes: Routes,
        shutdown: tokio::sync::watch::Receiver<bool>,
        drain: Duration,
    ) -> Result<(), ServeError> {
        let until = |mut shutdown: tokio::sync::watch::Receiver<bool>| async move {
            // A sender that is gone means the same.
            let _ = shutdown.wait_for(|down| *down).await;
        };
        if self.tcp.is_empty() && self.plain.is_empty() && self.unix.is_empty() {
            until(shutdown).await;
            return Ok(());
        }
        let mut servers = tokio::task::JoinSet::new();
        let mut followers = tokio::task::JoinSet::new();
        if let Some(tls) = &self.tls {
            followers.spawn(tls.clone().follow());
        }
        let plain = self.plain.into_iter().map(|listener| (listener, None));
        for (listener, tls) in self.tcp.into_iter().map(|listener| (listener, self.tls.as_ref())).chain(plain)
        {
            let server = builder().add_routes(routes.clone());
            let until = until(shutdown.clone());
            match tls {
                Some(tls) => {
                    let incoming = tls.clone().incoming(listener);
                    servers.spawn(server.serve_with_incoming_shutdown(incoming, until));
                }
                None => {
                    // Without it the end of every answer waits for an acknowledgement: 40 ms. The builder's
                    // own switch does not reach connections that come in by a listener of ours.
                    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                    servers.spawn(server.serve_with_incoming_shutdown(incoming, until));
                }
            }
        }
        let mut paths = Vec::new();
        for (path, listener) in self.unix {
            paths.push(path);
            let incoming = UnixListenerStream::new(listener);
            servers.spawn(
                builder()
                    .add_routes(routes.clone())
                    .serve_with_incoming_shutdown(incoming, until(shutdown.clone())),
            );
        }
        let late = async {
            until(shutdown.clone()).await;
            tokio::time::sleep(drain).await;
        };
        let all = async {
            while let Some(ended) = servers.join_next().await {
                if let Ok(Err(error)) = ended {
                    return Err(ServeError::Serve(error));
                }
            }
            Ok(())
        };
        let result = tokio::select! {
            result = all => result,
            () = late => Ok(()),
        };
        for path in paths {
            let _ = std::fs::remove_file(path);
        }
        result
    }
}

fn builder() -> Server {
    Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
}

/// Before an address: see [`Listeners::bind`].
const PLAIN: &str = "plain://";

/// Suffix of a socket that is still being made.
const MAKING: &str = ".new";

/// Longest path of a socket that [`bind_unix`] can make, in bytes: `sun_path` without the final zero, less
/// what the name is longer while it is being made.
pub const LONGEST_SOCKET_PATH: usize = 107 - MAKING.len();

/// Makes a unix socket with the given mode. A socket nobody serves any more is replaced.
///
/// # Errors
/// [`ServeError::InUse`] when somebody answers on it, [`ServeError::NoSocket`] when something else has the
/// name, else what the system said.
pub async fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Socket { path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    if is_socket(path)? {
        match UnixStream::connect(path).await {
            Ok(_) => return Err(ServeError::InUse { path: path.to_owned() }),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    // Made under another name, closed to others, then moved into place: there is no moment at which
    // the socket is open to more than `mode` says.
    let mut making = path.as_os_str().to_owned();
    making.push(MAKING);
    let making = PathBuf::from(making);
    if is_socket(&making)? {
        std::fs::remove_file(&making).map_err(failed)?;
    }
    let listener = UnixListener::bind(&making).map_err(failed)?;
    std::fs::set_permissions(&making, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    std::fs::rename(&making, path).map_err(failed)?;
    Ok(listener)
}

/// Whether a socket is there that may be replaced. A connection to a plain file is refused just like one
/// to a socket nobody serves, so that the refusal says nothing about what would be deleted.
fn is_socket(path: &Path) -> Result<bool, ServeError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(_) => Err(ServeError::NoSocket { path: path.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ServeError::Socket { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_not_loopback_needs_tls_or_an_explicit_off() {
        let exposed = ["0.0.0.0:0".to_owned()];
        let refused = Listeners::bind(&exposed, &[], None, false).await.err().unwrap();
        assert!(refused.to_string().contains("--tls off"), "{refused}");
        assert!(Listeners::bind(&exposed, &[], None, true).await.is_ok());
        assert!(Listeners::bind(&["127.0.0.1:0".to_owned()], &[], None, false).await.is_ok());
    }

    #[tokio::test]
    async fn without_tls_beside_others_with_it_only_on_loopback() {
        let plain = |address: &str| [format!("plain://{address}")];
        let refused = Listeners::bind(&plain("0.0.0.0:0"), &[], None, false).await.err().unwrap();
        assert!(refused.to_string().contains("plain://0.0.0.0:0"), "{refused}");
        let bound = Listeners::bind(&plain("127.0.0.1:0"), &[], None, false).await.unwrap();
        assert_eq!((bound.tcp.len(), bound.plain.len(), bound.tcp_addresses().len()), (0, 1, 1));
    }

    #[tokio::test]
    async fn with_nothing_to_serve_it_waits_to_be_told_to_end() {
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let nothing = Listeners::bind(&[], &[], None, false).await.unwrap();
        let serving = tokio::spawn(nothing.serve(Routes::default(), stopping, Duration::ZERO));
        tokio::task::yield_now().await;
        assert!(!serving.is_finished());
        stop.send_replace(true);
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/fathom.sock");
        drop(bind_unix(&path, 0o600).await.unwrap());
        let live = bind_unix(&path, 0o600).await.expect("stale one replaced");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind_unix(&path, 0o600).await, Err(ServeError::InUse { .. })));
        drop(live);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fathom.sock");
        for taken in [path.clone(), dir.path().join("fathom.sock.new")] {
            std::fs::write(&taken, "somebody's").unwrap();
            let refused = bind_unix(&path, 0o600).await.unwrap_err();
            assert!(matches!(&refused, ServeError::NoSocket { path } if *path == taken), "{refused}");
            assert_eq!(std::fs::read_to_string(&taken).unwrap(), "somebody's");
            std::fs::remove_file(&taken).unwrap();
            std::os::unix::fs::symlink("/nonexistent/elsewhere", &taken).unwrap();
            let refused = bind_unix(&path, 0o600).await.unwrap_err();
            assert!(matches!(refused, ServeError::NoSocket { .. }), "{refused}");
            std::fs::remove_file(&taken).unwrap();
        }
        bind_unix(&path, 0o600).await.unwrap();
    }

    #[tokio::test]
    async fn the_longest_path_can_be_bound_and_one_longer_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let room = LONGEST_SOCKET_PATH - dir.path().as_os_str().len() - 1;
        bind_unix(&dir.path().join("x".repeat(room)), 0o600).await.unwrap();
        assert!(bind_unix(&dir.path().join("x".repeat(room + 1)), 0o600).await.is_err());
    }

    #[tokio::test]
    async fn a_missing_certificate_is_named() {
        let (cert, key) = ("/nonexistent/a.crt".into(), "/nonexistent/a.key".into());
        let files = TlsFiles { cert, key, ..TlsFiles::default() };
        let error = Listeners::bind(&[], &[], Some(&files), false).await.err().unwrap();
        assert!(error.to_string().contains("/nonexistent/a.crt"), "{error}");
    }
}
