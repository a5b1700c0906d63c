//! Work inside another network namespace, on a thread of its own.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::GetStruct;
use nix::sys::socket::{AddressFamily, GetSockOpt, SockFlag, SockType, socket};

use crate::error::{Code, Error};

/// An open network namespace that is not the plugin's own.
pub struct Netns {
    file: File,
}

impl Netns {
    /// Opens CNI_NETNS.
    ///
    /// # Errors
    /// [`Code::InvalidEnvironment`] when there is none at `path`, or when it is the node's own:
    /// wiring the node as if it were a pod would cut it off.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let invalid =
            |what: &str| Error::new(Code::InvalidEnvironment, format!("CNI_NETNS {} {what}", path.display()));
        let file = File::open(path).map_err(|e| invalid("cannot be opened").because(e))?;
        let pod = file.metadata().map_err(|e| invalid("cannot be examined").because(e))?;
        let own = std::fs::metadata("/proc/thread-self/ns/net")
            .map_err(|e| Error::new(Code::Io, "cannot examine the plugin's own namespace").because(e))?;
        if (pod.dev(), pod.ino()) == (own.dev(), own.ino()) {
            return Err(invalid("is the node's own namespace"));
        }
        Ok(Self { file })
    }

    /// The descriptor, to name the namespace to the kernel.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Runs `work` on a new thread inside the namespace; sockets and sysctls it opens belong there.
    ///
    /// A thread of its own, because a thread that failed to return to its namespace would take
    /// the rest of the plugin along.
    pub async fn inside<T, F, Fut>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Error>>,
    {
        let io = |what: &'static str| move |e: std::io::Error| Error::new(Code::Io, what).because(e);
        let file = self.file.try_clone().map_err(io("cannot duplicate the namespace's descriptor"))?;
        let (done, result) = tokio::sync::oneshot::channel();
        let thread = move || {
            let outcome = setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|e| Error::new(Code::Io, "cannot enter the container's namespace").because(e))
                .and_then(|()| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.map_err(io("cannot start an async runtime"))?.block_on(work())
                });
            // The receiver is gone only if the plugin is on its way out.
            let _ = done.send(outcome);
        };
        std::thread::Builder::new()
            .name("netns".into())
            .spawn(thread)
            .map_err(io("cannot start a thread for the container's namespace"))?;
        result.await.unwrap_or_else(|_| Err(Error::new(Code::Io, "the namespace's thread ended early")))
    }
}

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
