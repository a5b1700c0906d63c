//! The Huffman code of HPACK (RFC 7541 appendix B). It is canonical: its lengths say all of it.

use self::lengths::LENGTHS;

#[path = "../../support/huffman_lengths.rs"]
mod lengths;

/// Each byte's code, right-aligned: codes of one length count up in the order of their bytes.
fn codes() -> [u32; 257] {
    let mut order: Vec<usize> = (0..257).collect();
    order.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
    let mut codes = [0; 257];
    let (mut code, mut len) = (0u64, 0);
    for symbol in order {
        code <<= LENGTHS[symbol] - len;
        len = LENGTHS[symbol];
        codes[symbol] = code as u32;
        code += 1;
    }
    codes
}

/// The encoder, with its table made once.
pub struct Huffman {
    codes: [u32; 257],
}

impl Huffman {
    pub fn new() -> Self {
        Self { codes: codes() }
    }

    /// Padded with ones, the beginning of the end's code.
    pub fn encode(&self, text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (mut bits, mut count) = (0u64, 0);
        for byte in text {
            let symbol = usize::from(*byte);
            bits = bits << LENGTHS[symbol] | u64::from(self.codes[symbol]);
            count += u32::from(LENGTHS[symbol]);
            while count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
            }
        }
        if count > 0 {
            bytes.push((bits << (8 - count)) as u8 | 0xff >> count);
        }
        bytes
    }
}

#[test]
fn every_byte_is_decoded_as_it_was() {
    let huffman = Huffman::new();
    let mut decoder = loona_hpack::huffman::HuffmanDecoder::new();
    for byte in 0..=255u8 {
        for text in [vec![byte], vec![byte; 9], vec![b'a', byte, b'Z']] {
            assert_eq!(decoder.decode(&huffman.encode(&text)), Ok(text), "byte {byte}");
        }
    }
}
