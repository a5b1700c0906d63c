//! From JSON to messages: filters from a command line, responses from a file.

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};

use super::JsonError;
use crate::flow::{Flow, FlowFilter};
use crate::observer::GetFlowsResponse;
use crate::observer::get_flows_response::ResponseTypes;

/// Reads a `flow.FlowFilter`, with field names as in the .proto or in lowerCamelCase.
///
/// # Errors
/// Not JSON, not a filter, or a field that filters don't have: the text says which and where.
pub fn parse_filter(text: &str) -> Result<FlowFilter, JsonError> {
    parse("flow.FlowFilter", text, Unknown::Refused)
}

/// A response read from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedResponse {
    pub response: GetFlowsResponse,
    /// Something in the text is not known here and was passed over.
    pub unknown_fields: bool,
}

/// Reads one line of `hubble observe -o jsonpb` or of an exporter's file: a response, or the bare flow
/// that old versions printed.
///
/// # Errors
/// Not JSON, or not a response.
pub fn parse_response(text: &str) -> Result<ParsedResponse, JsonError> {
    if let Ok(response) = parse("observer.GetFlowsResponse", text, Unknown::Refused) {
        return Ok(ParsedResponse { response, unknown_fields: false });
    }
    let response: GetFlowsResponse = parse("observer.GetFlowsResponse", text, Unknown::Skipped)?;
    match parse::<Flow>("flow.Flow", text, Unknown::Refused) {
        Ok(flow) if response.response_types.is_none() => {
            let (node_name, time) = (flow.node_name.clone(), flow.time);
            let response =
                GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), node_name, time };
            Ok(ParsedResponse { response, unknown_fields: false })
        }
        _ => Ok(ParsedResponse { response, unknown_fields: true }),
    }
}

/// What to do with fields not known here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Refused,
    Skipped,
}

fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    // Compiled in and checked by a test: a broken set is a broken build.
    POOL.get_or_init(|| DescriptorPool::decode(crate::DESCRIPTORS).expect("committed descriptors decode"))
}

fn parse<M: prost::Message + Default>(name: &str, text: &str, unknown: Unknown) -> Result<M, JsonError> {
    let refused = |error: &dyn std::fmt::Display| JsonError::Text(error.to_string());
    let descriptor =
        pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))?;
    let options = DeserializeOptions::new().deny_unknown_fields(unknown == Unknown::Refused);
    let mut json = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize_with_options(descriptor, &mut json, &options)
        .map_err(|error| refused(&error))?;
    json.end().map_err(|error| refused(&error))?;
    message.transcode_to().map_err(|error| refused(&error))
}
