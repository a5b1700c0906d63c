//! The CNI plugin: wires a pod to its node and asks the agent for addresses, identity and policy.
//!
//! Reads in this order: [`invocation`] (what was asked) → [`add`], [`del`], [`check`], [`gc`] (what
//! is done) → [`agent`] (questions to the agent) and [`wire`] (netlink, on both sides of a veth).
//! Specification: <https://www.cni.dev/docs/spec/>.

#![forbid(unsafe_code)]

mod add;
mod agent;
mod attachment;
mod check;
mod del;
mod error;
mod gc;
mod invocation;
mod netns;
mod output;
mod version;
mod wire;

pub use error::{Code, Error};

use invocation::{Command, Invocation};

/// What a run of the plugin leaves for the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// A CNI result, a CNI error, or nothing.
    pub stdout: String,
    /// Whether the process exits with zero.
    pub success: bool,
}

/// Runs one operation: environment and standard input in, standard output and exit status out.
pub fn run(variable: impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Outcome {
    let version = invocation::version_of(stdin);
    match Invocation::parse(variable, stdin).and_then(|invocation| dispatch(&invocation)) {
        Ok(stdout) => Outcome { stdout, success: true },
        Err(error) => Outcome { stdout: error.to_json(&version), success: false },
    }
}

fn dispatch(invocation: &Invocation) -> Result<String, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Code::Io, "cannot start an async runtime").because(e))?;
    runtime.block_on(async {
        match &invocation.command {
            Command::Version => Ok(version::answer()),
            Command::Add(target) => add::add(&invocation.config, target).await,
            Command::Del(target) => del::del(&invocation.config, target).await.map(|()| String::new()),
            Command::Check(target) => check::check(&invocation.config, target).await.map(|()| String::new()),
            Command::Status => check::status(&invocation.config).await.map(|()| String::new()),
            Command::Gc => gc::gc(&invocation.config).await.map(|()| String::new()),
        }
    })
}
