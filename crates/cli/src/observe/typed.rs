//! The `observe` command line as it was typed.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand, ValueEnum};

use super::flag::{self, Flag, Meaning, Side};
use crate::terminal::colour::When;
use crate::terminal::time_format::{self, TimeFormat};

/// `fathom observe …`
#[derive(Args, Debug)]
pub struct ObserveArgs {
    #[command(flatten)]
    pub flows: FlowsArgs,
    #[command(subcommand)]
    pub what: Option<ObserveWhat>,
}

#[derive(Subcommand, Debug)]
pub enum ObserveWhat {
    /// Flows; the default
    Flows(Box<FlowsArgs>),
    /// What happened to the agent: policies, endpoints and addresses that came, went or changed
    #[command(name = "agent-events")]
    AgentEvents(EventsArgs),
    /// Debug messages of the datapath
    #[command(name = "debug-events")]
    DebugEvents(EventsArgs),
}

#[derive(Args, Debug)]
#[command(after_long_help = FILTER_HELP)]
pub struct FlowsArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub filters: TypedFilters,
    #[command(flatten)]
    pub raw: RawFilterArgs,
    #[command(flatten)]
    pub format: FormatArgs,
    #[command(flatten)]
    pub flow_format: FlowFormatArgs,
    #[command(flatten)]
    pub quiet: QuietArgs,
}

const FILTER_HELP: &str = "\
How filters combine:
  A flag given several times lists alternatives. Different flags must all match.
  --not inverts the one flag after it. All flags inverted this way together describe what is
  left out: `--not --from-pod a --not --verdict FORWARDED` leaves out what a sent and was
  forwarded.
  --pod, --label, --service and the other flags about an endpoint describe one endpoint, which
  may be either end of the flow; --from-… and --to-… name the end.
  --port may be at either end as well, wherever that endpoint is: `--pod web --port 5432` shows
  what web serves on 5432 and what it sends to anybody's 5432. For one of the two: --to-port,
  --from-port.

Examples:
  fathom observe -f --verdict DROPPED --print-policy-names
  fathom observe -f -n shop --protocol http --http-status 5xx
  fathom observe --since 10m --from-pod shop/cart --to-port 5432
  fathom observe -n shop --not --protocol dns -o jsonpb > flows.json
  fathom observe --input-file flows.json --pod shop/cart";

#[derive(Args, Debug)]
pub struct EventsArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub format: FormatArgs,
    #[command(flatten)]
    pub quiet: QuietArgs,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Selection")]
pub struct SelectionArgs {
    /// Everything the server still has
    #[arg(long)]
    pub all: bool,
    /// The newest N; 20 when nothing else is asked for. Through a relay: of the whole cluster
    #[arg(long, value_name = "N")]
    pub last: Option<u64>,
    /// The oldest N
    #[arg(long, value_name = "N")]
    pub first: Option<u64>,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Not older than this: how long ago ("30s", "1h43"), or a date in any of the --time-format layouts
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Not newer than this, also with --follow: as --since, or "+30s" for a time ahead
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Raw filters")]
pub struct RawFilterArgs {
    /// FlowFilter in JSON that selects; several, or several in one text, are alternatives
    #[arg(long, value_name = "JSON")]
    pub allowlist: Vec<String>,
    /// FlowFilter in JSON that excludes
    #[arg(long, value_name = "JSON")]
    pub denylist: Vec<String>,
    /// Print the filters these flags make, and stop
    #[arg(long)]
    pub print_raw_filters: bool,
}

/// `-o`: how each event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// One line each
    #[default]
    Compact,
    /// One KEY: VALUE line per fact
    Dict,
    /// The JSON form of the response, one object per line
    #[value(alias = "JSON")]
    Json,
    /// The same
    Jsonpb,
    /// Aligned columns; not with --follow
    #[value(alias = "tab")]
    Table,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Formatting")]
pub struct FormatArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
    /// Print the node that observed each event
    #[arg(long)]
    pub print_node_name: bool,
    /// Layout of times, always in UTC
    #[arg(long, value_name = "LAYOUT", default_value = "StampMilli", value_parser = time_formats(), ignore_case = true)]
    pub time_format: TimeFormat,
    /// Colours in compact and dict; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: When,
}

