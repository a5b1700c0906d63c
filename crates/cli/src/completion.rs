//! `fathom completion`: scripts that teach a shell our flags, and the values of those that take one
//! of a known set. The set is only for the shell: what is understood beyond it stays understood.

use std::io::Write;

use anyhow::Result;
use clap::Command;
use clap::builder::PossibleValuesParser;
use clap_complete::{Generator, Shell, generate};

use fathom_api::flow::DropReason;
use fathom_api::names;

use crate::command::{CompletionShell, command};
use crate::observe::protocols;

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
    let mut command = command()
        .mut_subcommand("observe", |observe| with_values(observe).mut_subcommand("flows", with_values))
        .mut_subcommand("top", |top| top.mut_subcommand("routes", with_values));
    generate(generator, &mut command, "fathom", &mut script);
    script
}

fn with_values(command: Command) -> Command {
    let set = |command: Command, flag: &'static str, values: Vec<String>| {
        // Not every command has every flag.
        if command.get_arguments().all(|arg| arg.get_id() != flag) {
            return command;
        }
        command.mut_arg(flag, |arg| arg.value_parser(PossibleValuesParser::new(values)))
    };
    let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let identities: Vec<String> =
        (0..).map_while(names::identity::reserved_name).map(str::to_owned).collect();
    let points = names::trace_point::names().map(|point| format!("trace:{point}"));
    let types = ["capture", "drop", "l7", "policy-verdict", "trace", "trace-sock"];
    let reasons = (1..256).filter_map(|number| DropReason::try_from(number).ok());
    [
        ("verdict", names::verdict::names().map(str::to_owned).collect()),
        ("drop-reason-desc", reasons.map(|reason| reason.as_str_name().to_owned()).collect()),
        ("type", types.map(str::to_owned).into_iter().chain(points).collect()),
        ("protocol", protocols().map(str::to_owned).collect()),
        ("tcp-flags", owned(&["syn", "ack", "fin", "rst", "psh", "urg", "ece", "cwr", "ns"])),
        ("traffic-direction", owned(&["ingress", "egress"])),
        ("ip-version", owned(&["none", "v4", "v6"])),
        (
            "http-method",
            owned(&["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]),
        ),
        ("http-status", owned(&["1xx", "2xx", "3xx", "4xx", "5xx"])),
        ("identity", identities.clone()),
        ("from-identity", identities.clone()),
        ("to-identity", identities),
    ]
    .into_iter()
    .fold(command, |command, (flag, values)| set(command, flag, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_the_filter_flags_and_their_values() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let script = String::from_utf8(script(shell)).unwrap();
            for word in
                ["drop-reason-desc", "from-identity", "POLICY_DENIED", "kube-apiserver", "kafka", "5xx"]
            {
                assert!(script.contains(word) || shell == Shell::PowerShell, "{shell}: {word}");
            }
        }
    }
}
