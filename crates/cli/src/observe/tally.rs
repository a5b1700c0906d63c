//! What a stream has brought, and what it says about its own completeness.

use std::collections::{BTreeMap, BTreeSet};

use fathom_api::flow::{LostEvent, LostEventSource};
use fathom_api::relay::{NodeState, NodeStatusEvent};

use crate::print::Printed;
use crate::terminal::escape::Escaped;
use crate::terminal::quantity::{counted, grouped};

/// Counts of one stream.
#[derive(Debug, Default)]
pub struct Tally {
    pub flows: u64,
    /// Lost events by node and stage.
    lost: BTreeMap<(String, i32), u64>,
    /// Nodes that the relay said it cannot see (now).
    pub missing: BTreeSet<String>,
}

impl Tally {
    pub fn count(&mut self, printed: Printed) {
        match printed {
            Printed::Flow => self.flows += 1,
            Printed::Lost { node, event } => self.lose(node, &event),
            Printed::NodeStatus(event) => self.node_status(&event),
            Printed::Other => {}
        }
    }

    fn lose(&mut self, node: String, event: &LostEvent) {
        let sum = self.lost.entry((node, event.source)).or_default();
        *sum = sum.saturating_add(event.num_events_lost);
    }

    fn node_status(&mut self, event: &NodeStatusEvent) {
        let nodes = event.node_names.iter().cloned();
        match NodeState::try_from(event.state_change) {
            Ok(NodeState::NodeUnavailable | NodeState::NodeError) => self.missing.extend(nodes),
            Ok(NodeState::NodeConnected | NodeState::NodeGone) => {
                nodes.for_each(|node| {
                    self.missing.remove(&node);
                });
            }
            Ok(NodeState::UnknownNodeState) | Err(_) => {}
        }
    }

    /// What was lost: node, number of the `LostEventSource`, count.
    pub fn losses(&self) -> impl Iterator<Item = (&str, i32, u64)> {
        self.lost.iter().map(|((node, source), lost)| (node.as_str(), *source, *lost))
    }

    /// `incomplete: 1,234 events lost: 1,234 on node-1 in …`, or a line for each of several places;
    /// nothing when nothing was lost.
    pub fn incomplete(&self) -> Option<String> {
        let total = self.lost.values().fold(0u64, |sum, lost| sum.saturating_add(*lost));
        if total == 0 {
            return None;
        }
        let places: Vec<String> = self
            .lost
            .iter()
            .map(|((node, source), lost)| {
                let node = match node.as_str() {
                    "" => String::new(),
                    node => format!(" on {}", Escaped(node)),
                };
                format!("{}{node} {}", grouped(*lost), stage(*source))
            })
            .collect();
        let lost = counted(total, "event");
        Some(match places.as_slice() {
            [place] => format!("incomplete: {lost} lost: {place}"),
            places => format!("incomplete: {lost} lost\n  {}", places.join("\n  ")),
        })
    }
}

/// Where events of this source are lost, in words.
fn stage(source: i32) -> &'static str {
    match LostEventSource::try_from(source) {
        Ok(LostEventSource::PerfEventRingBuffer) => {
            "in the kernel, whose ring was full (PERF_EVENT_RING_BUFFER)"
        }
        Ok(LostEventSource::ObserverEventsQueue) => {
            "on the way to or from the agent's store (OBSERVER_EVENTS_QUEUE)"
        }
        Ok(LostEventSource::HubbleRingBuffer) => {
            "in the agent's store, overwritten before they were read (HUBBLE_RING_BUFFER)"
        }
        Ok(LostEventSource::UnknownLostEventSource) | Err(_) => "at a stage not known here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(node: &str, source: LostEventSource, count: u64) -> Printed {
        let event = LostEvent { source: source as i32, num_events_lost: count, ..Default::default() };
        Printed::Lost { node: node.to_owned(), event }
    }

    fn status(state: NodeState, nodes: &[&str]) -> Printed {
        Printed::NodeStatus(NodeStatusEvent {
            state_change: state as i32,
            node_names: nodes.iter().map(|n| n.to_string()).collect(),
            message: String::new(),
        })
    }

    #[test]
    fn losses_are_summed_by_node_and_stage() {
        let mut tally = Tally::default();
        tally.count(lost("b", LostEventSource::PerfEventRingBuffer, 4));
        tally.count(lost("a", LostEventSource::HubbleRingBuffer, 1_200));
        tally.count(lost("a", LostEventSource::HubbleRingBuffer, 30));
        let text = tally.incomplete().unwrap();
        assert!(text.starts_with("incomplete: 1,234 events lost"), "{text}");
        assert!(text.contains("1,230 on a in the agent's store"), "{text}");
        assert!(text.contains("4 on b in the kernel"), "{text}");
    }

    #[test]
    fn a_stream_without_losses_is_not_incomplete() {
        let mut tally = Tally::default();
        tally.count(Printed::Flow);
        assert_eq!((tally.flows, tally.incomplete()), (1, None));
    }

    #[test]
    fn nodes_are_missing_until_they_come_back() {
        let mut tally = Tally::default();
        tally.count(status(NodeState::NodeUnavailable, &["a", "b"]));
        tally.count(status(NodeState::NodeError, &["c"]));
        tally.count(status(NodeState::NodeConnected, &["a"]));
        assert_eq!(tally.missing.into_iter().collect::<Vec<_>>(), ["b", "c"]);
    }
}
