//! The Huffman code of HPACK (RFC 7541 appendix B). It is canonical: its lengths say all of it.

/// Bits of each byte's code, and of the end's.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

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
