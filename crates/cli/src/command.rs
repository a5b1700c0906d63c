//! The command tree as it is typed.

use std::collections::HashSet;
use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};

use crate::observe::typed::ObserveArgs;
use crate::policy::typed::PolicyArgs;
use crate::settings::typed::GlobalArgs;
use crate::top::typed::TopArgs;

/// See what pods say to each other, and what became of it
#[derive(Parser, Debug)]
#[command(name = "fathom", version, max_term_width = 120)]
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
    /// Show live what is asked for most, slowest or fails
    Top(TopArgs),
    /// Tell how the server is, and whether its stream is complete
    Status(StatusArgs),
    /// List what the server knows
    List(ListArgs),
    /// Tell which policies are in force
    Policy(PolicyArgs),
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
    pub fn try_parse<T: Into<OsString>>(argv: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let mut command = command();
        let argv = plain_switches(&command, argv.into_iter().map(Into::into));
        let matches = command.try_get_matches_from_mut(argv)?;
        check_flag_places(&mut command, &matches)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// The whole tree, for parsing and for completion scripts.
pub fn command() -> Command {
    Cli::command()
}

/// `observe` takes the flags of `flows`, so those typed before another word would be read and then
/// forgotten: `observe --last 3 agent-events`. Flags that go everywhere may stand there.
fn check_flag_places(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(("observe", typed)) = matches.subcommand() else { return Ok(()) };
    let Some(word) = typed.subcommand_name() else { return Ok(()) };
    let Some(observe) = command.find_subcommand_mut("observe") else { return Ok(()) };
    let lost = observe.get_arguments().find(|arg| {
        let id = arg.get_id().as_str();
        !arg.is_global_set() && typed.value_source(id) == Some(ValueSource::CommandLine)
    });
    match lost.and_then(|arg| arg.get_long()).map(str::to_owned) {
        None => Ok(()),
        Some(flag) => {
            let text = format!("--{flag} stands before '{word}'; flags of '{word}' follow it");
            Err(observe.error(ErrorKind::ArgumentConflict, text))
        }
    }
}

/// Go programs let every switch be written as `--follow=true` and `--follow=false` too, and scripts
/// do; here they become a plain switch, or none.
fn plain_switches(command: &Command, argv: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut switches = HashSet::new();
    collect_switches(command, &mut switches);
    let mut options_end = false;
    let plain = |word: OsString| {
        options_end |= word == "--";
        let Some((name, value)) = word.to_str().and_then(|word| word.strip_prefix("--")?.split_once('='))
        else {
            return Some(word);
        };
        match value.to_ascii_lowercase().as_str() {
            _ if options_end || !switches.contains(name) => Some(word),
            "true" | "t" | "1" => Some(format!("--{name}").into()),
            "false" | "f" | "0" => None,
            _ => Some(word),
        }
    };
    argv.filter_map(plain).collect()
}

fn collect_switches(command: &Command, switches: &mut HashSet<String>) {
    let args = command.get_arguments().filter(|arg| match arg.get_action() {
        ArgAction::SetTrue => true,
        ArgAction::Append => arg.get_num_args().is_some_and(|range| range.max_values() == 0),
        _ => false,
    });
    switches.extend(args.filter_map(|arg| arg.get_long()).map(str::to_owned));
    command.get_subcommands().for_each(|command| collect_switches(command, switches));
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
        for line in
            ["fathom observe --last 3 agent-events", "fathom observe -n a flows", "fathom observe -f flows"]
        {
            let error = Cli::try_parse(line.split_whitespace()).unwrap_err().to_string();
            assert!(error.contains("flags of"), "{error}");
        }
    }

    #[test]
    fn switches_may_be_spelled_out() {
        let of = |line: &str| {
            let words = line.split_whitespace().map(OsString::from);
            let plain = plain_switches(&command(), words);
            plain.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("x observe --follow=true --not=true --reply=1"), "x observe --follow --not --reply");
        assert_eq!(of("x observe --follow=false --all=F --numeric=maybe"), "x observe --numeric=maybe");
        // What takes a value keeps it.
        let kept = "x observe --ip-translation=false --tls=true --pod=true -- --follow=true";
        assert_eq!(of(kept), kept);
    }

    #[test]
    fn server_flags_stand_anywhere() {
        for line in [
            "fathom --server a:1 observe flows",
            "fathom observe --server a:1",
            "fathom observe flows --server a:1",
            "fathom observe --server a:1 flows",
            "fathom observe --server a:1 agent-events",
            "fathom status --server a:1",
            "fathom list nodes --server=a:1",
        ] {
            let cli = Cli::try_parse(line.split_whitespace()).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_eq!(cli.global.server.as_deref(), Some("a:1"), "{line}");
        }
    }
}
