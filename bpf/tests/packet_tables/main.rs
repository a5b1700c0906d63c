//! Packet tables: packet in; verdict, counters, ledger and records out, by BPF_PROG_TEST_RUN.
//! They need root and run on every kernel of the matrix.

#[path = "../packet/mod.rs"]
mod packet;

mod absurd;
mod connections;
mod discovery;
mod ended;
mod endpoint;
mod fragments;
mod hairpin;
mod lanes;
mod policy;
mod rejudge;
mod related;
mod service;
mod service_errors;
mod state;
mod uplink;
mod wire;
