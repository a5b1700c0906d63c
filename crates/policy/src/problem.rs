//! What is wrong with a policy, where, and what follows from it.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::policy::PolicyMeta;

/// One thing in a policy that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} {}/{}: {place}: {fault}; {effect}", policy.kind, policy.namespace, policy.name)]
pub struct Problem {
    pub policy: Arc<PolicyMeta>,
    /// Path in the object: `spec.ingress[0].ports[1]`.
    pub place: String,
    pub fault: Fault,
    pub effect: Effect,
}

/// What is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("there is no such field: see how it is spelt")]
    UnknownField,
    #[error("unknown operator {0:?}: write In, NotIn, Exists or DoesNotExist")]
    UnknownOperator(String),
    #[error("operator {0} needs at least one value")]
    ValuesMissing(String),
    #[error("operator {0} takes no values: remove them, or write In or NotIn")]
    ValuesUnexpected(String),
    #[error("the label key is empty: name a label")]
    EmptyKey,
    #[error("unknown policy type {0:?}: write Ingress or Egress")]
    UnknownPolicyType(String),
    #[error("the peer names nobody: set podSelector, namespaceSelector or ipBlock ({{}} selects all pods)")]
    EmptyPeer,
    #[error("ipBlock cannot stand beside podSelector or namespaceSelector: write two peers")]
    BlockBesideSelector,
    #[error("{0:?} is no prefix: write for example 10.0.0.0/8 or 2001:db8::/32")]
    InvalidCidr(String),
    #[error("exception {except:?} is not inside {cidr}: write a longer prefix within it")]
    ExceptOutside { except: String, cidr: String },
    #[error("unknown protocol {0:?}: write TCP, UDP or SCTP")]
    UnknownProtocol(String),
    #[error("port {0} is out of range: write a number from 1 to 65535, or a name")]
    PortOutOfRange(i32),
    #[error("{0:?} is no port name: write at most 15 of a-z, 0-9 and single -, with at least one letter")]
    InvalidPortName(String),
    #[error("endPort {end} is below port {first} or above 65535")]
    EndPortOutOfRange { first: i32, end: i32 },
    #[error("endPort needs a port to begin at: set port to a number")]
    EndPortWithoutPort,
    #[error("endPort cannot follow the named port {0:?}: write the port as a number")]
    EndPortWithName(String),
    #[error(
        "the policy has {direction} rules but policyTypes leaves {direction} out: add it, or remove the rules"
    )]
    RulesWithoutType { direction: &'static str },
}

/// What the policy does in spite of the fault. Never more than was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The rule with the fault allows nothing; the others work.
    RuleAllowsNothing,
    /// It is not clear which pods are meant: all that might be are restricted, and nothing is allowed.
    PolicyAllowsNothing,
    /// It is not clear which direction is meant: both are restricted.
    BothDirectionsRestricted,
    /// The rules have no effect, as the API defines it.
    RulesIgnored,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RuleAllowsNothing => "until then this rule allows nothing",
            Self::PolicyAllowsNothing => {
                "until then every pod that may be meant is restricted and nothing is allowed"
            }
            Self::BothDirectionsRestricted => "until then both directions are restricted",
            Self::RulesIgnored => "these rules have no effect",
        })
    }
}
