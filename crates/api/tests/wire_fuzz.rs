//! What clients and agents send, with anything done to it: responses seen by the relay, printed as JSON
//! and read back, and filters compiled. Deterministic by its seed, two seconds long unless told otherwise:
//!
//! ```text
//! FATHOM_FUZZ_SECONDS=600 FATHOM_FUZZ_SEED=7 cargo test -p fathom-api --test wire_fuzz -- --nocapture
//! ```
//!
//! What panics is written to `target/fuzz/wire_fuzz-SEED-NUMBER.bin` and said.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fathom_api::flow::FlowFilter;
use fathom_api::observer::GetFlowsResponse;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::peek::{Kind, peek};
use fathom_api::{Filter, WireError, json};
use prost::Message as _;

const RESPONSES: &str = include_str!("golden/responses.jsonl");

/// Every way in which a filter's text is parsed.
const FILTERS: [&str; 8] = [
    r#"{"source_pod":["live/web"],"destination_port":["443"],"verdict":["DROPPED"],"reply":[false]}"#,
    r#"{"source_label":["app in (a, b),!old","k8s:tier=front,x notin (y)"],"node_labels":["zone=a"]}"#,
    r#"{"source_ip":["10.0.0.0/8","fd00::1"],"destination_ip":["::ffff:10.0.0.1"],"protocol":["tcp","udp"]}"#,
    r#"{"destination_fqdn":["*.example.com"],"node_name":["east/worker-*"],"source_cluster_name":["e*t"]}"#,
    r#"{"http_status_code":["5+","404"],"http_path":["^/v[12]/.*$"],"http_url":["a|b"],"http_method":["GET"]}"#,
    r#"{"dns_query":["(foo|bar)+\\.svc"],"uuid":["0a0b"],"trace_id":["4bf9"],"ip_trace_id":["7"]}"#,
    r#"{"event_type":[{"type":4,"match_sub_type":true,"sub_type":3}],"tcp_flags":[{"SYN":true}]}"#,
    r#"{"source_workload":[{"name":"w","kind":"Deployment"}],"interface":[{"name":"eth0"}],"encrypted":[true]}"#,
];

/// Inputs tried however slow the machine is.
const LEAST: u64 = 2_000;

/// A filter that takes longer to compile would hold up the stream it is for.
const PATIENCE: Duration = Duration::from_secs(3);

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What a parser treats in a way of its own: keys, lengths and texts.
const PIECES: [&[u8]; 22] = [
    &[0],
    &[0x80],
    &[0xff; 10],
    &[0x0a, 0x00],
    &[0x0b],
    &[0x0c],
    &[0x12, 0x7f],
    &[0xc2, 0x3e, 0x01, b'n'],
    &[0xca, 0x3e, 0x02, 0x08, 0x05],
    &[0xf8, 0xff, 0xff, 0xff, 0x0f, 0x01],
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"]",
    b"null",
    b"1e999",
    b"-1",
    b"*",
    b"/",
    b"(((((",
    b"{9999}",
];

fn mutant(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(seeds).clone();
    for _ in 0..*random.pick(&[0, 1, 1, 2, 3, 8]) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.splice(at..at, random.pick(&PIECES).iter().copied())),
            2 => bytes.truncate(at),
            3 => {
                let other = random.pick(seeds);
                let (from, to) = (random.below(other.len()), random.below(other.len()));
                bytes.splice(at..at, other[from.min(to)..from.max(to)].iter().copied());
            }
            4 => drop(bytes.drain(at..(at + random.below(9)).min(bytes.len()))),
            _ if at < bytes.len() => bytes[at] = random.next() as u8,
            _ => {}
        }
    }
    bytes.truncate(4096);
    bytes
}

/// A response on its way through the relay and to a terminal.
fn response(bytes: &[u8]) -> &'static str {
    let seen = peek(bytes);
    let decoded = GetFlowsResponse::decode(bytes);
    let groups = matches!(seen, Err(WireError::WireType(3 | 4)));
    match (&seen, &decoded) {
        (Ok(seen), Ok(decoded)) => {
            let kind = match &decoded.response_types {
                None => Kind::Empty,
                Some(ResponseTypes::Flow(_)) => Kind::Flow,
                Some(ResponseTypes::NodeStatus(_)) => Kind::NodeStatus,
                Some(ResponseTypes::LostEvents(_)) => Kind::LostEvents,
            };
            assert_eq!((seen.kind, seen.node_name), (kind, decoded.node_name.as_str()));
        }
        // Groups were given up before proto3; nobody sends them.
        (Err(error), Ok(_)) => assert!(groups, "peek refused what decodes: {error}"),
        _ => {}
    }
    let mut text = b"before".to_vec();
    let printed = json::append("observer.GetFlowsResponse", bytes, &mut text);
    let Ok(()) = printed else {
        assert_eq!(text, b"before", "nothing is left of what failed");
        return if decoded.is_ok() { "message without JSON" } else { "no message" };
    };
    let value: serde_json::Value = serde_json::from_slice(&text[6..]).expect("what is printed is JSON");
    assert!(value.is_object());
    "message"
}

