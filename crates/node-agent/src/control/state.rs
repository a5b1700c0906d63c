//! What is in force, for those who ask about it: one value, made when somebody asks.
//!
//! Only the reconciler knows it all, and nobody asks most of the time. So a question goes to the reconciler,
//! which answers between two computations; the answer is kept until the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fathom_identity::reserved;
use fathom_policy::{PolicyMeta, World};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::transition::Applied;
use crate::cluster::model::NetworkPolicy;
use crate::datapath::EndpointEntry;

/// Questions that may wait for the end of a computation.
const QUEUE: usize = 16;
/// Time a question waits: a computation takes less, however large the cluster.
const PATIENCE: Duration = Duration::from_secs(4);

/// A policy in force.
#[derive(Clone, Debug)]
pub struct Installed {
    pub policy: Arc<NetworkPolicy>,
    /// The computation since which it is in force as it is.
    pub revision: u64,
    pub since: SystemTime,
}

/// A pod wired here, as the tables know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEndpoint {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub entry: EndpointEntry,
}

/// Everything a question about policies needs, as of the end of one computation.
#[derive(Debug, Default)]
pub struct PolicyState {
    /// In order of kind, namespace and name.
    pub policies: Vec<Installed>,
    /// Who selectors can select.
    pub world: World,
    pub endpoints: Vec<LocalEndpoint>,
    /// Identities whose table in force is older than the policies.
    pub behind: BTreeSet<u32>,
}

impl PolicyState {
    /// The policies without what is known about them.
    pub fn meanings(&self) -> impl Iterator<Item = &fathom_policy::Policy> + '_ {
        self.policies.iter().map(|installed| &installed.policy.meaning)
    }
}

/// Remembers since when policies are as they are.
#[derive(Debug, Default)]
pub struct Since(BTreeMap<Arc<PolicyMeta>, Installed>);

impl Since {
    /// These are in force now.
    pub fn follow(&mut self, policies: &[Arc<NetworkPolicy>], revision: u64) {
        let now = SystemTime::now();
        let mut before = std::mem::take(&mut self.0);
        for policy in policies {
            let meta = &policy.meaning.meta;
            let installed = match before.remove(meta) {
                Some(known) if known.policy == *policy => known,
                _ => Installed { policy: policy.clone(), revision, since: now },
            };
            self.0.insert(meta.clone(), installed);
        }
    }

    pub fn list(&self) -> Vec<Installed> {
        self.0.values().cloned().collect()
    }
}

/// Who there is for the policies in force: what tables were last compiled from.
pub fn world(applied: &Applied) -> World {
    let facts = applied.facts().iter().map(|(number, facts)| (*number, facts.clone()));
    let prefixes = applied.contents.prefixes.iter().map(|(prefix, number)| (*prefix, *number));
    World::new(facts, prefixes.filter(|(_, number)| *number != reserved::WORLD))
}

/// A question on its way to the reconciler.
pub type Question = oneshot::Sender<Option<Arc<PolicyState>>>;

/// Asks the reconciler.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Question>);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unanswered {
    #[error("the objects are not listed yet: ask again in a moment")]
    NotYet,
    #[error("a computation of the tables has not ended within {} s: see the agent's log", PATIENCE.as_secs())]
    Busy,
    #[error("the agent is shutting down")]
    Ending,
}

impl Asker {
    /// An asker, and where its questions arrive.
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (questions, receiver) = mpsc::channel(QUEUE);
        (Self(questions), receiver)
    }

    /// What is in force now.
    ///
    /// # Errors
    /// The reconciler cannot tell.
    pub async fn state(&self) -> Result<Arc<PolicyState>, Unanswered> {
        let ask = async {
            let (question, answer) = oneshot::channel();
            self.0.send(question).await.map_err(|_| Unanswered::Ending)?;
            answer.await.map_err(|_| Unanswered::Ending)?.ok_or(Unanswered::NotYet)
        };
        tokio::time::timeout(PATIENCE, ask).await.unwrap_or(Err(Unanswered::Busy))
    }
}

/// The next question; never, when nobody can ask.
pub async fn next(questions: &mut Option<mpsc::Receiver<Question>>) -> Question {
    match questions {
        Some(receiver) => match receiver.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
