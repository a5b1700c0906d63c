//! Flags of `install` and `uninstall` as they are typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Which cluster, and where in it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Kubeconfig to use [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Its context to use [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace that Fathom is in
    #[arg(long, default_value = fathom_manifests::DEFAULT_NAMESPACE, value_name = "NAME")]
    pub namespace: String,
}

/// `--mode` of `install`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// Fathom wires pods
    #[default]
    Cni,
    /// Another CNI plugin does
    Attach,
}

/// `--dry-run` of `install`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Say what would be applied, and ask no cluster
    Client,
    /// Let the cluster say what would become of it
    Server,
}

/// `-o` of `install`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InstallOutput {
    Yaml,
}

#[derive(Args, Clone, Debug)]
pub struct InstallArgs {
    /// Who wires pods
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub mode: ModeArg,
    /// Image of agents and relays [default: this version's]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Where agents reach the API server, for clusters without kube-proxy
    #[arg(long, value_name = "HOST:PORT")]
    pub api_server: Option<String>,
    /// Add a PodMonitor for the Prometheus operator
    #[arg(long)]
    pub pod_monitor: bool,
    /// Change nothing
    #[arg(long, value_enum, value_name = "HOW")]
    pub dry_run: Option<DryRun>,
    /// Print the objects, and apply nothing
    #[arg(long, short, value_enum, value_name = "FORMAT")]
    pub output: Option<InstallOutput>,
    /// Wait until all pods are ready, at most this long [5m without a value]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "5m", value_name = "DURATION")]
    pub wait: Option<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Args, Clone, Debug)]
pub struct UninstallArgs {
    /// Remove the definitions too, and with them all identities
    #[arg(long)]
    pub purge: bool,
    /// Leave programs, routes and files on the nodes: pods go on as they are, and policy in force stays so
    #[arg(long)]
    pub keep_nodes: bool,
    /// How long cleaning the nodes may take
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    pub wait: String,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}
