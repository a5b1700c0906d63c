//! Why something has no JSON, or a JSON text no message.

use crate::wire::WireError;

/// What went wrong with JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("{0:?} is not a message of this API")]
    UnknownType(String),
    #[error("not a protobuf message: {0}")]
    Wire(#[from] WireError),
    #[error("{0} is outside the years 1 to 9999, or its nanoseconds outside a second")]
    Time(&'static str),
    #[error("a google.protobuf.Any has a value but no type")]
    AnyWithoutType,
    #[error("messages are nested more than {0} deep")]
    Depth(usize),
    #[error("field mask path {0:?} has no JSON form")]
    MaskPath(String),
    /// Line, column and what was expected there.
    #[error("{0}")]
    Text(String),
}
