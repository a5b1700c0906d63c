//! Names of captured headers as the programs compare them (`bpf/include/l7/header.h`).

use crate::abi::{L7_HEADERS, L7Header};
use crate::skel::types;

/// Names of HPACK's static table by index (RFC 7541, appendix A); those that stand there twice, and
/// pseudo-headers, once or not at all.
const STATIC: [(usize, &str); 47] = [
    (15, "accept-charset"),
    (16, "accept-encoding"),
    (17, "accept-language"),
    (18, "accept-ranges"),
    (19, "accept"),
    (20, "access-control-allow-origin"),
    (21, "age"),
    (22, "allow"),
    (23, "authorization"),
    (24, "cache-control"),
    (25, "content-disposition"),
    (26, "content-encoding"),
    (27, "content-language"),
    (28, "content-length"),
    (29, "content-location"),
    (30, "content-range"),
    (31, "content-type"),
    (32, "cookie"),
    (33, "date"),
    (34, "etag"),
    (35, "expect"),
    (36, "expires"),
    (37, "from"),
    (38, "host"),
    (39, "if-match"),
    (40, "if-modified-since"),
    (41, "if-none-match"),
    (42, "if-range"),
    (43, "if-unmodified-since"),
    (44, "last-modified"),
    (45, "link"),
    (46, "location"),
    (47, "max-forwards"),
    (48, "proxy-authenticate"),
    (49, "proxy-authorization"),
    (50, "range"),
    (51, "referer"),
    (52, "refresh"),
    (53, "retry-after"),
    (54, "server"),
    (55, "set-cookie"),
    (56, "strict-transport-security"),
    (57, "transfer-encoding"),
    (58, "user-agent"),
    (59, "vary"),
    (60, "via"),
    (61, "www-authenticate"),
];

/// Names that are read whatever the list says, by their number in `hpack.h`.
const NAMED: [(usize, &str); 4] = [(5, "content-type"), (6, "grpc-status"), (7, "traceparent"), (8, "host")];

/// Tells the programs how many there are, and which of the names that have a number are among them.
pub(super) fn set(rodata: &mut types::rodata, names: &[String]) {
    rodata.cfg_l7_headers = names.len() as u32;
    rodata.cfg_l7_headers_list = list_id(names);
    let place = |name: &str| names.iter().position(|wanted| wanted.eq_ignore_ascii_case(name));
    for (index, name) in STATIC {
        rodata.cfg_l7_static[index] = place(name).map_or(0, |at| at as u8 + 1);
    }
    for (number, name) in NAMED {
        rodata.cfg_l7_named[number] = place(name).map_or(0, |at| at as u8 + 1);
    }
}

/// What tells this list from others: FNV-1a of its names.
fn list_id(names: &[String]) -> u32 {
    let bytes = names.iter().flat_map(|name| name.bytes().chain([0]));
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The entries of `l7_headers`, all of them.
pub(super) fn entries(names: &[String]) -> impl Iterator<Item = L7Header> {
    let none = String::new();
    let names: Vec<String> = names.iter().chain(std::iter::repeat(&none)).take(L7_HEADERS).cloned().collect();
    names.into_iter().map(|name| entry(&name.to_ascii_lowercase()))
}

fn entry(name: &str) -> L7Header {
    let (mut characters, mut mask, mut label) = ([0u8; 32], [0u8; 32], [0u8; 40]);
    for (at, byte) in name.bytes().enumerate() {
        characters[at] = byte | 0x20;
        mask[at] = 0xff;
    }
    let text = format!("{name}: ");
    label[40 - text.len()..].copy_from_slice(text.as_bytes());
    let words = |bytes: [u8; 32]| {
        let (words, _) = bytes.as_chunks::<8>();
        std::array::from_fn(|word| u64::from_le_bytes(words[word]))
    };
    L7Header { name: words(characters), mask: words(mask), label, len: name.len() as u32, pad: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_the_name_in_words() {
        let header = entry("x-id");
        assert_eq!(header.name, [u64::from(u32::from_le_bytes(*b"x-id")), 0, 0, 0]);
        assert_eq!(header.mask, [0xffff_ffff, 0, 0, 0]);
        assert_eq!((&header.label[34..], header.len), (&b"x-id: "[..], 4));
        assert_eq!(entries(&["a".into()]).count(), L7_HEADERS);
    }

    #[test]
    fn lists_are_told_apart() {
        assert_ne!(list_id(&["ab".into()]), list_id(&["a".into(), "b".into()]));
    }
}
