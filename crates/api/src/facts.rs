//! Fathom's own facts about a flow (`fathom.v1.FlowFacts`): asking for them, and finding them.
//!
//! They travel in `Flow.extensions` of clients that asked, and of no others: a client that prints
//! flows as proto3 JSON fails on an `Any` whose type it does not know.

use prost::Message;
use prost_types::Any;

use crate::fathom_v1::{FlowFacts, FlowsOptions};
use crate::flow::Flow;
use crate::observer::GetFlowsRequest;
use crate::wire::{self, Content};

/// Type URL of the facts in `Flow.extensions`.
pub const FACTS_TYPE: &str = "type.googleapis.com/fathom.v1.FlowFacts";
/// Type URL of the options in `GetFlowsRequest.extensions`.
const OPTIONS_TYPE: &str = "type.googleapis.com/fathom.v1.FlowsOptions";

/// Makes a request ask for facts. A server that does not know them passes the wish over.
pub fn ask(request: &mut GetFlowsRequest) {
    let options = FlowsOptions { facts: true };
    request.extensions = Some(Any { type_url: OPTIONS_TYPE.to_owned(), value: options.encode_to_vec() });
}

/// Whether a request asks for facts. What can't be read does not ask.
pub fn asked(request: &GetFlowsRequest) -> bool {
    unpack::<FlowsOptions>(request.extensions.as_ref(), "fathom.v1.FlowsOptions")
        .is_some_and(|options| options.facts)
}

/// The facts a flow carries.
pub fn of(flow: &Flow) -> Option<FlowFacts> {
    unpack(flow.extensions.as_ref(), "fathom.v1.FlowFacts")
}

/// Whether a flow's facts say that its HTTP message is gRPC's. Nothing is decoded.
pub(crate) fn say_grpc(flow: &Flow) -> bool {
    /// `FlowFacts.l7`, `L7Facts.grpc`.
    const WAY: [u32; 2] = [11, 14];
    let Some(any) = flow.extensions.as_ref().filter(|any| is(any, "fathom.v1.FlowFacts")) else {
        return false;
    };
    let inner = WAY.iter().try_fold(&any.value[..], |body, wanted| member(body, *wanted));
    inner.is_some()
}

/// The body of a message's member.
fn member(mut message: &[u8], wanted: u32) -> Option<&[u8]> {
    while !message.is_empty() {
        match wire::field(&mut message).ok()? {
            (number, Content::Bytes(body)) if number == wanted => return Some(body),
            _ => {}
        }
    }
    None
}

fn is(any: &Any, name: &str) -> bool {
    any.type_url.rsplit('/').next() == Some(name)
}

fn unpack<M: Message + Default>(any: Option<&Any>, name: &str) -> Option<M> {
    let any = any.filter(|any| is(any, name))?;
    M::decode(&any.value[..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fathom_v1::{Grpc, L7Facts};

    #[test]
    fn a_request_asks_only_when_told_to() {
        let mut request = GetFlowsRequest::default();
        assert!(!asked(&request));
        ask(&mut request);
        assert!(asked(&request));
        request.extensions = Some(Any { type_url: FACTS_TYPE.into(), value: vec![8, 1] });
        assert!(!asked(&request));
        request.extensions = Some(Any { type_url: OPTIONS_TYPE.into(), value: vec![0xff] });
        assert!(!asked(&request));
    }

    #[test]
    fn grpc_is_found_where_the_facts_tell_it() {
        let with = |facts: &FlowFacts| {
            let any = Any { type_url: FACTS_TYPE.into(), value: facts.encode_to_vec() };
            say_grpc(&Flow { extensions: Some(any), ..Default::default() })
        };
        let l7 = |grpc| FlowFacts {
            cpu: 3,
            l7: Some(L7Facts { connection: 9, grpc, ..Default::default() }),
            ..Default::default()
        };
        assert!(with(&l7(Some(Grpc::default()))));
        assert!(!with(&l7(None)) && !with(&FlowFacts::default()) && !say_grpc(&Flow::default()));
    }

    #[test]
    fn facts_are_found_in_a_flow() {
        let facts = FlowFacts { rule_id: 7, ..Default::default() };
        let extensions = Some(Any { type_url: FACTS_TYPE.into(), value: facts.encode_to_vec() });
        assert_eq!(of(&Flow { extensions, ..Default::default() }), Some(facts));
        assert_eq!(of(&Flow::default()), None);
    }
}
