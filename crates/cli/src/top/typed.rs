//! The `top` command line as it was typed.

use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand, ValueEnum};

use crate::observe::flag::{self, Flag, FlowField, Meaning};
use crate::observe::typed::{TypedFilters, arg};
use crate::terminal::colour::When;

#[derive(Args, Debug)]
pub struct TopArgs {
    #[command(subcommand)]
    pub what: TopWhat,
}

#[derive(Subcommand, Debug)]
pub enum TopWhat {
    /// Requests by what they ask for: how many, how fast, how many failed
    #[command(alias = "route")]
    Routes(Box<RoutesArgs>),
}

#[derive(Args, Debug)]
#[command(after_long_help = ROUTES_HELP)]
pub struct RoutesArgs {
    #[command(flatten)]
    pub selection: TopSelectionArgs,
    #[command(flatten)]
    pub grouping: GroupingArgs,
    #[command(flatten)]
    pub filters: RouteFilters,
    #[command(flatten)]
    pub format: TopFormatArgs,
}

const ROUTES_HELP: &str = "\
What a row is:
  HTTP    a method and a path, without the query
  gRPC    /package.Service/Method
  DNS     a query type and a name
  Kafka   an API and a topic

  RATE/S is that of the last interval. COUNT, errors and latencies are those since the start, or
  of the --window. 4XX are HTTP's client errors; ERRORS are HTTP statuses from 500 on, gRPC
  statuses and DNS codes that are not OK, Kafka errors, and requests that were never answered.
  Latency goes from the end of a request's headers to the first byte of its response.

  An exchange that both its nodes report is counted once, at the server's.

How filters combine is told by `fathom observe flows --help`. Here they speak of the request:
--from-… names the client, --to-… the server.

Examples:
  fathom top routes
  fathom top routes -n shop --by-service --sort p99
  fathom top routes --to-pod shop/api --protocol grpc --fold-ids
  fathom top routes --once --since 10m --http-status 5xx -o json";

#[derive(Args, Debug)]
#[command(next_help_heading = "Selection")]
pub struct TopSelectionArgs {
    /// Begin with the newest N that the server still has
    #[arg(long, value_name = "N")]
    pub last: Option<u64>,
    /// Begin with what is not older than this ("30s", "1h43", or a date)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Show what the server still has (all of it, without --last and --since), once, and stop
    #[arg(long)]
    pub once: bool,
    /// How often the numbers are shown
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    pub interval: Duration,
    /// Count over this long before now, in steps of a quarter of it, and not since the start
    #[arg(long, value_name = "DURATION", value_parser = window)]
    pub window: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    match crate::duration::parse(text)? {
        short if short < Duration::from_millis(100) => Err("too short; 100ms or more".to_owned()),
        interval => Ok(interval),
    }
}

fn window(text: &str) -> Result<Duration, String> {
    match crate::duration::parse(text)? {
        short if short < Duration::from_secs(1) => Err("too short; 1s or more".to_owned()),
        window => Ok(window),
    }
}

#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Routes")]
pub struct GroupingArgs {
    /// Rows of their own for each workload or service that was asked
    #[arg(long)]
    pub by_service: bool,
    /// One route for paths that differ in numbers, UUIDs or tokens only: /users/{id}
    #[arg(long)]
    pub fold_ids: bool,
    /// One route for each name that DNS was asked for, whatever the query type
    #[arg(long)]
    pub dns_by_name: bool,
    /// Tell at most this many routes apart; the rest is counted as "(other)"
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_routes: u32,
}

/// What rows are ordered by, largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    Count,
    #[default]
    Rate,
    Errors,
    P50,
    P99,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TopOutput {
    /// Aligned columns; on a terminal they are redrawn in place
    #[default]
    Table,
    /// One object per line each time the numbers are shown
    #[value(alias = "JSON")]
    Json,
    /// The same
    Jsonpb,
}

#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Formatting")]
pub struct TopFormatArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: TopOutput,
    /// Order of the rows, largest first
    #[arg(long, value_enum, default_value_t, value_name = "COLUMN")]
    pub sort: Sort,
    /// Show this many routes; without it 20, or as many as the terminal has room for, and all in JSON
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Colours in tables; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: When,
}

/// The filter flags of `observe` that make sense on an exchange as a whole.
#[derive(Clone, Debug, Default)]
pub struct RouteFilters(pub TypedFilters);

fn flags() -> impl Iterator<Item = &'static Flag> {
    use FlowField::*;
    flag::all().filter(|flag| match flag.meaning {
        Meaning::Not | Meaning::Endpoint(..) => true,
        Meaning::Flow(field) => {
            field.is_of_messages()
                || matches!(field, Protocol | NodeName | NodeLabel | Ipv4 | Ipv6 | IpVersion)
        }
    })
}

impl Args for RouteFilters {
    fn augment_args(command: Command) -> Command {
        flags().fold(command, |command, flag| {
            command.arg(match flag.meaning {
                Meaning::Flow(FlowField::Protocol) => {
                    arg(flag).help("This protocol: http (gRPC too), grpc, dns, kafka")
                }
                _ => arg(flag),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RouteFilters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(TypedFilters::read(matches, flags())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
