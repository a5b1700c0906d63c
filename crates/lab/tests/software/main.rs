//! Software that nobody here wrote talks in the lab's pods, and every request that its own logs and counts
//! name is told once, with the right fields. Root only; `ci/bootstrap --software` installs what talks.
//!
//! `FATHOM_SOFTWARE_TIMES=20` makes it longer: so many times the requests.

#![forbid(unsafe_code)]

mod books;
mod broker;
mod dig;
mod dns;
mod dnsmasq;
mod grpc;
mod http1;
mod http1_python;
mod http2;
mod http2_nghttp2;
mod kafka;
mod latency;
mod log;
#[allow(dead_code)] // the tests of each protocol use their own part
mod message;
mod nghttp;
mod nginx;
#[allow(dead_code)]
mod program;
mod ring;
mod site;
mod slow_client;
mod stopped;
#[path = "../support/mod.rs"]
mod support;
