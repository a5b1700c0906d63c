//! `/metrics`, `/healthz` and `/readyz` over plain HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the agent still waits for, by name: ready when nothing is left.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// `what` ("kernel", "objects") is not there yet, and why.
    pub fn wait_for(&self, what: &'static str, why: impl Into<String>) {
        self.lock().insert(what, why.into());
    }

    /// `what` is there.
    pub fn reached(&self, what: &'static str) {
        self.lock().remove(what);
    }

    /// "what: why" for each that is not there.
    pub fn missing(&self) -> Vec<String> {
        self.lock().iter().map(|(what, why)| format!("{what}: {why}")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Metrics of the whole agent: every part registers its own.
pub type SharedRegistry = Arc<Mutex<Registry>>;

/// The routes.
pub fn router(registry: SharedRegistry, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry)
        .route("/healthz", get(async || "ok\n"))
        .merge(Router::new().route("/readyz", get(ready)).with_state(readiness))
}

/// Serves the routes until `shutdown` turns true.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    mut shutdown: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let down = async move {
        // A sender that is gone means the same.
        let _ = shutdown.wait_for(|down| *down).await;
    };
    axum::serve(listener, router).with_graceful_shutdown(down).await
}

async fn metrics(State(registry): State<SharedRegistry>) -> impl IntoResponse {
    let mut text = String::new();
    let encoded = encode(&mut text, &registry.lock().unwrap_or_else(PoisonError::into_inner));
    match encoded {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}\n")).into_response(),
    }
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let missing = readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".into());
    }
    let lines: String = missing.iter().map(|line| format!("waiting for {line}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}
