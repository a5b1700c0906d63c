//! What an `observe` command line means: the request, and how to show the answer.

use fathom_api::flow::FlowFilter;
use fathom_api::json;
use fathom_api::observer::GetFlowsRequest;
use jiff::Timestamp;

use super::filter::{self, Filters};
use super::mask;
use super::selection::Selection;
use super::typed::{FlowsArgs, Output};
use crate::failure::usage;
use crate::settings::Settings;

/// Where flows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Server,
    Stdin,
    File(String),
}

/// A flow query, ready to run.
#[derive(Clone, Debug)]
pub struct Query {
    pub request: GetFlowsRequest,
    pub input: Input,
    /// Hints at flags whose effect may surprise, shown when nothing matched.
    pub hints: Vec<&'static str>,
}

/// The most flows that are held to find the newest of a file.
const FILE_LAST_LIMIT: u64 = 1_000_000;

impl Query {
    /// Compiles the command line.
    pub fn new(args: &FlowsArgs, settings: &Settings, now: Timestamp) -> anyhow::Result<Self> {
        let input = match args.flow_format.input_file.as_deref() {
            None => Input::Server,
            Some("-") => Input::Stdin,
            Some(path) => Input::File(path.to_owned()),
        };
        let output = args.format.output;
        if output == Output::Table && args.selection.follow {
            return Err(usage("table output format is not compatible with follow mode; use compact or dict"));
        }
        let selection = Selection::new(&args.selection, input != Input::Server, now)?;
        if input != Input::Server {
            if selection.follow {
                return Err(usage("cannot set both --input-file and --follow: a file ends"));
            }
            if !selection.first && selection.number > FILE_LAST_LIMIT && selection.number != u64::MAX {
                return Err(usage(format!("with --input-file, --last is at most {FILE_LAST_LIMIT}")));
            }
        }
        let Filters { mut allow, mut deny } = filter::compile(args.filters.iter()).map_err(usage)?;
        let raw = |flags: &Vec<String>, configured: &Vec<String>| {
            if flags.is_empty() { configured.clone() } else { flags.clone() }
        };
        allow.extend(parse_raw("allowlist", &raw(&args.raw.allowlist, &settings.allowlist))?);
        deny.extend(parse_raw("denylist", &raw(&args.raw.denylist, &settings.denylist))?);
        let mut request = GetFlowsRequest {
            number: selection.number,
            first: selection.first,
            follow: selection.follow,
            since: selection.since,
            until: selection.until,
            field_mask: mask::field_mask(&args.flow_format, output)?,
            whitelist: allow,
            blacklist: deny,
            ..Default::default()
        };
        // Text tells facts about messages by itself. In JSON they stop Hubble's own command line.
        if args.flow_format.facts || !matches!(output, Output::Json | Output::Jsonpb) {
            fathom_api::facts::ask(&mut request);
        }
        Ok(Self { request, input, hints: hints(args) })
    }
}

/// Reads FlowFilters from JSON texts, each of which may hold several objects.
fn parse_raw(flag: &str, texts: &[String]) -> anyhow::Result<Vec<FlowFilter>> {
    let mut filters = Vec::new();
    for text in texts {
        let fail = |why: String| usage(format!("invalid --{flag} flag: failed to decode '{text}': {why}"));
        let mut objects = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
        let mut start = 0;
        while let Some(object) = objects.next() {
            object.map_err(|error| fail(error.to_string()))?;
            let end = objects.byte_offset();
            filters.push(json::parse_filter(&text[start..end]).map_err(|error| fail(error.to_string()))?);
            start = end;
        }
    }
    Ok(filters)
}

