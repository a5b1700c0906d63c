//! `fathom completion`: scripts that teach a shell our flags.

use std::io::Write;

use anyhow::Result;
use clap_complete::{Generator, Shell, generate};

use crate::command::{CompletionShell, command};

/// Writes the script to standard output.
pub fn run(shell: CompletionShell) -> Result<()> {
    let generator = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
        CompletionShell::PowerShell => Shell::PowerShell,
    };
    Ok(std::io::stdout().lock().write_all(&script(generator))?)
}

fn script(generator: impl Generator) -> Vec<u8> {
    let mut script = Vec::new();
    generate(generator, &mut command(), "fathom", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_the_filter_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let script = String::from_utf8(script(shell)).unwrap();
            assert!(script.contains("drop-reason-desc"), "{shell}");
        }
    }
}
