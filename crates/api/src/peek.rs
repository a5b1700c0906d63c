//! Reading just enough of an encoded `observer.GetFlowsResponse` to merge streams.

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

/// The bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeekError {
    #[error("response ends inside a field")]
    Truncated,
    #[error("field key or number is longer than 10 bytes")]
    Varint,
    #[error("wire type {0} means nothing here")]
    WireType(u8),
    #[error("node name is not UTF-8")]
    NodeName,
}

/// Keys of `GetFlowsResponse`.
const NODE_NAME: u64 = 1000;
const TIME: u64 = 1001;

/// Reads the top level of an encoded response: three to five fields, whatever the flow's size. As in
/// any protobuf reader, fields not known are passed over and the last of a repeated one counts.
///
/// # Errors
/// When the bytes are no protobuf message at this level, or the name or time inside is malformed. The
/// member's own body is not looked into.
pub fn peek(bytes: &[u8]) -> Result<Peek<'_>, PeekError> {
    let mut seen = Peek { kind: Kind::Empty, body: &[], node_name: "", time_ns: None };
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, field) = field(&mut rest)?;
        let Field::Bytes(body) = field else { continue };
        match number {
            1 => (seen.kind, seen.body) = (Kind::Flow, body),
            2 => (seen.kind, seen.body) = (Kind::NodeStatus, body),
            3 => (seen.kind, seen.body) = (Kind::LostEvents, body),
            NODE_NAME => seen.node_name = std::str::from_utf8(body).map_err(|_| PeekError::NodeName)?,
            TIME => seen.time_ns = Some(time(body)?),
            _ => {}
        }
    }
    Ok(seen)
}

fn time(mut body: &[u8]) -> Result<i64, PeekError> {
    let mut time = prost_types::Timestamp::default();
    while !body.is_empty() {
        match field(&mut body)? {
            (1, Field::Number(seconds)) => time.seconds = seconds as i64,
            (2, Field::Number(nanos)) => time.nanos = nanos as i32,
            _ => {}
        }
    }
    Ok(crate::time::unix_ns(&time))
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes one field off the front: (number, content).
fn field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Field<'a>), PeekError> {
    let key = varint(rest)?;
    let content = match (key & 7) as u8 {
        0 => Field::Number(varint(rest)?),
        1 => Field::Bytes(take(rest, 8)?),
        2 => {
            let len = varint(rest)?;
            Field::Bytes(take(rest, usize::try_from(len).unwrap_or(usize::MAX))?)
        }
        5 => Field::Bytes(take(rest, 4)?),
        other => return Err(PeekError::WireType(other)),
    };
    Ok((key >> 3, content))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], PeekError> {
    let (taken, after) = rest.split_at_checked(len).ok_or(PeekError::Truncated)?;
    *rest = after;
    Ok(taken)
}

#[inline]
fn varint(rest: &mut &[u8]) -> Result<u64, PeekError> {
    let mut value = 0;
    for (i, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *rest = &rest[i + 1..];
            return Ok(value);
        }
    }
    Err(if rest.len() < 10 { PeekError::Truncated } else { PeekError::Varint })
}
