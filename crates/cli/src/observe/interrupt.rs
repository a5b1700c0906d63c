//! The wish to stop: Ctrl-C or SIGTERM.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals; a stream ended by one has ended well.
pub struct Interrupt {
    int: Signal,
    term: Signal,
}

impl Interrupt {
    pub fn new() -> Result<Self> {
        let install = |kind| signal(kind).context("install a signal handler");
        Ok(Self { int: install(SignalKind::interrupt())?, term: install(SignalKind::terminate())? })
    }

    /// Waits for either.
    pub async fn wish(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}