fn hints(args: &FlowsArgs) -> Vec<&'static str> {
    use super::flag::{EndpointField::*, Meaning};
    let typed = || {
        args.filters.iter().filter_map(|(flag, value)| match flag.meaning {
            Meaning::Endpoint(_, field) => Some((field, value)),
            _ => None,
        })
    };
    let bare_name = typed().any(|(field, value)| matches!(field, Pod | Service) && !value.contains('/'));
    let namespaced = typed().any(|(field, _)| matches!(field, Namespace | AllNamespaces));
    let mut hints = Vec::new();
    if bare_name && !namespaced {
        hints.push("a pod or service named without a namespace is looked for in \"default\"; add -n NAMESPACE, or -A for any");
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Cli, Task};
    use crate::settings::{ConfigFile, Sources};

    fn of(words: &[&str]) -> Result<Query, String> {
        let cli = Cli::try_parse(["fathom", "observe"].iter().chain(words)).unwrap();
        let Task::Observe(args) = cli.command else { panic!("{words:?}") };
        let file = ConfigFile::default();
        let settings = Settings::resolve(&cli.global, &Sources::new(&|_| None, &file)).unwrap();
        Query::new(&args.flows, &settings, "2026-03-04T05:06:07Z".parse().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn raw_filters_join_the_flags_filters() {
        let request = of(&[
            "--verdict",
            "DROPPED",
            "--allowlist",
            r#"{"source_pod":["a/"]} {"destination_pod":["a/"]}"#,
            "--denylist",
            r#"{"protocol":["dns"]}"#,
        ])
        .unwrap()
        .request;
        assert_eq!(request.whitelist.len(), 3);
        assert_eq!(request.whitelist[1].source_pod, ["a/"]);
        assert_eq!(request.blacklist[0].protocol, ["dns"]);
    }

    #[test]
    fn raw_filters_that_are_none_are_refused_with_their_text() {
        for text in ["{", r#"{"sauce_pod":["a"]}"#, "7"] {
            let error = of(&["--allowlist", text]).unwrap_err();
            assert!(
                error.starts_with(&format!("invalid --allowlist flag: failed to decode '{text}': ")),
                "{error}"
            );
        }
    }

    #[test]
    fn tables_do_not_follow_and_files_neither() {
        assert!(
            of(&["-o", "table", "-f"])
                .unwrap_err()
                .starts_with("table output format is not compatible with follow mode")
        );
        assert!(of(&["--input-file", "-", "-f"]).unwrap_err().contains("--input-file and --follow"));
        assert!(of(&["--input-file", "-", "--last", "1000001"]).is_err());
    }

    #[test]
    fn a_file_is_read_whole_unless_a_number_is_given() {
        assert_eq!(of(&["--input-file", "x"]).unwrap().request.number, 0);
        assert_eq!(of(&["--input-file", "x", "--last", "3"]).unwrap().request.number, 3);
    }

    #[test]
    fn masks_are_for_text_by_default_and_for_json_by_choice() {
        let mask = |words: &[&str]| of(words).map(|q| q.request.field_mask.map(|m| m.paths));
        assert!(mask(&[]).unwrap().unwrap().contains(&"source_names".to_owned()));
        assert_eq!(mask(&["-o", "json"]).unwrap(), None);
        assert_eq!(mask(&["--use-default-field-masks=false"]).unwrap(), None);
        assert_eq!(
            mask(&["-o", "json", "--field-mask", "time,verdict"]).unwrap(),
            Some(vec!["time".to_owned(), "verdict".to_owned()])
        );
        assert!(
            mask(&["--field-mask", "time"])
                .unwrap_err()
                .starts_with("compact output format is not compatible")
        );
    }

    #[test]
    fn facts_are_asked_for_by_text_and_in_json_by_choice() {
        let asked = |words: &[&str]| fathom_api::facts::asked(&of(words).unwrap().request);
        assert!(!asked(&["-o", "json"]) && asked(&["-o", "json", "--facts"]));
        assert!(asked(&[]) && asked(&["-o", "table"]) && asked(&["--facts"]));
        let mask = of(&[]).unwrap().request.field_mask.unwrap().paths;
        assert!(mask.contains(&"extensions".to_owned()));
    }

    #[test]
    fn a_bare_pod_name_is_worth_a_hint() {
        assert_eq!(of(&["--pod", "a"]).unwrap().hints.len(), 1);
        assert_eq!(of(&["--pod", "b/a"]).unwrap().hints.len(), 0);
        assert_eq!(of(&["--pod", "a", "-A"]).unwrap().hints.len(), 0);
    }
}
