//! The little the relay looks into: time, kind and node name of a response.

use fathom_api::Raw;
use fathom_api::peek::{Kind, peek};

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

#[cfg(test)]
mod tests {
    use fathom_api::observer::{GetFlowsResponse, get_flows_response::ResponseTypes};
    use prost::Message;

    use super::*;

    #[test]
    fn a_response_without_a_node_name_is_seen_as_such() {
        let bare = GetFlowsResponse {
            response_types: Some(ResponseTypes::Flow(Default::default())),
            node_name: String::new(),
            time: Some(timestamp(5)),
        };
        let raw = Raw(bare.encode_to_vec().into());
        let seen = look(&raw);
        assert_eq!(seen, Look { time: 5, is_flow: true, named: false });
        let named = GetFlowsResponse::decode(fathom_api::response::with_node_name(&raw, "n1").0).unwrap();
        assert_eq!(named, GetFlowsResponse { node_name: "n1".into(), ..bare });
    }

    #[test]
    fn bytes_that_are_no_response_count_as_no_flow() {
        let raw = Raw(bytes::Bytes::from_static(&[0xff, 0xff]));
        assert_eq!(look(&raw), Look { time: 0, is_flow: false, named: true });
    }
}
