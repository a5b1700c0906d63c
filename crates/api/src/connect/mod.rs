//! Client channels to agents and relays: one way to read targets and TLS options for everybody.

mod error;
mod target;
mod tls;
mod unverified;

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

pub use error::ConnectError;
pub use target::Target;
pub use tls::TlsOptions;

/// Bytes of one stream that may be under way: flows come in bursts, and a window of 64 KiB would
/// stall each burst for a round trip.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// What all streams of one connection may have under way, for a client that reads many at once: as
/// good as no limit. Each stream has its own; a limit on their sum is used up by a few that nobody
/// reads, and then starves the others, health checks among them.
const SHARED_WINDOW: u32 = (1 << 31) - 1;

/// A peer that vanished without a word is found out by TCP. HTTP/2 pings would be quicker, but Go
/// servers close connections that ping more often than every five minutes.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects, handshakes included, within `timeout`.
///
/// # Errors
/// Names the target and what failed: reading a file, reaching the server, its certificate.
pub async fn connect(target: &Target, tls: &TlsOptions, timeout: Duration) -> Result<Channel, ConnectError> {
    open(target, endpoint(target, tls, timeout)?, timeout).await
}

/// Connects like [`connect`], for a client that reads many streams from each of many servers: what
/// each stream may have under way is an eighth, since they add up.
///
/// # Errors
/// Those of [`connect`].
pub async fn connect_as_one_of_many(
    target: &Target,
    tls: &TlsOptions,
    timeout: Duration,
) -> Result<Channel, ConnectError> {
    let endpoint = endpoint(target, tls, timeout)?
        .initial_stream_window_size(STREAM_WINDOW / 8)
        .initial_connection_window_size(SHARED_WINDOW);
    open(target, endpoint, timeout).await
}

async fn open(target: &Target, endpoint: Endpoint, timeout: Duration) -> Result<Channel, ConnectError> {
    match tokio::time::timeout(timeout, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| ConnectError::new(target, &error)),
        Err(_) => Err(ConnectError::Unreachable {
            target: target.to_string(),
            problem: format!("no answer within {timeout:?}"),
        }),
    }
}

/// A channel that connects at its first call, and again when the connection breaks.
///
/// # Errors
/// When the options can't be used.
pub fn connect_lazy(target: &Target, tls: &TlsOptions, timeout: Duration) -> Result<Channel, ConnectError> {
    Ok(endpoint(target, tls, timeout)?.connect_lazy())
}

fn endpoint(target: &Target, tls: &TlsOptions, timeout: Duration) -> Result<Endpoint, ConnectError> {
    let encrypted = tls.enabled || target.asks_for_tls();
    let plain = Endpoint::from_shared(target.uri(encrypted))
        .map_err(|error| ConnectError::new(target, &error))?
        .connect_timeout(timeout)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    if encrypted { tls.apply(plain, target) } else { Ok(plain) }
}
