//! How long an event takes from the kernel to a client that follows, when little happens.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fathom_api::connect::{self, Target, TlsOptions};
use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::observer::observer_client::ObserverClient;
use fathom_lab::{Lab, Source, Where};

use crate::cli::Effort;
use crate::figure::figure;
use crate::stage::{self, CLIENT, NODE};

const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(500);
/// After the last connection.
const GRACE: Duration = Duration::from_secs(3);

/// Follows agent and relay at once, while two connections a second come and go.
///
/// # Errors
/// When a stream breaks, or nothing arrives.
pub fn run(effort: Effort, lab: &Lab) -> Result<()> {
    let connections = effort.of(10, 40);
    let length = BETWEEN_CONNECTIONS * connections + GRACE;
    let sources =
        [("agent", lab.server(&Source::Node(NODE.to_owned()))), ("relay", lab.server(&Source::Relay))];
    let target = stage::server(lab)?;
    let followed = std::thread::scope(|scope| {
        let followers = sources.map(|(name, server)| scope.spawn(move || (name, lags(&server, length))));
        for _ in 0..connections {
            std::thread::sleep(BETWEEN_CONNECTIONS);
            let probe = lab.probe(CLIENT, Where::Inside, &["connect", &target, "--timeout", "1000"]);
            probe.and_then(|output| output.ok()).context("connect for the trickle")?;
        }
        let join = |f: std::thread::ScopedJoinHandle<'_, _>| f.join().expect("a follower does not panic");
        Ok::<_, anyhow::Error>(followers.map(join))
    })?;
    for (name, lags) in followed {
        let lags = lags.with_context(|| format!("follow the {name}"))?;
        ensure!(lags.len() >= connections as usize, "the {name} sent {} flows", lags.len());
        let at = |percent: usize| lags[(lags.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        figure(&format!("follow.{name}.p50"), at(50), "ms");
        figure(&format!("follow.{name}.p99"), at(99), "ms");
        figure(&format!("follow.{name}.flows"), lags.len() as f64, "");
    }
    Ok(())
}

/// How old each flow is when it arrives, sorted.
fn lags(server: &str, length: Duration) -> Result<Vec<Duration>> {
    let target: Target = server.parse().context("name the server's socket")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut lags = runtime.block_on(async {
        let channel = connect::connect(&target, &TlsOptions::default(), GRACE).await?;
        let mut client = ObserverClient::new(channel);
        let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
        let begun = fathom_api::time::now();
        let mut stream = client.get_flows(request).await.context("follow flows")?.into_inner();
        let mut lags = Vec::new();
        let end = tokio::time::Instant::now() + length;
        while let Ok(next) = tokio::time::timeout_at(end, stream.message()).await {
            let response = next.context("read flows")?.context("the stream ended")?;
            let now = fathom_api::time::now();
            let Some(ResponseTypes::Flow(flow)) = response.response_types else { continue };
            let time = fathom_api::time::unix_ns(&flow.time.context("a flow without its time")?);
            if time > begun {
                lags.push(Duration::from_nanos(u64::try_from(now - time).unwrap_or(0)));
            }
        }
        Ok::<_, anyhow::Error>(lags)
    })?;
    lags.sort_unstable();
    Ok(lags)
}
