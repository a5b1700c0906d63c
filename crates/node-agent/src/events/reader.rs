//! The thread that drains the kernel's rings.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::intake::{Intake, Shared};
use super::source::RecordSource;

/// How long the thread sleeps when nothing comes: the longest that stopping takes.
const WAIT: Duration = Duration::from_millis(100);

/// How often the kernel is asked for its losses.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failed drain; the failure is logged once until a drain succeeds.
const RETRY: Duration = Duration::from_millis(200);

/// The running reader. Dropping it stops the thread: what is still in the rings stays there, for the
/// next agent.
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn spawn(
        source: impl RecordSource + 'static,
        intake: Intake,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("fathom-reader".into())
            .spawn(move || run(source, intake, &shared, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops after the drain under way and waits for it.
    pub fn stop(mut self) {
        self.join();
    }

    /// Whether the thread still runs: it ends by itself only if it panics.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the reader's thread had panicked");
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.join();
    }
}

fn run(mut source: impl RecordSource, mut intake: Intake, shared: &Shared, stop: &AtomicBool) {
    let mut asked = Instant::now();
    let mut failing = false;
    while !stop.load(Ordering::Relaxed) {
        let mut first = true;
        let drained = source.drain(WAIT, &mut |record| {
            // After the wait, so that the batch is joined with the snapshot of its own time.
            if std::mem::take(&mut first) {
                intake.begin_batch();
            }
            intake.take(record);
        });
        match drained {
            Ok(drained) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("the kernel's rings can be read again");
                }
                intake.undecodable(drained.undecodable);
                intake.publish();
            }
            Err(error) => {
                intake.publish();
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the kernel's rings can't be read; trying again"
                    );
                }
                std::thread::sleep(RETRY);
            }
        }
        if asked.elapsed() >= LOSS_INTERVAL {
            asked = Instant::now();
            shared.collect_kernel_losses();
        }
    }
    shared.collect_kernel_losses();
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
