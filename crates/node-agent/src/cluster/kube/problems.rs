//! What is wrong with kinds and objects now, said once each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::model::{Kind, ObjectKey};
use crate::cluster::source::{Problem, ProblemLog, SourceStatus};

/// Shared by the tasks of all kinds.
pub struct Problems {
    origin: String,
    status: Arc<SourceStatus>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    kinds: BTreeMap<Kind, String>,
    objects: BTreeMap<ObjectKey, String>,
    log: ProblemLog,
}

impl Problems {
    pub fn new(origin: String, status: Arc<SourceStatus>) -> Self {
        Problems { origin, status, inner: Mutex::default() }
    }

    /// Objects of a kind cannot be had, or can again.
    pub fn kind(&self, kind: Kind, problem: Option<String>) {
        self.change(|inner| set(&mut inner.kinds, kind, problem));
    }

    /// What is wrong with objects; `None` for those that are in order or gone.
    pub fn objects(&self, changes: Vec<(ObjectKey, Option<String>)>) {
        self.change(|inner| {
            changes.into_iter().fold(false, |any, (key, problem)| set(&mut inner.objects, key, problem) | any)
        });
    }

    /// A listing of a kind ended: objects it did not name are no problem any more.
    pub fn only(&self, kind: Kind, listed: impl Fn(&ObjectKey) -> bool) {
        self.change(|inner| {
            let before = inner.objects.len();
            inner.objects.retain(|key, _| key.kind != kind || listed(key));
            before != inner.objects.len()
        });
    }

    fn change(&self, change: impl FnOnce(&mut Inner) -> bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut inner) {
            return;
        }
        let problem = |object: String, message: &String| Problem {
            origin: self.origin.clone(),
            line: 0,
            object,
            message: message.clone(),
        };
        let kinds = inner.kinds.iter().map(|(kind, message)| problem(kind.name().to_owned(), message));
        let objects = inner.objects.iter().map(|(key, message)| problem(key.to_string(), message));
        let problems = kinds.chain(objects).collect();
        inner.log.set(problems, &self.status);
    }
}

fn set<K: Ord>(map: &mut BTreeMap<K, String>, key: K, problem: Option<String>) -> bool {
    match problem {
        Some(problem) => map.insert(key, problem.clone()).as_ref() != Some(&problem),
        None => map.remove(&key).is_some(),
    }
}
