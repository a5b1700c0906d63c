//! Network namespaces: opened, told apart, and worked in on a thread of their own.

#![forbid(unsafe_code)]

use std::fs::{File, Metadata};
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::GetStruct;
use nix::sys::socket::{AddressFamily, GetSockOpt, SockFlag, SockType, socket};

/// What tells namespaces apart as long as they exist: device and inode of their file in nsfs (ioctl_ns(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    dev: u64,
    ino: u64,
}

impl Id {
    /// The namespace a path names, without opening it.
    ///
    /// # Errors
    /// Nothing there, or no right to look.
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(Self::from)
    }

    /// The calling thread's own.
    ///
    /// # Errors
    /// When proc is not mounted.
    pub fn own() -> io::Result<Self> {
        Self::of(Path::new("/proc/thread-self/ns/net"))
    }
}

impl From<Metadata> for Id {
    fn from(file: Metadata) -> Self {
        Id { dev: file.dev(), ino: file.ino() }
    }
}

/// An open network namespace: it exists at least as long as this.
#[derive(Debug)]
pub struct Netns {
    file: File,
    id: Id,
}

impl Netns {
    /// Opens the namespace a path names.
    ///
    /// # Errors
    /// Nothing there, or no right to open it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let id = file.metadata()?.into();
        Ok(Self { file, id })
    }

    pub fn id(&self) -> Id {
        self.id
    }

    /// The descriptor, to name the namespace to the kernel.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Runs `work` on a new thread inside the namespace; sockets and sysctls it opens belong there.
    ///
    /// A thread of its own, because a thread that failed to return to its namespace would take
    /// the rest of the process along.
    ///
    /// # Errors
    /// [`Inside`] says what failed before `work` began.
    pub async fn inside<T, F, Fut>(&self, work: F) -> Result<T, Inside>
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T>,
    {
        let failed = |what: &'static str| move |source| Inside { what, source };
        let file = self.file.try_clone().map_err(failed("cannot duplicate the namespace's descriptor"))?;
        let (done, result) = tokio::sync::oneshot::channel();
        let thread = move || {
            let outcome = setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|e| failed("cannot enter the namespace")(e.into()))
                .and_then(|()| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.map_err(failed("cannot start an async runtime"))
                })
                .map(|runtime| runtime.block_on(work()));
            // The receiver is gone only if the process is on its way out.
            let _ = done.send(outcome);
        };
        std::thread::Builder::new()
            .name("netns".into())
            .spawn(thread)
            .map_err(failed("cannot start a thread for the namespace"))?;
        let early = |_| failed("the namespace's thread ended early")(io::ErrorKind::BrokenPipe.into());
        result.await.unwrap_or_else(|gone| Err(early(gone)))
    }
}

/// Why nothing was done inside a namespace.
#[derive(Debug)]
pub struct Inside {
    pub what: &'static str,
    pub source: io::Error,
}

impl std::fmt::Display for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl std::error::Error for Inside {}

/// `SO_NETNS_COOKIE`, Linux 5.14: the number BPF programs know a namespace by.
#[derive(Clone, Copy)]
struct NetnsCookie;

nix::getsockopt_impl!(NetnsCookie, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, u64, GetStruct<u64>);

/// The calling thread's namespace cookie; 0 on kernels that have none.
pub fn cookie() -> u64 {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .and_then(|socket| NetnsCookie.get(&socket))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root only: makes a namespace.
    #[tokio::test]
    async fn work_inside_sees_another_namespace_and_the_caller_stays() {
        let (ready, opened) = std::sync::mpsc::channel();
        let (leave, left) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("a namespace (root)");
            ready.send(Netns::open(Path::new("/proc/thread-self/ns/net")).expect("open")).expect("tell");
            left.recv().ok();
        });
        let netns = opened.recv().expect("a namespace");
        let own = Id::own().expect("own");
        let (seen, number) =
            netns.inside(|| async { (Id::own().expect("own"), cookie()) }).await.expect("in");
        assert_eq!(seen, netns.id());
        assert_ne!(seen, own);
        assert_ne!((number, number), (0, cookie()));
        assert_eq!(Id::own().expect("own"), own);
        drop(leave);
        other.join().expect("joined");
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Netns::open(&dir.path().join("x")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
