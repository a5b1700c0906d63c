//! Certificates that change while a server runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fathom_api::connect::{Target, TlsOptions, connect};
use fathom_api::serve::{Listeners, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

const TIMEOUT: Duration = Duration::from_secs(5);
const NAME: &str = "agent.example";

type Ca = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate of `ca` with its key, and the CA that clients' certificates must have.
fn write(dir: &Path, prefix: &str, ca: &Ca) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    for (name, text) in [("crt", certificate.pem()), ("key", key.serialize_pem()), ("ca", ca.pem())] {
        // As kubelet does it: the new one takes the old one's place at once.
        let path = dir.join(format!("{prefix}.{name}"));
        std::fs::write(path.with_extension("new"), text).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }
}

struct Server {
    target: Target,
    reporter: HealthReporter,
    _stop: watch::Sender<bool>,
}

async fn serve(files: TlsFiles) -> Server {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let listeners = Listeners::bind(&["127.0.0.1:0".to_owned()], &[], Some(&files), false).await.unwrap();
    let target = listeners.tcp_addresses()[0].to_string().parse().unwrap();
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(listeners.serve(Routes::new(health), stopping, TIMEOUT));
    Server { target, reporter, _stop: stop }
}

fn server_files(dir: &Path) -> TlsFiles {
    let path = |name: &str| dir.join(name);
    TlsFiles {
        cert: path("server.crt"),
        key: path("server.key"),
        client_ca: Some(path("server.ca")),
        may_come_later: false,
    }
}

fn client(dir: &Path, prefix: &str, trust: PathBuf) -> TlsOptions {
    TlsOptions {
        enabled: true,
        ca_files: vec![trust],
        client_cert_file: Some(dir.join(format!("{prefix}.crt"))),
        client_key_file: Some(dir.join(format!("{prefix}.key"))),
        server_name: Some(NAME.into()),
        ..TlsOptions::default()
    }
}

async fn works(target: &Target, tls: &TlsOptions) -> bool {
    match connect(target, tls, TIMEOUT).await {
        Ok(channel) => HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok(),
        Err(_) => false,
    }
}

async fn comes_to_work(target: &Target, tls: &TlsOptions) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !works(target, tls).await {
        assert!(tokio::time::Instant::now() < deadline, "the new certificate is not shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_new_authority_and_certificate_count_at_once_and_an_open_stream_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (old, new) = (authority(), authority());
    write(dir, "server", &old);
    write(dir, "old", &old);
    write(dir, "new", &new);
    let (old_client, new_client) =
        (client(dir, "old", dir.join("old.ca")), client(dir, "new", dir.join("new.ca")));
    let server = serve(server_files(dir)).await;
    assert!(works(&server.target, &old_client).await);
    assert!(!works(&server.target, &new_client).await);

    let channel = connect(&server.target, &old_client, TIMEOUT).await.unwrap();
    let mut stream =
        HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status, ServingStatus::Serving as i32);

    write(dir, "server", &new);
    comes_to_work(&server.target, &new_client).await;
    assert!(!works(&server.target, &old_client).await, "the old authority counts no longer");
    server.reporter.set_service_status("", ServingStatus::NotServing).await;
    assert_eq!(stream.message().await.unwrap().unwrap().status, ServingStatus::NotServing as i32);
}

#[tokio::test]
async fn a_half_done_rotation_leaves_the_old_certificate_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (old, other) = (authority(), authority());
    write(dir, "server", &old);
    write(dir, "old", &old);
    write(dir, "other", &other);
    let old_client = client(dir, "old", dir.join("old.ca"));
    let server = serve(server_files(dir)).await;
    // The key of another certificate: the next file would have come in a moment.
    std::fs::copy(dir.join("other.key"), dir.join("server.key")).unwrap();
    std::fs::write(dir.join("server.ca"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(works(&server.target, &old_client).await);
    write(dir, "server", &other);
    comes_to_work(&server.target, &client(dir, "other", dir.join("other.ca"))).await;
}

#[tokio::test]
async fn files_that_come_later_are_waited_for_where_that_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ca = authority();
    write(dir, "client", &ca);
    let server = serve(TlsFiles { may_come_later: true, ..server_files(dir) }).await;
    let tls = client(dir, "client", dir.join("client.ca"));
    assert!(!works(&server.target, &tls).await, "nobody is let in without a certificate");
    write(dir, "server", &ca);
    comes_to_work(&server.target, &tls).await;
}

#[tokio::test]
async fn a_client_that_dawdles_with_its_handshake_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ca = authority();
    write(dir, "server", &ca);
    write(dir, "client", &ca);
    let server = serve(server_files(dir)).await;
    let address = server.target.to_string();
    let address = address.rsplit('/').next().unwrap().to_owned();
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    assert!(works(&server.target, &client(dir, "client", dir.join("client.ca"))).await);
}
