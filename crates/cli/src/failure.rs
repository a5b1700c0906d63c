//! How a command fails: what is printed, and the exit status.

use std::fmt;

/// Exit status when something went wrong.
pub const ERROR: u8 = 1;
/// Exit status when the command line, or a value in it, means nothing.
pub const USAGE: u8 = 2;

/// An error of the person at the keyboard: the command line can't be followed as it stands.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A [`Usage`] error as `anyhow` carries it.
pub fn usage(text: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Usage(text.to_string()))
}

/// Whether standard output went away: the reader has seen enough, and nothing is wrong.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// The exit status an error leads to.
pub fn status(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Usage>()) { USAGE } else { ERROR }
}
