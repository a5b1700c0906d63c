//! Bytes from a ring to a record, in place.

use zerocopy::FromBytes as _;

use crate::abi::{ABI_VERSION, Event, L7Head, L7Text, kind};

/// Why bytes are not a record this version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("record of {0} bytes, an event has {size}", size = size_of::<Event>())]
    TooShort(usize),
    #[error("record at an address that is no multiple of 8")]
    Misaligned,
    #[error("record of ABI version {0}, this program speaks {ABI_VERSION}")]
    Version(u8),
    #[error("record says it has {said} bytes, it came with {came}")]
    Length { said: u16, came: usize },
    #[error("record of unknown kind {0}")]
    Kind(u8),
    #[error("text {number} of a message reaches past the record's end")]
    Text { number: u8 },
}

/// One record where it lies in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub event: &'a Event,
    /// What a record of kind L7 says besides.
    pub message: Option<Message<'a>>,
}

/// A message of an application protocol, as its parser in the kernel saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub head: &'a L7Head,
    /// Whole texts, one after the other.
    texts: &'a [u8],
}

/// One text of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// [`crate::abi::l7_text`].
    pub kind: u8,
    /// [`crate::abi::l7_text_flag`].
    pub flags: u8,
    /// TTL of a DNS answer, seconds.
    pub number: u32,
    pub bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// The texts in the order of the message.
    pub fn texts(&self) -> impl Iterator<Item = Text<'a>> + use<'a> {
        let mut rest = self.texts;
        std::iter::from_fn(move || {
            let (text, after) = split_text(rest)?;
            rest = after;
            Some(text)
        })
    }

    /// The first text of a kind.
    pub fn text(&self, kind: u8) -> Option<Text<'a>> {
        self.texts().find(|text| text.kind == kind)
    }
}

/// The first text of `bytes` and what follows it.
fn split_text(bytes: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let (head, rest) = L7Text::read_from_prefix(bytes).ok()?;
    let len = usize::from(head.len);
    let value = rest.get(..len)?;
    let after = rest.get(len.next_multiple_of(8)..)?;
    Some((Text { kind: head.kind, flags: head.flags, number: head.number, bytes: value }, after))
}

/// Reads one record where it lies.
///
/// What the consumer must be able to rely on is checked: size, version, kind, and that each text of a
/// message lies within it. Numbers of an enum that this version has no name for are left as they
/// are; [`crate::named`] names them.
///
/// # Errors
/// [`DecodeError`] names the field that is off.
pub fn decode(record: &[u8]) -> Result<Record<'_>, DecodeError> {
    let Some((head, tail)) = record.split_at_checked(size_of::<Event>()) else {
        return Err(DecodeError::TooShort(record.len()));
    };
    let event = Event::ref_from_bytes(head).map_err(|_| DecodeError::Misaligned)?;
    if event.version != ABI_VERSION {
        return Err(DecodeError::Version(event.version));
    }
    // The ring pads to 8; every record's length is a multiple of it.
    if usize::from(event.len) != record.len() {
        return Err(DecodeError::Length { said: event.len, came: record.len() });
    }
    match event.kind {
        // What a newer kernel object may append to these is let alone.
        kind::FLOW | kind::SOCK | kind::ENDED => Ok(Record { event, message: None }),
        kind::L7 => Ok(Record { event, message: Some(message(tail)?) }),
        other => Err(DecodeError::Kind(other)),
    }
}

