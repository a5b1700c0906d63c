//! What can go wrong between user space and the kernel, in words.

use std::io;
use std::path::PathBuf;

/// Result of everything in this crate that talks to the kernel.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed request to the kernel, with what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded object could not be opened or prepared.
    #[error("cannot open the embedded BPF object: {0}")]
    Open(#[source] libbpf_rs::Error),

    /// The kernel refused the object; `log` is the end of libbpf's and the verifier's messages.
    #[error("the kernel refused the BPF object: {source}{}{}", tail(log), way_out(log))]
    Load { source: libbpf_rs::Error, log: String },

    /// A pinned map doesn't fit what this version and these flags want.
    #[error(
        "pinned map {path} doesn't fit: its {what} is {found}, wanted {wanted}. Start with the old \
         setting, or allow replacement (its entries are lost)"
    )]
    IncompatiblePin { map: String, path: PathBuf, what: &'static str, found: String, wanted: String },

    /// The pin directory is not on a BPF file system and none could be mounted there.
    #[error("{path} is not on a BPF file system ({source}). Mount one: mount -t bpf bpf {mount_point}")]
    NoBpffs { path: PathBuf, mount_point: PathBuf, source: io::Error },

    /// A setting outside its range.
    #[error("{name} is {value}, the range is {range}")]
    Setting { name: &'static str, value: u64, range: &'static str },

    /// A system call on a file or a kernel object failed.
    #[error("cannot {what}: {source}")]
    Io { what: String, source: io::Error },

    /// More entries than the map was sized for.
    #[error("{wanted} entries don't fit map {map}: the limit is {limit}")]
    TooManyEntries { map: &'static str, wanted: usize, limit: u32 },

    /// A map operation failed.
    #[error("cannot {operation} map {map}: {source}")]
    Map { map: &'static str, operation: &'static str, source: io::Error },
}

impl Error {
    /// The errno behind it, when there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::NoBpffs { source, .. } | Self::Io { source, .. } | Self::Map { source, .. } => {
                source.raw_os_error()
            }
            _ => None,
        }
    }
}

/// Adds what was being done to an `io::Error`.
pub(crate) trait IoContext<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}

/// As libbpf names the program that was refused: "prog 'l7_tcp': BPF program load failed".
fn way_out(log: &str) -> &'static str {
    if log.contains("prog 'l7_") {
        "\nThat program reads messages: with --l7 off it isn't loaded, and the rest works without"
    } else {
        ""
    }
}

fn tail(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("\n  {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_program_is_named_and_one_that_can_be_done_without_says_so() {
        let refused = |program: &str| {
            let log = format!("libbpf: prog '{program}': BPF program load failed: -EINVAL\n");
            let source = libbpf_rs::Error::from_raw_os_error(22);
            Error::Load { source, log }.to_string()
        };
        let of_messages = refused("l7_kafka");
        assert!(of_messages.contains("prog 'l7_kafka'") && of_messages.contains("--l7 off"), "{of_messages}");
        assert!(!refused("from_pod").contains("--l7"), "{}", refused("from_pod"));
    }
}