fn time_formats() -> impl clap::builder::TypedValueParser<Value = TimeFormat> {
    use clap::builder::TypedValueParser;
    PossibleValuesParser::new(time_format::NAMES.map(|(name, _)| name))
        .map(|name| name.parse().unwrap_or_default())
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Formatting")]
pub struct FlowFormatArgs {
    /// Print which policies allowed or denied each flow
    #[arg(long)]
    pub print_policy_names: bool,
    /// Print all that only Fathom's servers know: the deciding rule, packets and bytes, handshake time, the
    /// service address behind a translation, the sizes of messages. With JSON it is in "extensions", which
    /// Hubble's own command line cannot read back
    #[arg(long)]
    pub facts: bool,
    /// Names in place of addresses: pods, services, DNS names
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub ip_translation: bool,
    /// Addresses and numbers only; the same as --ip-translation=false
    #[arg(long)]
    pub numeric: bool,
    /// Ask the server for these fields of a flow only, with JSON output ("time,verdict,source.pod_name")
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub field_mask: Vec<String>,
    /// Ask for no more than the output shows, without --field-mask and JSON
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub use_default_field_masks: bool,
    /// Read flows from this file instead of a server ("-": standard input), one JSON object per line as -o jsonpb writes them
    #[arg(long, value_name = "FILE", help_heading = "Other")]
    pub input_file: Option<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Other")]
pub struct QuietArgs {
    /// No notes and warnings on standard error
    #[arg(long, short)]
    pub silent_errors: bool,
}

/// Filter flags with their values, in the order of the command line.
#[derive(Clone, Debug, Default)]
pub struct TypedFilters(pub Vec<(&'static Flag, String)>);

impl TypedFilters {
    /// Reads these flags, all of which the command must have.
    pub fn read(matches: &ArgMatches, flags: impl Iterator<Item = &'static Flag>) -> Self {
        let mut typed: Vec<(usize, &'static Flag, String)> = flags
            .flat_map(|flag| {
                let values = matches.get_many::<String>(flag.long).unwrap_or_default();
                let indices = matches.indices_of(flag.long).unwrap_or_default();
                indices.zip(values).map(move |(index, value)| (index, flag, value.clone()))
            })
            .collect();
        typed.sort_by_key(|(index, ..)| *index);
        Self(typed.into_iter().map(|(_, flag, value)| (flag, value)).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static Flag, &str)> {
        self.0.iter().map(|(flag, value)| (*flag, value.as_str()))
    }
}

impl Args for TypedFilters {
    fn augment_args(command: Command) -> Command {
        flag::all().fold(command, |command, flag| command.arg(arg(flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The flag as clap knows it.
pub fn arg(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.long).long(flag.long).help(flag.help).action(ArgAction::Append);
    let arg = match flag.meaning {
        // The short help has --from-… and --to-… beside the flag for either end.
        Meaning::Endpoint(side, _) => {
            arg.help_heading("Filters on one endpoint").hide_short_help(side != Side::Either)
        }
        Meaning::Flow(field) if field.is_of_messages() => arg.help_heading("Filters on messages"),
        _ => arg.help_heading("Filters on the flow"),
    };
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match flag.value {
        Some(name) => arg.value_name(name).allow_hyphen_values(true),
        // A switch that remembers where it stood: one value per occurrence.
        None => arg.num_args(0).default_missing_value("true"),
    }
}

impl FromArgMatches for TypedFilters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::read(matches, flag::all()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Cli;

    fn flows(line: &str) -> Result<FlowsArgs, clap::Error> {
        let words = ["fathom", "observe"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse(words)?.command {
            crate::command::Task::Observe(args) => Ok(args.flows),
            other => panic!("{other:?}"),
        }
    }

    fn order(line: &str) -> Vec<String> {
        let flows = flows(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        flows.filters.iter().map(|(flag, value)| format!("{}={value}", flag.long)).collect()
    }

    #[test]
    fn filter_flags_keep_the_order_they_were_typed_in() {
        assert_eq!(
            order("--to-pod a --not --verdict DROPPED -f --not -n x --last 3 --pod=b --not -A"),
            [
                "to-pod=a",
                "not=true",
                "verdict=DROPPED",
                "not=true",
                "namespace=x",
                "pod=b",
                "not=true",
                "all-namespaces=true"
            ]
        );
    }

    #[test]
    fn shorts_join_up_and_carry_values() {
        assert_eq!(
            order("-4tdrop -fn shop -A -lapp=web"),
            ["ipv4=true", "type=drop", "namespace=shop", "all-namespaces=true", "label=app=web"]
        );
    }

    #[test]
    fn one_flag_repeated_around_others_keeps_each_place() {
        assert_eq!(
            order("--pod a --not --pod b --ip-version v4 --pod c"),
            ["pod=a", "not=true", "pod=b", "ip-version=v4", "pod=c"]
        );
    }

    #[test]
    fn switches_take_a_value_after_an_equals_sign_only() {
        assert_eq!(
            order("--not=true --reply --not=false -A"),
            ["not=true", "reply=true", "all-namespaces=true"]
        );
        assert!(flows("--reply true").is_err());
        let args = flows("--ip-translation=false --follow=false --print-node-name=true").unwrap();
        assert!(!args.flow_format.ip_translation && !args.selection.follow && args.format.print_node_name);
        let args = flows("").unwrap();
        assert!(args.flow_format.ip_translation && args.flow_format.use_default_field_masks);
    }
}
