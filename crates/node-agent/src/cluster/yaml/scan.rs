//! Brings the view up to date with the directory, with patience for writers that are not done.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use fathom_policy::Edited;

use super::last_good::LastGood;
use super::read::{Content, read};
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
/// A file that cannot be read is tried again after this long, then after twice as long, and so on …
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// … up to this.
const RETRY_MOST: Duration = Duration::from_secs(30);
/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// The state between scans.
pub struct Scanner {
    root: PathBuf,
    view: View,
    last_good: LastGood,
    files: BTreeMap<PathBuf, Known>,
    missing_since: BTreeMap<PathBuf, Instant>,
    open: BTreeSet<PathBuf>,
    first: bool,
    /// A scan was complete.
    listed: bool,
    /// Files of which it is not known what they said when an earlier agent read them.
    unknown: BTreeSet<PathBuf>,
}

/// How far a file has been read.
#[derive(Debug, Default)]
struct Known {
    /// The state that was read last.
    read_as: Option<Fingerprint>,
    /// The last attempts failed: when to try again, and how long the wait was.
    retry: Option<(Instant, Duration)>,
}

/// What a scan found besides what it put into the view.
#[derive(Debug, Default)]
pub struct Scan {
    pub directories: BTreeSet<PathBuf>,
    /// Something is not settled: scan again after this long.
    pub again_in: Option<Duration>,
    /// What the directory says is known, so what it does not say is gone.
    pub complete: bool,
}

impl Scanner {
    pub fn new(root: PathBuf, last_good: LastGood) -> Self {
        Scanner {
            root,
            view: View::default(),
            last_good,
            files: BTreeMap::new(),
            missing_since: BTreeMap::new(),
            open: BTreeSet::new(),
            first: true,
            listed: false,
            unknown: BTreeSet::new(),
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
        let mut scan = Scan { directories: tree.directories, ..Scan::default() };
        for (path, found) in &tree.files {
            self.consider(path, *found, hints.closed.contains(path), &mut scan);
        }
        let vanished: Vec<PathBuf> =
            self.files.keys().filter(|path| !tree.files.contains_key(*path)).cloned().collect();
        for path in vanished {
            if self.is_gone(&path, &mut scan) {
                self.view.remove(&path);
                self.last_good.forget(&path);
                self.files.remove(&path);
                self.open.remove(&path);
                self.unknown.remove(&path);
            }
        }
        self.missing_since.retain(|path, _| self.files.contains_key(path));
        scan.complete = self.unknown.is_empty();
        if scan.complete && !std::mem::replace(&mut self.listed, true) {
            self.last_good.keep_only(self.files.keys().map(PathBuf::as_path));
        }
        self.first = false;
        Ok(scan)
    }

    fn consider(&mut self, path: &Path, found: Fingerprint, closed: bool, scan: &mut Scan) {
        let (read_as, retry) = self.files.get(path).map_or((None, None), |k| (k.read_as, k.retry));
        if read_as == Some(found) && !closed {
            self.missing_since.remove(path);
            return;
        }
        if let Some((at, _)) = retry.filter(|_| !closed) {
            let left = at.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                scan.again(left);
                return;
            }
        }
        if self.view.is_loaded(path) && found.is_empty() {
            if !self.is_gone(path, scan) {
                return;
            }
        } else {
            self.missing_since.remove(path);
        }
        if !closed {
            let patience = if self.open.contains(path) { WRITER_PATIENCE } else { SETTLE };
            let age = found.age(SystemTime::now());
            // At the first scan nobody was there to see the writer, so that what it has written so far may
            // be a half. Without a copy there is nothing to keep meanwhile.
            if age < patience && (!self.first || self.recalled(path)) {
                self.files.entry(path.to_owned()).or_default();
                scan.again(patience - age);
                return;
            }
        }
        self.load(path, found, scan);
    }

    fn load(&mut self, path: &Path, found: Fingerprint, scan: &mut Scan) {
        self.open.remove(path);
        let text = match read_text(path) {
            Ok(text) => text,
            // Gone between the walk and the read: the next scan sees that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let known = self.files.entry(path.to_owned()).or_default();
                let wait = known.retry.map_or(RETRY_FIRST, |(_, last)| (last * 2).min(RETRY_MOST));
                known.retry = Some((Instant::now() + wait, wait));
                scan.again(wait);
                self.recalled(path);
                self.view.unreadable(path, &error);
                self.not_understood(path, "");
                return;
            }
        };
        self.files.insert(path.to_owned(), Known { read_as: Some(found), retry: None });
        let mut content = text.as_deref().map_or_else(Content::no_text, read);
        content.note_edit(&self.edit(path, found));
        if content.broken || !content.faults.is_empty() || !content.strangers.is_empty() {
            self.recalled(path);
        }
        if self.view.put(path, content) {
            self.unknown.remove(path);
            self.last_good.keep(path, text.as_deref().unwrap_or_default());
        } else {
            self.not_understood(path, text.as_deref().unwrap_or_default());
        }
    }

    /// Whatever differs from what was known of the file is as old as the file.
    fn edit(&self, path: &Path, found: Fingerprint) -> Edited {
        let name = path.strip_prefix(&self.root).unwrap_or(path);
        let unix_ns = found.modified().map_or(0, fathom_api::time::from_system_time);
        Edited { by: name.display().to_string().into(), unix_ns }
    }

    /// Puts in the copy of a file that has not been taken in yet; whether it has been now.
    fn recalled(&mut self, path: &Path) -> bool {
        if self.view.is_loaded(path) {
            return true;
        }
        let Some(older) = self.last_good.recall(path) else { return false };
        self.view.put(path, read(&older));
        true
    }

    /// A file failed, in whole or in part. Without a copy its `text` becomes the copy, as the record of
    /// what is in force of it; but not if an earlier agent may have read it in another form.
    fn not_understood(&mut self, path: &Path, text: &str) {
        if self.last_good.has(path) {
            return;
        }
        if self.first && self.last_good.is_inherited() {
            self.unknown.insert(path.to_owned());
        }
        if self.unknown.contains(path) {
            self.view.holds_up(path);
        } else {
            self.last_good.keep(path, text);
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

/// The text; `None` if it is none.
fn read_text(path: &Path) -> io::Result<Option<String>> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_FILE {
        let text = format!("{size} bytes are more than the {MAX_FILE} that are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(String::from_utf8(std::fs::read(path)?).ok())
}
