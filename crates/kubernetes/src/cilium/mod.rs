//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy as resources.
//!
//! * [`definitions`]: for clusters where nobody else has installed them.
//! * [`read`]: what somebody wrote, of an object as it comes.
//! * [`status`]: authors are told what of a policy is not enforced.

mod definitions;
mod read;
pub mod status;

pub use definitions::{
    CiliumClusterwideNetworkPolicy, CiliumClusterwideNetworkPolicySpec, CiliumNetworkPolicy,
    CiliumNetworkPolicySpec, Condition, PolicyStatus, clusterwide_network_policy, network_policy,
};
pub use read::{Read, read};
