//! The programs a lab runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Binaries, all but others' in the directory of the `fathom-lab` binary.
#[derive(Debug, Clone)]
pub struct Tools {
    pub lab: PathBuf,
    pub cni: PathBuf,
    pub agent: PathBuf,
    pub relay: PathBuf,
    pub api_server: PathBuf,
    pub cli: PathBuf,
    /// Directory of the reference CNI plugins, as Debian's `containernetworking-plugins` has it.
    pub plugins: PathBuf,
}

impl Tools {
    /// Those beside `lab`.
    pub fn beside(lab: &Path) -> Self {
        let at = |name: &str| lab.with_file_name(name);
        Self {
            lab: lab.to_owned(),
            cni: at("fathom-cni"),
            agent: at("fathom-agent"),
            relay: at("fathom-relay"),
            api_server: at("fathom-fake-apiserver"),
            cli: at("fathom"),
            plugins: PathBuf::from("/usr/lib/cni"),
        }
    }

    /// Those beside the running binary, which is `fathom-lab`.
    pub fn own() -> Result<Self> {
        Ok(Self::beside(&std::env::current_exe().context("find the running binary")?))
    }

    /// A reference plugin.
    ///
    /// # Errors
    /// It is not installed.
    pub fn plugin(&self, name: &str) -> Result<PathBuf> {
        let path = self.plugins.join(name);
        if !path.exists() {
            bail!(
                "{} is missing: ci/bootstrap --software, or apt install containernetworking-plugins",
                path.display()
            );
        }
        Ok(path)
    }

    /// # Errors
    /// Names the first that is missing and how to build it.
    pub fn require(&self, programs: &[&Path]) -> Result<()> {
        for program in programs {
            if !program.exists() {
                bail!("{} is missing: cargo build --workspace --bins", program.display());
            }
        }
        Ok(())
    }
}
