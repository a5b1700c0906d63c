//! Which files there are, and which of them are worth reading again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Deepest directory below the root that is looked into: a loop of symbolic links ends here.
const MAX_DEPTH: usize = 16;

/// A file is written by the kernel's coarse clock, or by another machine's.
const CLOCKS_DIFFER: Duration = Duration::from_secs(2);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

impl Fingerprint {
    /// How long ago the file was written to; zero when the clock says it was a moment ahead, and for
    /// ever when it was far ahead: then the clock was set back and says nothing.
    pub fn age(&self, now: SystemTime) -> Duration {
        match self.modified.map(|at| now.duration_since(at)) {
            Some(Ok(age)) => age,
            Some(Err(ahead)) if ahead.duration() > CLOCKS_DIFFER => Duration::MAX,
            Some(Err(_)) => Duration::ZERO,
            None => Duration::MAX,
        }
    }

    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// Whether the file holds nothing: an editor may be about to fill it.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }
}

/// A complete walk.
#[derive(Debug, Default)]
pub struct Tree {
    pub files: BTreeMap<PathBuf, Fingerprint>,
    pub directories: BTreeSet<PathBuf>,
}

/// Walks a directory: `*.yaml`, `*.yml` and `*.json` at any depth, hidden names and editors' leavings
/// left out, symbolic links followed.
///
/// # Errors
/// Any directory that cannot be read: a walk that saw only a part would look like deletions.
pub fn walk(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::default();
    let mut pending = vec![(root.to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if is_hidden(&path) {
                continue;
            }
            // Follows links; a name that is gone since, or leads nowhere, is not there.
            let metadata = match std::fs::metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if metadata.is_dir() {
                if depth < MAX_DEPTH {
                    pending.push((path, depth + 1));
                }
            } else if metadata.is_file() && has_followed_extension(&path) {
                tree.files.insert(
                    path,
                    Fingerprint {
                        device: metadata.dev(),
                        inode: metadata.ino(),
                        size: metadata.size(),
                        modified: metadata.modified().ok(),
                    },
                );
            }
        }
        tree.directories.insert(directory);
    }
    Ok(tree)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_none_or(|name| name.starts_with('.'))
}

fn has_followed_extension(path: &Path) -> bool {
    matches!(path.extension().and_then(OsStr::to_str), Some("yaml" | "yml" | "json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_are_found_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(root.join(".git")).unwrap();
        for name in
            ["x.yaml", "a/y.yml", "a/b/z.json", ".hidden.yaml", "x.yaml~", "n.txt", ".git/c.yaml", "4913"]
        {
            std::fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("x.yaml", root.join("link.yaml")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("dangling.yaml")).unwrap();
        let found = walk(root).unwrap();
        let names: Vec<_> =
            found.files.keys().map(|p| p.strip_prefix(root).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a/b/z.json", "a/y.yml", "link.yaml", "x.yaml"]);
        assert_eq!(found.directories.len(), 3);
    }

    #[test]
    fn a_missing_root_is_an_error_not_an_empty_tree() {
        assert!(walk(Path::new("/nonexistent/objects")).is_err());
    }
}
