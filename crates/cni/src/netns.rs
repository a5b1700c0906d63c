//! The container's network namespace, with the plugin's words for what can go wrong.

use std::fs::File;
use std::future::Future;
use std::path::Path;

pub use fathom_netns::cookie;
use fathom_netns::{Id, Inside};

use crate::error::{Code, Error};

/// An open network namespace that is not the plugin's own.
pub struct Netns(fathom_netns::Netns);

impl Netns {
    /// Opens CNI_NETNS.
    ///
    /// # Errors
    /// [`Code::InvalidEnvironment`] when there is none at `path`, or when it is the node's own:
    /// wiring the node as if it were a pod would cut it off.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let invalid =
            |what: &str| Error::new(Code::InvalidEnvironment, format!("CNI_NETNS {} {what}", path.display()));
        let pod = fathom_netns::Netns::open(path).map_err(|e| invalid("cannot be opened").because(e))?;
        let own = Id::own()
            .map_err(|e| Error::new(Code::Io, "cannot examine the plugin's own namespace").because(e))?;
        if pod.id() == own {
            return Err(invalid("is the node's own namespace"));
        }
        Ok(Self(pod))
    }

    /// The descriptor, to name the namespace to the kernel.
    pub fn as_file(&self) -> &File {
        self.0.as_file()
    }

    /// Runs `work` on a new thread inside the namespace; sockets and sysctls it opens belong there.
    pub async fn inside<T, F, Fut>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Error>>,
    {
        let failed = |inside: Inside| Error::new(Code::Io, inside.what).because(inside.source);
        self.0.inside(work).await.map_err(failed)?
    }
}
