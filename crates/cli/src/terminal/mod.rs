//! What has to do with the screen and not with flows.

pub mod colour;
pub mod columns;
pub mod escape;
pub mod indent;
pub mod quantity;
pub mod time_format;

use std::fmt::Display;
use std::io::Write;

/// Says something on standard error. Who closed it does not want to hear it, so a failure is none
/// (`eprintln!` would panic).
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
