//! The agent's tasks, by name: one that ends by itself is noticed, whichever it is and however it ends.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinSet};

/// Tasks that run until they are told to stop. Dropping this ends those that still run.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a task.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Starts a task that has nothing to fail of.
    pub fn spawn_sure(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, async {
            task.await;
            Ok(())
        });
    }

    /// Waits for the first of them to end; a panic is an error. `None` when no task is left.
    pub async fn next(&mut self) -> Option<(&'static str, anyhow::Result<()>)> {
        let (id, result) = match self.running.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(error.into())),
        };
        Some((self.names.remove(&id).unwrap_or("task"), result))
    }

    /// Waits until the task of this name has ended, and for nothing when there is none. What becomes of others
    /// meanwhile is logged.
    ///
    /// # Errors
    /// What that task ended with.
    pub async fn end_of(&mut self, name: &str) -> anyhow::Result<()> {
        while self.names.values().any(|running| *running == name) {
            let Some((ended, result)) = self.next().await else { break };
            if ended == name {
                return result;
            }
            if let Err(error) = result {
                tracing::error!(task = ended, error = format!("{error:#}"), "ended with an error");
            }
        }
        Ok(())
    }
}

/// Why an agent ends one of whose parts ended by itself: half an agent would look like a whole one.
pub fn unasked((name, result): (&'static str, anyhow::Result<()>)) -> anyhow::Error {
    match result {
        Ok(()) => anyhow::anyhow!("{name} ended by itself"),
        Err(error) => error.context(format!("{name} ended by itself")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_task_to_end_is_named_even_if_it_panicked() {
        let mut tasks = Tasks::default();
        tasks.spawn_sure("one that lasts", std::future::pending());
        tasks.spawn_sure("cni", async { panic!("out of bounds") });
        let first = unasked(tasks.next().await.expect("one ended"));
        let text = format!("{first:#}");
        assert!(text.starts_with("cni ended by itself") && text.contains("panicked"), "{text}");
    }

    #[tokio::test]
    async fn a_task_is_waited_for_by_name_while_others_end() {
        let mut tasks = Tasks::default();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn("early", async { anyhow::bail!("nobody asks") });
        tasks.spawn("flows", async move {
            let _ = gone.await;
            anyhow::bail!("the listener failed")
        });
        tokio::spawn(async move { go.send(()) });
        let error = tasks.end_of("flows").await.expect_err("as it ended");
        assert_eq!(error.to_string(), "the listener failed");
        tasks.end_of("flows").await.expect("it is gone already");
    }
}
