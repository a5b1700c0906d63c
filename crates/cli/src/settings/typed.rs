//! Global flags as they were typed: only what was typed, no defaults.

use std::path::PathBuf;

use clap::Args;

/// Flags every command takes. Each has an environment variable, FATHOM_ and its name in capitals
/// (HUBBLE_ works too), and a key in the configuration file.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server (also as FATHOM_… in the environment, or in the configuration file)")]
pub struct GlobalArgs {
    /// Relay or agent to ask: host:port, tls://host:port or unix:///path [default: localhost:4245]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub server: Option<String>,
    /// How long to try to connect [default: 5s]
    #[arg(long, global = true, hide_short_help = true, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// How long to wait for the answer to a single question; streams have no limit [default: 12s]
    #[arg(long, global = true, hide_short_help = true, value_name = "DURATION")]
    pub request_timeout: Option<String>,
    /// Use TLS
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub tls: Option<bool>,
    /// Accept any certificate: for trying things out only
    #[arg(long, global = true, hide_short_help = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub tls_allow_insecure: Option<bool>,
    /// Authorities to trust, PEM [default: the system's]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", value_delimiter = ',')]
    pub tls_ca_cert_files: Vec<PathBuf>,
    /// Certificate to show, PEM
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub tls_client_cert_file: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub tls_client_key_file: Option<PathBuf>,
    /// Name that the server's certificate must carry [default: the host of --server]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// User name for basic authentication
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub basic_auth_username: Option<String>,
    /// Password for basic authentication (better given in the environment)
    #[arg(long, global = true, hide_short_help = true, value_name = "PASSWORD")]
    pub basic_auth_password: Option<String>,
    /// Configuration file [default: ~/.config/fathom/config.yaml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Other")]
    pub config: Option<PathBuf>,
    /// Say more on standard error: requests, nodes that come and go
    #[arg(long, short = 'D', global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true, help_heading = "Other")]
    pub debug: Option<bool>,
}
