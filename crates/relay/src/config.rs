//! What the relay can be told: flags, and the same as FATHOM_ environment variables.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use fathom_kubernetes::certificates::Lives;

/// Fans in every node's flows and serves them as one stream.
#[derive(Clone, Debug, Parser)]
#[command(name = "fathom-relay", version, about, long_about = None)]
pub struct Config {
    /// Address to serve gRPC on; loopback unless TLS is set up or --tls off says it may be read by anyone.
    /// plain:// before a loopback address leaves TLS out there
    #[arg(
        long,
        env = "FATHOM_LISTEN",
        default_value = "127.0.0.1:4245",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub listen: Vec<String>,

    /// Unix socket to serve gRPC on as well
    #[arg(long, env = "FATHOM_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Address of /metrics, /healthz and /readyz; empty = none
    #[arg(long, env = "FATHOM_METRICS_LISTEN", default_value = "127.0.0.1:9966", value_name = "HOST:PORT")]
    pub metrics_listen: String,

    /// An agent, by name and target; may be given several times
    #[arg(long = "peer", env = "FATHOM_PEERS", value_delimiter = ',', value_name = "NAME=TARGET")]
    pub peers: Vec<String>,

    /// Where to ask for the list of agents: host:port, tls://host:port or unix:///path
    #[arg(long, env = "FATHOM_PEER_SERVICE", value_name = "TARGET")]
    pub peer_service: Option<String>,

    /// Name the relay gives itself in its own messages
    #[arg(long, env = "FATHOM_RELAY_NAME", default_value = "relay", value_name = "NAME")]
    pub relay_name: String,

    /// How long a flow is held for nodes that could still deliver an earlier one, when following
    #[arg(long, env = "FATHOM_MERGE_WAIT", default_value = "50ms", value_parser = duration, value_name = "DURATION")]
    pub merge_wait: Duration,

    /// How long a request that does not follow waits for a node that says nothing, before it is answered without
    #[arg(long, env = "FATHOM_SLOW_NODE_WAIT", default_value = "3s", value_parser = duration, value_name = "DURATION")]
    pub slow_node_wait: Duration,

    /// Longest pause between two tries to reach a node
    #[arg(long, env = "FATHOM_RETRY_MAX", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub retry_max: Duration,

    #[command(flatten)]
    pub tls: Tls,

    #[command(flatten)]
    pub identities: Identities,

    #[command(flatten)]
    pub certificates: Certificates,

    /// How log lines look
    #[arg(long, env = "FATHOM_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"], value_name = "FORMAT")]
    pub log_format: String,
}

/// Giving up identity numbers that no agent uses; done by one of all relays, where there is an API server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Identities")]
pub struct Identities {
    /// The API server that this kubeconfig's current context names [default: the pod's]
    #[arg(long, env = "FATHOM_KUBECONFIG", value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace of the Lease by which one relay leads [default: the pod's]
    #[arg(long, env = "FATHOM_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// Name of this relay among relays [default: the host's name, which in a pod is the pod's]
    #[arg(long, env = "FATHOM_POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,

    /// How long an identity is kept that no agent says it uses: at least 3 times the agents' --identity-refresh
    #[arg(long, env = "FATHOM_IDENTITY_GRACE", default_value = "30m", value_parser = duration, value_name = "DURATION")]
    pub identity_grace: Duration,
}

/// Making and renewing the certificates of agents, relay and clients; done by one of all relays.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Certificates")]
pub struct Certificates {
    /// Keep an authority of Fathom's own and its certificates, in the Secrets fathom-authority, fathom-agent-tls,
    /// fathom-relay-tls and fathom-client-tls of the relay's namespace
    #[arg(long, env = "FATHOM_KEEP_CERTIFICATES")]
    pub keep_certificates: bool,

    /// Name of the cluster, which is part of agents' names in certificates
    #[arg(long, env = "FATHOM_CLUSTER_NAME", default_value = "default", value_name = "NAME")]
    pub cluster_name: String,

    /// How long a certificate counts; it is replaced after two thirds of that
    #[arg(long, env = "FATHOM_CERTIFICATE_LIFE", default_value = "7d", value_parser = duration, value_name = "DURATION")]
    pub certificate_life: Duration,

