//! Becoming a process of the lab: cgroup first, then namespace, then the program itself.
//!
//! Done by a `fathom-lab enter` in between, because a process can join a cgroup only as a whole and
//! code between fork and exec would be unsafe.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Where to go before becoming a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub netns: Option<PathBuf>,
    pub cgroup: Option<PathBuf>,
    /// Bind-mounted over /etc/resolv.conf, in a mount namespace of the process's own.
    ///
    /// For short-lived commands only: a copy of the mount table keeps other labs' mounts alive.
    pub resolv_conf: Option<PathBuf>,
    /// A session of its own, so that a Ctrl-C at the terminal is not for it.
    pub detach: bool,
}

impl Entry {
    /// The command line that makes `program` start there; `this` is the fathom-lab binary.
    pub fn command(&self, this: &Path, program: &Path) -> Command {
        let mut command = Command::new(this);
        command.arg("enter");
        for (flag, value) in
            [("--netns", &self.netns), ("--cgroup", &self.cgroup), ("--resolv-conf", &self.resolv_conf)]
        {
            if let Some(value) = value {
                command.arg(flag).arg(value);
            }
        }
        if self.detach {
            command.arg("--detach");
        }
        command.arg("--").arg(program);
        command
    }

    /// Goes there and becomes the program. Returns only when that fails.
    pub fn become_program(&self, line: &[OsString]) -> Result<std::convert::Infallible> {
        let (program, arguments) = line.split_first().context("no program named")?;
        if self.detach {
            nix::unistd::setsid().context("start a session")?;
        }
        if let Some(cgroup) = &self.cgroup {
            std::fs::write(cgroup.join("cgroup.procs"), "0")
                .with_context(|| format!("join cgroup {}", cgroup.display()))?;
        }
        if let Some(netns) = &self.netns {
            super::netns::enter(netns)?;
        }
        if let Some(file) = &self.resolv_conf {
            own_resolv_conf(file)?;
        }
        let error = Command::new(program).args(arguments).exec();
        Err(error).with_context(|| format!("start {}", Path::new(program).display()))
    }
}

fn own_resolv_conf(file: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("make mounts private")?;
    mount(Some(file), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("mount {} over /etc/resolv.conf", file.display()))
}
