//! From what was typed to the request: answers only, filters turned round.

use std::mem::swap;

use anyhow::Result;
use fathom_api::flow::{EventTypeFilter, FlowFilter};
use fathom_api::names::event;
use fathom_api::observer::GetFlowsRequest;
use jiff::Timestamp;
use prost_types::FieldMask;

use super::exchange::Protocol;
use super::typed::RoutesArgs;
use crate::failure::usage;
use crate::observe::filter::{self, Filters};
use crate::observe::selection::Selection;
use crate::observe::typed::SelectionArgs;

/// A request, and what the server can't be asked to leave out.
#[derive(Clone, Debug)]
pub struct Plan {
    pub request: GetFlowsRequest,
    pub protocols: Vec<Protocol>,
}

/// What is read of a flow.
const READ: [&str; 7] =
    ["time", "node_name", "l7", "source.namespace", "source.pod_name", "traffic_direction", "extensions"];
/// What is read besides to name who was asked.
const READ_OF_SERVICES: [&str; 4] = ["source.workloads", "source_service", "source_names", "IP"];

impl Plan {
    pub fn new(args: &RoutesArgs, now: Timestamp) -> Result<Self> {
        let typed = &args.selection;
        let all = typed.once && typed.last.is_none() && typed.since.is_none();
        let selection = SelectionArgs {
            all,
            last: typed.last,
            first: None,
            follow: !typed.once,
            since: typed.since.clone(),
            until: None,
        };
        let Selection { number, follow, since, .. } = Selection::new(&selection, false, now)?;
        let Filters { mut allow, mut deny } = filter::compile(args.filters.0.iter()).map_err(usage)?;
        let protocols = protocols(&mut allow, &mut deny)?;
        if allow.is_empty() {
            allow.push(FlowFilter::default());
        }
        // A request that asks for no answer is seen only where requests are looked at.
        let answers_only = protocols != [Protocol::Kafka];
        for filter in &mut allow {
            turn(filter);
            filter.event_type.push(EventTypeFilter { r#type: event::L7, ..Default::default() });
            filter.reply.extend(answers_only.then_some(true));
        }
        deny.iter_mut().for_each(turn);
        let of_services = READ_OF_SERVICES.into_iter().filter(|_| args.grouping.by_service);
        let paths = READ.into_iter().chain(of_services).map(str::to_owned).collect();
        let mut request = GetFlowsRequest {
            number,
            follow,
            since,
            field_mask: Some(FieldMask { paths }),
            whitelist: allow,
            blacklist: deny,
            ..Default::default()
        };
        fathom_api::facts::ask(&mut request);
        Ok(Self { request, protocols })
    }
}

/// Takes protocols out of the filters, as far as they say the same here: servers of other makes know
/// neither gRPC nor Kafka, and refuse the whole request.
fn protocols(allow: &mut [FlowFilter], deny: &mut Vec<FlowFilter>) -> Result<Vec<Protocol>> {
    let read = |filter: &FlowFilter| -> Result<Vec<Protocol>> {
        let known = |name: &String| {
            let refused =
                || usage(format!("--protocol {name} has no routes; one of http, grpc, dns, kafka has"));
            Protocol::parse(name).ok_or_else(refused)
        };
        filter.protocol.iter().map(known).collect()
    };
    let mut wanted: Vec<Protocol> = match allow.first() {
        Some(filter) if !filter.protocol.is_empty() => read(filter)?,
        _ => Protocol::ALL.to_vec(),
    };
    if wanted.contains(&Protocol::Http) {
        wanted.push(Protocol::Grpc);
    }
    for filter in allow.iter_mut() {
        filter.protocol.clear();
    }
    let only_protocols = |filter: &FlowFilter| {
        *filter == FlowFilter { protocol: filter.protocol.clone(), ..Default::default() }
    };
    let mut unwanted = Vec::new();
    for filter in deny.iter().filter(|filter| only_protocols(filter)) {
        unwanted.extend(read(filter)?);
    }
    deny.retain(|filter| !only_protocols(filter));
    if unwanted.contains(&Protocol::Http) {
        unwanted.push(Protocol::Grpc);
    }
    Ok(Protocol::ALL.into_iter().filter(|one| wanted.contains(one) && !unwanted.contains(one)).collect())
}

/// Flags speak of requests, and answers go the other way: their source is who was asked.
fn turn(filter: &mut FlowFilter) {
    macro_rules! swap_ends {
        ($($source:ident $destination:ident),*) => {
            $(swap(&mut filter.$source, &mut filter.$destination);)*
        };
    }
    swap_ends!(
        source_ip destination_ip,
        source_pod destination_pod,
        source_fqdn destination_fqdn,
        source_label destination_label,
        source_service destination_service,
        source_workload destination_workload,
        source_cluster_name destination_cluster_name,
        source_port destination_port,
        source_identity destination_identity
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Cli, Task};
    use crate::top::typed::TopWhat;

    fn of(line: &str) -> Result<Plan, String> {
        let words = ["fathom", "top", "routes"].into_iter().chain(line.split_whitespace());
        let Task::Top(args) = Cli::try_parse(words).map_err(|e| e.to_string())?.command else { panic!() };
        let TopWhat::Routes(args) = args.what;
        Plan::new(&args, "2026-03-04T05:06:07Z".parse().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn only_answers_are_asked_for_with_facts_and_few_fields() {
        let Plan { request, protocols } = of("").unwrap();
        assert_eq!((request.number, request.follow, request.since), (0, true, None));
        assert_eq!(request.whitelist.len(), 1);
        assert_eq!(request.whitelist[0].reply, [true]);
        assert_eq!(request.whitelist[0].event_type[0].r#type, 129);
        assert!(fathom_api::facts::asked(&request));
        assert_eq!(request.field_mask.unwrap().paths, READ);
        assert_eq!(protocols, Protocol::ALL);
        assert_eq!(of("--by-service").unwrap().request.field_mask.unwrap().paths.len(), 11);
    }

    #[test]
    fn from_is_the_client_and_to_the_server_also_in_what_is_left_out() {
        let request = of("--to-pod shop/api --not --from-pod a --http-status 5xx").unwrap().request;
        assert_eq!(request.whitelist[0].source_pod, ["shop/api"]);
        assert_eq!(request.whitelist[0].http_status_code, ["5+"]);
        assert_eq!(request.blacklist[0].destination_pod, ["a"]);
        let either = of("-n shop").unwrap().request.whitelist;
        assert_eq!((either.len(), &either[0].reply, &either[1].reply), (2, &vec![true], &vec![true]));
    }

    #[test]
    fn protocols_are_told_apart_here() {
        use Protocol::*;
        let of = |line: &str| of(line).map(|plan| (plan.protocols, plan.request));
        for (line, expected) in [
            ("--protocol http", vec![Http, Grpc]),
            ("--protocol grpc --protocol dns", vec![Grpc, Dns]),
            ("--not --protocol dns", vec![Http, Grpc, Kafka]),
        ] {
            let (protocols, request) = of(line).unwrap();
            assert_eq!(protocols, expected, "{line}");
            assert!(request.whitelist[0].protocol.is_empty() && request.blacklist.is_empty(), "{line}");
        }
        // Requests that ask for no answer.
        let (protocols, request) = of("--protocol kafka").unwrap();
        assert_eq!((protocols, request.whitelist[0].reply.len()), (vec![Kafka], 0));
        assert!(of("--protocol tcp").unwrap_err().contains("has no routes"));
    }

    #[test]
    fn once_reads_everything_unless_told_where_to_begin() {
        let number = |line: &str| of(line).map(|plan| (plan.request.number, plan.request.follow)).unwrap();
        assert_eq!(number("--once"), (u64::MAX, false));
        assert_eq!(number("--once --last 7"), (7, false));
        assert_eq!(number("--once --since 5m"), (0, false));
        assert_eq!(number("--last 7"), (7, true));
        assert!(of("--reply").is_err() && of("--interval 1ms").is_err() && of("--max-routes 0").is_err());
    }
}
