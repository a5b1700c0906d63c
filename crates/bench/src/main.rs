//! What Fathom costs: every measurement of SPECIFICATION.md in one run. Root only.
#![forbid(unsafe_code)]

mod aims;
mod cli;
mod figure;
mod follow;
mod kube_proxy;
mod l7;
mod process;
mod scale;
mod services;
mod stage;
mod suite;
mod table;
mod traffic;
mod web;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fathom-bench: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
