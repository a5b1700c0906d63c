//! Reading just enough of an encoded `observer.GetFlowsResponse` to merge streams.

use crate::wire::{self, Content};

pub use crate::wire::WireError as PeekError;

/// What a response holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Flow,
    NodeStatus,
    LostEvents,
    /// None of the members known here.
    Empty,
}

/// The top level of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek<'a> {
    pub kind: Kind,
    /// Body of the member `kind` names: decode it as `flow.Flow`, `relay.NodeStatusEvent` or `flow.LostEvent`.
    pub body: &'a [u8],
    /// Empty when absent.
    pub node_name: &'a str,
    /// Nanoseconds since the epoch, saturating; `None` when absent.
    pub time_ns: Option<i64>,
}

/// Keys of `GetFlowsResponse`.
const FLOW: u32 = 1;
const NODE_STATUS: u32 = 2;
const LOST_EVENTS: u32 = 3;
const NODE_NAME: u32 = 1000;
const TIME: u32 = 1001;

/// Reads the top level of an encoded response: three to five fields, whatever the flow's size. As in
/// any protobuf reader, fields not known are passed over and the last of a repeated one counts.
///
/// # Errors
/// When the bytes are no protobuf message at this level, or the name or time inside is malformed. The
/// member's own body is not looked into.
#[inline]
pub fn peek(bytes: &[u8]) -> Result<Peek<'_>, PeekError> {
    let mut seen = Peek { kind: Kind::Empty, body: &[], node_name: "", time_ns: None };
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, Content::Bytes(body)) = wire::field(&mut rest)? else { continue };
        match number {
            FLOW => (seen.kind, seen.body) = (Kind::Flow, body),
            NODE_STATUS => (seen.kind, seen.body) = (Kind::NodeStatus, body),
            LOST_EVENTS => (seen.kind, seen.body) = (Kind::LostEvents, body),
            NODE_NAME => seen.node_name = std::str::from_utf8(body).map_err(|_| PeekError::Utf8)?,
            TIME => seen.time_ns = Some(time(body)?),
            _ => {}
        }
    }
    Ok(seen)
}

fn time(mut body: &[u8]) -> Result<i64, PeekError> {
    let mut time = prost_types::Timestamp::default();
    while !body.is_empty() {
        match wire::field(&mut body)? {
            (1, Content::Varint(seconds)) => time.seconds = seconds as i64,
            (2, Content::Varint(nanos)) => time.nanos = nanos as i32,
            _ => {}
        }
    }
    Ok(crate::time::unix_ns(&time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Flow, LostEvent};
    use crate::observer::GetFlowsResponse;
    use crate::observer::get_flows_response::ResponseTypes;
    use crate::relay::NodeStatusEvent;
    use proptest::prelude::*;
    use prost::Message as _;

    fn response(member: Option<ResponseTypes>, node_name: &str, time_ns: Option<i64>) -> Vec<u8> {
        let time = time_ns.map(crate::time::timestamp);
        GetFlowsResponse { response_types: member, node_name: node_name.into(), time }.encode_to_vec()
    }

    #[test]
    fn every_member_is_told_apart_and_its_body_found() {
        let flow = Flow { uuid: "u".into(), ..Default::default() };
        let bytes = response(Some(ResponseTypes::Flow(flow.clone())), "n", Some(5));
        let seen = peek(&bytes).unwrap();
        assert_eq!((seen.kind, seen.node_name, seen.time_ns), (Kind::Flow, "n", Some(5)));
        assert_eq!(Flow::decode(seen.body).unwrap(), flow);
        let bytes = response(Some(ResponseTypes::NodeStatus(NodeStatusEvent::default())), "", None);
        assert_eq!(peek(&bytes).unwrap().kind, Kind::NodeStatus);
        let bytes = response(Some(ResponseTypes::LostEvents(LostEvent::default())), "", None);
        assert_eq!(peek(&bytes).unwrap().kind, Kind::LostEvents);
        assert_eq!(peek(&[]).unwrap().kind, Kind::Empty);
    }

    proptest! {
        #[test]
        fn what_prost_can_decode_is_seen_alike(name: String, time_ns: Option<i64>, junk: Vec<u8>) {
            let mut bytes = response(Some(ResponseTypes::Flow(Flow::default())), &name, time_ns);
            bytes.extend_from_slice(&junk);
            if let (Ok(decoded), Ok(seen)) = (GetFlowsResponse::decode(&bytes[..]), peek(&bytes)) {
                prop_assert_eq!(&decoded.node_name, seen.node_name);
                if junk.is_empty() {
                    prop_assert_eq!(decoded.time.as_ref().map(crate::time::unix_ns), seen.time_ns);
                }
            }
        }

        #[test]
        fn arbitrary_and_truncated_bytes_never_panic(bytes: Vec<u8>, cut in 0usize..64) {
            let _ = peek(&bytes);
            let good = response(Some(ResponseTypes::Flow(Flow::default())), "node", Some(1));
            let _ = peek(&good[..cut.min(good.len())]);
        }
    }
}
