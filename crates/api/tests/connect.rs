//! Channels to real servers: plain, TLS, mutual TLS, unix socket; and what goes wrong, by name.

use std::path::PathBuf;
use std::time::Duration;

use fathom_api::connect::{ConnectError, Target, TlsOptions, connect, connect_lazy};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::{Certificate, Channel, Identity, Server, ServerTlsConfig};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const TIMEOUT: Duration = Duration::from_secs(5);

/// An authority, a server certificate for "agent.example" and a client certificate, as files.
struct Pki {
    dir: tempfile::TempDir,
    server: Identity,
    ca: Certificate,
}

impl Pki {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("CA");
        let issue = |name: &str| {
            let key = KeyPair::generate().expect("key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("params");
            (params.signed_by(&key, &ca).expect("certificate").pem(), key.serialize_pem())
        };
        let (server_cert, server_key) = issue("agent.example");
        let (client_cert, client_key) = issue("client.example");
        let pki = Pki {
            server: Identity::from_pem(server_cert, server_key),
            ca: Certificate::from_pem(ca.pem()),
            dir,
        };
        for (name, content) in [("ca.pem", ca.pem()), ("client.pem", client_cert), ("client.key", client_key)]
        {
            std::fs::write(pki.path(name), content).expect("write");
        }
        std::fs::write(pki.path("empty.pem"), "nothing here").expect("write");
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a client needs to trust the server.
    fn trust(&self) -> TlsOptions {
        TlsOptions {
            enabled: true,
            ca_files: vec![self.path("ca.pem")],
            server_name: Some("agent.example".into()),
            ..Default::default()
        }
    }
}

/// Serves gRPC health on a port of its own, with TLS when asked; the server lives as long as the test.
async fn serve(tls: Option<ServerTlsConfig>) -> Target {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).expect("TLS");
    }
    tokio::spawn(server.add_service(health).serve_with_incoming(TcpListenerStream::new(listener)));
    format!("127.0.0.1:{port}").parse().expect("target")
}

async fn answers(channel: Channel) -> bool {
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok()
}

async fn refused(target: &Target, tls: &TlsOptions) -> String {
    match connect(target, tls, TIMEOUT).await {
        Err(error) => error.to_string(),
        // TLS 1.3 clients learn only with the first answer that the server did not want them.
        Ok(channel) => {
            let status = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
            format!("{:?}", status.expect_err("the call must fail"))
        }
    }
}

#[tokio::test]
async fn plain_targets_and_unix_sockets_connect() {
    let target = serve(None).await;
    assert!(answers(connect(&target, &TlsOptions::default(), TIMEOUT).await.expect("connects")).await);
    assert!(answers(connect_lazy(&target, &TlsOptions::default(), TIMEOUT).expect("lazily")).await);

    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("with space.sock");
    let (_reporter, health) = tonic_health::server::health_reporter();
    let incoming = UnixListenerStream::new(UnixListener::bind(&path).expect("bind"));
    tokio::spawn(Server::builder().add_service(health).serve_with_incoming(incoming));
    let target: Target = format!("unix://{}", path.display()).parse().expect("target");
    assert!(answers(connect(&target, &TlsOptions::default(), TIMEOUT).await.expect("connects")).await);
    let error =
        connect(&target, &TlsOptions { enabled: true, ..Default::default() }, TIMEOUT).await.unwrap_err();
    assert!(matches!(error, ConnectError::Options(_)), "{error}");
}

#[tokio::test]
async fn certificates_are_checked_unless_told_otherwise() {
    let pki = Pki::new();
    let target = serve(Some(ServerTlsConfig::new().identity(pki.server.clone()))).await;
    assert!(answers(connect(&target, &pki.trust(), TIMEOUT).await.expect("connects")).await);

    let wrong_name = TlsOptions { server_name: Some("other.example".into()), ..pki.trust() };
    let error = refused(&target, &wrong_name).await;
    assert!(error.contains("other.example"), "{error}");

    let stranger = Pki::new();
    let unknown = TlsOptions { ca_files: vec![stranger.path("ca.pem")], ..pki.trust() };
    let error = refused(&target, &unknown).await;
    assert!(error.contains("certificate"), "{error}");

    let insecure = TlsOptions { allow_insecure: true, ca_files: vec![], ..wrong_name };
    assert!(answers(connect(&target, &insecure, TIMEOUT).await.expect("connects")).await);
    let by_scheme: Target = format!("tls://{target}").parse().expect("target");
    let trust = TlsOptions { enabled: false, ..pki.trust() };
    assert!(answers(connect(&by_scheme, &trust, TIMEOUT).await.expect("connects")).await);
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_is_asked_for() {
    let pki = Pki::new();
    let tls = ServerTlsConfig::new().identity(pki.server.clone()).client_ca_root(pki.ca.clone());
    let target = serve(Some(tls)).await;
    let shown = TlsOptions {
        client_cert_file: Some(pki.path("client.pem")),
        client_key_file: Some(pki.path("client.key")),
        ..pki.trust()
    };
    assert!(answers(connect(&target, &shown, TIMEOUT).await.expect("connects")).await);
    refused(&target, &pki.trust()).await;

    let half = TlsOptions { client_key_file: None, ..shown.clone() };
    assert!(refused(&target, &half).await.contains("not its key"));
    let swapped = TlsOptions { client_key_file: Some(pki.path("client.pem")), ..shown.clone() };
    assert!(refused(&target, &swapped).await.contains("no client key in PEM form"));
}

#[tokio::test]
async fn files_and_servers_that_are_missing_are_named() {
    let pki = Pki::new();
    let target: Target = "127.0.0.1:1".parse().expect("target");
    let missing = TlsOptions { ca_files: vec![pki.path("missing.pem")], ..pki.trust() };
    assert!(refused(&target, &missing).await.contains("missing.pem"));
    let empty = TlsOptions { ca_files: vec![pki.path("empty.pem")], ..pki.trust() };
    assert!(refused(&target, &empty).await.contains("holds no CA certificate"));
    let nobody = refused(&target, &TlsOptions::default()).await;
    assert!(nobody.contains("127.0.0.1:1") && nobody.contains("refused"), "{nobody}");
    let no_socket = refused(&"unix:///nowhere/x.sock".parse().expect("target"), &TlsOptions::default()).await;
    assert!(no_socket.contains("/nowhere/x.sock") && no_socket.contains("No such file"), "{no_socket}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    // Accepts into its backlog and says nothing: the TLS handshake hangs.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let target: Target = listener.local_addr().expect("address").to_string().parse().expect("target");
    let started = std::time::Instant::now();
    let tls = TlsOptions { enabled: true, allow_insecure: true, ..Default::default() };
    let error = connect(&target, &tls, Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains("200ms") && started.elapsed() < TIMEOUT, "{error}");
}
