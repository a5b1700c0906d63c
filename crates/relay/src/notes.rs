//! Words about nodes, gathered so that fifty nodes that went away together make one message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fathom_api::Raw;
use fathom_api::relay::NodeState;
use fathom_api::response::node_status;

/// How long a word waits for others that say the same.
const GATHER: Duration = Duration::from_millis(100);

/// What is still to be said, by state and message.
pub struct Notes {
    relay_name: Arc<str>,
    pending: BTreeMap<(i32, String), Vec<String>>,
    /// Whether a node was said to be there, or not.
    told: BTreeMap<String, bool>,
    due: Option<Duration>,
    said_something: bool,
}

impl Notes {
    /// Nothing to say yet.
    pub fn new(relay_name: Arc<str>) -> Self {
        Notes {
            relay_name,
            pending: BTreeMap::new(),
            told: BTreeMap::new(),
            due: None,
            said_something: false,
        }
    }

    /// A node is in this state. What changes nothing for the client is not said again: whether a node
    /// that is missing failed, or can't be reached for another reason than before.
    pub fn tell(&mut self, state: NodeState, node: &str, message: &str) {
        let here = state == NodeState::NodeConnected;
        let news = if state == NodeState::NodeGone {
            self.told.remove(node);
            true
        } else {
            self.told.insert(node.to_owned(), here) != Some(here)
        };
        if news {
            self.add(state, node, message);
        }
    }

    fn add(&mut self, state: NodeState, node: &str, message: &str) {
        self.pending.entry((state as i32, message.to_owned())).or_default().push(node.to_owned());
        // The opening words go at once, later ones gather; zero is always due.
        self.due.get_or_insert(Duration::ZERO);
    }

    /// When something should be said.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Writes what is due at `now`, or everything when `all`: connected nodes first.
    pub fn flush(&mut self, now: Duration, all: bool, out: &mut Vec<Raw>) {
        if self.pending.is_empty() {
            return;
        }
        if self.said_something && !all && self.due == Some(Duration::ZERO) {
            self.due = Some(now + GATHER);
        }
        if !all && self.due.is_some_and(|due| now < due) {
            return;
        }
        self.said_something = true;
        self.due = None;
        for ((state, message), nodes) in std::mem::take(&mut self.pending) {
            let state = NodeState::try_from(state).unwrap_or_default();
            out.push(node_status(state, nodes, &message, &self.relay_name, fathom_api::time::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_api::observer::{GetFlowsResponse, get_flows_response::ResponseTypes};
    use prost::Message;

    fn said(out: &[Raw]) -> Vec<(i32, Vec<String>)> {
        out.iter()
            .map(|raw| match GetFlowsResponse::decode(raw.0.clone()).unwrap().response_types {
                Some(ResponseTypes::NodeStatus(status)) => (status.state_change, status.node_names),
                other => panic!("expected a node status, got {other:?}"),
            })
            .collect()
    }

    #[test]
    fn nodes_in_the_same_state_share_one_message_and_connected_ones_come_first() {
        let mut notes = Notes::new("relay".into());
        notes.add(NodeState::NodeUnavailable, "c", "refused");
        notes.add(NodeState::NodeConnected, "a", "");
        notes.add(NodeState::NodeConnected, "b", "");
        let mut out = Vec::new();
        notes.flush(Duration::ZERO, false, &mut out);
        assert_eq!(said(&out), [(1, vec!["a".into(), "b".into()]), (2, vec!["c".into()])]);
    }

    #[test]
    fn a_node_is_said_to_be_missing_once_until_it_is_back() {
        let mut notes = Notes::new("relay".into());
        let mut out = Vec::new();
        let mut tell = |state: NodeState, message: &str| {
            notes.tell(state, "a", message);
            notes.flush(Duration::ZERO, true, &mut out);
        };
        tell(NodeState::NodeConnected, "");
        tell(NodeState::NodeError, "reset");
        tell(NodeState::NodeUnavailable, "refused");
        tell(NodeState::NodeUnavailable, "no answer");
        tell(NodeState::NodeConnected, "");
        tell(NodeState::NodeConnected, "");
        tell(NodeState::NodeGone, "");
        let states: Vec<_> = said(&out).into_iter().map(|(state, _)| state).collect();
        let want =
            [NodeState::NodeConnected, NodeState::NodeError, NodeState::NodeConnected, NodeState::NodeGone];
        assert_eq!(states, want.map(|state| state as i32));
    }

    #[test]
    fn later_words_gather_for_a_moment() {
        let mut notes = Notes::new("relay".into());
        let mut out = Vec::new();
        notes.add(NodeState::NodeConnected, "a", "");
        notes.flush(Duration::ZERO, false, &mut out);
        out.clear();
        notes.add(NodeState::NodeError, "a", "gone");
        notes.flush(Duration::from_secs(5), false, &mut out);
        assert!(out.is_empty());
        notes.add(NodeState::NodeError, "b", "gone");
        notes.flush(Duration::from_secs(5) + GATHER, false, &mut out);
        assert_eq!(said(&out), [(4, vec!["a".into(), "b".into()])]);
        assert_eq!(notes.due(), None);
    }
}
