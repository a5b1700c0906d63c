//! The protobuf wire format (<https://protobuf.dev/programming-guides/encoding>): reading fields off
//! a slice, and writing them to a buffer.

use bytes::BytesMut;

/// The bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("message ends inside a field")]
    Truncated,
    #[error("number is longer than 10 bytes")]
    Varint,
    #[error("field number {0} is out of range")]
    FieldNumber(u64),
    #[error("wire type {0} means nothing here")]
    WireType(u8),
    #[error("text is not UTF-8")]
    Utf8,
}

/// One field's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// Text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Largest field number there is.
const MAX_FIELD: u64 = (1 << 29) - 1;

/// Takes one field off the front: (number, content).
#[inline]
pub(crate) fn field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Content<'a>), WireError> {
    let key = varint(rest)?;
    let number = key >> 3;
    if number == 0 || number > MAX_FIELD {
        return Err(WireError::FieldNumber(number));
    }
    let content = match (key & 7) as u8 {
        0 => Content::Varint(varint(rest)?),
        1 => Content::Fixed64(u64::from_le_bytes(take_array(rest)?)),
        2 => {
            let len = varint(rest)?;
            Content::Bytes(take(rest, usize::try_from(len).unwrap_or(usize::MAX))?)
        }
        5 => Content::Fixed32(u32::from_le_bytes(take_array(rest)?)),
        other => return Err(WireError::WireType(other)),
    };
    Ok((number as u32, content))
}

/// Takes a base-128 number off the front. Most are of one byte: keys of low fields, short lengths.
#[inline]
pub(crate) fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    match rest {
        [first, after @ ..] if *first < 0x80 => {
            let value = u64::from(*first);
            *rest = after;
            Ok(value)
        }
        [first, second, after @ ..] if *second < 0x80 => {
            let value = u64::from(*first & 0x7f) | u64::from(*second) << 7;
            *rest = after;
            Ok(value)
        }
        _ => long_varint(rest),
    }
}

fn long_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for (i, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *rest = &rest[i + 1..];
            // The tenth byte has room for one bit.
            return if i == 9 && byte > 1 { Err(WireError::Varint) } else { Ok(value) };
        }
    }
    Err(if rest.len() < 10 { WireError::Truncated } else { WireError::Varint })
}

#[inline]
pub(crate) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], WireError> {
    let (taken, after) = rest.split_at_checked(len).ok_or(WireError::Truncated)?;
    *rest = after;
    Ok(taken)
}

pub(crate) fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (taken, after) = rest.split_first_chunk().ok_or(WireError::Truncated)?;
    *rest = after;
    Ok(*taken)
}

