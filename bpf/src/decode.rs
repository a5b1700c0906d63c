//! Bytes from a ring to a record, in place.

use zerocopy::FromBytes as _;

use crate::abi::{ABI_VERSION, Event, kind};

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
}

/// Reads one record where it lies.
///
/// What the consumer must be able to rely on is checked: size, version, kind. Numbers of an enum
/// that this version has no name for are left as they are; [`crate::named`] names them.
///
/// # Errors
/// [`DecodeError`] names the field that is off.
pub fn decode(record: &[u8]) -> Result<&Event, DecodeError> {
    let Some(head) = record.get(..size_of::<Event>()) else {
        return Err(DecodeError::TooShort(record.len()));
    };
    let event = Event::ref_from_bytes(head).map_err(|_| DecodeError::Misaligned)?;
    if event.version != ABI_VERSION {
        return Err(DecodeError::Version(event.version));
    }
    // No kind has a tail yet; the ring pads to 8, and 128 needs no padding.
    if usize::from(event.len) != record.len() {
        return Err(DecodeError::Length { said: event.len, came: record.len() });
    }
    match event.kind {
        kind::FLOW | kind::SOCK | kind::ENDED => Ok(event),
        other => Err(DecodeError::Kind(other)),
    }
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
        b[0] = 1; // version
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
        let event = decode(&bytes.0).expect("a record");
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
        let short = Aligned(GOLDEN);
        assert_eq!(decode(&short.0[..120]), Err(DecodeError::TooShort(120)));
        let mut shifted = Aligned([0u8; 136]);
        shifted.0[4..132].copy_from_slice(&GOLDEN);
        assert_eq!(decode(&shifted.0[4..132]), Err(DecodeError::Misaligned));
    }

    proptest! {
        #[test]
        fn any_bytes_are_either_a_record_or_a_named_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), patch: bool) {
            if patch && bytes.len() >= 4 {
                // Get past the header now and then.
                bytes[0] = ABI_VERSION;
                bytes[1] = kind::FLOW;
                let len = bytes.len() as u16;
                bytes[2..4].copy_from_slice(&len.to_ne_bytes());
            }
            let mut aligned = vec![0u64; bytes.len().div_ceil(8)];
            aligned.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);
            let record = &aligned.as_bytes()[..bytes.len()];
            match decode(record) {
                Ok(event) => {
                    prop_assert_eq!(event.as_bytes(), &record[..128]);
                    prop_assert_eq!(usize::from(event.len), record.len());
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
