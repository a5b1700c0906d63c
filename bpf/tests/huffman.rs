//! HPACK's Huffman code as an automaton (`bpf/include/l7/huffman.h`) is what its code lengths say.
//!
//! `FATHOM_REGENERATE=1 cargo test -p fathom-bpf --test huffman` writes it anew.

#[path = "support/huffman_lengths.rs"]
mod lengths;

use std::fmt::Write as _;
use std::path::Path;

use lengths::LENGTHS;

/// Entry of the table: the state that follows, the byte that was completed, and flags.
const EMIT: u32 = 1 << 16;
/// The string may end in the state that follows: all that is open are up to seven ones (section 5.2).
const ACCEPT: u32 = 1 << 17;
const FAIL: u32 = 1 << 31;

const EOS: usize = 256;

/// A node of the code's tree.
#[derive(Clone, Copy)]
enum Child {
    None,
    Node(usize),
    Symbol(usize),
}

/// Inner nodes; the first is the root.
fn tree() -> Vec<[Child; 2]> {
    let mut order: Vec<usize> = (0..LENGTHS.len()).collect();
    order.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
    let mut nodes = vec![[Child::None; 2]];
    let (mut code, mut bits) = (0u32, LENGTHS[order[0]]);
    for symbol in order {
        code <<= LENGTHS[symbol] - bits;
        bits = LENGTHS[symbol];
        let mut at = 0;
        for bit in (0..bits).rev() {
            let side = (code >> bit & 1) as usize;
            at = match (nodes[at][side], bit) {
                (Child::None, 0) => {
                    nodes[at][side] = Child::Symbol(symbol);
                    break;
                }
                (Child::None, _) => {
                    nodes.push([Child::None; 2]);
                    nodes[at][side] = Child::Node(nodes.len() - 1);
                    nodes.len() - 1
                }
                (Child::Node(next), _) => next,
                (Child::Symbol(_), _) => panic!("the code of {symbol} begins with another"),
            };
        }
        code += 1;
    }
    nodes
}

/// 16 entries per state: one per half byte.
fn automaton() -> Vec<u32> {
    let nodes = tree();
    assert_eq!(nodes.len(), 256, "a state fits a byte");
    // The states in which the string may end: the root, and seven ones after it.
    let mut accepting = vec![0];
    while let (Child::Node(next), true) = (nodes[accepting[accepting.len() - 1]][1], accepting.len() < 8) {
        accepting.push(next);
    }
    let mut table = Vec::new();
    for state in 0..nodes.len() {
        for half in 0..16 {
            let (mut at, mut entry) = (state, 0);
            for bit in (0..4).rev() {
                at = match nodes[at][half >> bit & 1] {
                    Child::Node(next) => next,
                    Child::Symbol(EOS) | Child::None => {
                        entry = FAIL;
                        break;
                    }
                    Child::Symbol(symbol) => {
                        entry |= EMIT | (symbol as u32) << 8;
                        0
                    }
                };
            }
            if entry != FAIL {
                entry |= at as u32 | if accepting.contains(&at) { ACCEPT } else { 0 };
            }
            table.push(entry);
        }
    }
    table
}

/// A string in the code, filled up with ones.
fn coded(text: &str) -> Vec<u8> {
    let mut order: Vec<usize> = (0..LENGTHS.len()).collect();
    order.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
    let (mut codes, mut code, mut bits) = ([0u32; LENGTHS.len()], 0u32, LENGTHS[order[0]]);
    for symbol in order {
        code <<= LENGTHS[symbol] - bits;
        bits = LENGTHS[symbol];
        codes[symbol] = code;
        code += 1;
    }
    let code = |byte: u8| {
        let (code, bits) = (codes[usize::from(byte)], LENGTHS[usize::from(byte)]);
        (0..bits).rev().map(move |bit| code >> bit & 1 == 1)
    };
    let mut all: Vec<bool> = text.bytes().flat_map(code).collect();
    all.resize(all.len().next_multiple_of(8), true);
    all.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
}

