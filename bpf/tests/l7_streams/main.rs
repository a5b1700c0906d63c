//! The kernel's parsers of application protocols against references in user space.
//!
//! A dialogue is two byte streams and the order of their parts. It travels as frames through the
//! programs, cut anywhere, with parts repeated and out of order, and the records it leaves are
//! compared with what crates that know the protocol read from the complete streams. Dialogues are
//! written by hand (`corpus`) or generated. Two seconds per protocol unless told
//! otherwise:
//!
//! ```text
//! FATHOM_FUZZ_SECONDS=600 FATHOM_FUZZ_SEED=7 cargo test -p fathom-bpf --test l7_streams -- --nocapture
//! ```
//!
//! A divergence names its seed and leaves the dialogue, its way and both tellings in `target/fuzz/`.

#[path = "../packet/mod.rs"]
mod packet;

mod campaign;
mod corpus;
mod dialogue;
mod envelope;
mod generate;
mod message;
mod plan;
mod reference;
mod shrink;
mod stage;
mod verdict;

mod protocols;
