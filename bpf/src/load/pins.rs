//! Maps that outlive the process: found again by name, checked before they are used.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use libbpf_rs::OpenMapMut;

use super::retired;
use crate::abi::ABI_VERSION;
use crate::attach::Links;
use crate::bpffs;
use crate::error::{Error, IoContext as _, Result};
use crate::ring::FormerRings;
use crate::sys::{self, map};

/// The rings of both lanes.
const RINGS: [&str; 2] = ["events", "drops"];

/// The pin directory of one agent instance.
#[derive(Debug)]
pub(super) struct Pins {
    dir: PathBuf,
    replace: bool,
}

impl Pins {
    /// Makes the directory and checks that what is pinned there is of this ABI version: sizes alone
    /// don't tell two layouts apart.
    pub(super) fn open(dir: &Path, replace: bool) -> Result<Self> {
        bpffs::prepare(dir)?;
        let pins = Self { dir: dir.to_owned(), replace };
        pins.check_abi()?;
        for ring in RINGS {
            retired::settle(&pins.maps_dir(), ring)?;
        }
        Ok(pins)
    }

    pub(super) fn links_dir(&self) -> PathBuf {
        self.dir.join("links")
    }

    fn maps_dir(&self) -> PathBuf {
        self.dir.join("maps")
    }

    fn path(&self, map: &str) -> PathBuf {
        self.maps_dir().join(map)
    }

    /// What went through the rings that the lane's present one replaced.
    pub(super) fn former(&self, ring: &str) -> Result<FormerRings> {
        retired::former(&self.maps_dir(), ring)
    }

    /// A BPF file system holds no plain files: the version is the target of a symbolic link.
    fn check_abi(&self) -> Result<()> {
        let marker = self.dir.join("abi");
        let wanted = ABI_VERSION.to_string();
        match fs::read_link(&marker) {
            Ok(found) if found.as_os_str() == wanted.as_str() => return Ok(()),
            Ok(found) if !self.replace => {
                return Err(Error::IncompatiblePin {
                    map: "abi".into(),
                    path: marker,
                    what: "version",
                    found: found.display().to_string(),
                    wanted,
                });
            }
            Ok(_) => {
                for entry in read_dir(&self.maps_dir())? {
                    remove(&entry)?;
                }
                remove(&marker)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(|| format!("read {}", marker.display())),
        }
        std::os::unix::fs::symlink(&wanted, &marker).context(|| format!("create {}", marker.display()))
    }

    /// Makes `open` use the pinned map of its name, if there is one that fits.
    pub(super) fn reuse(&self, open: &mut OpenMapMut<'_>) -> Result<()> {
        let name = open.name().to_string_lossy().into_owned();
        let path = self.path(&name);
        let fd = match sys::open_pin(&path) {
            Ok(fd) => fd,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).context(|| format!("open {}", path.display())),
        };
        if let Some(mismatch) = mismatch(open, &fd).context(|| format!("inspect {}", path.display()))? {
            let (what, found, wanted) = mismatch;
            if !self.replace {
                let (found, wanted) = (found.to_string(), wanted.to_string());
                return Err(Error::IncompatiblePin { map: name, path, what, found, wanted });
            }
            tracing::warn!(map = %name, what, found, wanted, "replacing a pinned map that doesn't fit");
            if RINGS.contains(&&*name) {
                return retired::retire(&self.maps_dir(), &name);
            }
            return remove(&path);
        }
        open.reuse_fd(fd.as_fd()).map_err(Error::Open)
    }

    /// Pins a freshly made map; one that came from its pin stays there.
    pub(super) fn keep(&self, name: &str, fd: &OwnedFd) -> Result<()> {
        let path = self.path(name);
        match sys::pin(fd.as_fd(), &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result.context(|| format!("pin {}", path.display())),
        }
    }
}

/// The first property in which the pinned map isn't what the object asks for.
fn mismatch(open: &OpenMapMut<'_>, fd: &OwnedFd) -> io::Result<Option<(&'static str, u32, u32)>> {
    let found = map::info(fd.as_fd())?;
    // Flags the kernel adds by itself or that carry no layout would go here; none so far.
    let checks = [
        ("type", found.kind, open.map_type() as u32),
        ("key size", found.key_size, open.key_size()),
        ("value size", found.value_size, open.value_size()),
        ("size", found.max_entries, open.max_entries()),
        ("flags", found.flags, open.map_flags()),
    ];
    Ok(checks.into_iter().find(|(_, found, wanted)| found != wanted))
}

/// Removes everything under a pin directory and the directory itself: links first, so that programs
/// leave their places, then maps. Nothing needs to be loaded for it.
///
/// # Errors
/// When something can't be removed, by name. A directory that isn't there is fine.
pub fn remove_pins(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    if !bpffs::is_bpffs(dir) {
        return Err(Error::Io {
            what: format!("remove pins in {}", dir.display()),
            source: io::Error::new(io::ErrorKind::InvalidInput, "not a BPF file system"),
        });
    }
    let links = Links::new(Some(dir.join("links")));
    for sub in ["links", "maps"] {
        let sub = dir.join(sub);
        for pin in read_dir(&sub)? {
            match pin.file_name().and_then(|name| name.to_str()) {
                Some(name) if sub.ends_with("links") => links.remove(name).map(drop)?,
                _ => remove(&pin)?,
            }
        }
        if sub.exists() {
            fs::remove_dir(&sub).context(|| format!("remove {}", sub.display()))?;
        }
    }
    let marker = dir.join("abi");
    if marker.symlink_metadata().is_ok() {
        remove(&marker)?;
    }
    fs::remove_dir(dir).context(|| format!("remove {}", dir.display()))
}

fn read_dir(dir: &Path) -> Result<Vec<PathBuf>> {
    let list = || fs::read_dir(dir)?.map(|entry| entry.map(|e| e.path())).collect();
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.context(|| format!("list {}", dir.display())),
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).context(|| format!("remove {}", path.display()))
}
