//! The API server as Fathom's programs see it.
//!
//! * [`connect`]: how to reach it.
//! * [`raw`]: objects as they come, of which at least the name can be read.
//! * [`identity`]: the custom resource that says which number stands for which labels.
//! * [`cilium`]: CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, for clusters that do not have them.
//! * [`crds`]: the definitions of these resources, for `manifests/`.
//! * [`registry`]: agents agree on those numbers; [`collector`]: numbers nobody uses are given up.
//! * [`retry`]: how long to wait for a server that is away.
//! * [`lease`]: of several relays one leads.
//! * [`certificates`]: an authority of our own, and what it signs.
//! * [`watch`]: what the API server has and what becomes of it.
#![forbid(unsafe_code)]

pub mod certificates;
pub mod cilium;
pub mod collector;
pub mod connect;
pub mod crds;
pub mod identity;
pub mod lease;
pub mod raw;
pub mod registry;
pub mod retry;
pub mod watch;

pub use kube::Client;
