//! From the command line to the exit status.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::command::{Cli, Task, WatchWhat};
use crate::settings::{ConfigFile, Settings, Sources, file};
use crate::terminal::note;
use crate::{completion, config, failure, list, observe, policy, status, top, watch};

/// Runs one command: 0 when it did what was asked, 1 when something went wrong, 2 when the command
/// line can't be followed.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse(argv) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output and is no failure; a closed pipe there is none either.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(failure::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if failure::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("Error: {error:#}"));
            ExitCode::from(failure::status(&error))
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let environment = |name: &str| std::env::var(name).ok();
    match &cli.command {
        Task::Completion(args) => return completion::run(args.shell),
        Task::Version => {
            let (version, os, arch) =
                (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
            writeln!(std::io::stdout(), "fathom v{version} on {os}/{arch}")?;
            return Ok(());
        }
        _ => {}
    }
    let nothing = ConfigFile::default();
    let named = cli.global.config.clone();
    let named = named.or_else(|| Sources::new(&environment, &nothing).env("CONFIG").map(Into::into));
    let file = ConfigFile::find(named.as_deref(), &file::candidates(&environment))?;
    let sources = Sources::new(&environment, &file);
    if let Task::Config(args) = &cli.command {
        return config::run(args.what.as_ref(), &sources, file.clone());
    }
    let settings = Settings::resolve(&cli.global, &sources)?;
    // One thread: there is one stream to read and one terminal to write.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        match &cli.command {
            Task::Observe(args) => observe::run(args, &settings).await,
            Task::Top(args) => top::run(args, &settings).await,
            Task::Status(args) => status::run(args, &settings).await,
            Task::List(args) => list::run(args.what, &settings).await,
            Task::Policy(args) => policy::run(&args.what, &settings).await,
            Task::Watch(args) => match args.what {
                WatchWhat::Peers => watch::peers(&settings).await,
            },
            Task::Config(_) | Task::Completion(_) | Task::Version => Ok(()),
        }
    })
}
