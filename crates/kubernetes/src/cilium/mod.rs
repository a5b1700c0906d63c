//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy as resources.
//!
//! * [`definitions`]: for clusters where nobody else has installed them.
//! * [`read`]: what somebody wrote, of an object as it comes.

mod definitions;
mod read;

pub use definitions::{
    CiliumClusterwideNetworkPolicy, CiliumClusterwideNetworkPolicySpec, CiliumNetworkPolicy,
    CiliumNetworkPolicySpec, Condition, PolicyStatus, clusterwide_network_policy, network_policy,
};
pub use read::{Read, read};
