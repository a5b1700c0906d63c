//! Nodes behind a relay.

use fathom_api::observer::{GetNodesResponse, Node};
use fathom_api::relay::NodeState;

use crate::terminal::columns::Columns;
use crate::terminal::escape::Escaped;
use crate::terminal::quantity::age;

pub(super) fn table(response: &GetNodesResponse, wide: bool) -> Columns {
    let mut columns = Columns::default();
    let more: &[&str] = if wide { &["VERSION", "ADDRESS", "TLS"] } else { &[] };
    columns.row(["NAME", "STATUS", "AGE", "FLOWS/S", "CURRENT/MAX-FLOWS"].iter().chain(more).copied());
    for node in &response.nodes {
        let mut cells = vec![
            Escaped(&node.name).to_string(),
            state(node),
            if node.uptime_ns == 0 { "N/A".to_owned() } else { age(node.uptime_ns) },
            rate(node),
            ratio(node),
        ];
        if wide {
            let tls = match &node.tls {
                None => "N/A",
                Some(tls) if tls.enabled => "Enabled",
                Some(_) => "Disabled",
            };
            let version = if node.version.is_empty() { "N/A" } else { &node.version };
            cells.extend([Escaped(version).to_string(), Escaped(&node.address).to_string(), tls.to_owned()]);
        }
        columns.row(cells);
    }
    columns
}

fn state(node: &Node) -> String {
    match NodeState::try_from(node.state) {
        Ok(NodeState::NodeConnected) => "Connected".to_owned(),
        Ok(NodeState::NodeUnavailable) => "Unavailable".to_owned(),
        Ok(NodeState::NodeGone) => "Gone".to_owned(),
        Ok(NodeState::NodeError) => "Error".to_owned(),
        Ok(NodeState::UnknownNodeState) | Err(_) => "Unknown".to_owned(),
    }
}

fn rate(node: &Node) -> String {
    match node.uptime_ns {
        0 => "N/A".to_owned(),
        uptime => format!("{:.2}", node.seen_flows as f64 / (uptime as f64 / 1e9)),
    }
}

fn ratio(node: &Node) -> String {
    match node.max_flows {
        0 => "N/A".to_owned(),
        max => {
            let percent = node.num_flows as f64 / max as f64 * 100.0;
            format!("{}/{max} ({percent:6.2}%)", node.num_flows)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_listed_with_state_rate_and_fill() {
        let node = Node {
            name: "node-1".into(),
            version: "0.1.0".into(),
            address: "10.0.0.1:4244".into(),
            state: NodeState::NodeConnected as i32,
            uptime_ns: 90_000_000_000,
            num_flows: 2048,
            max_flows: 4096,
            seen_flows: 9_000,
            ..Default::default()
        };
        let gone =
            Node { name: "node-22".into(), state: NodeState::NodeUnavailable as i32, ..Default::default() };
        let response = GetNodesResponse { nodes: vec![node, gone] };
        let text = |wide| {
            let mut out = Vec::new();
            table(&response, wide).write(&mut out, "").unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(false),
            "\
NAME      STATUS        AGE     FLOWS/S   CURRENT/MAX-FLOWS
node-1    Connected     1m30s   100.00    2048/4096 ( 50.00%)
node-22   Unavailable   N/A     N/A       N/A
"
        );
        assert!(
            text(true).lines().nth(1).unwrap().ends_with("0.1.0     10.0.0.1:4244   N/A"),
            "{}",
            text(true)
        );
    }
}
