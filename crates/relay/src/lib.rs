//! The cluster view: every agent's stream as one.
//!
//! Read in this order: [`peers`] (which agents exist) → [`pool`] (a connection each) → [`fanout`]
//! (one request to all, by a [`reader`] each) → [`merge`] and [`window`] → [`service`].

#![forbid(unsafe_code)]

pub mod agent;
pub mod asker;
pub mod backoff;
pub mod config;
pub mod dial;
pub mod events;
pub mod fanout;
pub mod health;
pub mod lane;
pub mod leading;
pub mod merge;
pub mod metrics;
pub mod missing;
pub mod notes;
pub mod peers;
pub mod policies;
pub mod pool;
pub mod reader;
pub mod run;
pub mod service;
pub mod span;
pub mod window;
pub mod wire;
