//! What the ends of calls say of them, and what the flows say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::ends::Kind;
use super::plan::Plan;
use crate::books::Page;
use crate::message::{Exchange, Message, exchanges};

/// RST_STREAM's code when nobody wants the stream any more (RFC 9113 section 7).
const CANCEL: u32 = 8;
const DEADLINE_EXCEEDED: u32 = 4;

/// One end's line about a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub trace: String,
    pub path: String,
    pub status: u32,
    /// Of client and server.
    pub messages: [u32; 2],
    /// Before compression, prefixes included.
    pub bytes: [u64; 2],
}

impl Told {
    /// Every call in an end's output.
    #[track_caller]
    pub fn all(text: &str) -> Vec<Self> {
        // A line still being written has no end yet.
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let mut all: Vec<Self> = lines.filter_map(|line| line.strip_prefix("told ")).map(Self::one).collect();
        all.sort();
        all
    }

    #[track_caller]
    fn one(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let &[path, trace, status, asked, answered, asked_bytes, answered_bytes] = &words[..] else {
            panic!("told {line:?}")
        };
        let number = |word: &str| word.parse::<u32>().unwrap_or_else(|e| panic!("told {line:?}: {e}"));
        Self {
            trace: trace.to_owned(),
            path: path.to_owned(),
            status: number(status),
            messages: [number(asked), number(answered)],
            bytes: [number(asked_bytes).into(), number(answered_bytes).into()],
        }
    }
}

/// Exchanges of one node by their trace: each call is there once.
#[track_caller]
pub fn by_trace(page: &Page) -> BTreeMap<String, Exchange> {
    let mut calls = BTreeMap::new();
    for exchange in exchanges(&page.messages).into_values() {
        let trace = exchange.asked().trace.clone();
        assert!(!trace.is_empty(), "{}: a call without its trace: {exchange:?}", page.node);
        if let Some(before) = calls.insert(trace, exchange) {
            panic!("{}: told twice: {before:?}", page.node);
        }
    }
    calls
}

/// The flows of a call say what its client says.
#[track_caller]
pub fn same(node: &str, (kind, server): (Kind, SocketAddr), plan: &Plan, told: &Told, call: &Exchange) {
    let what = format!("{node}: {plan:?}\n{told:?}\n{call:?}");
    let (asked, answered) = (call.asked(), call.answered());
    for message in [asked, answered].into_iter().chain(&call.samples) {
        let (http, grpc) = (message.http(), grpc(message));
        assert_eq!(http.method, "POST", "{what}");
        assert_eq!(http.url, format!("http://{server}{}", plan.path), "{what}");
        assert_eq!(http.protocol, "HTTP/2", "{what}");
        assert_eq!(format!("/{}/{}", grpc.service, grpc.method), plan.path, "{what}");
        assert_eq!((message.server, &message.trace), (server, &plan.trace), "{what}");
        assert_eq!(message.client, asked.client, "{what}");
    }
    assert_eq!((grpc(asked).status, asked.http().code, asked.facts.reset_code), (None, 0, None), "{what}");
    let facts = &answered.facts;
    let counts = grpc(answered);
    let end = (answered.http().code, counts.status, facts.reset_code);
    let reset = (0, None, Some(CANCEL));
    if plan.cancel {
        assert_eq!(end, reset, "{what}");
    } else if plan.deadline_ms > 0 {
        // Both ends watch the clock; the flow says whose word came by first.
        let word = kind.at_deadline();
        assert!([DEADLINE_EXCEEDED, word].contains(&told.status), "{what}");
        assert!(end == reset || end == (200, Some(word), None), "{what}");
    } else {
        assert_eq!(told.status, if plan.is_unserved() { 12 } else { plan.code }, "{what}");
        assert_eq!(end, (200, Some(told.status), None), "{what}");
    }
    let (messages, bytes) =
        ([counts.client_messages, counts.server_messages], [facts.client_bytes, facts.server_bytes]);
    if plan.is_unserved() {
        assert!(messages[0] <= told.messages[0] && bytes[0] <= told.bytes[0], "{what}");
        assert_eq!((messages[1], bytes[1]), (0, 0), "{what}");
    } else if plan.deadline_ms > 0 {
        // A client that is out of time may leave unread what has come.
        assert_eq!((messages[0], bytes[0]), (told.messages[0], told.bytes[0]), "{what}");
        assert!((told.messages[1]..=plan.answers).contains(&messages[1]), "{what}");
    } else {
        assert_eq!(messages, told.messages, "{what}");
        if plan.gzip {
            let large = |side: usize| told.bytes[side] > 1000;
            assert!((0..2).all(|side| !large(side) || bytes[side] < told.bytes[side] / 2), "{what}");
        } else {
            assert_eq!(bytes, told.bytes, "{what}");
        }
    }
    if answered.http().code == 200 {
        assert!(answered.latency_ns > 0 && answered.latency_ns <= facts.duration_ns, "{what}");
    }
}

#[track_caller]
pub fn grpc(message: &Message) -> &fathom_api::fathom_v1::Grpc {
    message.facts.grpc.as_ref().unwrap_or_else(|| panic!("no gRPC: {message:?}"))
}
