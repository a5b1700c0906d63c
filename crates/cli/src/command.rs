//! The command tree as it is typed.

use std::ffi::OsString;

use clap::{ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, value_parser};

use crate::observe::typed::ObserveArgs;
use crate::settings::typed::GlobalArgs;

/// See what pods say to each other, and what became of it
#[derive(Parser, Debug)]
#[command(name = "fathom", disable_version_flag = true, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Task,
}

#[derive(Subcommand, Debug)]
pub enum Task {
    /// Show flows and events, past and present
    Observe(Box<ObserveArgs>),
    /// Tell how the server is, and whether its stream is complete
    Status(StatusArgs),
    /// List what the server knows
    List(ListArgs),
    /// Watch things come and go
    Watch(WatchArgs),
    /// Look at this command's configuration, or change it
    Config(ConfigArgs),
    /// Write a completion script for a shell
    Completion(CompletionArgs),
    /// Print the version
    Version,
}

/// `-o` of `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StatusOutput {
    #[default]
    Compact,
    Dict,
    Json,
    /// The same as json
    Jsonpb,
    #[value(alias = "tab")]
    Table,
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: StatusOutput,
    /// What kernel and agent can and can't do, per node
    #[arg(long, conflicts_with = "ledger")]
    pub features: bool,
    /// The balance sheet of every stage that an event passes, per node
    #[arg(long)]
    pub ledger: bool,
}

/// `-o` of `list`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    #[default]
    Table,
    /// Table with more columns
    Wide,
    Json,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(subcommand)]
    pub what: ListWhat,
}

#[derive(Args, Clone, Copy, Debug)]
pub struct ListFormat {
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: ListOutput,
}

#[derive(Subcommand, Clone, Copy, Debug)]
pub enum ListWhat {
    /// Nodes behind a relay
    #[command(alias = "node")]
    Nodes(ListFormat),
    /// Namespaces seen in flows during the last hour
    #[command(aliases = ["namespace", "ns"])]
    Namespaces(ListFormat),
    /// Pods under observation, and which directions policy enforces
    #[command(aliases = ["endpoint", "ep"])]
    Endpoints(ListFormat),
    /// Policy rules in the kernel's tables, and what each denied
    #[command(alias = "rule")]
    Rules(ListFormat),
}

#[derive(Args, Debug)]
pub struct WatchArgs {
    #[command(subcommand)]
    pub what: WatchWhat,
}

#[derive(Subcommand, Clone, Copy, Debug)]
pub enum WatchWhat {
    /// The nodes an agent knows (ask an agent, not a relay)
    #[command(alias = "peer")]
    Peers,
}

#[derive(Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub what: Option<ConfigWhat>,
}

#[derive(Subcommand, Clone, Debug)]
pub enum ConfigWhat {
    /// Print every setting in force; the default
    View,
    /// Print one setting
    Get { key: String },
    /// Write a setting to the configuration file; without a value it goes back to its default
    Set { key: String, value: Option<String> },
    /// Set one setting, or all of them, back to the default
    Reset { key: Option<String> },
}

#[derive(Args, Debug)]
pub struct CompletionArgs {
    #[arg(value_enum)]
    pub shell: CompletionShell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CompletionShell {
    Bash,
    Zsh,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
}

impl Cli {
    /// Parses a command line, program name first.
    pub fn try_parse<T: Into<OsString> + Clone>(
        argv: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(argv)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// The whole tree, for parsing and for completion scripts.
pub fn command() -> Command {
    switches_take_values(Cli::command())
}

/// Lets every switch be written as `--follow=true` and `--follow=false` too, as Go programs allow.
fn switches_take_values(mut command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, switches_take_values);
    }
    command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .value_parser(value_parser!(bool))
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .hide_possible_values(true),
        _ => arg,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flows_is_what_observe_does_by_default() {
        let of = |line: &str| match Cli::try_parse(line.split_whitespace()).unwrap().command {
            Task::Observe(args) => args,
            other => panic!("{other:?}"),
        };
        assert!(of("fathom observe --last 3").what.is_none());
        assert!(of("fathom observe flows --last 3").what.is_some());
        assert!(of("fathom --server a:1 observe agent-events -o json").what.is_some());
        assert!(Cli::try_parse("fathom observe --last 3 agent-events".split_whitespace()).is_err());
    }

    #[test]
    fn server_flags_stand_anywhere() {
        for line in [
            "fathom --server a:1 observe flows",
            "fathom observe --server a:1",
            "fathom observe flows --server a:1",
            "fathom status --server a:1",
            "fathom list nodes --server=a:1",
        ] {
            let cli = Cli::try_parse(line.split_whitespace()).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_eq!(cli.global.server.as_deref(), Some("a:1"), "{line}");
        }
    }
}
