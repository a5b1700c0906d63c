//! Responses that are not flows, as [`Raw`] bytes: what was lost, what happened to nodes.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::Raw;
use crate::flow::{LostEvent, LostEventSource};
use crate::observer::GetFlowsResponse;
use crate::observer::get_flows_response::ResponseTypes;
use crate::relay::{NodeState, NodeStatusEvent};
use crate::time::timestamp;

/// Key of `GetFlowsResponse.node_name`: field 1000, length-delimited.
const NODE_NAME_KEY: [u8; 2] = [0xc2, 0x3e];

/// Events missing from the stream at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub source: LostEventSource,
    pub count: u64,
    /// The CPU whose ring overflowed, when it is one CPU's.
    pub cpu: Option<i32>,
    /// Time of the first and the last lost event, nanoseconds since the epoch.
    pub span_ns: Option<(i64, i64)>,
}

/// A `lost_events` response.
pub fn lost(lost: Lost, node_name: &str, time_ns: i64) -> Raw {
    let event = LostEvent {
        source: lost.source.into(),
        num_events_lost: lost.count,
        cpu: lost.cpu,
        first: lost.span_ns.map(|(first, _)| timestamp(first)),
        last: lost.span_ns.map(|(_, last)| timestamp(last)),
    };
    encode(ResponseTypes::LostEvents(event), node_name, time_ns)
}

/// A `node_status` response. `message` says why, for errors.
pub fn node_status(
    state: NodeState,
    nodes: impl IntoIterator<Item = impl Into<String>>,
    message: &str,
    relay_name: &str,
    time_ns: i64,
) -> Raw {
    let event = NodeStatusEvent {
        state_change: state.into(),
        node_names: nodes.into_iter().map(Into::into).collect(),
        message: message.to_owned(),
    };
    encode(ResponseTypes::NodeStatus(event), relay_name, time_ns)
}

fn encode(member: ResponseTypes, node_name: &str, time_ns: i64) -> Raw {
    let response = GetFlowsResponse {
        response_types: Some(member),
        node_name: node_name.to_owned(),
        time: Some(timestamp(time_ns)),
    };
    Raw(response.encode_to_vec().into())
}

/// The same response under another node name, its other bytes copied as they are: of a repeated
/// scalar field the last one counts.
pub fn with_node_name(response: &Raw, node_name: &str) -> Raw {
    let mut bytes = BytesMut::with_capacity(response.0.len() + NODE_NAME_KEY.len() + 5 + node_name.len());
    bytes.put_slice(&response.0);
    bytes.put_slice(&NODE_NAME_KEY);
    prost::encoding::encode_varint(node_name.len() as u64, &mut bytes);
    bytes.put_slice(node_name.as_bytes());
    Raw(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_names_its_stage_count_and_span() {
        let what = Lost {
            source: LostEventSource::HubbleRingBuffer,
            count: 7,
            cpu: None,
            span_ns: Some((1_000_000_000, 2_000_000_001)),
        };
        let back = GetFlowsResponse::decode(lost(what, "worker-1", 3).0).unwrap();
        let Some(ResponseTypes::LostEvents(event)) = back.response_types else { panic!("{back:?}") };
        assert_eq!((event.source(), event.num_events_lost, event.cpu), (what.source, 7, None));
        assert_eq!((event.first.unwrap().seconds, event.last.unwrap().nanos), (1, 1));
        assert_eq!((back.node_name.as_str(), back.time.unwrap().nanos), ("worker-1", 3));
    }

    #[test]
    fn a_node_status_names_the_nodes_and_a_new_name_replaces_the_old() {
        let raw = node_status(NodeState::NodeUnavailable, ["a", "b"], "refused", "relay", 5);
        let back = GetFlowsResponse::decode(with_node_name(&raw, "other").0).unwrap();
        let Some(ResponseTypes::NodeStatus(event)) = back.response_types else { panic!("{back:?}") };
        assert_eq!(event.node_names, ["a", "b"]);
        assert_eq!((event.message.as_str(), back.node_name.as_str()), ("refused", "other"));
    }
}
