//! The command line.

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use nix::unistd::geteuid;

use crate::{l7, scale, services, suite, traffic};

/// Measures what Fathom costs, and prints one "name value unit" line per figure
#[derive(Debug, Parser)]
#[command(name = "fathom-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// everything, then a table of aims and results; runs the benchmarks of the other crates as well
    All {
        #[command(flatten)]
        effort: Effort,
        /// the results as JSON on standard output; everything else then goes to standard error
        #[arg(long)]
        json: bool,
        /// leave out the parts not named: datapath, messages, traffic, l7, services, scale, agent, relay
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// request/response, connections and bulk between two pods, with Fathom and without; the agent's cost
    Traffic {
        #[command(flatten)]
        effort: Effort,
        /// Fathom in neither lab: how far apart two equal labs measure
        #[arg(long)]
        null: bool,
    },
    /// HTTP/1, HTTP/2 and what is neither, between two pods: messages read and not read
    L7 {
        #[command(flatten)]
        effort: Effort,
        /// messages read in neither lab: how far apart two equal labs measure
        #[arg(long)]
        null: bool,
        /// leave out the loads not named: http1, http2, http2_nghttpd, bulk, rr, crr
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// connecting to ClusterIPs: the socket hook beside kube-proxy's iptables rules
    Services {
        #[command(flatten)]
        effort: Effort,
    },
    /// one agent in a large cluster: until it is ready, its memory, and how soon an edited policy counts
    Scale {
        #[command(flatten)]
        effort: Effort,
        #[command(flatten)]
        size: scale::Size,
    },
}

/// How much is done.
#[derive(Debug, Clone, Copy, Args)]
pub struct Effort {
    /// fewer and shorter rounds: a rough answer in about two minutes
    #[arg(long)]
    pub quick: bool,
}

impl Effort {
    /// One or the other.
    pub fn of<T>(self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Runs what the command line asks for.
///
/// # Errors
/// Whatever went wrong, for people to read. An aim that is missed is no error.
pub fn run() -> Result<()> {
    let command = Cli::parse().command;
    ensure!(geteuid().is_root(), "benchmarks need root: kernel programs, network namespaces");
    match command {
        Command::All { effort, json, only } => suite::run(effort, json, &only),
        Command::Traffic { effort, null } => traffic::run(effort, null),
        Command::L7 { effort, null, only } => l7::run(effort, null, &only),
        Command::Services { effort } => services::run(effort),
        Command::Scale { effort, size } => scale::run(effort, size),
    }
}
