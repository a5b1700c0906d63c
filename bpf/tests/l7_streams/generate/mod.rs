//! Dialogues nobody wrote down: valid ones of each protocol, by a seed.

pub mod dns;
pub mod frames;
pub mod hpack;
pub mod http1;
pub mod http2;
mod huffman;
pub mod kafka;
mod kafka_responses;
pub mod tls;
pub mod websocket;

use crate::packet::random::Random;

/// Letters of tokens, paths and names.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-_ABCXYZ";

/// 1 to `most` letters.
pub fn word(random: &mut Random, most: usize) -> String {
    let len = 1 + random.below(most);
    exact_word(random, len)
}

pub fn exact_word(random: &mut Random, len: usize) -> String {
    (0..len).map(|_| char::from(*random.pick(LETTERS))).collect()
}

/// A length that is most often small and now and then near a limit of the record or the parser.
pub fn length(random: &mut Random, most: usize) -> usize {
    let len = match random.below(10) {
        0 => 0,
        1..=5 => random.below(24),
        6 | 7 => random.below(200),
        8 => *random.pick(&[126, 127, 128, 129, 254, 255, 256, 257, 258, 511, 512, 513, 1023, 1024, 1025]),
        _ => random.below(most.max(1)),
    };
    len.min(most)
}

pub fn noise(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.byte()).collect()
}
