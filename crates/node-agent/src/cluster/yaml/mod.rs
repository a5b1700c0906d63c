//! Objects from a directory of YAML files: saving a file means what `kubectl apply` means, deleting
//! it what `kubectl delete` means.
//!
//! `*.yaml`, `*.yml` and `*.json` at any depth; several documents per file; `List` and `PodList`.
//! Of two files that hold the same object the first by path counts. inotify wakes a scan at once; a
//! rescan every few seconds finds what inotify cannot see (bind mounts, links into other trees).
//!
//! Nothing is deleted from a partial view:
//!
//! * While the agent runs, a file that cannot be read, or has a part of which not even the object is known,
//!   keeps the objects it had; an object that is wrong keeps its last good form.
//! * At a start the copies of an earlier agent stand for that memory: a file that fails, or was written to
//!   a moment ago, begins with its copy.
//! * A file that fails at a start and has no copy, while others have one, is held against the earlier agent:
//!   it may have read it under another name. Until it is mended or removed nothing is handed on, and what
//!   is in the kernel stays. Without any copies nothing was in force before, and the agent begins with what
//!   it can understand.

mod document;
mod last_good;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod tree;
mod view;
mod watch;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::last_good::LastGood;
pub use self::read::{Content, read};
use self::scan::{Scan, Scanner};
use self::watch::{Hints, Watch};

use super::model::Kind;
use super::source::{Delta, Feed, Problem, ProblemLog, Source, SourceTask};

/// Time between rescans that nothing asked for.
const RESCAN: Duration = Duration::from_secs(3);
/// Time between attempts while the directory itself cannot be read.
const RETRY: Duration = Duration::from_millis(500);

/// A directory of manifests.
#[derive(Clone, Debug)]
pub struct YamlDirectory {
    pub root: PathBuf,
    /// Where copies of good files are kept over a restart; none = nowhere.
    pub last_good: Option<PathBuf>,
}

impl Source for YamlDirectory {
    fn describe(&self) -> String {
        format!("objects in {}", self.root.display())
    }

    fn run(self: Box<Self>, feed: Feed, stop: CancellationToken) -> SourceTask {
        Box::pin(async move { stop.run_until_cancelled(follow(*self, feed)).await.unwrap_or(Ok(())) })
    }
}

async fn follow(source: YamlDirectory, feed: Feed) -> anyhow::Result<()> {
    let mut watch = Watch::new().context("cannot watch the objects directory")?;
    let last_good =
        LastGood::new(source.last_good.clone()).context("cannot make the directory of good copies")?;
    let mut scanner = Scanner::new(source.root.clone(), last_good);
    let mut report = Report::default();
    let mut listed = false;
    let mut hints = Hints::default();
    loop {
        // Before the scan, so that nothing between the two goes unseen.
        let _ = watch.add(&source.root);
        let (found, returned) = tokio::task::spawn_blocking(move || {
            let found = scanner.scan(hints);
            (found, scanner)
        })
        .await
        .context("the scan of the objects directory ended early")?;
        scanner = returned;
        let wait = match found {
            Ok(scan) => {
                let new_directories = add_watches(&mut watch, &scan, &mut report);
                if !hand_on(&mut scanner, &scan, &feed, &mut listed, &mut report).await {
                    return Ok(());
                }
                // A directory that was not watched during the scan is looked into once more.
                if new_directories { Duration::ZERO } else { scan.again_in.unwrap_or(RESCAN) }
            }
            Err(error) => {
                report.directory(&source, &error, &feed);
                RETRY
            }
        };
        hints = next_hints(&mut watch, Instant::now() + wait).await?;
    }
}

/// Waits for the next reason to scan.
async fn next_hints(watch: &mut Watch, until: Instant) -> anyhow::Result<Hints> {
    match tokio::time::timeout_at(until, watch.changed()).await {
        Ok(hints) => hints.context("cannot read what changed in the objects directory"),
        Err(_) => Ok(Hints::default()),
    }
}

fn add_watches(watch: &mut Watch, scan: &Scan, report: &mut Report) -> bool {
    let mut new = false;
    for directory in &scan.directories {
        if report.watched.insert(directory.clone()) {
            new = true;
        }
        if let Err(error) = watch.add(directory) {
            report.watched.remove(directory);
            tracing::debug!(directory = %directory.display(), %error, "not watched: rescans will see it");
            new = false;
        }
    }
    report.watched.retain(|directory| scan.directories.contains(directory));
    new
}

async fn hand_on(
    scanner: &mut Scanner,
    scan: &Scan,
    feed: &Feed,
    listed: &mut bool,
    report: &mut Report,
) -> bool {
    report.log.set(scanner.view().problems(), &feed.status);
    if !*listed && !scan.complete {
        return true;
    }
    let mut batch = scanner.view().deltas();
    if !*listed {
        *listed = true;
        batch.splice(0..0, Kind::ALL.map(Delta::Listing));
        batch.extend(Kind::ALL.map(Delta::Complete));
        tracing::info!(objects = scanner.view().len(), "objects listed");
    }
    feed.send(batch).await
}

/// What was said, and what is watched.
#[derive(Default)]
struct Report {
    log: ProblemLog,
    watched: BTreeSet<PathBuf>,
}

impl Report {
    fn directory(&mut self, source: &YamlDirectory, error: &std::io::Error, feed: &Feed) {
        let problem = Problem {
            origin: source.root.display().to_string(),
            line: 0,
            object: String::new(),
            message: format!("cannot be listed: {error}; what was known stays in force"),
        };
        let mut problems: Vec<Problem> = self.log.said().cloned().collect();
        if !problems.contains(&problem) {
            problems.push(problem);
        }
        self.log.set(problems, &feed.status);
    }
}
