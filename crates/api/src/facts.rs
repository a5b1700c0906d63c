//! Fathom's own facts about a flow (`fathom.v1.FlowFacts`): asking for them, and finding them.
//!
//! They travel in `Flow.extensions` of clients that asked, and of no others: a client that prints
//! flows as proto3 JSON fails on an `Any` whose type it does not know.

use prost::Message;
use prost_types::Any;

use crate::fathom_v1::{FlowFacts, FlowsOptions};
use crate::flow::Flow;
use crate::observer::GetFlowsRequest;

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

fn unpack<M: Message + Default>(any: Option<&Any>, name: &str) -> Option<M> {
    let any = any.filter(|any| any.type_url.rsplit('/').next() == Some(name))?;
    M::decode(&any.value[..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn facts_are_found_in_a_flow() {
        let facts = FlowFacts { rule_id: 7, ..Default::default() };
        let extensions = Some(Any { type_url: FACTS_TYPE.into(), value: facts.encode_to_vec() });
        assert_eq!(of(&Flow { extensions, ..Default::default() }), Some(facts));
        assert_eq!(of(&Flow::default()), None);
    }
}
