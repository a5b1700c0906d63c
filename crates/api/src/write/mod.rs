//! Writing responses straight to wire bytes.

mod mask;
mod parts;

pub use mask::{Mask, MaskError};
pub use parts::{Facts, FlowParts, L4, NodeFields, Policies};

use bytes::BytesMut;

/// Appends the bytes of `observer.GetFlowsResponse { flow, node_name, time }` to `out`: what prost
/// would write for the same message, without building it. `mask` chooses the flow's fields; the
/// response's own `node_name` and `time` are always there.
pub fn flow_response(_out: &mut BytesMut, _flow: &FlowParts<'_>, _mask: &Mask) {}
