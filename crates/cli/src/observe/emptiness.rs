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

/// Asks the server how much there was to look at, and words it. A server that gives no answer to
/// that leaves the plain fact that nothing matched.
pub(super) async fn explain(connection: &Connection, query: &Query, tally: &Tally) -> String {
    let mut client = ObserverClient::new(connection.channel.clone());
    let status = client.server_status(connection.request(ServerStatusRequest {})).await;
    words(query, status.ok().map(tonic::Response::into_inner).as_ref(), &tally.missing)
}

fn words(query: &Query, status: Option<&ServerStatusResponse>, missing: &BTreeSet<String>) -> String {
    let request = &query.request;
    let mut text = String::new();
    let filtered = !request.whitelist.is_empty() || !request.blacklist.is_empty();
    let bounded = request.since.is_some() || request.until.is_some();
    // Writing to a String cannot fail.
    let _ = match status {
        None => writeln!(text, "no flow matched"),
        Some(status) if status.num_flows == 0 => writeln!(
            text,
            "no flows yet: the server holds none ({} seen in {})",
            counted(status.seen_flows, "flow"),
            age(status.uptime_ns)
        ),
        Some(status) => {
            let on = match status.num_connected_nodes {
                Some(nodes) => format!(" on {}", counted(u64::from(nodes), "node")),
                None => String::new(),
            };
            let looked_at = counted(status.num_flows, "flow");
            let what = match (filtered, bounded) {
                (true, true) => "no flow matched in that time",
                (false, true) => "no flow in that time",
                (true, false) => "no flow matched",
                (false, false) => "no flow came",
            };
            writeln!(text, "{what}: {looked_at} looked at{on}")
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
            words(&query(true), Some(&status), &missing),
            "no flow matched: 3,210 flows looked at on 2 nodes\nnot connected: node-b, node-c, and 1 more\n"
        );
    }

    #[test]
    fn an_empty_server_says_so_and_a_silent_one_leaves_the_fact() {
        let status = ServerStatusResponse { uptime_ns: 5_000_000_000, ..Default::default() };
        assert_eq!(
            words(&query(true), Some(&status), &BTreeSet::new()),
            "no flows yet: the server holds none (0 flows seen in 5s)\n"
        );
        assert_eq!(words(&query(true), None, &BTreeSet::new()), "no flow matched\n");
    }
}
