//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: what is written, and what of it is meant.
//!
//! Source: the public documentation of the API (<https://docs.cilium.io/en/stable/security/policy/>).

#[cfg(feature = "schema")]
mod schema;
pub mod written;

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
