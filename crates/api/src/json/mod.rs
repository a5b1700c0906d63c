//! Proto3 JSON (<https://protobuf.dev/programming-guides/json>): from wire bytes to text without
//! decoding, and from text into messages.
//!
//! The text is what `hubble observe -o jsonpb` prints for the same bytes: field names as in the .proto
//! in declaration order, absent and default values left out, enum names (numbers where there is no
//! name), 64-bit numbers as strings, and HTML-relevant characters escaped. One thing is printed that
//! Hubble refuses: an `Any` of a type not known here, whose value is then base64.

mod error;
mod message;
mod read;
mod scalar;
mod well_known;

pub use error::JsonError;
pub use read::{ParsedResponse, parse_filter, parse_response};

use crate::schema::Schema;

/// Appends the JSON of an encoded message (`type_name` as in "observer.GetFlowsResponse") to `out`:
/// one compact object, no newline. Fields not known here are passed over. On error `out` is as it was.
///
/// # Errors
/// Unknown type, malformed bytes, or a value JSON has no form for (a time outside years 1–9999).
pub fn append(type_name: &str, wire: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    let schema = Schema::get();
    let index = schema.index(type_name).ok_or_else(|| JsonError::UnknownType(type_name.to_owned()))?;
    let before = out.len();
    let printed = message::Printer { schema, out }.message(index, wire, 0);
    if printed.is_err() {
        out.truncate(before);
    }
    printed
}
