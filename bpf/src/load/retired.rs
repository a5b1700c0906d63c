//! Rings that are replaced by rings of another size.
//!
//! The ledger counts over all rings a lane ever had, and programs that an earlier process attached
//! go on writing into theirs until they are replaced. So a ring isn't just unpinned: it is kept as
//! `<ring>_retired`, and read when the books are made. The next process, which finds every program
//! replaced, writes its final counts down and lets it go. Like the ABI version they are the target of
//! a symbolic link, `<ring>_before`: a BPF file system holds no plain files.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{IoContext as _, Result};
use crate::ring::{EVENT_SPAN, Former, FormerRings, MappedRing};
use crate::sys::{self, map};

/// The files about one ring.
struct Files {
    ring: PathBuf,
    retired: PathBuf,
    before: PathBuf,
}

impl Files {
    fn of(maps: &Path, ring: &str) -> Self {
        let file = |suffix| maps.join(format!("{ring}{suffix}"));
        Self { ring: file(""), retired: file("_retired"), before: file("_before") }
    }
}

/// What is written down of former rings, and the map id of the last one in it: a process that ended
/// between writing and removing must not count it twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    former: Former,
    last: u32,
}

impl Written {
    fn read(path: &Path) -> Result<Self> {
        match fs::read_link(path) {
            Ok(text) => Self::parse(&text.to_string_lossy())
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not three numbers"))
                .context(|| format!("read {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context(|| format!("read {}", path.display())),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(':').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let former = Former { taken: next()?, abandoned: next()? };
        Some(Self { former, last: next()?.try_into().ok()? })
    }

    fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{}:{}:{}", self.former.taken, self.former.abandoned, self.last);
        let new = path.with_file_name("new_before");
        let write = || {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => symlink(&text, &new)?,
            }
            fs::rename(&new, path)
        };
        write().context(|| format!("write {}", path.display()))
    }
}

/// Closes the books of a ring that an earlier process retired.
pub(super) fn settle(maps: &Path, ring: &str) -> Result<()> {
    let files = Files::of(maps, ring);
    let Some(fd) = open(&files.retired)? else { return Ok(()) };
    if open(&files.ring)?.is_none() {
        // That process ended before the new ring was there: nothing has changed yet.
        return fs::rename(&files.retired, &files.ring).context(|| format!("restore ring {ring}"));
    }
    let id = map::id(fd.as_fd()).context(|| format!("inspect {}", files.retired.display()))?;
    let written = Written::read(&files.before)?;
    if written.last != id {
        let retired = MappedRing::new(fd).context(|| format!("map {}", files.retired.display()))?;
        Written { former: written.former.and(&retired), last: id }.write(&files.before)?;
    }
    fs::remove_file(&files.retired).context(|| format!("remove {}", files.retired.display()))
}

/// Takes a ring out of its place.
pub(super) fn retire(maps: &Path, ring: &str) -> Result<()> {
    let files = Files::of(maps, ring);
    fs::rename(&files.ring, &files.retired).context(|| format!("put ring {ring} aside"))?;
    let left = former(maps, ring)?.last.map_or(0, |ring| {
        let (taken, end) = ring.positions();
        (end - taken) / EVENT_SPAN
    });
    tracing::warn!(ring, records = left, "a ring is replaced: what nobody took out of it counts as lost");
    Ok(())
}

/// What went through the former rings of a lane.
pub(super) fn former(maps: &Path, ring: &str) -> Result<FormerRings> {
    let files = Files::of(maps, ring);
    let settled = Written::read(&files.before)?.former;
    let last = match open(&files.retired)? {
        Some(fd) => {
            Some(Arc::new(MappedRing::new(fd).context(|| format!("map {}", files.retired.display()))?))
        }
        None => None,
    };
    Ok(FormerRings { settled, last })
}

fn open(path: &Path) -> Result<Option<std::os::fd::OwnedFd>> {
    match sys::open_pin(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| format!("open {}", path.display())),
    }
}
