//! How to reach the API server.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Time for a connection to come about; who waits longer tries again.
const CONNECT: Duration = Duration::from_secs(5);

/// A client, and what to call the server in messages.
#[derive(Clone)]
pub struct Connection {
    pub client: Client,
    /// "https://10.96.0.1:443".
    pub address: String,
}

/// Makes a client; does not connect yet, so that a server that is away is no error.
///
/// With a kubeconfig its current context counts; without one the service account of the pod, whose token is
/// read again when it is renewed.
///
/// # Errors
/// The kubeconfig or the service account cannot be read.
pub async fn connect(kubeconfig: Option<&Path>, agent: &str) -> anyhow::Result<Connection> {
    let mut config = match kubeconfig {
        Some(path) => {
            let read = || format!("read the kubeconfig {}", path.display());
            let file = Kubeconfig::read_from(path).with_context(read)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.with_context(read)?
        }
        None => Config::incluster().context(
            "read the pod's service account: outside of a pod give --kubeconfig, or --objects for a directory",
        )?,
    };
    config.connect_timeout = Some(CONNECT);
    let agent = format!("{agent}/{}", env!("CARGO_PKG_VERSION"));
    if let Ok(agent) = agent.parse() {
        config.headers.push((http::header::USER_AGENT, agent));
    }
    let address = config.cluster_url.to_string();
    let address = address.trim_end_matches('/').to_owned();
    let client = Client::try_from(config).with_context(|| format!("make a client for {address}"))?;
    Ok(Connection { client, address })
}

/// Whether this process runs in a pod that may speak with the API server.
pub fn in_a_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        && Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()
}

/// An error of the client in one line, with what to do where that is known.
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => format!("{} (401): the token is not accepted, or has expired", status.message),
            403 => format!("{} (403): are the manifests' roles applied?", status.message),
            code => format!("{} ({code})", status.message),
        },
        other => chain(other),
    }
}

/// Every cause once, from the outside in.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
