//! Why nothing was shown.

use std::collections::BTreeSet;
use std::fmt::Write;

use fathom_api::observer::observer_client::ObserverClient;
use fathom_api::observer::{ServerStatusRequest, ServerStatusResponse};

use super::request::Query;
use super::tally::Tally;
use crate::connect::Connection;
use crate::print::node_names;
use crate::terminal::quantity::{age, counted};

/// Words how much was looked at: what the answer itself said, or else what the server says it holds.
/// A server that says neither leaves the plain fact that nothing matched.
pub(crate) async fn explain(
    connection: &Connection,
    query: &Query,
    tally: &Tally,
    examined: Option<u64>,
) -> String {
    let mut client = ObserverClient::new(connection.channel.clone());
    let status = client.server_status(connection.request(ServerStatusRequest {})).await;
    words(query, status.ok().map(tonic::Response::into_inner).as_ref(), &tally.missing, examined)
}

fn words(
    query: &Query,
    status: Option<&ServerStatusResponse>,
    missing: &BTreeSet<String>,
    examined: Option<u64>,
) -> String {
    let request = &query.request;
    let mut text = String::new();
    let filtered = !request.whitelist.is_empty() || !request.blacklist.is_empty();
    let bounded = request.since.is_some() || request.until.is_some();
    let what = match (filtered, bounded) {
        (true, true) => "no flow matched in that time",
        (false, true) => "no flow in that time",
        (true, false) => "no flow matched",
        (false, false) => "no flow came",
    };
    // Writing to a String cannot fail.
    let _ = match (status, examined) {
        (None, Some(examined)) => writeln!(text, "{what}: {} looked at", counted(examined, "flow")),
        (None, None) => writeln!(text, "no flow matched"),
        (Some(status), _)
            if status.num_connected_nodes == Some(0) && status.num_unavailable_nodes.unwrap_or(0) == 0 =>
        {
            writeln!(text, "{what}: the relay has no nodes; is its --peer or --peer-service right?")
        }
        (Some(status), _) if status.num_connected_nodes == Some(0) => {
            writeln!(text, "{what}: the relay is connected to no node")
        }
        (Some(status), _) if status.num_flows == 0 => writeln!(
            text,
            "no flows yet: the server holds none ({} seen in {})",
            counted(status.seen_flows, "flow"),
            age(status.uptime_ns)
        ),
        (Some(status), examined) => {
            let on = match status.num_connected_nodes {
                Some(nodes) => format!(" on {}", counted(u64::from(nodes), "node")),
                None => String::new(),
            };
            match examined {
                Some(examined) => writeln!(text, "{what}: {} looked at{on}", counted(examined, "flow")),
                None => writeln!(text, "{what}: the server holds {}{on}", counted(status.num_flows, "flow")),
            }
        }
    };
    let mut missing = missing.clone();
    let mut unnamed = 0;
    if let Some(status) = status {
        missing.extend(status.unavailable_nodes.iter().cloned());
        let total = status.num_unavailable_nodes.unwrap_or(0) as usize;
        unnamed = total.saturating_sub(missing.len());
    }
    let missing: Vec<String> = missing.into_iter().collect();
    let _ = match (missing.is_empty(), unnamed) {
        (true, 0) => Ok(()),
        (true, more) => writeln!(text, "not connected: {}", counted(more as u64, "node")),
        (false, 0) => writeln!(text, "not connected: {}", node_names(&missing)),
        (false, more) => writeln!(text, "not connected: {}, and {more} more", node_names(&missing)),
    };
    for hint in &query.hints {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::request::Input;
    use fathom_api::flow::FlowFilter;
    use fathom_api::observer::GetFlowsRequest;

    fn query(filtered: bool) -> Query {
        let whitelist = if filtered { vec![FlowFilter::default()] } else { Vec::new() };
        let request = GetFlowsRequest { whitelist, ..Default::default() };
        Query { request, input: Input::Server, hints: Vec::new() }
    }

    #[test]
    fn says_how_much_was_looked_at_and_who_is_missing() {
        let status = ServerStatusResponse {
            num_flows: 3210,
            num_connected_nodes: Some(2),
            num_unavailable_nodes: Some(3),
            unavailable_nodes: vec!["node-b".into()],
            ..Default::default()
        };
        let missing = BTreeSet::from(["node-c".to_owned()]);
        assert_eq!(
            words(&query(true), Some(&status), &missing, Some(17)),
            "no flow matched: 17 flows looked at on 2 nodes\nnot connected: node-b, node-c, and 1 more\n"
        );
        assert!(
            words(&query(true), Some(&status), &missing, None)
                .starts_with("no flow matched: the server holds 3,210 flows on 2 nodes\n")
        );
    }

    #[test]
    fn a_relay_without_nodes_says_so() {
        let status = ServerStatusResponse { num_connected_nodes: Some(0), ..Default::default() };
        let text = words(&query(false), Some(&status), &BTreeSet::new(), None);
        assert!(text.starts_with("no flow came: the relay has no nodes"), "{text}");
        let status = ServerStatusResponse { num_unavailable_nodes: Some(1), ..status };
        let text = words(&query(false), Some(&status), &BTreeSet::new(), None);
        assert_eq!(text, "no flow came: the relay is connected to no node\nnot connected: 1 node\n");
    }

    #[test]
    fn an_empty_server_says_so_and_a_silent_one_leaves_the_fact() {
        let status = ServerStatusResponse { uptime_ns: 5_000_000_000, ..Default::default() };
        assert_eq!(
            words(&query(true), Some(&status), &BTreeSet::new(), Some(0)),
            "no flows yet: the server holds none (0 flows seen in 5s)\n"
        );
        assert_eq!(words(&query(true), None, &BTreeSet::new(), None), "no flow matched\n");
    }
}
