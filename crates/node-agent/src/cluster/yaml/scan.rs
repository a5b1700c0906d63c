//! Brings the view up to date with the directory, with patience for writers that are not done.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::last_good::LastGood;
use super::read::read;
use super::tree::{Fingerprint, walk};
use super::view::View;
use super::watch::Hints;

/// A file whose writer was not seen to close it is left alone this long after its last change.
const SETTLE: Duration = Duration::from_millis(100);
/// A file that vanished or became empty may be about to come back: editors that rename the old file
/// away, or truncate before they write, leave this gap.
const GONE_AFTER: Duration = Duration::from_millis(150);
/// A writer that keeps a file open longer than this is no editor: what is there is read.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);
/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// The state between scans.
pub struct Scanner {
    root: PathBuf,
    view: View,
    last_good: LastGood,
    read_as: BTreeMap<PathBuf, Fingerprint>,
    missing_since: BTreeMap<PathBuf, Instant>,
    open: BTreeSet<PathBuf>,
    first: bool,
}

/// What a scan found besides what it put into the view.
#[derive(Debug, Default)]
pub struct Scan {
    pub directories: BTreeSet<PathBuf>,
    /// Something is not settled: scan again after this long.
    pub again_in: Option<Duration>,
}

impl Scanner {
    pub fn new(root: PathBuf, last_good: LastGood) -> Self {
        Scanner {
            root,
            view: View::default(),
            last_good,
            read_as: BTreeMap::new(),
            missing_since: BTreeMap::new(),
            open: BTreeSet::new(),
            first: true,
        }
    }

    pub fn view(&mut self) -> &mut View {
        &mut self.view
    }

    /// Looks at the whole tree and reads what changed.
    ///
    /// # Errors
    /// A directory cannot be read; the view is as it was.
    pub fn scan(&mut self, hints: Hints) -> io::Result<Scan> {
        self.open.retain(|path| !hints.closed.contains(path));
        self.open.extend(hints.open);
        let tree = walk(&self.root)?;
        let mut scan = Scan { directories: tree.directories, again_in: None };
        for (path, found) in &tree.files {
            self.consider(path, *found, hints.closed.contains(path), &mut scan);
        }
        let vanished: Vec<PathBuf> =
            self.read_as.keys().filter(|path| !tree.files.contains_key(*path)).cloned().collect();
        for path in vanished {
            if self.is_gone(&path, &mut scan) {
                self.view.remove(&path);
                self.last_good.forget(&path);
                self.read_as.remove(&path);
                self.open.remove(&path);
            }
        }
        self.missing_since.retain(|path, _| self.read_as.contains_key(path));
        self.first = false;
        Ok(scan)
    }

    fn consider(&mut self, path: &Path, found: Fingerprint, closed: bool, scan: &mut Scan) {
        if self.read_as.get(path) == Some(&found) && !closed {
            self.missing_since.remove(path);
            return;
        }
        if self.read_as.contains_key(path) && found.is_empty() {
            if !self.is_gone(path, scan) {
                return;
            }
        } else {
            self.missing_since.remove(path);
        }
        // At the first scan there is no earlier state to keep meanwhile, so everything is read.
        if !self.first && !closed {
            let patience = if self.open.contains(path) { WRITER_PATIENCE } else { SETTLE };
            let age = found.age(SystemTime::now());
            if age < patience {
                scan.again(patience - age);
                return;
            }
        }
        self.load(path, found);
    }

    fn load(&mut self, path: &Path, found: Fingerprint) {
        let first_time = self.read_as.insert(path.to_owned(), found).is_none();
        self.open.remove(path);
        match read_text(path) {
            Ok(text) => {
                let content = read(&text);
                if content.broken
                    && first_time
                    && let Some(older) = self.last_good.recall(path)
                {
                    self.view.put(path, read(&older));
                }
                if !content.broken {
                    self.last_good.keep(path, &text);
                }
                self.view.put(path, content);
            }
            // Gone between the walk and the read: the next scan sees that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.view.unreadable(path, &error),
        }
    }

    fn is_gone(&mut self, path: &Path, scan: &mut Scan) -> bool {
        let since = *self.missing_since.entry(path.to_owned()).or_insert_with(Instant::now);
        let left = GONE_AFTER.saturating_sub(since.elapsed());
        if left.is_zero() {
            self.missing_since.remove(path);
            return true;
        }
        scan.again(left);
        false
    }
}

impl Scan {
    fn again(&mut self, after: Duration) {
        let after = after.max(Duration::from_millis(1));
        self.again_in = Some(self.again_in.map_or(after, |already| already.min(after)));
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_FILE {
        let text = format!("{size} bytes are more than the {MAX_FILE} that are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    std::fs::read_to_string(path)
}
