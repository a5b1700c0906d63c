//! Objects, one version for all of them, and what changed when.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::refusal::Refusal;

/// Changes that are kept at most, whoever may still want them.
const HISTORY: usize = 200_000;

/// Namespace, "" where there is none, and name: objects are listed in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Self {
        Key { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    pub place: String,
    pub key: Key,
    pub before: Option<Arc<Value>>,
    /// As it was written; when it was deleted, its last form under the version of the deletion.
    pub object: Arc<Value>,
    pub deleted: bool,
}

type Objects = BTreeMap<Key, Arc<Value>>;

/// Everything the server knows.
#[derive(Debug)]
pub struct Store {
    version: u64,
    places: BTreeMap<String, Objects>,
    history: VecDeque<Change>,
    /// States before this version are gone: a listing cannot go on from them.
    compacted: u64,
    /// Changes up to this version are not told any more.
    forgotten: u64,
    /// How often running watches were told that they are too old.
    expirations: u64,
    journal: Option<File>,
    news: watch::Sender<()>,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            version: 1,
            places: BTreeMap::new(),
            history: VecDeque::new(),
            compacted: 0,
            forgotten: 0,
            expirations: 0,
            journal: None,
            news: watch::Sender::new(()),
        }
    }
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
struct Line {
    place: String,
    key: Key,
    version: u64,
    /// `None`: deleted.
    object: Option<Value>,
}

impl Store {
    /// The objects that a journal tells of; what is written from now on is told there too. Nothing is known of
    /// changes before: whoever watched must list again.
    ///
    /// # Errors
    /// The journal cannot be read or written.
    pub fn open(path: &Path) -> anyhow::Result<Store> {
        let mut store = Store::default();
        let context = || format!("the journal {}", path.display());
        let file = File::options().create(true).append(true).read(true).open(path).with_context(context)?;
        let mut whole = 0;
        for text in BufReader::new(&file).lines() {
            // A process that was killed may have left half a line at the end.
            let text = text.with_context(context)?;
            let Ok(line) = serde_json::from_str::<Line>(&text) else { break };
            whole += text.len() as u64 + 1;
            store.version = store.version.max(line.version);
            let place = store.places.entry(line.place).or_default();
            match line.object {
                Some(object) => place.insert(line.key, Arc::new(object)),
                None => place.remove(&line.key),
            };
        }
        file.set_len(whole).with_context(context)?;
        store.compact();
        store.journal = Some(file);
        Ok(store)
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, place: &str, key: &Key) -> Option<Arc<Value>> {
        self.places.get(place)?.get(key).cloned()
    }

    pub fn objects(&self, place: &str) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.places.get(place).into_iter().flatten()
    }

    /// Changes when anything does.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Writes an object, or deletes it; returns what is told of it.
    pub fn commit(&mut self, place: &str, key: Key, mut object: Value, deleted: bool) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let objects = self.places.entry(place.to_owned()).or_default();
        let before = if deleted { objects.remove(&key) } else { objects.insert(key.clone(), object.clone()) };
        if let Some(journal) = &mut self.journal {
            let kept = (!deleted).then(|| (*object).clone());
            let line =
                Line { place: place.to_owned(), key: key.clone(), version: self.version, object: kept };
            let mut text = serde_json::to_vec(&line).unwrap_or_default();
            text.push(b'\n');
            if let Err(error) = journal.write_all(&text) {
                eprintln!("fathom-fake-apiserver: the journal cannot be written: {error}");
            }
        }
        let change = Change {
            version: self.version,
            place: place.to_owned(),
            key,
            before,
            object: object.clone(),
            deleted,
        };
        self.history.push_back(change);
        if self.history.len() > HISTORY
            && let Some(first) = self.history.pop_front()
        {
            self.compacted = self.compacted.max(first.version);
            self.forgotten = self.forgotten.max(first.version);
        }
        self.news.send_replace(());
        object
    }

    /// Changes after a version.
    pub fn since(&self, version: u64) -> impl Iterator<Item = &Change> {
        let begin = self.history.partition_point(|change| change.version <= version);
        self.history.range(begin..)
    }

    /// Whether changes after a version are all still known.
    ///
    /// # Errors
    /// 410.
    pub fn remembers(&self, version: u64) -> Result<(), Refusal> {
        if version >= self.forgotten {
            return Ok(());
        }
        Err(Refusal::expired(format!("too old resource version: {version} ({})", self.forgotten)))
    }

    /// Objects of a place as they were at a version.
    ///
    /// # Errors
    /// 410.
    pub fn at(&self, place: &str, version: u64) -> Result<Objects, Refusal> {
        if version < self.compacted {
            return Err(Refusal::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start \
                 a new list without the continue parameter, or use the continue token in this response to \
                 retrieve the remainder of the results. Continuing with the provided token results in an \
                 inconsistent list - objects that were created, modified, or deleted between the time the \
                 first chunk was returned and now may show up in the list.",
            ));
        }
        let mut objects = self.places.get(place).cloned().unwrap_or_default();
        for change in self.history.iter().rev().take_while(|change| change.version > version) {
            if change.place == place {
                match &change.before {
                    Some(before) => objects.insert(change.key.clone(), before.clone()),
                    None => objects.remove(&change.key),
                };
            }
        }
        Ok(objects)
    }

    /// Old states are dropped: listings under way cannot go on, and who watches from an older version must list.
    pub fn compact(&mut self) {
        self.compacted = self.version;
        self.forget();
    }

    /// Changes up to now are told to nobody who begins to watch, as after a restart.
    pub fn forget(&mut self) {
        self.forgotten = self.version;
    }

    /// Every watch that runs ends with 410.
    pub fn expire(&mut self) {
        self.expirations += 1;
        self.news.send_replace(());
    }

    pub fn expirations(&self) -> u64 {
        self.expirations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(objects: &Objects) -> Vec<&str> {
        objects.keys().map(|key| key.name.as_str()).collect()
    }

    #[test]
    fn a_state_of_before_is_known_until_it_is_compacted() {
        let mut store = Store::default();
        for name in ["a", "b"] {
            store.commit("pods", Key::new("", name), json!({"metadata": {}}), false);
        }
        let then = store.version();
        store.commit("pods", Key::new("", "a"), json!({"metadata": {}}), true);
        store.commit("pods", Key::new("", "c"), json!({"metadata": {}}), false);
        assert_eq!(names(&store.at("pods", then).unwrap()), ["a", "b"]);
        assert_eq!(names(&store.at("pods", store.version()).unwrap()), ["b", "c"]);
        assert_eq!(store.since(then).count(), 2);
        store.compact();
        assert_eq!(store.at("pods", then).unwrap_err().code, 410);
        assert_eq!(store.remembers(then).unwrap_err().code, 410);
        assert!(store.remembers(store.version()).is_ok());
    }

    #[test]
    fn a_journal_brings_objects_back_and_no_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut store = Store::open(&path).unwrap();
        for name in ["a", "b"] {
            store.commit("pods", Key::new("n", name), json!({"metadata": {}}), false);
        }
        store.commit("pods", Key::new("n", "a"), json!({"metadata": {}}), true);
        let version = store.version();
        drop(store);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"place\"").unwrap();
        let store = Store::open(&path).unwrap();
        assert_eq!(store.version(), version);
        assert_eq!(names(&store.at("pods", version).unwrap()), ["b"]);
        assert_eq!(store.remembers(version - 1).unwrap_err().code, 410);
    }
}
