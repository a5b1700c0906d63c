//! Copies of the files that were understood, so that a file broken while the agent was away does not
//! take its policies with it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory of copies named by the hash of the original's path; none when not configured.
pub struct LastGood {
    directory: Option<PathBuf>,
}

impl LastGood {
    /// # Errors
    /// The directory cannot be made.
    pub fn new(directory: Option<PathBuf>) -> io::Result<Self> {
        if let Some(directory) = &directory {
            fs::create_dir_all(directory)?;
        }
        Ok(LastGood { directory })
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

    fn copy_of(&self, original: &Path) -> Option<PathBuf> {
        let hash = fathom_identity::hash::stable_hash(original.as_os_str().as_bytes());
        Some(self.directory.as_ref()?.join(format!("{hash:016x}.yaml")))
    }
}
