//! `fathom-relay`: see [`fathom_relay`].

#![forbid(unsafe_code)]

use clap::Parser;

fn main() -> std::process::ExitCode {
    let config = fathom_relay::config::Config::parse();
    match fathom_relay::run::run(config) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fathom-relay: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
