//! What every scenario needs.

#![allow(dead_code)] // each test binary uses its own part of it

use std::path::Path;

use fathom_lab::{Lab, Tools, Where};

/// The binaries of this build.
pub fn tools() -> Tools {
    Tools::beside(Path::new(env!("CARGO_BIN_EXE_fathom-lab")))
}

/// A lab name no other test process uses.
pub fn unique(kind: &str) -> String {
    format!("t-{kind}-{}", std::process::id())
}

/// Asserts that a probe is answered.
#[track_caller]
pub fn answered(lab: &Lab, place: &str, line: &[&str]) -> String {
    let output = lab.probe(place, Where::Inside, line).unwrap();
    assert!(output.success, "{place}: probe {}: {}{}", line.join(" "), output.stdout, output.stderr);
    output.stdout
}

/// Asserts that a probe fails and says `word`.
#[track_caller]
pub fn fails(lab: &Lab, place: &str, line: &[&str], word: &str) {
    let output = lab.probe(place, Where::Inside, line).unwrap();
    assert!(!output.success, "{place}: probe {} was answered: {}", line.join(" "), output.stdout);
    assert!(output.stderr.contains(word), "expected {word:?} in {:?}", output.stderr);
}
