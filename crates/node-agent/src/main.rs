//! `fathom-agent`: see [`fathom_node_agent`].

#![forbid(unsafe_code)]

use clap::Parser;

fn main() -> std::process::ExitCode {
    let cli = fathom_node_agent::config::Cli::parse();
    match fathom_node_agent::run::run(cli) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fathom-agent: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
