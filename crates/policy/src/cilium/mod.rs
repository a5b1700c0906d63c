//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: what is written, and what of it is meant.
//!
//! 1. [`object::Object`] is what somebody wrote, of [`written::Spec`]s; [`crate::Policy::parse_cilium`] makes of
//!    it what it means, one policy for each spec.
//! 2. [`crate::Policy::with_services`] puts those behind services in the services' place.
//!
//! Beyond there, policies are the same wherever they are from.
//!
//! Source: the public documentation of the API (<https://docs.cilium.io/en/stable/security/policy/>).

mod labels;
pub mod object;
pub(crate) mod oracle;
mod parse;
mod ports;
mod rule;
#[cfg(feature = "schema")]
mod schema;
mod services;
pub mod written;

pub use services::{ServiceFacts, ServiceName};

/// Names that `fromEntities` and `toEntities` know.
pub const ENTITIES: [&str; 13] = [
    "all",
    "world",
    "world-ipv4",
    "world-ipv6",
    "cluster",
    "host",
    "remote-node",
    "kube-apiserver",
    "ingress",
    "init",
    "health",
    "unmanaged",
    "none",
];
