//! `fathom`, the command line: it asks a relay or an agent over gRPC and shows the answer. It needs
//! neither kernel nor cluster.

#![forbid(unsafe_code)]

mod command;
mod completion;
mod config;
mod connect;
mod duration;
mod failure;
mod list;
mod missing;
mod observe;
mod policy;
mod print;
mod run;
mod settings;
mod status;
mod terminal;
#[cfg(test)]
mod testing;
mod top;
mod watch;

pub use run::main;