    /// How long an authority counts; likewise
    #[arg(long, env = "FATHOM_AUTHORITY_LIFE", default_value = "365d", value_parser = duration, value_name = "DURATION")]
    pub authority_life: Duration,

    /// Longest time from a change of a Secret until it is in the files of every pod
    #[arg(long, env = "FATHOM_CERTIFICATE_OVERLAP", default_value = "1h", value_parser = duration, value_name = "DURATION")]
    pub certificate_overlap: Duration,
}

impl Certificates {
    /// # Errors
    /// Lives that leave no time to rotate.
    pub fn lives(&self) -> anyhow::Result<Lives> {
        let lives = Lives {
            authority: self.authority_life,
            certificate: self.certificate_life,
            overlap: self.certificate_overlap,
        };
        lives.check().map_err(anyhow::Error::msg)?;
        Ok(lives)
    }
}

/// Certificates towards clients and towards agents.
#[derive(Clone, Debug, clap::Args)]
pub struct Tls {
    /// "off" lets clients read without TLS on addresses that are not loopback; "wait" refuses connections until
    /// the certificate's files are there
    #[arg(long = "tls", env = "FATHOM_TLS", default_value = "auto", value_parser = ["auto", "wait", "off"], value_name = "MODE")]
    pub mode: String,

    /// Certificate shown to clients (PEM)
    #[arg(long, env = "FATHOM_TLS_CERT_FILE", requires = "tls_key_file", value_name = "PATH")]
    pub tls_cert_file: Option<PathBuf>,

    /// Key of that certificate (PEM)
    #[arg(long, env = "FATHOM_TLS_KEY_FILE", requires = "tls_cert_file", value_name = "PATH")]
    pub tls_key_file: Option<PathBuf>,

    /// Clients must show a certificate of one of these CAs (PEM)
    #[arg(long, env = "FATHOM_TLS_CLIENT_CA_FILE", requires = "tls_cert_file", value_name = "PATH")]
    pub tls_client_ca_file: Option<PathBuf>,

    /// CAs that agents' certificates are checked against (PEM); set = agents are dialled with TLS
    #[arg(long, env = "FATHOM_TLS_AGENT_CA_FILE", value_delimiter = ',', value_name = "PATH")]
    pub tls_agent_ca_file: Vec<PathBuf>,

    /// Certificate shown to agents (PEM)
    #[arg(long, env = "FATHOM_TLS_AGENT_CERT_FILE", requires = "tls_agent_key_file", value_name = "PATH")]
    pub tls_agent_cert_file: Option<PathBuf>,

    /// Key of that certificate (PEM)
    #[arg(long, env = "FATHOM_TLS_AGENT_KEY_FILE", requires = "tls_agent_cert_file", value_name = "PATH")]
    pub tls_agent_key_file: Option<PathBuf>,
}

/// The waits of one request.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// See [`Config::merge_wait`].
    pub merge_wait: Duration,
    /// See [`Config::slow_node_wait`].
    pub slow_node_wait: Duration,
    /// How long `--last N --follow` waits for more history before it decides which N are the newest.
    pub history_wait: Duration,
}

impl Config {
    /// The waits, together.
    pub fn timing(&self) -> Timing {
        Timing {
            merge_wait: self.merge_wait,
            slow_node_wait: self.slow_node_wait,
            history_wait: self.merge_wait.max(Duration::from_millis(250)),
        }
    }
}

/// Parses "50ms", "1s", "2m", "1h", "7d".
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let n: u64 =
        digits.parse().map_err(|_| format!("{text:?}: want a number and a unit, as in 50ms, 1s or 2m"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(n)),
        "s" => Ok(Duration::from_secs(n)),
        "m" | "h" | "d" => {
            let seconds = match unit {
                "m" => 60,
                "h" => 3600,
                _ => 24 * 3600,
            };
            let all = n.checked_mul(seconds).ok_or_else(|| format!("{text:?}: longer than time lasts"))?;
            Ok(Duration::from_secs(all))
        }
        _ => Err(format!("{text:?}: unit {unit:?} is none of ms, s, m, h, d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 24 * 3600)));
        for bad in ["", "5", "s", "5y", "-1s", "1.5s", "999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