/// What the parser compares without decoding it.
const CODED: [(&str, &str); 9] = [
    ("HOST", "host"),
    ("PATH", ":path"),
    ("METHOD", ":method"),
    ("STATUS", ":status"),
    ("AUTHORITY", ":authority"),
    ("GRPC_STATUS", "grpc-status"),
    ("TRACEPARENT", "traceparent"),
    ("CONTENT_TYPE", "content-type"),
    ("GRPC", "application/grpc"),
];

/// A string's length in the code, its first eight bytes as they lie in memory, and those that follow.
fn coded_line(out: &mut String, name: &str, text: &str) {
    let coded = coded(text);
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let (first, rest) = coded.split_at(coded.len().min(8));
    writeln!(out, "#define H2_CODED_{name}_LEN {}", coded.len()).expect("a string");
    writeln!(out, "#define H2_CODED_{name} {:#x}ULL", word(first)).expect("a string");
    if !rest.is_empty() {
        writeln!(out, "#define H2_CODED_{name}_END {:#x}ULL", word(rest)).expect("a string");
    }
}

fn header() -> String {
    let mut out = String::from(
        "/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */\n\
         /*\n \
          * l7/huffman.h: HPACK's Huffman code (RFC 7541, appendix B) as an automaton that\n \
          * takes half a byte at a step. Written by bpf/tests/huffman.rs.\n \
          *\n \
          * Entry [state * 16 + half]: bits 0..7 the state that follows, 8..15 the byte that\n \
          * was completed, and H2_HUFFMAN_*. State 0 is the root.\n \
          */\n\
         #ifndef FATHOM_L7_HUFFMAN_H\n\
         #define FATHOM_L7_HUFFMAN_H\n\n\
         #include \"uapi.h\"\n\n\
         #define H2_HUFFMAN_EMIT   (1U << 16)\n\
         #define H2_HUFFMAN_ACCEPT (1U << 17) /* the string may end here */\n\
         #define H2_HUFFMAN_FAIL   (1U << 31)\n\n\
         /* clang-format off */\n\
         /* Strings in the code: length, first eight bytes, and those that follow. */\n",
    );
    for (name, text) in CODED {
        coded_line(&mut out, name, text);
    }
    out.push_str(
        "\n\
         static const __u32 h2_huffman[256 * 16] = {\n",
    );
    for line in automaton().chunks(8) {
        let entries: Vec<String> = line.iter().map(|entry| format!("{entry:#x},")).collect();
        writeln!(out, "\t{}", entries.join(" ")).expect("a string");
    }
    out + "};\n/* clang-format on */\n\n#endif /* FATHOM_L7_HUFFMAN_H */\n"
}

#[test]
fn the_table_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf/include/l7/huffman.h");
    let want = header();
    if std::env::var_os("FATHOM_REGENERATE").is_some() {
        std::fs::write(&path, &want).expect("write the header");
    }
    let have = std::fs::read_to_string(&path).expect("the header");
    assert!(want == have, "{} is stale: run with FATHOM_REGENERATE=1", path.display());
}

/// RFC 7541, appendix C.4.1 and C.6.1: strings of the examples.
#[test]
fn the_examples_of_the_rfc_decode() {
    let table = automaton();
    let decode = |bytes: &[u8]| {
        let (mut state, mut out, mut accept) = (0usize, Vec::new(), true);
        for half in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            let entry = table[state * 16 + usize::from(half)];
            assert_eq!(entry & FAIL, 0);
            if entry & EMIT != 0 {
                out.push((entry >> 8) as u8);
            }
            state = (entry & 255) as usize;
            accept = entry & ACCEPT != 0;
        }
        assert!(accept);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(
        decode(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
        "www.example.com"
    );
    assert_eq!(decode(&[0xae, 0xc3, 0x77, 0x1a, 0x4b]), "private");
}
