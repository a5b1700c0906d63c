//! What Fathom costs: every measurement of SPECIFICATION.md in one run. Root only.
#![forbid(unsafe_code)]

mod aims;
mod cli;
mod figure;
mod follow;
mod kube_proxy;
mod process;
mod services;
mod stage;
mod suite;
mod table;
mod traffic;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fathom-bench: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
