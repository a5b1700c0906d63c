//! Copies of what is in force of each file, so that a file broken while the agent was away does not take
//! its policies with it.
//!
//! Most copies are of the last version that was understood. A file that was never understood has a copy as
//! well, of the text of which only a part counts, or an empty one: it says that nothing more was in force.
//! Hence a file without a copy, beside others that have one, is a file that no earlier agent saw.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory of copies named by the hash of the original's path; none when not configured.
pub struct LastGood {
    directory: Option<PathBuf>,
    inherited: bool,
}

impl LastGood {
    /// # Errors
    /// The directory cannot be made or read.
    pub fn new(directory: Option<PathBuf>) -> io::Result<Self> {
        let mut inherited = false;
        if let Some(directory) = &directory {
            fs::create_dir_all(directory)?;
            inherited = fs::read_dir(directory)?.next().is_some();
        }
        Ok(LastGood { directory, inherited })
    }

    /// Whether an earlier agent left copies: then something may be in force already.
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Keeps a copy. Failure costs only the memory of this version, so it is a line in the log.
    pub fn keep(&self, original: &Path, text: &str) {
        let Some(copy) = self.copy_of(original) else { return };
        let aside = copy.with_extension("new");
        if let Err(error) = fs::write(&aside, text).and_then(|()| fs::rename(&aside, &copy)) {
            tracing::warn!(path = %original.display(), %error, "cannot keep a copy of a good file");
        }
    }

    /// The last text that was understood.
    pub fn recall(&self, original: &Path) -> Option<String> {
        fs::read_to_string(self.copy_of(original)?).ok()
    }

    /// Drops the copy of a file that is gone.
    pub fn forget(&self, original: &Path) {
        if let Some(copy) = self.copy_of(original) {
            let _ = fs::remove_file(copy);
        }
    }

    /// Whether there is a copy of a file.
    pub fn has(&self, original: &Path) -> bool {
        self.copy_of(original).is_some_and(|copy| copy.exists())
    }

    /// Drops the copies of files that went while no agent looked: under the same name something else may
    /// come one day.
    pub fn keep_only<'a>(&self, originals: impl Iterator<Item = &'a Path>) {
        let Some(directory) = &self.directory else { return };
        let wanted: BTreeSet<PathBuf> = originals.filter_map(|original| self.copy_of(original)).collect();
        for copy in fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if !wanted.contains(&copy) {
                let _ = fs::remove_file(copy);
            }
        }
    }

    fn copy_of(&self, original: &Path) -> Option<PathBuf> {
        let hash = fathom_identity::hash::stable_hash(original.as_os_str().as_bytes());
        Some(self.directory.as_ref()?.join(format!("{hash:016x}.yaml")))
    }
}
