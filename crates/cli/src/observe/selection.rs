//! Which part of the stream: how many, from when to when, and whether to go on.

use fathom_api::time;
use jiff::Timestamp;
use prost_types::Timestamp as WireTime;

use super::typed::SelectionArgs;
use super::when;
use crate::failure::usage;

/// How many flows a plain `fathom observe` shows.
const DEFAULT_LAST: u64 = 20;

/// What the selection flags mean, in the terms of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Selection {
    /// 0: no limit.
    pub number: u64,
    /// Count from the oldest instead of the newest.
    pub first: bool,
    pub follow: bool,
    pub since: Option<WireTime>,
    pub until: Option<WireTime>,
}

impl Selection {
    /// Reads the flags. `from_file` reads everything unless a number says otherwise.
    pub fn new(args: &SelectionArgs, from_file: bool, now: Timestamp) -> anyhow::Result<Self> {
        let last = args.last.filter(|n| *n > 0);
        let first = args.first.filter(|n| *n > 0);
        for (both, one, other) in [
            (first.is_some() && last.is_some(), "first", "last"),
            (first.is_some() && args.all, "first", "all"),
            (first.is_some() && args.follow, "first", "follow"),
            (last.is_some() && args.all, "last", "all"),
        ] {
            if both {
                return Err(usage(format!("cannot set both --{one} and --{other}")));
            }
        }
        let time = |name: &str, text: &Option<String>| -> anyhow::Result<Option<WireTime>> {
            let Some(text) = text else { return Ok(None) };
            let at = when::parse(text, now)
                .map_err(|why| usage(format!("invalid argument {text:?} for \"--{name}\" flag: {why}")))?;
            Ok(Some(WireTime { seconds: at.as_second(), nanos: at.subsec_nanosecond() }))
        };
        let (since, until) = (time("since", &args.since)?, time("until", &args.until)?);
        if let (Some(since), Some(until)) = (&since, &until)
            && time::unix_ns(since) > time::unix_ns(until)
        {
            return Err(usage("--since is later than --until: nothing lies between"));
        }
        let bounded = since.is_some() || until.is_some() || first.is_some();
        let number = match (first, last) {
            (Some(number), _) | (None, Some(number)) => number,
            _ if args.all && !bounded => u64::MAX,
            _ if !bounded && !args.follow && !from_file => DEFAULT_LAST,
            _ => 0,
        };
        Ok(Self { number, first: first.is_some(), follow: args.follow, since, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Cli, Task};

    fn of(line: &str) -> Result<Selection, String> {
        let words = ["fathom", "observe"].into_iter().chain(line.split_whitespace());
        let Task::Observe(args) = Cli::try_parse(words).unwrap().command else { panic!("{line}") };
        let now = "2026-03-04T05:06:07Z".parse().unwrap();
        Selection::new(&args.flows.selection, false, now).map_err(|e| e.to_string())
    }

    #[test]
    fn twenty_flows_unless_something_else_is_asked_for() {
        for (line, number, first) in [
            ("", 20, false),
            ("-f", 0, false),
            ("--all", u64::MAX, false),
            ("--all -f", u64::MAX, false),
            ("--last 7", 7, false),
            ("--last 7 -f", 7, false),
            ("--first 7", 7, true),
            ("--since 5m", 0, false),
            ("--until 5m", 0, false),
            ("--since 5m --last 3", 3, false),
            ("--last 0", 20, false),
        ] {
            let selection = of(line).unwrap();
            assert_eq!((selection.number, selection.first), (number, first), "{line}");
        }
    }

    #[test]
    fn until_counts_in_follow_mode_too() {
        let selection = of("-f --until +1m").unwrap();
        assert_eq!(selection.until, Some(WireTime { seconds: 1_772_600_827, nanos: 0 }));
        assert!(selection.follow);
    }

    #[test]
    fn contradictions_are_refused() {
        for (line, error) in [
            ("--first 1 --last 1", "cannot set both --first and --last"),
            ("--first 1 --all", "cannot set both --first and --all"),
            ("--first 1 -f", "cannot set both --first and --follow"),
            ("--last 1 --all", "cannot set both --last and --all"),
            ("--since 1m --until 2m", "--since is later than --until: nothing lies between"),
        ] {
            assert_eq!(of(line), Err(error.to_owned()), "{line}");
        }
        assert!(
            of("--since soon")
                .unwrap_err()
                .starts_with(r#"invalid argument "soon" for "--since" flag: not a time"#)
        );
    }
}
