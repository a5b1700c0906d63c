//! Health check ports of services whose policy for clients outside is Local: a load balancer asks a node there
//! whether it has a backend.
//!
//! <https://kubernetes.io/docs/tutorials/services/source-ip/#source-ip-for-services-with-type-loadbalancer>

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::control::services::Health;

/// What every port has to say.
pub type Ports = BTreeMap<u16, Health>;

/// Time until another attempt at a port that somebody else has.
const RETRY: Duration = Duration::from_secs(10);

/// Keeps a server at every wanted port, until `stop`.
pub async fn keep(mut ports: watch::Receiver<Ports>, stop: CancellationToken) {
    let mut servers: BTreeMap<u16, JoinHandle<()>> = BTreeMap::new();
    let mut said = BTreeSet::new();
    loop {
        let wanted: BTreeSet<u16> = ports.borrow_and_update().keys().copied().collect();
        servers.retain(|port, server| {
            let stays = wanted.contains(port) && !server.is_finished();
            if !stays {
                server.abort();
            }
            stays
        });
        let mut missing = false;
        for port in wanted {
            if servers.contains_key(&port) {
                continue;
            }
            match listen(port).await {
                Ok(listener) => {
                    said.remove(&port);
                    servers.insert(port, tokio::spawn(serve(listener, port, ports.clone())));
                }
                Err(error) => {
                    missing = true;
                    if said.insert(port) {
                        tracing::warn!(error = format!("{error:#}"), "a health check port is not served");
                    }
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = ports.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(RETRY), if missing => {}
        }
    }
    for server in servers.values() {
        server.abort();
    }
}

/// At every address of the node; where the kernel has no IPv6, of IPv4.
async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let any =
        [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
    TcpListener::bind(&any[..]).await.with_context(|| format!("listen on port {port}"))
}

async fn serve(listener: TcpListener, port: u16, ports: watch::Receiver<Ports>) {
    let router = Router::new().fallback(answer).with_state((port, ports));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!(%error, port, "a health check port ended");
    }
}

/// 200 with an endpoint here, else 503; the body is the one that load balancers' tools know.
async fn answer(State((port, ports)): State<(u16, watch::Receiver<Ports>)>) -> impl IntoResponse {
    let health = ports.borrow().get(&port).cloned();
    let Some(health) = health else { return StatusCode::NOT_FOUND.into_response() };
    let status = if health.local_endpoints > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({
        "service": { "namespace": &*health.namespace, "name": &*health.name },
        "localEndpoints": health.local_endpoints,
        "serviceProxyHealthy": true,
    });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(port: u16) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// Asks until the answer holds all words; an answer is wanted within seconds.
    async fn until(port: u16, words: &[&str]) -> String {
        let wait = async {
            loop {
                match ask(port).await {
                    Ok(text) if words.iter().all(|word| text.contains(word)) => return text,
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("an answer")
    }

    #[tokio::test]
    async fn a_port_says_whether_there_is_an_endpoint_and_goes_with_its_service() {
        let port = TcpListener::bind("[::]:0").await.unwrap().local_addr().unwrap().port();
        let health = |local_endpoints| Health { namespace: "d".into(), name: "web".into(), local_endpoints };
        let (sender, ports) = watch::channel(Ports::from([(port, health(2))]));
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep(ports, stop.clone()));
        let text = until(port, &["HTTP/1.1 200", "\"localEndpoints\":2"]).await;
        assert!(text.contains("\"name\":\"web\""), "{text}");
        sender.send_replace(Ports::from([(port, health(0))]));
        until(port, &["HTTP/1.1 503", "\"localEndpoints\":0"]).await;
        sender.send_replace(Ports::new());
        while ask(port).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        keeper.await.unwrap();
    }
}
