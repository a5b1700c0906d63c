//! What a relay says about its nodes.

use std::io::{self, Write};

use fathom_api::relay::{NodeState, NodeStatusEvent};
use prost_types::Timestamp;

use super::{SEPARATOR, Style};
use crate::terminal::escape::Escaped;

/// Longest list of names, in characters, before the rest is only counted.
const NAMES_LENGTH: usize = 50;

/// Whether the stream is poorer for it, so that it is shown without being asked for.
pub(super) fn is_failure(event: &NodeStatusEvent) -> bool {
    matches!(NodeState::try_from(event.state_change), Ok(NodeState::NodeError | NodeState::NodeUnavailable))
}

/// Names up to a limit, then how many more there are; always at least one.
pub fn names(names: &[String]) -> String {
    let mut text = String::new();
    for (at, name) in names.iter().enumerate() {
        if at > 0 && text.len() + name.len() + 2 > NAMES_LENGTH {
            return format!("{text} (and {} more)", names.len() - at);
        }
        if at > 0 {
            text.push_str(", ");
        }
        text.push_str(&Escaped(name).to_string());
    }
    text
}

pub(super) fn line(
    err: &mut dyn Write,
    style: &Style,
    _separate: bool,
    event: &NodeStatusEvent,
    time: Option<&Timestamp>,
    node: &str,
) -> io::Result<()> {
    let list = names(&event.node_names);
    let (count, plural, are) = match event.node_names.len() {
        1 => (1, "", "is"),
        many => (many, "s", "are"),
    };
    write!(err, "{} [{}]: ", style.time.show(time), Escaped(node))?;
    match NodeState::try_from(event.state_change) {
        Ok(NodeState::NodeConnected) => writeln!(err, "Receiving flows from {count} node{plural}: {list}"),
        Ok(NodeState::NodeUnavailable) => writeln!(err, "{count} node{plural} {are} unavailable: {list}"),
        Ok(NodeState::NodeGone) => writeln!(err, "{count} node{plural} removed from cluster: {list}"),
        Ok(NodeState::NodeError) => {
            writeln!(err, "Error {:?} on {count} node{plural}: {list}", event.message)
        }
        Ok(NodeState::UnknownNodeState) | Err(_) => {
            writeln!(err, "unknown node state {}: {list} {}", event.state_change, Escaped(&event.message))
        }
    }
}

pub(super) fn dict(
    err: &mut dyn Write,
    style: &Style,
    separate: bool,
    event: &NodeStatusEvent,
    time: Option<&Timestamp>,
    _node: &str,
) -> io::Result<()> {
    if separate {
        err.write_all(SEPARATOR.as_bytes())?;
    }
    let state = NodeState::try_from(event.state_change)
        .map_or_else(|_| event.state_change.to_string(), |state| state.as_str_name().to_owned());
    let message = match event.message.as_str() {
        "" => "N/A".to_owned(),
        message => format!("{message:?}"),
    };
    writeln!(err, "  TIMESTAMP: {}", style.time.show(time))?;
    writeln!(err, "      STATE: {state}")?;
    writeln!(err, "      NODES: {}", names(&event.node_names))?;
    writeln!(err, "    MESSAGE: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_nodes_end_in_a_count() {
        let of = |n: usize| names(&(0..n).map(|i| format!("worker-{i:02}")).collect::<Vec<_>>());
        assert_eq!(of(1), "worker-00");
        assert_eq!(of(4), "worker-00, worker-01, worker-02, worker-03");
        assert_eq!(of(9), "worker-00, worker-01, worker-02, worker-03 (and 5 more)");
        let long = names(&["x".repeat(80), "y".into()]);
        assert_eq!(long, format!("{} (and 1 more)", "x".repeat(80)));
    }
}
