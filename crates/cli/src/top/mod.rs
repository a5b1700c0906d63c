//! `fathom top`: the stream as numbers that are shown again and again.

mod exchange;
mod json;
mod numbers;
mod path;
mod report;
mod request;
mod routes;
mod screen;
mod stream;
mod table;
pub mod typed;

use anyhow::Result;

use crate::settings::Settings;
use typed::{TopArgs, TopWhat};

/// Runs `fathom top …`.
pub async fn run(args: &TopArgs, settings: &Settings) -> Result<()> {
    match &args.what {
        TopWhat::Routes(args) => stream::run(args, settings).await,
    }
}
