//! What the demo prints: headings, what to look at, commands to repeat, and the CLI's own output.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lab::{Lab, Source};

pub struct Teller {
    cli: PathBuf,
    colour: bool,
}

impl Teller {
    pub fn new(cli: &Path) -> Self {
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { cli: cli.to_owned(), colour }
    }

    pub fn title(&self, text: &str) {
        self.say(&self.painted("1", text));
        self.say("");
    }

    pub fn step(&self, number: u32, text: &str) {
        self.say(&format!("\n{}", self.painted("1;36", &format!("── {number}. {text}"))));
    }

    pub fn say(&self, text: &str) {
        // A reader that has seen enough is no failure of the demo.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// What the step is about.
    pub fn look(&self, text: &str) {
        self.say(&format!("   look at: {text}"));
    }

    /// A promise that came true.
    pub fn kept(&self, text: &str) {
        self.say(&format!("   {} {text}", self.painted("1;32", "✓")));
    }

    pub fn by_hand(&self, command: &str) {
        self.say(&format!("   by hand: {}", self.painted("33", command)));
    }

    /// What makes the commands of every step work as they are shown.
    pub fn before_anything_by_hand(&self, lab: &Lab) {
        self.by_hand(&format!("export FATHOM_SERVER={}", lab.server(&Source::Relay)));
    }

    /// Runs the CLI against the relay, shows its output and how to repeat it; returns the output.
    pub fn cli(&self, lab: &Lab, arguments: &[&str]) -> Result<String> {
        let server = lab.server(&Source::Relay);
        let quoted: Vec<String> = arguments.iter().map(|a| quote(a)).collect();
        self.by_hand(&format!("{} {}", self.shown_cli(), quoted.join(" ")));
        let output = Command::new(&self.cli)
            .args(arguments)
            .args(["--server", &server])
            .args(self.colour_of(arguments))
            .output()
            .with_context(|| format!("start {}", self.cli.display()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in stdout.lines() {
            self.say(&format!("   │ {line}"));
        }
        if !output.status.success() {
            bail!("fathom {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(stdout)
    }

    /// The CLI sees a pipe; whom it writes for is known here. Other commands than these have no colours.
    fn colour_of(&self, arguments: &[&str]) -> &[&str] {
        match arguments.first() {
            Some(&("observe" | "top")) if self.colour => &["--color", "always"],
            _ => &[],
        }
    }

    pub fn farewell(&self, lab: &Lab) {
        let server = lab.server(&Source::Relay);
        let (fathom, fathom_lab, name) = (self.shown_cli(), self.shown_cli() + "-lab", &lab.layout().name);
        self.say(&format!(
            "\n{}\n\
             The lab stays up. Some things to try:\n\
             \x20  export FATHOM_SERVER={server}\n\
             \x20  {fathom} observe --follow\n\
             \x20  {fathom} observe --verdict DROPPED --last 20\n\
             \x20  {fathom} top routes --fold-ids\n\
             \x20  {fathom} status\n\
             \x20  {fathom_lab} exec --lab {name} commentary-fanout-0 -- {fathom_lab} workload http-client --url http://10.96.0.11/\n\
             \x20  {fathom_lab} agent --lab {name} kill node-a    # nothing stops; start it again and nothing is missing\n\
             \x20  $EDITOR {}\n\
             \x20  make demo-down",
            self.painted("1;32", "Everything promised came true."),
            lab.policy_path("stream", "chat-relay-ingress").display(),
        ));
    }

    /// The CLI's path as one would type it here.
    fn shown_cli(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        self.cli.strip_prefix(here).unwrap_or(&self.cli).display().to_string()
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Quotes a word for a shell when it needs that.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
