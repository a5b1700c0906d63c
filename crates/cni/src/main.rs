//! `fathom-cni`: run by the container runtime, once per pod and operation.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut stdin = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut stdin) {
        eprintln!("fathom-cni: reading the network configuration from stdin: {error}");
        return ExitCode::FAILURE;
    }
    let outcome = fathom_cni::run(|name| std::env::var(name).ok(), &stdin);
    let written = std::io::stdout().write_all(outcome.stdout.as_bytes());
    if outcome.success && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
