//! An HPACK encoder that uses every form there is (RFC 7541 section 6).

use std::collections::VecDeque;

use super::huffman::Huffman;
use crate::packet::random::Random;

pub type Field = (Vec<u8>, Vec<u8>);

/// RFC 7541 appendix A: 1 to 61.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// How an encoder writes what it has a choice in.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Of ten strings, so many by the Huffman code.
    pub huffman: usize,
    /// Of ten fields that are not in a table, so many go into it.
    pub index: usize,
    /// Of ten fields that are in a table, so many are referred to.
    pub refer: usize,
}

/// One direction's encoder.
pub struct Encoder {
    huffman: Huffman,
    style: Style,
    table: VecDeque<Field>,
    size: usize,
    /// What the table may hold now, and what the other end allows.
    most: usize,
    allowed: usize,
    /// Updates to be sent before the next block's fields.
    updates: Vec<usize>,
}

impl Encoder {
    pub fn new(style: Style, allowed: usize) -> Self {
        let mut encoder = Self {
            huffman: Huffman::new(),
            style,
            table: VecDeque::new(),
            size: 0,
            most: 4096,
            allowed,
            updates: Vec::new(),
        };
        // Less than the default must be said; more may be.
        if allowed < encoder.most {
            encoder.resize(allowed);
        }
        encoder
    }

    /// The table gets another size, up to what is allowed; it is said in the next block.
    pub fn resize(&mut self, most: usize) {
        self.most = most.min(self.allowed);
        self.updates.push(self.most);
        // Two are enough: the least and the last.
        if self.updates.len() > 2 {
            let least = *self.updates.iter().min().expect("some");
            self.updates = vec![least, self.most];
        }
        self.evict(0);
    }

    pub fn allowed(&self) -> usize {
        self.allowed
    }

    fn evict(&mut self, room: usize) {
        while self.size + room > self.most {
            let Some((name, value)) = self.table.pop_back() else { return };
            self.size -= name.len() + value.len() + 32;
        }
    }

    fn insert(&mut self, field: &Field) {
        let size = field.0.len() + field.1.len() + 32;
        self.evict(size);
        if size <= self.most {
            self.size += size;
            self.table.push_front(field.clone());
        }
    }

    /// Index of the whole field, or of one with its name.
    fn find(&self, field: &Field) -> (Option<usize>, Option<usize>) {
        let fixed = STATIC.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let dynamic = self.table.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let mut all = fixed.chain(dynamic).zip(1..);
        let mut named = None;
        let whole = all.find_map(|((name, value), index)| {
            if name == field.0 {
                // The last one: the dynamic table's as often as the static one's.
                named = Some(index);
            }
            (name == field.0 && value == field.1).then_some(index)
        });
        (whole, named)
    }

    /// A header block.
    pub fn block(&mut self, random: &mut Random, fields: &[Field]) -> Vec<u8> {
        let mut block = Vec::new();
        for update in std::mem::take(&mut self.updates) {
            integer(&mut block, 0x20, 5, update);
        }
        for field in fields {
            self.field(random, &mut block, field);
        }
        block
    }

    fn field(&mut self, random: &mut Random, block: &mut Vec<u8>, field: &Field) {
        let (whole, named) = self.find(field);
        if let Some(index) = whole.filter(|_| random.below(10) < self.style.refer) {
            return integer(block, 0x80, 7, index);
        }
        let named = named.filter(|_| random.below(10) < self.style.refer);
        let index = random.below(10) < self.style.index;
        let (form, prefix) = match index {
            true => (0x40, 6),
            false => (*random.pick(&[0x00, 0x10]), 4),
        };
        integer(block, form, prefix, named.unwrap_or_default());
        if named.is_none() {
            self.string(random, block, &field.0);
        }
        self.string(random, block, &field.1);
        if index {
            self.insert(field);
        }
    }

    fn string(&self, random: &mut Random, block: &mut Vec<u8>, text: &[u8]) {
        if random.below(10) < self.style.huffman {
            let bytes = self.huffman.encode(text);
            integer(block, 0x80, 7, bytes.len());
            block.extend(bytes);
        } else {
            integer(block, 0, 7, text.len());
            block.extend(text);
        }
    }
}

/// Section 5.1.
fn integer(block: &mut Vec<u8>, form: u8, prefix: u32, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        block.push(form | value as u8);
        return;
    }
    block.push(form | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}
