//! The identity registry: the cluster's, or a directory with one file per number, shared by all nodes of a lab.
//!
//! A file is written aside and then given its number as name, unless that name exists: of two agents one
//! wins, and nobody ever sees a number without its labels.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fathom_identity::{Claim, LabelSet, Registry};
use fathom_kubernetes::identity::parse_labels;
use fathom_kubernetes::registry::{ClusterError, ClusterRegistry};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use thiserror::Error;
use tokio::sync::watch;

/// A directory of files `<number>.json`.
#[derive(Debug)]
pub struct DirectoryRegistry {
    directory: PathBuf,
    /// Labels by number as far as they were read: a number never changes its labels.
    read: Mutex<HashMap<u16, LabelSet>>,
}

/// Whichever the agent was told to use.
#[derive(Debug)]
pub enum AgentRegistry {
    Directory(DirectoryRegistry),
    Cluster(ClusterRegistry),
}

/// Why the registry could not be asked.
#[derive(Debug, Error)]
pub enum RegistryError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("cannot {verb} {}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no registry entry: {what}", path.display())]
    Content { path: PathBuf, what: String },
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// `source:key=value`, sorted.
    labels: Vec<String>,
}

impl DirectoryRegistry {
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: &Path) -> Result<Self, RegistryError> {
        fs::create_dir_all(directory).map_err(|source| RegistryError::Io {
            verb: "make",
            path: directory.to_owned(),
            source,
        })?;
        Ok(DirectoryRegistry { directory: directory.to_owned(), read: Mutex::default() })
    }

    fn path(&self, number: u16) -> PathBuf {
        self.directory.join(format!("{number}.json"))
    }

    fn remember(&self, number: u16, labels: &LabelSet) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(number, labels.clone());
    }

    /// The entry in a file whose name nobody else has, gone when it is dropped.
    fn write_aside(&self, labels: &LabelSet) -> Result<NamedTempFile, RegistryError> {
        let entry = Entry { labels: labels.rendered().iter().map(ToString::to_string).collect() };
        let text = serde_json::to_string_pretty(&entry).unwrap_or_default() + "\n";
        let written = tempfile::Builder::new()
            .prefix(".claim-")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(&self.directory)
            .and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file));
        written.map_err(|source| RegistryError::Io {
            verb: "write an entry in",
            path: self.directory.clone(),
            source,
        })
    }
}

impl Registry for DirectoryRegistry {
    type Error = RegistryError;

    fn claim(&self, number: u16, labels: &LabelSet) -> Result<Claim, RegistryError> {
        let path = self.path(number);
        let known = |known: LabelSet| if known == *labels { Claim::Same } else { Claim::Taken };
        if let Some(present) = self.labels(number)? {
            return Ok(known(present));
        }
        match self.write_aside(labels)?.persist_noclobber(&path) {
            Ok(_) => {
                self.remember(number, labels);
                Ok(Claim::Won)
            }
            Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
                match self.labels(number)? {
                    Some(present) => Ok(known(present)),
                    None => Ok(Claim::Taken),
                }
            }
            Err(refused) => Err(RegistryError::Io { verb: "create", path, source: refused.error }),
        }
    }

    fn labels(&self, number: u16) -> Result<Option<LabelSet>, RegistryError> {
        if let Some(known) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(Some(known.clone()));
        }
        let path = self.path(number);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RegistryError::Io { verb: "read", path, source }),
        };
        let refuse = |what: String| RegistryError::Content { path: path.clone(), what };
        let entry: Entry = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        let labels = parse_labels(&entry.labels).map_err(refuse)?;
        self.remember(number, &labels);
        Ok(Some(labels))
    }
}

impl Registry for AgentRegistry {
    type Error = RegistryError;

    fn find(&self, labels: &LabelSet) -> Result<Option<u16>, RegistryError> {
        match self {
            AgentRegistry::Directory(registry) => registry.find(labels),
            AgentRegistry::Cluster(registry) => Ok(registry.find(labels)?),
        }
    }

    fn claim(&self, number: u16, labels: &LabelSet) -> Result<Claim, RegistryError> {
        match self {
            AgentRegistry::Directory(registry) => registry.claim(number, labels),
            AgentRegistry::Cluster(registry) => Ok(registry.claim(number, labels)?),
        }
    }

    fn labels(&self, number: u16) -> Result<Option<LabelSet>, RegistryError> {
        match self {
            AgentRegistry::Directory(registry) => registry.labels(number),
            AgentRegistry::Cluster(registry) => Ok(registry.labels(number)?),
        }
    }

    fn hurry(&self, labels: &LabelSet) {
        if let AgentRegistry::Cluster(registry) = self {
            registry.hurry(labels);
        }
    }

    fn in_use(&self, numbers: &BTreeSet<u16>) {
        if let AgentRegistry::Cluster(registry) = self {
            registry.in_use(numbers);
        }
    }

    fn take_disowned(&self) -> Vec<u16> {
        match self {
            AgentRegistry::Directory(_) => Vec::new(),
            AgentRegistry::Cluster(registry) => registry.take_disowned(),
        }
    }
}

impl AgentRegistry {
    /// Changes when somebody who waits for a number should look again; `None` where nobody ever waits.
    pub fn news(&self) -> Option<watch::Receiver<u64>> {
        match self {
            AgentRegistry::Directory(_) => None,
            AgentRegistry::Cluster(registry) => Some(registry.news()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_identity::{Identities, Label};
    use std::time::Duration;

    fn app(name: &str) -> LabelSet {
        LabelSet::new([Label::k8s("app", name), Label::k8s("empty", "")])
    }

    #[test]
    fn two_agents_agree_on_every_number_and_a_third_reads_them_later() {
        let dir = tempfile::tempdir().unwrap();
        let numbers = |order: Vec<usize>| {
            let path = dir.path().to_owned();
            std::thread::spawn(move || {
                let registry = DirectoryRegistry::open(&path).unwrap();
                let mut identities = Identities::new(registry, Duration::ZERO);
                let mut found: Vec<(usize, u32)> = order
                    .into_iter()
                    .map(|i| (i, identities.acquire(&app(&i.to_string())).unwrap()))
                    .collect();
                found.sort_unstable();
                found
            })
        };
        let (one, two) = (numbers((0..50).collect()), numbers((0..50).rev().collect()));
        let one = one.join().unwrap();
        assert_eq!(one, two.join().unwrap());
        let later = DirectoryRegistry::open(dir.path()).unwrap();
        assert_eq!(later.labels(one[7].1 as u16).unwrap(), Some(app("7")));
        let leftovers = fs::read_dir(dir.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(leftovers.count(), 0);
    }

    #[test]
    fn an_entry_that_is_no_entry_is_an_error_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("300.json"), "{").unwrap();
        let registry = DirectoryRegistry::open(dir.path()).unwrap();
        assert!(registry.claim(300, &app("x")).unwrap_err().to_string().contains("300.json"));
    }
}
