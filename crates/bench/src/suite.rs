//! All benchmarks one after the other, then the table.
//!
//! The other crates' benchmarks are programs of their own; cargo builds them and says where they are.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::Effort;
use crate::figure::Figure;
use crate::table;

/// One program to run.
struct Part {
    /// The word for `--only`.
    area: &'static str,
    run: Run,
    /// Whether it knows `--quick`.
    quick: bool,
}

enum Run {
    /// A benchmark target of another crate.
    Bench(&'static str),
    /// A subcommand of this program.
    Own(&'static str),
}

const PARTS: [Part; 9] = [
    Part { area: "datapath", run: Run::Bench("datapath"), quick: true },
    Part { area: "messages", run: Run::Bench("messages"), quick: true },
    Part { area: "traffic", run: Run::Own("traffic"), quick: true },
    Part { area: "l7", run: Run::Own("l7"), quick: true },
    Part { area: "services", run: Run::Own("services"), quick: true },
    Part { area: "scale", run: Run::Own("scale"), quick: true },
    Part { area: "agent", run: Run::Bench("ingest"), quick: false },
    Part { area: "agent", run: Run::Bench("get_flows"), quick: false },
    Part { area: "relay", run: Run::Bench("relay"), quick: false },
];

/// Runs everything, or the parts named.
///
/// # Errors
/// When a part failed, after all others have run and the table is printed.
pub fn run(effort: Effort, json: bool, only: &[String]) -> Result<()> {
    for area in only {
        ensure!(PARTS.iter().any(|part| part.area == area), "{area} is no part of the benchmarks");
    }
    let wanted = |part: &&Part| only.is_empty() || only.iter().any(|area| area == part.area);
    let benches = build()?;
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for part in PARTS.iter().filter(wanted) {
        let name = match part.run {
            Run::Bench(name) | Run::Own(name) => name,
        };
        let since = begun.elapsed().as_secs();
        eprintln!("== {name} ({}:{:02} since the start)", since / 60, since % 60);
        let command = command(part, effort, &benches);
        if let Err(error) = command.and_then(|command| collect(command, &mut figures)) {
            eprintln!("{name}: {error:#}");
            failed.push(name.to_owned());
        }
    }
    if json {
        println!("{}", table::json(&figures, &failed).context("write the results")?);
    } else {
        println!("\n{}", table::text(&figures));
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn command(part: &Part, effort: Effort, benches: &BTreeMap<String, PathBuf>) -> Result<Command> {
    let mut command = match part.run {
        Run::Own(name) => {
            let mut command = Command::new(std::env::current_exe().context("find the running binary")?);
            command.arg(name);
            command
        }
        Run::Bench(name) => {
            let path = benches.get(name).with_context(|| format!("cargo built no benchmark {name}"))?;
            let mut command = Command::new(path);
            command.arg("--bench");
            command
        }
    };
    if effort.quick && part.quick {
        command.arg("--quick");
    }
    Ok(command)
}

/// Runs a program and takes its figures, showing them as they come.
fn collect(mut command: Command, figures: &mut Vec<Figure>) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start it")?;
    let stdout = child.stdout.take().context("its output is not ours")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read its output")?;
        eprintln!("{line}");
        figures.extend(Figure::parse(&line));
    }
    let status = child.wait().context("wait for it")?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// Builds binaries and benchmarks the way this program was built; benchmarks by name.
fn build() -> Result<BTreeMap<String, PathBuf>> {
    let own = std::env::current_exe().context("find the running binary")?;
    let release = own.parent().and_then(Path::file_name).is_some_and(|dir| dir == "release");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--bins", "--message-format=json-render-diagnostics"]);
    if release {
        cargo.arg("--release");
    } else {
        eprintln!("fathom-bench: built without optimisation; figures of user space mean little");
    }
    for part in &PARTS {
        if let Run::Bench(name) = part.run {
            cargo.args(["--bench", name]);
        }
    }
    let output = cargo
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    if !output.status.success() {
        bail!("cargo build failed");
    }
    let mut benches = BTreeMap::new();
    for line in output.stdout.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let target = &message["target"];
        let (Some(name), Some(path)) = (target["name"].as_str(), message["executable"].as_str()) else {
            continue;
        };
        if target["kind"] == serde_json::json!(["bench"]) {
            benches.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(benches)
}