fn message(tail: &[u8]) -> Result<Message<'_>, DecodeError> {
    let (head, texts) =
        L7Head::ref_from_prefix(tail).map_err(|_| DecodeError::TooShort(tail.len() + size_of::<Event>()))?;
    let mut rest = texts;
    for number in 0..head.texts {
        rest = split_text(rest).ok_or(DecodeError::Text { number })?.1;
    }
    let texts = &texts[..texts.len() - rest.len()];
    Ok(Message { head, texts })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::abi::{direction, drop_reason, verdict};
    use crate::named::DropReason;

    /// A record as a kernel wrote it: 10.0.0.2:40000 → 10.0.0.3:80, denied by rule 7.
    const GOLDEN: [u8; 128] = {
        let mut b = [0u8; 128];
        b[0] = 2; // version
        b[1] = 1; // FLOW
        b[2] = 128; // len
        b[4] = 9; // seq
        b[8] = 0x15; // time_ns = 0x0102_0000_0015
        b[12] = 2;
        b[13] = 1;
        b[26] = 0xff;
        b[27] = 0xff;
        b[28] = 10;
        b[31] = 2;
        b[42] = 0xff;
        b[43] = 0xff;
        b[44] = 10;
        b[47] = 3;
        b[48] = 0x9c; // sport 40000
        b[49] = 0x40;
        b[51] = 80; // dport
        b[53] = 1; // src identity 256
        b[57] = 2; // dst identity 512
        b[60] = 42; // ifindex
        b[64] = 7; // rule
        b[72] = 1; // cpu
        b[74] = 6; // TCP
        b[75] = 4;
        b[76] = 1; // INGRESS
        b[78] = 2; // DROPPED
        b[79] = 133; // POLICY_DENIED
        b[80] = 1; // NEW
        b[81] = 2; // SYN
        b[87] = 0x87; // DROP, drop lane
        b[96] = 1; // one packet
        b[104] = 60; // bytes
        b[124] = 0x08; // IPv4
        b
    };

    #[repr(C, align(8))]
    struct Aligned<const N: usize>([u8; N]);

    #[test]
    fn the_golden_record_reads_as_what_it_was() {
        let bytes = Aligned(GOLDEN);
        let event = decode(&bytes.0).expect("a record").event;
        assert_eq!((event.seq, event.time_ns), (9, 0x0102_0000_0015));
        assert_eq!(event.source().to_string(), "10.0.0.2");
        assert_eq!(event.destination().to_string(), "10.0.0.3");
        assert_eq!((event.sport(), event.dport()), (40000, 80));
        assert_eq!((event.src_identity, event.dst_identity), (256, 512));
        assert_eq!((event.ifindex, event.rule_id, event.cpu), (42, 7, 1));
        assert_eq!((event.direction, event.verdict), (direction::INGRESS, verdict::DROPPED));
        assert_eq!(event.reason, drop_reason::POLICY_DENIED);
        assert_eq!(event.named_reason(), DropReason::PolicyDenied);
        assert_eq!((event.packets, event.bytes), (1, 60));
        assert_eq!(event.as_bytes(), &GOLDEN, "decoding is in place");
    }

    #[test]
    fn each_broken_field_is_named() {
        let broken = |at: usize, value: u8| {
            let mut bytes = Aligned(GOLDEN);
            bytes.0[at] = value;
            decode(&bytes.0).expect_err("broken")
        };
        assert_eq!(broken(0, 9), DecodeError::Version(9));
        assert_eq!(broken(1, 0), DecodeError::Kind(0));
        assert_eq!(broken(2, 127), DecodeError::Length { said: 127, came: 128 });
        assert_eq!(broken(1, 4), DecodeError::TooShort(128), "a message without its head");
        let short = Aligned(GOLDEN);
        assert_eq!(decode(&short.0[..120]), Err(DecodeError::TooShort(120)));
        let mut shifted = Aligned([0u8; 136]);
        shifted.0[4..132].copy_from_slice(&GOLDEN);
        assert_eq!(decode(&shifted.0[4..132]), Err(DecodeError::Misaligned));
    }

    #[test]
    fn a_message_s_texts_are_read_in_their_order() {
        let mut bytes = GOLDEN.to_vec();
        bytes[1] = kind::L7;
        let head = L7Head { conn: 5, status: 404, texts: 2, ..L7Head::default() };
        bytes.extend(head.as_bytes());
        for (kind, value) in [(1u8, &b"/index.html"[..]), (2, b"web")] {
            bytes.extend([kind, 0, value.len() as u8, 0, 0, 0, 0, 0]);
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let len = bytes.len();
        bytes[2..4].copy_from_slice(&(len as u16).to_ne_bytes());
        let mut aligned = vec![0u64; len / 8];
        aligned.as_mut_bytes().copy_from_slice(&bytes);
        let message = decode(aligned.as_bytes()).expect("a record").message.expect("a message");
        assert_eq!((message.head.conn, message.head.status), (5, 404));
        let texts: Vec<&[u8]> = message.texts().map(|text| text.bytes).collect();
        assert_eq!(texts, [&b"/index.html"[..], b"web"]);
        assert_eq!(message.text(2).expect("a host").bytes, b"web");

        // The second text's length runs past the end.
        aligned.as_mut_bytes()[128 + 72 + 24 + 2] = 9;
        assert_eq!(decode(aligned.as_bytes()), Err(DecodeError::Text { number: 1 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_either_a_record_or_a_named_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), patch: bool, message: bool) {
            if patch && bytes.len() >= 4 {
                // Get past the header now and then.
                bytes[0] = ABI_VERSION;
                bytes[1] = if message { kind::L7 } else { kind::FLOW };
                let len = bytes.len() as u16;
                bytes[2..4].copy_from_slice(&len.to_ne_bytes());
            }
            let mut aligned = vec![0u64; bytes.len().div_ceil(8)];
            aligned.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);
            let record = &aligned.as_bytes()[..bytes.len()];
            match decode(record) {
                Ok(Record { event, message }) => {
                    prop_assert_eq!(event.as_bytes(), &record[..128]);
                    if let Some(message) = message {
                        prop_assert_eq!(message.texts().count(), usize::from(message.head.texts));
                    }
                    prop_assert_eq!(usize::from(event.len), record.len());
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