/// Bytes that a number takes.
pub(crate) fn varint_len(value: u64) -> usize {
    // 7 bits to the byte; 0 takes one as well.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends one byte. Goes by `extend_from_slice`, here as everywhere in the writer: it is inlined
/// into the caller, which the `BufMut` methods are not.
#[inline]
pub(crate) fn put_byte(out: &mut BytesMut, byte: u8) {
    out.extend_from_slice(&[byte]);
}

#[inline]
pub(crate) fn put_varint(out: &mut BytesMut, mut value: u64) {
    if value < 0x80 {
        return put_byte(out, value as u8);
    }
    let mut bytes = [0; 10];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    out.extend_from_slice(&bytes[..=len]);
}

/// Field number and wire type.
#[inline]
fn put_key(out: &mut BytesMut, field: u32, wire_type: u32) {
    let key = field << 3 | wire_type;
    match key {
        0..0x80 => put_byte(out, key as u8),
        0x80..0x4000 => out.extend_from_slice(&[key as u8 | 0x80, (key >> 7) as u8]),
        _ => put_varint(out, u64::from(key)),
    }
}

const VARINT: u32 = 0;
const LEN: u32 = 2;

/// A number, left out when 0.
#[inline]
pub(crate) fn put_number(out: &mut BytesMut, field: u32, value: u64) {
    if value != 0 {
        put_key(out, field, VARINT);
        put_varint(out, value);
    }
}

/// A number that is 0 and told: that of an `optional` field.
pub(crate) fn put_zero(out: &mut BytesMut, field: u32) {
    put_key(out, field, VARINT);
    put_byte(out, 0);
}

/// An enum or other `int32`, left out when 0; negative ones take ten bytes, as the format wants it.
#[inline]
pub(crate) fn put_int32(out: &mut BytesMut, field: u32, value: i32) {
    put_number(out, field, i64::from(value) as u64);
}

/// Text, bytes or an encoded message, written even when empty.
#[inline]
pub(crate) fn put_bytes(out: &mut BytesMut, field: u32, value: &[u8]) {
    put_key(out, field, LEN);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Text, left out when empty.
#[inline]
pub(crate) fn put_text(out: &mut BytesMut, field: u32, value: &str) {
    if !value.is_empty() {
        put_bytes(out, field, value.as_bytes());
    }
}

/// A length-delimited field whose content `write` appends. Its length is written afterwards, in the
/// one byte left free for it; content of 128 bytes and more is moved to make room.
#[inline]
pub(crate) fn put_nested(out: &mut BytesMut, field: u32, write: impl FnOnce(&mut BytesMut)) {
    put_key(out, field, LEN);
    put_sized(out, 1, write);
}

/// As [`put_nested`], for content that usually takes `len_bytes` to say its length.
#[inline]
pub(crate) fn put_sized(out: &mut BytesMut, len_bytes: usize, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.extend_from_slice(&[0; 10][..len_bytes]);
    write(out);
    let len = out.len() - at - len_bytes;
    let needed = varint_len(len as u64);
    if needed != len_bytes {
        let body = at + len_bytes..at + len_bytes + len;
        if needed > len_bytes {
            out.extend_from_slice(&[0; 10][..needed - len_bytes]);
        }
        out.copy_within(body, at + needed);
        out.truncate(at + needed + len);
    }
    write_varint(&mut out[at..at + needed], len as u64);
}

/// Writes a number over bytes that are exactly as many as it takes.
pub(crate) fn write_varint(out: &mut [u8], mut value: u64) {
    let last = out.len() - 1;
    for byte in &mut out[..last] {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    out[last] = value as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_prost_writes_them_and_read_back(value: u64) {
            let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
            put_varint(&mut ours, value);
            prost::encoding::encode_varint(value, &mut theirs);
            prop_assert_eq!(&ours, &theirs);
            prop_assert_eq!(varint_len(value), ours.len());
            let mut exact = vec![0; ours.len()];
            write_varint(&mut exact, value);
            prop_assert_eq!(&ours[..], &exact[..]);
            let mut rest = &ours[..];
            prop_assert_eq!(varint(&mut rest), Ok(value));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn content_of_any_size_gets_the_shortest_length(len in 0usize..40_000, reserved in 1usize..4) {
            let mut out = BytesMut::from(&b"before"[..]);
            put_sized(&mut out, reserved, |out| out.extend_from_slice(&vec![7; len]));
            let mut rest = &out[6..];
            prop_assert_eq!(varint(&mut rest), Ok(len as u64));
            prop_assert_eq!(out.len(), 6 + varint_len(len as u64) + len);
            prop_assert!(rest.iter().all(|byte| *byte == 7));
        }

        #[test]
        fn arbitrary_bytes_are_read_to_their_end_or_refused(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while !rest.is_empty() && field(&mut rest).is_ok() {}
        }
    }

    #[test]
    fn overlong_numbers_and_bad_keys_are_refused() {
        assert_eq!(varint(&mut &[0x80; 11][..]), Err(WireError::Varint));
        assert_eq!(varint(&mut &[0x80][..]), Err(WireError::Truncated));
        assert_eq!(
            varint(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]),
            Err(WireError::Varint)
        );
        assert_eq!(field(&mut &[0, 0][..]), Err(WireError::FieldNumber(0)));
        assert_eq!(field(&mut &[0x0b][..]), Err(WireError::WireType(3)));
        assert_eq!(field(&mut &[0x0a, 5, 1][..]), Err(WireError::Truncated));
    }
}
