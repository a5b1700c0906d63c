//! The record decoder against bytes nobody wrote: records as the kernel writes them, mutated, and at
//! odd addresses. Deterministic by its seed, two seconds long unless told otherwise:
//!
//! ```text
//! FATHOM_FUZZ_SECONDS=600 FATHOM_FUZZ_SEED=7 cargo test -p fathom-bpf --test record_fuzz -- --nocapture
//! ```
//!
//! For each record: an error that names what is off and is right about it, or the very bytes in
//! place; and then every number has a name, or is named as unknown, and every address prints.
//! What panics is written to `target/fuzz/record_fuzz-SEED-NUMBER.bin` and said.

#[path = "packet/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fathom_bpf::abi::{ABI_VERSION, Event, L7Head, L7Text, kind};
use fathom_bpf::decode::{DecodeError, Record, decode};
use random::Random;
use zerocopy::{FromZeros as _, IntoBytes as _};

const RECORD: usize = size_of::<Event>();

const KINDS: [u8; 4] = [kind::FLOW, kind::SOCK, kind::ENDED, kind::L7];

/// Records tried however slow the machine is.
const LEAST: u64 = 10_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A head and three texts.
fn message() -> Vec<u8> {
    let mut bytes =
        L7Head { conn: 1, status: 200, proto: 1, texts: 3, ..L7Head::default() }.as_bytes().to_vec();
    for (kind, value) in [(1u8, &b"/a/path"[..]), (2, b""), (4, b"x-header: and its value")] {
        let len = value.len() as u16;
        bytes.extend(L7Text { kind, flags: 0, len, number: 0 }.as_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// Well-formed records of all kinds and families.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for kind in KINDS {
        for (family, address) in
            [(4, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2]), (6, [0xfd; 16])]
        {
            for (verdict, reason) in [(1, 0), (2, 133), (7, 0)] {
                let mut event = Event::new_zeroed();
                event.version = ABI_VERSION;
                event.kind = kind;
                event.len = RECORD as u16;
                event.family = family;
                event.saddr = address;
                event.daddr = address;
                event.proto = 6;
                event.verdict = verdict;
                event.reason = reason;
                event.packets = 1;
                let mut bytes = event.as_bytes().to_vec();
                if kind == kind::L7 {
                    bytes.extend(message());
                    let len = bytes.len() as u16;
                    bytes[2..4].copy_from_slice(&len.to_ne_bytes());
                }
                seeds.push(bytes);
            }
        }
    }
    seeds
}

/// A record, most often changed in a few places; its head is mended half of the time, so that the
/// rest is looked at.
fn mutant(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(seeds).clone();
    for _ in 0..*random.pick(&[0, 1, 1, 2, 8, 40]) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at..].fill_with(|| random.byte()),
            2 => bytes.truncate(at.max(1)),
            3 => bytes.extend((0..random.below(80)).map(|_| random.byte())),
            4 => bytes[at] = *random.pick(&[0, 1, 2, 3, 0x7f, 0x80, 0xfe, 0xff]),
            _ => bytes[at] = random.byte(),
        }
    }
    if random.one_in(2) && bytes.len() >= 4 {
        bytes[0] = ABI_VERSION;
        bytes[1] = *random.pick(&KINDS);
        let len = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&len.to_ne_bytes());
    }
    bytes
}

/// What came out, in a word.
fn judge(record: &[u8]) -> &'static str {
    let head = |at: usize| record[at];
    let said = || u16::from_ne_bytes([record[2], record[3]]);
    match decode(record) {
        Ok(Record { event, message }) => {
            // What a newer kernel object may append is let alone.
            assert_eq!(event.as_bytes().as_ptr_range(), record[..RECORD].as_ptr_range(), "in place");
            assert_eq!(usize::from(event.len), record.len());
            assert!(event.version == ABI_VERSION && KINDS.contains(&event.kind));
            let shown = format!(
                "{:?} {:?} {:?} {:?} {:?} {}:{} {}:{}",
                event.named_kind(),
                event.named_ct_state(),
                event.named_trigger(),
                event.named_reason(),
                event,
                event.source(),
                event.sport(),
                event.destination(),
                event.dport(),
            );
            assert!(!shown.is_empty());
            assert_eq!(message.is_some(), event.kind == kind::L7);
            if let Some(message) = message {
                assert_eq!(message.texts().count(), usize::from(message.head.texts));
            }
            "decoded"
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            match error {
                DecodeError::TooShort(len) => {
                    let least = if len < RECORD || head(1) != kind::L7 {
                        RECORD
                    } else {
                        RECORD + size_of::<L7Head>()
                    };
                    assert!(len == record.len() && len < least);
                }
                DecodeError::Misaligned => assert_ne!(record.as_ptr().align_offset(align_of::<Event>()), 0),
                DecodeError::Version(version) => {
                    assert!(version == head(0) && version != ABI_VERSION);
                }
                DecodeError::Length { said: what, came } => {
                    assert!(what == said() && came == record.len() && usize::from(what) != came);
                }
                DecodeError::Kind(kind) => assert_eq!(kind, head(1)),
                DecodeError::Text { number } => assert!(number < head(RECORD + 67)),
            }
            match error {
                DecodeError::TooShort(_) => "too short",
                DecodeError::Misaligned => "misaligned",
                DecodeError::Version(_) => "version",
                DecodeError::Length { .. } => "length",
                DecodeError::Text { .. } => "text",
                DecodeError::Kind(_) => "kind",
            }
        }
    }
}

/// Keeps what made it panic.
fn keep(bytes: &[u8], seed: u64, number: u64) -> PathBuf {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/fuzz"));
    std::fs::create_dir_all(&directory).expect("make target/fuzz");
    let path = directory.join(format!("record_fuzz-{seed}-{number}.bin"));
    std::fs::write(&path, bytes).expect("keep the record");
    path
}

#[test]
fn any_record_is_read_in_place_or_refused_by_what_is_off() {
    let seed = setting("FATHOM_FUZZ_SEED", 1);
    let end = Instant::now() + Duration::from_secs(setting("FATHOM_FUZZ_SECONDS", 2));
    let mut random = Random::new(seed);
    let seeds = seeds();
    let mut tally = BTreeMap::<&str, u64>::new();
    let mut number = 0;
    // Aligned as a ring is; some records begin elsewhere.
    let mut place = [0u64; 40];
    while number < LEAST || Instant::now() < end {
        number += 1;
        let bytes = mutant(&mut random, &seeds);
        let bytes = &bytes[..bytes.len().min(300)];
        let offset = if random.one_in(20) { random.below(8) } else { 0 };
        place.as_mut_bytes()[offset..offset + bytes.len()].copy_from_slice(bytes);
        let record = &place.as_bytes()[offset..offset + bytes.len()];
        match catch_unwind(AssertUnwindSafe(|| judge(record))) {
            Ok(word) => *tally.entry(word).or_default() += 1,
            Err(_) => {
                panic!("record {number} of seed {seed}, kept in {}", keep(record, seed, number).display())
            }
        }
    }
    println!("seed {seed}: {number} records: {tally:?}");
    assert_eq!(tally.len(), 7, "the corpus reaches every outcome: {tally:?}");
}
