//! Links by name: pinned under `<pin dir>/links`, or held open by this process when nothing is pinned.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{IoContext as _, Result};
use crate::sys::{self, AttachType, LinkTarget};

#[derive(Debug)]
pub(crate) struct Links {
    dir: Option<PathBuf>,
    held: Mutex<BTreeMap<String, OwnedFd>>,
}

/// Whether [`Links::attach`] made a link or put the program into one that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    New,
    Updated,
}

impl Links {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, held: Mutex::default() }
    }

    /// Puts `program` at `target`: into the link of this name when it still hangs there, so that no
    /// packet goes by between the old program and the new one; else into a new link.
    ///
    /// # Errors
    /// When the kernel refuses. A link that hangs at `target` then goes on with the program it has: an
    /// older program on a live pod's device is better than none.
    pub(crate) fn attach(
        &self,
        name: &str,
        program: BorrowedFd<'_>,
        target: LinkTarget,
        target_fd: i32,
        at: AttachType,
    ) -> Result<Made> {
        if let Some(link) = self.open(name)? {
            let found = sys::link_target(link.as_fd()).context(|| format!("inspect link {name}"))?;
            if found == target {
                sys::link_update(link.as_fd(), program)
                    .context(|| format!("replace the program of {name} at {target:?}"))?;
                return Ok(Made::Updated);
            }
            // The device or cgroup is gone, or the name belongs to another one by now.
            self.remove(name)?;
        }
        let link =
            sys::link_create(program, target_fd, at).context(|| format!("attach {name} to {target:?}"))?;
        match &self.dir {
            Some(dir) => {
                let path = dir.join(name);
                sys::pin(link.as_fd(), &path).context(|| format!("pin {}", path.display()))?;
            }
            None => {
                self.held().insert(name.to_owned(), link);
            }
        }
        Ok(Made::New)
    }

    /// Takes the link away, and with it the program from its place. Says whether there was one.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        if let Some(link) = self.open(name)? {
            // Fails when the device or cgroup is gone, and the program with it.
            if let Err(error) = sys::link_detach(link.as_fd()) {
                tracing::debug!(name, %error, "a link was detached already");
            }
        }
        match &self.dir {
            Some(dir) => {
                let path = dir.join(name);
                match fs::remove_file(&path) {
                    Ok(()) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                    Err(error) => Err(error).context(|| format!("remove {}", path.display())),
                }
            }
            None => Ok(self.held().remove(name).is_some()),
        }
    }

    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let Some(dir) = &self.dir else { return Ok(self.held().keys().cloned().collect()) };
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(dir)? {
                names.extend(entry?.file_name().into_string().ok());
            }
            names.sort();
            Ok(names)
        };
        list().context(|| format!("list {}", dir.display()))
    }

    /// What the link of this name hangs on; `None` when there is no such link.
    pub(crate) fn target(&self, name: &str) -> Result<Option<LinkTarget>> {
        let Some(link) = self.open(name)? else { return Ok(None) };
        sys::link_target(link.as_fd()).map(Some).context(|| format!("inspect link {name}"))
    }

    /// Removes links whose device or cgroup is gone; returns their names.
    pub(crate) fn sweep(&self) -> Result<Vec<String>> {
        let mut gone = Vec::new();
        for name in self.names()? {
            if matches!(self.target(&name)?, Some(LinkTarget::Tcx(0) | LinkTarget::Cgroup(0))) {
                self.remove(&name)?;
                gone.push(name);
            }
        }
        Ok(gone)
    }

    fn open(&self, name: &str) -> Result<Option<OwnedFd>> {
        let opened = match &self.dir {
            Some(dir) => sys::open_pin(&dir.join(name)),
            None => match self.held().get(name) {
                Some(fd) => fd.try_clone(),
                None => return Ok(None),
            },
        };
        match opened {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(|| format!("open link {name}")),
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, OwnedFd>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use libbpf_sys as ffi;

    use super::*;
    use crate::probe::Features;
    use crate::testing::{Veth, in_new_netns};

    #[test]
    fn a_link_that_cannot_be_updated_keeps_the_program_it_has() {
        if !Features::probe().tcx {
            return;
        }
        in_new_netns(|| {
            let veth = Veth::new("fl").expect("veth");
            let (links, target) = (Links::new(None), LinkTarget::Tcx(veth.ifindex()));
            let attach = |program: BorrowedFd<'_>| {
                links.attach("x", program, target, veth.ifindex() as i32, ffi::BPF_TCX_INGRESS)
            };
            let program = sys::load_empty_classifier().expect("load (needs root)");
            assert_eq!(attach(program.as_fd()).expect("attach"), Made::New);
            // Any descriptor that is no program: the kernel refuses the update.
            let file = std::fs::File::open("/dev/null").expect("open");
            attach(file.as_fd()).expect_err("refused");
            assert_eq!(links.target("x").expect("inspect"), Some(target), "still there");
            assert_eq!(attach(program.as_fd()).expect("attach"), Made::Updated, "the same link");
        });
    }
}
