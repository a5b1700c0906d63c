//! `fathom-lab`: a cluster on one machine, by hand.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match fathom_lab::cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fathom-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