/// A line of a file.
fn line(bytes: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(bytes);
    match json::parse_response(&text) {
        Ok(parsed) => {
            response(&parsed.response.encode_to_vec());
            "JSON"
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            "no JSON"
        }
    }
}

/// A client's filter, over the flows of `RESPONSES`.
fn filter(bytes: &[u8], flows: &[fathom_api::flow::Flow]) -> &'static str {
    let Ok(filter) = FlowFilter::decode(bytes) else { return "no filter message" };
    let begun = Instant::now();
    let compiled = Filter::compile(std::slice::from_ref(&filter), &[]);
    assert!(begun.elapsed() < PATIENCE, "{:?} to compile {filter:?}", begun.elapsed());
    match compiled {
        Ok(compiled) => {
            for flow in flows {
                compiled.matches(flow);
            }
            "filter"
        }
        Err(error) => {
            let text = error.to_string();
            let prefix = format!("whitelist[0].{}: ", error.field);
            assert!(text.starts_with(&prefix) && text.len() > prefix.len(), "{text}");
            assert!(!text.contains('\n'), "one line: {text:?}");
            "filter refused"
        }
    }
}

fn keep(bytes: &[u8], seed: u64, number: u64) -> PathBuf {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/fuzz"));
    std::fs::create_dir_all(&directory).expect("make target/fuzz");
    let path = directory.join(format!("wire_fuzz-{seed}-{number}.bin"));
    std::fs::write(&path, bytes).expect("keep the input");
    path
}

#[test]
fn nothing_on_the_wire_panics_or_is_read_in_two_ways() {
    let seed = setting("FATHOM_FUZZ_SEED", 1);
    let end = Instant::now() + Duration::from_secs(setting("FATHOM_FUZZ_SECONDS", 2));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    // An Any of a type not known here is printed, and can't be read.
    let readable = RESPONSES.lines().filter_map(|line| json::parse_response(line).ok());
    let parsed: Vec<_> = readable.map(|parsed| parsed.response).collect();
    assert!(parsed.len() > 3);
    let messages: Vec<_> = parsed.iter().map(|response| response.encode_to_vec()).collect();
    let lines: Vec<_> = RESPONSES.lines().map(|line| line.as_bytes().to_vec()).collect();
    let filters = FILTERS.map(|text| json::parse_filter(text).expect(text).encode_to_vec());
    let flows: Vec<_> = parsed
        .into_iter()
        .filter_map(|response| match response.response_types {
            Some(ResponseTypes::Flow(flow)) => Some(flow),
            _ => None,
        })
        .collect();
    let mut tally = BTreeMap::<&str, u64>::new();
    let mut number = 0;
    while number < LEAST || Instant::now() < end {
        number += 1;
        let (bytes, judged) = match number % 3 {
            0 => {
                let bytes = mutant(&mut random, &messages);
                let judged = catch_unwind(AssertUnwindSafe(|| response(&bytes)));
                (bytes, judged)
            }
            1 => {
                let bytes = mutant(&mut random, &lines);
                let judged = catch_unwind(AssertUnwindSafe(|| line(&bytes)));
                (bytes, judged)
            }
            _ => {
                let bytes = mutant(&mut random, &filters);
                let judged = catch_unwind(AssertUnwindSafe(|| filter(&bytes, &flows)));
                (bytes, judged)
            }
        };
        match judged {
            Ok(word) => *tally.entry(word).or_default() += 1,
            Err(_) => {
                let path = keep(&bytes, seed, number);
                panic!("input {number} of seed {seed}, kept in {}", path.display());
            }
        }
    }
    println!("seed {seed}: {number} inputs: {tally:?}");
    assert_eq!(tally.len(), 8, "the corpus reaches every outcome: {tally:?}");
}
