//! The Rust half of the kernel room: load, attach, maps, rings, decode, probe.
//! The only crate with `unsafe`, the only one that knows libbpf.

pub mod abi;
