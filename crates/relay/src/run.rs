//! Spawns every task of the relay and waits for the end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use fathom_api::fathom_v1::agent_server::AgentServer;
use fathom_api::fathom_v1::policies_server::PoliciesServer;
use fathom_api::observer_raw::observer_server::ObserverServer;
use fathom_api::serve::{Listeners, TlsFiles};
use tokio::sync::watch;
use tonic::service::Routes;

use crate::agent::RelayAgent;
use crate::config::Config;
use crate::dial::Dialer;
use crate::leading;
use crate::metrics::Metrics;
use crate::peers::{self, Peer, Peers};
use crate::policies::RelayPolicies;
use crate::pool::{Pace, Pool, State};
use crate::service::RelayObserver;

/// Open requests have this long to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting, or made a listener fail.
pub fn run(config: Config) -> anyhow::Result<()> {
    log(&config.log_format);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(serve(config))
}

fn log(format: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FATHOM_LOG").unwrap_or_else(|_| "info".into());
    let colour = colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR"));
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr);
    if format == "json" { lines.json().init() } else { lines.init() }
}

/// Escapes are for people at a terminal, unless they said no (<https://no-color.org>).
fn colours(terminal: bool, no_color: Option<OsString>) -> bool {
    terminal && no_color.is_none_or(|value| value.is_empty())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let fixed = config.peers.iter().map(|text| peers::parse_static(text)).collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(
        !fixed.is_empty() || config.peer_service.is_some(),
        "no agents to attach to: give --peer NAME=TARGET or --peer-service TARGET"
    );
    let dial = Arc::new(Dialer::new(&config.tls)?);
    let listed: BTreeMap<Arc<str>, Peer> =
        fixed.iter().map(|peer| (peer.name.clone(), peer.clone())).collect();
    let (list, known) = watch::channel::<Peers>(Arc::new(listed));
    match &config.peer_service {
        Some(target) => {
            let service =
                Peer { name: "peer-service".into(), target: target.as_str().into(), tls_server_name: None };
            tokio::spawn(peers::follow_service(service, fixed, dial.clone(), list));
        }
        None => drop(list),
    }
    let collecting = leading::start(&config.identities, &config.certificates).await?;
    let mut metrics = Metrics::new();
    if let Some(collecting) = &collecting {
        metrics.add(collecting.metrics());
    }
    let metrics = Arc::new(metrics);
    let pool = Pool::start(known, dial, Pace::retrying(Duration::from_millis(500), config.retry_max));

    let observer = RelayObserver {
        pool: pool.clone(),
        timing: config.timing(),
        relay_name: config.relay_name.as_str().into(),
        metrics: metrics.clone(),
    };
    let agent =
        RelayAgent { pool: pool.clone(), relay_name: observer.relay_name.clone(), metrics: metrics.clone() };
    let (health, health_service) = tonic_health::server::health_reporter();
    let routes = Routes::new(ObserverServer::new(observer))
        .add_service(AgentServer::new(agent))
        .add_service(PoliciesServer::new(RelayPolicies { pool: pool.clone() }))
        .add_service(health_service)
        .add_service(reflection().build_v1().context("reflection")?)
        .add_service(reflection().build_v1alpha().context("reflection")?);

    let tls =
        config.tls.tls_cert_file.as_ref().zip(config.tls.tls_key_file.as_ref()).map(|(cert, key)| TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: config.tls.tls_client_ca_file.clone(),
            may_come_later: config.tls.mode == "wait",
        });
    let sockets: Vec<_> = config.socket.iter().cloned().collect();
    let listeners = Listeners::bind(&config.listen, &sockets, tls.as_ref(), config.tls.mode == "off").await?;
    for address in listeners.tcp_addresses() {
        tracing::info!(%address, "serving flows");
    }
    for path in &sockets {
        tracing::info!(path = %path.display(), "serving flows");
    }

    let (stop, stopping) = watch::channel(false);
    tokio::spawn(report_health(pool.clone(), health.clone()));
    if !config.metrics_listen.is_empty() {
        let address = &config.metrics_listen;
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on --metrics-listen {address}"))?;
        tokio::spawn(async move { axum::serve(listener, http(pool, metrics)).await });
    }
    tokio::spawn(async move {
        signalled().await;
        tracing::info!("shutting down");
        health.set_service_status("hubble.server.Observer", tonic_health::ServingStatus::NotServing).await;
        stop.send_replace(true);
    });
    let served = listeners.serve(routes, stopping, DRAIN).await;
    if let Some(collecting) = collecting {
        collecting.stop().await;
    }
    Ok(served?)
}

/// Serving as long as at least one agent is connected.
async fn report_health(pool: Pool, health: tonic_health::server::HealthReporter) {
    let mut nodes = pool.watch();
    loop {
        let any = nodes.borrow_and_update().values().any(|node| matches!(node.state, State::Connected(_)));
        let status =
            if any { tonic_health::ServingStatus::Serving } else { tonic_health::ServingStatus::NotServing };
        health.set_service_status("hubble.server.Observer", status).await;
        health.set_service_status("", status).await;
        if nodes.changed().await.is_err() {
            return;
        }
    }
}

fn http(pool: Pool, metrics: Arc<Metrics>) -> Router {
    let ready = pool.clone();
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || {
                let nodes = ready.nodes();
                async move {
                    let connected = nodes.values().filter(|n| matches!(n.state, State::Connected(_))).count();
                    let code = if connected > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                    (code, format!("{connected} of {} nodes connected\n", nodes.len()))
                }
            }),
        )
        .route(
            "/metrics",
            get(move || {
                let text = metrics.render(&pool.nodes());
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                async move { ([(header::CONTENT_TYPE, kind)], text) }
            }),
        )
}

/// What clients are told of the services here: those that are, and no other of the same files.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(fathom_api::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    SERVED.into_iter().fold(builder, |builder, name| builder.with_service_name(name))
}

const SERVED: [&str; 6] = [
    "observer.Observer",
    "fathom.v1.Agent",
    "fathom.v1.Policies",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    #[test]
    fn log_lines_are_coloured_for_terminals_that_want_it() {
        assert!(colours(true, None) && colours(true, Some("".into())));
        assert!(!colours(true, Some("1".into())) && !colours(false, None));
    }

    #[tokio::test]
    async fn reflection_lists_what_is_served_and_describes_all_of_it() {
        let mut client = ServerReflectionClient::new(reflection().build_v1().unwrap());
        let mut ask = async |what: MessageRequest| {
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(what) };
            let answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
            answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap()
        };
        let MessageResponse::ListServicesResponse(list) =
            ask(MessageRequest::ListServices(String::new())).await
        else {
            panic!("no list")
        };
        let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, SERVED);
        for name in &SERVED[..5] {
            let answer = ask(MessageRequest::FileContainingSymbol(name.to_string())).await;
            assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{name}: {answer:?}");
        }
    }
}
