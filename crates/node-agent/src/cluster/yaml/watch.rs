//! inotify over a tree of directories: wakes the source, and says which files were just closed by
//! their writer and which are being written to.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;

/// Watches directories; files inside are told apart by name.
pub struct Watch {
    inotify: AsyncFd<Descriptor>,
    directories: HashMap<WatchDescriptor, PathBuf>,
}

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What happened since it was last asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Written and closed, or moved into place: whole.
    pub closed: BTreeSet<PathBuf>,
    /// Written to and not closed: perhaps half.
    pub open: BTreeSet<PathBuf>,
}

impl Hints {
    fn saw(&mut self, path: PathBuf, mask: AddWatchFlags) {
        if mask.intersects(AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO) {
            self.open.remove(&path);
            self.closed.insert(path);
        } else if mask.intersects(AddWatchFlags::IN_MODIFY) {
            self.closed.remove(&path);
            self.open.insert(path);
        } else if mask.intersects(AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM) {
            self.open.remove(&path);
            self.closed.remove(&path);
        }
    }
}

impl Watch {
    /// # Errors
    /// No inotify instance is left (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // Its successor `register` is unsafe for descriptors that may change hands; `Descriptor` owns one
        // and always returns the same.
        #[allow(deprecated)]
        let inotify = AsyncFd::new(Descriptor(inotify))?;
        Ok(Watch { inotify, directories: HashMap::new() })
    }

    /// Watches a directory; one that is watched already stays as it is.
    ///
    /// # Errors
    /// The directory is gone, or no watch is left (`fs.inotify.max_user_watches`).
    pub fn add(&mut self, directory: &Path) -> io::Result<()> {
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let watch = self.inotify.get_ref().0.add_watch(directory, events)?;
        self.directories.insert(watch, directory.to_owned());
        Ok(())
    }

    /// Waits until anything happens and returns what did. Events that did not fit the kernel's queue
    /// only wake: whoever waits looks at the whole tree anyway.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub async fn changed(&mut self) -> io::Result<Hints> {
        let mut hints = Hints::default();
        loop {
            let mut ready = self.inotify.readable().await?;
            let events = match ready.get_inner().0.read_events() {
                Ok(events) => events,
                Err(nix::errno::Errno::EAGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for event in events {
                if let (Some(directory), Some(name)) = (self.directories.get(&event.wd), event.name) {
                    hints.saw(directory.join(name), event.mask);
                }
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.directories.remove(&event.wd);
                }
            }
            return Ok(hints);
        }
    }
}
