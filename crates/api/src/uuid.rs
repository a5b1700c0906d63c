//! Cheap per-flow UUIDs: the same for the same stored flow, however often it is read.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// 128 bits in the text form of RFC 9562 section 4.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uuid(pub u128);

/// One process's share of the number space: 60 random bits, then the flow's sequence number,
/// scrambled so that neighbours don't look alike.
#[derive(Clone, Copy, Debug)]
pub struct UuidSpace {
    high: u64,
    mask: u64,
}

/// Version 4 and the RFC variant, so that strict parsers accept them.
const VERSION: u64 = 0x4000;
const VARIANT: u64 = 1 << 63;
const LOW_BITS: u64 = (1 << 62) - 1;
/// Odd, so that multiplying by it modulo 2⁶² loses nothing.
const SCRAMBLE: u64 = 0x9e37_79b9_7f4a_7c15;

impl UuidSpace {
    /// A space of its own, seeded by the standard library's per-process randomness.
    pub fn random() -> Self {
        let random = || RandomState::new().hash_one(std::process::id());
        Self::from_seed(random(), random())
    }

    /// A known space, for tests.
    pub fn from_seed(high: u64, mask: u64) -> Self {
        Self { high: high & !0xf000 | VERSION, mask }
    }

    /// The UUID of the flow with this sequence number (of 2⁶² before they repeat).
    pub fn at(&self, sequence: u64) -> Uuid {
        let low = (sequence.wrapping_mul(SCRAMBLE) ^ self.mask) & LOW_BITS | VARIANT;
        Uuid(u128::from(self.high) << 64 | u128::from(low))
    }
}

impl Uuid {
    /// Length of the text form in bytes.
    pub const TEXT_LEN: usize = 36;

    /// Text form, lower case: "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx".
    pub fn text(&self) -> [u8; Self::TEXT_LEN] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; Self::TEXT_LEN];
        let mut at = 0;
        for (i, byte) in self.0.to_be_bytes().into_iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        text
    }

    /// Whether `text` is this UUID, in either case.
    pub fn is(&self, text: &str) -> bool {
        self.text().eq_ignore_ascii_case(text.as_bytes())
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_has_the_shape_of_a_version_4_uuid() {
        let text = UuidSpace::from_seed(u64::MAX, 0).at(0).to_string();
        assert_eq!(text, "ffffffff-ffff-4fff-8000-000000000000");
    }

    #[test]
    fn two_processes_do_not_share_a_space() {
        assert_ne!(UuidSpace::random().at(1), UuidSpace::random().at(1));
    }

    proptest! {
        #[test]
        fn the_same_sequence_gives_the_same_uuid_and_another_gives_another(
            seed: (u64, u64), a in 0..LOW_BITS, b in 0..LOW_BITS,
        ) {
            let space = UuidSpace::from_seed(seed.0, seed.1);
            prop_assert_eq!(space.at(a), space.at(a));
            prop_assert_eq!(a == b, space.at(a) == space.at(b));
            prop_assert!(space.at(a).is(&space.at(a).to_string().to_uppercase()));
        }
    }
}
