//! gRPC of every kind, for tests against other implementations: both ends of
//! `crates/lab/tests/software/grpc/talk.proto`, where `talk.py` is the same in Python.
//!
//! The client makes the calls that a file tells. Both ends write a line for each:
//! ```text
//! told PATH TRACE STATUS ASKED ANSWERED ASKED_BYTES ANSWERED_BYTES
//! ```
//! with the messages of client and server and their bytes before compression, prefixes included. The
//! messages are written here by hand, as in [`super::grpc`].

mod client;
mod server;

use std::fmt;

use anyhow::{Context, Result};
use tonic::Code;
use tonic::metadata::MetadataMap;

pub use client::{ClientArgs, ask};
pub use server::{ServerArgs, serve};

const SERVICE: &str = "software.v1.Talk";
/// Binary metadata that comes back.
const NOTE: &str = "note-bin";
/// Metadata: how the client wants its answers compressed.
const ENCODING: &str = "answer-encoding";
/// Compressed flag and length before each message.
const PREFIX: usize = 5;

#[derive(Clone, PartialEq, prost::Message)]
struct Ask {
    #[prost(uint32, tag = "1")]
    answers: u32,
    #[prost(uint32, tag = "2")]
    size: u32,
    #[prost(uint32, tag = "3")]
    pace_us: u32,
    #[prost(uint32, tag = "4")]
    code: u32,
    #[prost(bool, tag = "5")]
    wait: bool,
    #[prost(bytes = "vec", tag = "6")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

/// What one call came to; told when it is dropped.
#[derive(Debug)]
struct Tally {
    path: String,
    trace: String,
    status: Code,
    /// Of client and server.
    messages: [u64; 2],
    bytes: [usize; 2],
}

impl Tally {
    fn new(path: &str, trace: &str) -> Self {
        Self {
            path: path.to_owned(),
            trace: trace.to_owned(),
            status: Code::Cancelled,
            messages: [0; 2],
            bytes: [0; 2],
        }
    }

    fn count(&mut self, side: usize, message: &impl prost::Message) {
        self.messages[side] += 1;
        self.bytes[side] += PREFIX + message.encoded_len();
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, trace, status, messages, bytes } = self;
        write!(f, "told {path} {trace} {}", i32::from(*status))?;
        write!(f, " {} {} {} {}", messages[0], messages[1], bytes[0], bytes[1])
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        println!("{self}");
    }
}

/// The second field of a traceparent.
fn trace_of(metadata: &MetadataMap) -> &str {
    let parent = metadata.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    parent.split('-').nth(1).unwrap_or_default()
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start an async runtime")
}
