//! The little the relay looks into or adds: time, kind and node name of a response.

use bytes::{BufMut, Bytes, BytesMut};
use fathom_api::Raw;
use fathom_api::observer::{GetFlowsResponse, get_flows_response::ResponseTypes};
use fathom_api::peek::{Kind, peek};
use fathom_api::relay::NodeStatusEvent;
use prost::Message;

pub use fathom_api::time::timestamp;

/// What the merge needs to know of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Nanoseconds since the epoch, 0 when the response has none.
    pub time: i64,
    /// A flow counts towards `number`; loss and node status do not.
    pub is_flow: bool,
    /// Whether the agent put its name on it.
    pub named: bool,
}

/// Reads the top level only. Bytes that are not a response pass as "not a flow": the client's
/// decoder says what is wrong with them better than a relay that swallowed them.
pub fn look(raw: &Raw) -> Look {
    match peek(&raw.0) {
        Ok(seen) => Look {
            time: seen.time_ns.unwrap_or(0),
            is_flow: seen.kind == Kind::Flow,
            named: !seen.node_name.is_empty(),
        },
        Err(_) => Look { time: 0, is_flow: false, named: true },
    }
}

/// Appends `node_name` (field 1000) to a response that lacks it; protobuf takes fields in any order.
pub fn with_node_name(raw: Raw, named: bool, name: &str) -> Raw {
    if named {
        return raw;
    }
    let mut bytes = BytesMut::with_capacity(raw.0.len() + name.len() + 8);
    bytes.put_slice(&raw.0);
    prost::encoding::string::encode(1000, &name.to_owned(), &mut bytes);
    Raw(bytes.freeze())
}

/// A word about nodes, as a response of the relay itself.
pub fn node_status(relay_name: &str, state_change: i32, node_names: Vec<String>, message: String) -> Raw {
    let response = GetFlowsResponse {
        response_types: Some(ResponseTypes::NodeStatus(NodeStatusEvent { state_change, node_names, message })),
        node_name: relay_name.to_owned(),
        time: Some(timestamp(fathom_api::time::now())),
    };
    Raw(Bytes::from(response.encode_to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_node_name_is_added_without_touching_the_rest() {
        let bare = GetFlowsResponse {
            response_types: Some(ResponseTypes::Flow(Default::default())),
            node_name: String::new(),
            time: Some(timestamp(5)),
        };
        let raw = Raw(bare.encode_to_vec().into());
        let seen = look(&raw);
        assert_eq!(seen, Look { time: 5, is_flow: true, named: false });
        let named = GetFlowsResponse::decode(with_node_name(raw, seen.named, "n1").0).unwrap();
        assert_eq!(named, GetFlowsResponse { node_name: "n1".into(), ..bare });
    }

    #[test]
    fn bytes_that_are_no_response_pass_as_they_are() {
        let raw = Raw(Bytes::from_static(&[0xff, 0xff]));
        let seen = look(&raw);
        assert!(!seen.is_flow);
        assert_eq!(with_node_name(raw.clone(), seen.named, "n1"), raw);
    }
}
