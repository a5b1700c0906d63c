//! The wire contract in Rust: code generated from `proto/`, the raw pass-through form of a flow
//! response, filters compiled once, and proto3 JSON straight from wire bytes.

#![forbid(unsafe_code)]

/// Package `flow`: one event on the network.
#[allow(clippy::all, deprecated, rustdoc::all, clippy::pedantic)]
pub mod flow {
    include!("gen/flow.rs");
}

/// Package `relay`: what a relay says about nodes.
#[allow(clippy::all)]
pub mod relay {
    include!("gen/relay.rs");
}

/// Package `observer`, decoded: for clients that look into flows.
#[allow(clippy::all)]
pub mod observer {
    include!("gen/observer.rs");
}

/// Package `observer` with flow responses as [`Raw`] bytes: for servers and pass-through.
#[allow(clippy::all)]
pub mod observer_raw {
    include!("gen/raw/observer.rs");
}

/// Package `peer`: which agents exist.
#[allow(clippy::all)]
pub mod peer {
    include!("gen/peer.rs");
}

/// Fathom's own package: flow facts, the agent's own service, the CNI plugin's questions.
#[allow(clippy::all)]
pub mod fathom_v1 {
    include!("gen/fathom.v1.rs");
}

/// Descriptors of every file under `proto/`: for server reflection and JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");

mod raw;
mod schema;
mod wire;

pub mod connect;
pub mod facts;
pub mod filter;
pub mod json;
pub mod names;
pub mod peek;
pub mod response;
pub mod serve;
pub mod time;
pub mod uuid;
pub mod write;

pub use filter::{Filter, FilterError, FlowView, Side};
pub use raw::Raw;
pub use wire::WireError;
