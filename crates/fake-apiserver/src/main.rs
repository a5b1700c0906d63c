//! `fathom-fake-apiserver`: see [`fathom_fake_apiserver`]; for labs, where it is a process of its own.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use fathom_fake_apiserver::{ApiServer, Options};

/// An API server for tests: faithful to the conventions, and open to whoever has the administrator's token.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Bearer that may do everything; without it whoever sends none may.
    #[arg(long)]
    admin_token: Option<String>,
    /// File that keeps the objects when the process ends.
    #[arg(long)]
    journal: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, admin_token, journal } = Arguments::parse();
    let server = ApiServer::start(Options { listen, admin_token, journal }).await?;
    println!("ready on {}", server.address());
    std::future::pending().await
}
