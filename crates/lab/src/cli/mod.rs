//! The command line of `fathom-lab`.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::demo;
use crate::lab::{self, Lab, Tools, Where};
use crate::machine::enter::Entry;
use crate::measure::{self, Measure};
use crate::plain_agent::{self, PlainAgentArgs};
use crate::probe::{self, Probe};
use crate::spec::{Datapath, Spec};
use crate::workload::{self, Workload};

/// A Kubernetes-like cluster on one machine: nodes and pods as network namespaces
#[derive(Debug, Parser)]
#[command(name = "fathom-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// brings a lab up; up already is fine
    Up(UpArgs),
    /// takes a lab down and removes every trace
    Down {
        #[arg(default_value = "demo")]
        name: String,
    },
    /// what is up, and what should be but is not
    Status {
        #[arg(long = "lab")]
        name: Option<String>,
    },
    /// starts, stops or kills a node's agent
    Agent(AgentArgs),
    /// runs a command in a place of a lab: a node, a pod, internet, control
    Exec(ExecArgs),
    /// the demo that `make demo` plays
    Demo {
        #[command(subcommand)]
        demo: Demo,
    },
    /// asks a network one question
    Probe {
        #[command(subcommand)]
        probe: Probe,
    },
    /// measures a path through the network
    Measure {
        #[command(subcommand)]
        measure: Measure,
    },
    /// a server or client of the kind that runs in pods
    Workload {
        #[command(subcommand)]
        workload: Workload,
    },
    #[command(hide = true)]
    Enter(EnterArgs),
    #[command(hide = true)]
    Guard { name: String },
    #[command(hide = true)]
    PlainAgent(PlainAgentArgs),
}

#[derive(Debug, Subcommand)]
enum Demo {
    /// brings the demo up and plays the story
    Up {
        /// another name than "demo"
        #[arg(long)]
        name: Option<String>,
    },
    /// removes every trace of it
    Down {
        #[arg(long)]
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
struct UpArgs {
    /// the lab's spec, YAML
    #[arg(short, long)]
    file: PathBuf,
    /// another name than the spec's
    #[arg(long)]
    name: Option<String>,
    /// "none": plain routing instead of fathom-agent
    #[arg(long, value_parser = ["fathom", "none"])]
    datapath: Option<String>,
}

#[derive(Debug, Args)]
struct AgentArgs {
    /// the lab, when more than one is up
    #[arg(long = "lab")]
    name: Option<String>,
    /// kill is `kill -9`
    #[arg(value_parser = ["start", "stop", "kill"])]
    action: String,
    node: String,
}

#[derive(Debug, Args)]
struct ExecArgs {
    /// the lab, when more than one is up
    #[arg(long = "lab")]
    name: Option<String>,
    /// in no node's cgroup: socket hooks do not apply
    #[arg(long)]
    outside_cgroup: bool,
    place: String,
    #[arg(last = true, required = true)]
    line: Vec<OsString>,
}

#[derive(Debug, Args)]
struct EnterArgs {
    #[arg(long)]
    netns: Option<PathBuf>,
    #[arg(long)]
    cgroup: Option<PathBuf>,
    #[arg(long)]
    resolv_conf: Option<PathBuf>,
    #[arg(long)]
    detach: bool,
    #[arg(last = true, required = true)]
    line: Vec<OsString>,
}

/// Runs what the command line asks for.
///
/// # Errors
/// Whatever went wrong, for people to read.
pub fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Up(args) => up(&args),
        Command::Down { name } => lab::down(&name),
        Command::Status { name } => return status(name),
        Command::Agent(args) => agent(&args),
        Command::Exec(args) => exec(&args),
        Command::Demo { demo: Demo::Up { name } } => demo::up(name),
        Command::Demo { demo: Demo::Down { name } } => demo::down(name),
        Command::Probe { probe } => probe::run(&probe),
        Command::Measure { measure } => measure::run(measure),
        Command::Workload { workload } => workload::run(workload),
        Command::Enter(args) => enter(args),
        Command::Guard { name } => lab::guard(&name),
        Command::PlainAgent(args) => plain_agent::run(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn up(args: &UpArgs) -> Result<()> {
    let text =
        std::fs::read_to_string(&args.file).with_context(|| format!("read {}", args.file.display()))?;
    let mut spec = Spec::from_yaml(&text)?;
    if let Some(name) = &args.name {
        spec.name.clone_from(name);
    }
    match args.datapath.as_deref() {
        Some("none") => spec.datapath = Datapath::None,
        Some(_) => spec.datapath = Datapath::Fathom,
        None => {}
    }
    let lab = Lab::up(spec, Tools::own()?)?;
    say(&lab.status().to_string());
    Ok(())
}

fn status(name: Option<String>) -> Result<ExitCode> {
    let names = name.map_or_else(lab::names, |name| vec![name]);
    if names.is_empty() {
        say("no lab is up\n");
    }
    let mut code = ExitCode::SUCCESS;
    for name in names {
        let status = Lab::attach(&name, Tools::own()?)?.status();
        say(&status.to_string());
        if !status.dead.is_empty() {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Prints; a reader that has seen enough is no error.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn agent(args: &AgentArgs) -> Result<()> {
    let lab = Lab::attach(&the_one(args.name.as_deref())?, Tools::own()?)?;
    match args.action.as_str() {
        "start" => lab.start_agent(&args.node),
        "stop" => lab.stop_agent(&args.node),
        _ => lab.kill_agent(&args.node),
    }
}

fn exec(args: &ExecArgs) -> Result<()> {
    let lab = Lab::attach(&the_one(args.name.as_deref())?, Tools::own()?)?;
    let (program, arguments) = args.line.split_first().context("no command named")?;
    let whence = if args.outside_cgroup { Where::OutsideCgroup } else { Where::Inside };
    let program = program.to_str().context("the command's name is no text")?;
    let error = lab.command(&args.place, whence, program)?.args(arguments).exec();
    Err(error).context("become the command")
}

fn the_one(name: Option<&str>) -> Result<String> {
    if let Some(name) = name {
        return Ok(name.to_owned());
    }
    // Labs of tests and benchmarks come and go: they are nobody's choice.
    let names: Vec<String> = lab::names().into_iter().filter(|name| !lab::is_ephemeral(name)).collect();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("no lab is up"),
        several => bail!("several labs are up, say --lab: {}", several.join(", ")),
    }
}

fn enter(args: EnterArgs) -> Result<()> {
    let entry =
        Entry { netns: args.netns, cgroup: args.cgroup, resolv_conf: args.resolv_conf, detach: args.detach };
    match entry.become_program(&args.line)? {}
}
