//! What the directory says as a whole: the last good content of every file, merged.
//!
//! Pure: files are put in and taken out, deltas and problems come out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::read::{Content, Entry, Stranger};
use crate::cluster::convert::InForce;
use crate::cluster::model::{Object, ObjectKey};
use crate::cluster::source::{Delta, Problem};

/// Files by path, and what was last said of them.
#[derive(Debug, Default)]
pub struct View {
    files: BTreeMap<PathBuf, File>,
    said: BTreeMap<ObjectKey, Object>,
    /// Some file changed since the deltas were last asked for.
    touched: bool,
}

#[derive(Debug, Default)]
struct File {
    /// What counts: the newest content as far as it could be understood.
    entries: Vec<Entry>,
    faults: Vec<Problem>,
    /// Objects of other kinds that never took the place of one that counts.
    strangers: BTreeSet<Stranger>,
    /// Some content was understood completely, or what could be understood was taken as a start.
    loaded: bool,
}

impl View {
    /// Takes in a file's new content; true when all of it was understood.
    ///
    /// A file with a part of which not even the object is known keeps all its objects; an object that is
    /// wrong keeps its last good form, and so does one whose kind became one that is not followed. Objects
    /// that are simply not there any more are gone.
    pub fn put(&mut self, path: &Path, content: Content) -> bool {
        self.touched = true;
        let file = self.files.entry(path.to_owned()).or_default();
        let keep_all = content.broken && file.loaded;
        let older = |key: Option<&ObjectKey>| file.entries.iter().find(|entry| Some(&entry.key) == key);
        let problem = |line, object: Option<&ObjectKey>, message| Problem {
            origin: path.display().to_string(),
            line,
            object: object.map(ToString::to_string).unwrap_or_default(),
            message,
        };
        let faults = content.faults.iter().map(|fault| {
            let what_now = match (keep_all, fault.in_force, older(fault.key.as_ref())) {
                (true, ..) => "; the file's last good objects stay in force",
                (_, InForce::Older | InForce::OlderOrRestricted, Some(_)) => {
                    "; its last good form stays in force"
                }
                (_, InForce::OlderOrRestricted, None) => "; until it is mended it allows nothing",
                (_, InForce::Older, None) => "; skipped",
                (_, InForce::Restricted | InForce::AsWritten, _) => "",
            };
            problem(fault.line, fault.key.as_ref(), format!("{}{what_now}", fault.message))
        });
        let mut faults: Vec<Problem> = faults.collect();

        let known: BTreeSet<&ObjectKey> = content.objects.iter().map(|entry| &entry.key).collect();
        let mut replaced = Vec::new();
        let mut strangers = BTreeSet::new();
        for stranger in &content.strangers {
            let place = file.entries.iter().find(|entry| {
                let key = &entry.key;
                stranger.name == *key.name
                    && (stranger.namespace == *key.namespace || key.kind.is_cluster_scoped())
                    && !known.contains(key)
            });
            match place {
                Some(entry) if !file.strangers.contains(&stranger.without_line()) => {
                    let (version, kind) = (&stranger.api_version, &stranger.kind);
                    let message = format!(
                        "{kind} in apiVersion {version} is not followed, and stands where {} was; its last good \
                         form stays in force: mend the kind, or delete the file to remove the object",
                        entry.key
                    );
                    faults.push(problem(stranger.line, Some(&entry.key), message));
                    replaced.push(entry);
                }
                _ => drop(strangers.insert(stranger.without_line())),
            }
        }
        let whole = replaced.is_empty()
            && !content.broken
            && content.faults.iter().all(|fault| fault.in_force == InForce::AsWritten);
        if !keep_all {
            let skipped = content.faults.iter().filter_map(|fault| fault.key.as_ref());
            let skipped = skipped.filter(|key| !known.contains(key)).filter_map(|key| older(Some(key)));
            let written = content.objects.iter().map(|entry| match entry.in_force {
                InForce::OlderOrRestricted => {
                    let good = older(Some(&entry.key)).filter(|e| e.in_force != InForce::OlderOrRestricted);
                    good.unwrap_or(entry)
                }
                _ => entry,
            });
            file.entries = written.chain(skipped).chain(replaced).cloned().collect();
            file.strangers = strangers;
        }
        file.faults = faults;
        file.loaded = true;
        whole
    }

    /// Whether the file's content has been taken in, or an older copy of it.
    pub fn is_loaded(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|file| file.loaded)
    }

    /// Says that a file cannot be read although it is there; its objects stay.
    pub fn unreadable(&mut self, path: &Path, why: &std::io::Error) {
        self.touched = true;
        let file = self.files.entry(path.to_owned()).or_default();
        let stays = if file.entries.is_empty() { "" } else { "; its last good objects stay in force" };
        file.faults = vec![Problem {
            origin: path.display().to_string(),
            line: 0,
            object: String::new(),
            message: format!("cannot be read: {why}{stays}"),
        }];
    }

    /// Says that what a file held for an earlier agent is not known, so that nothing can be removed.
    pub fn holds_up(&mut self, path: &Path) {
        let file = self.files.entry(path.to_owned()).or_default();
        for fault in &mut file.faults {
            fault.message.push_str("; what it said before is not known: all that is in force stays until it is mended or removed");
        }
    }

    /// Takes a file out that is gone.
    pub fn remove(&mut self, path: &Path) {
        self.touched = true;
        self.files.remove(path);
    }

    /// What changed since this was last asked.
    pub fn deltas(&mut self) -> Vec<Delta> {
        if !std::mem::take(&mut self.touched) {
            return Vec::new();
        }
        let mut now: BTreeMap<ObjectKey, Object> = BTreeMap::new();
        for entry in self.files.values().flat_map(|file| &file.entries) {
            now.entry(entry.key.clone()).or_insert_with(|| entry.object.clone());
        }
        let gone = self.said.keys().filter(|key| !now.contains_key(key));
        let mut deltas: Vec<Delta> = gone.cloned().map(Delta::Remove).collect();
        let changed = now.iter().filter(|(key, object)| self.said.get(key) != Some(object));
        deltas.extend(changed.map(|(key, object)| Delta::Upsert(key.clone(), object.clone())));
        self.said = now;
        deltas
    }

    /// What is wrong at present, one entry per fault or duplicate, by file.
    pub fn problems(&self) -> Vec<Problem> {
        let mut first: BTreeMap<&ObjectKey, (&Path, usize)> = BTreeMap::new();
        let mut problems = Vec::new();
        for (path, file) in &self.files {
            problems.extend(file.faults.iter().cloned());
            for entry in &file.entries {
                match first.get(&entry.key) {
                    None => drop(first.insert(&entry.key, (path, entry.line))),
                    Some((winner, line)) => problems.push(Problem {
                        origin: path.display().to_string(),
                        line: entry.line,
                        object: entry.key.to_string(),
                        message: format!("already in {}:{line}, which counts; skipped", winner.display()),
                    }),
                }
            }
        }
        problems
    }

    /// Objects in force.
    pub fn len(&self) -> usize {
        self.said.len()
    }
}
