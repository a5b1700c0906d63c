//! The cluster view: every agent's stream as one.
//!
//! Read in this order: [`peers`] (which agents exist) → [`pool`] (a connection each) → [`fanout`]
//! (one request to all) → [`merge`] and [`window`] → [`service`].

#![forbid(unsafe_code)]

pub mod agent;
pub mod backoff;
pub mod config;
pub mod dial;
pub mod events;
pub mod fanout;
pub mod merge;
pub mod metrics;
pub mod notes;
pub mod peers;
pub mod pool;
pub mod run;
pub mod service;
pub mod window;
pub mod wire;
