//! Rules to table entries, and why a flow was decided so.
//!
//! Pure: knows nothing of Kubernetes clients, BPF, async or RPC.
//!
//! 1. [`spec::NetworkPolicy`] is what somebody wrote; [`Policy::parse`] makes of it what it means,
//!    with a [`Problem`] for each thing that cannot be understood. Such a policy still restricts
//!    the pods it selects; only the broken rule allows nothing.
//! 2. [`World`] is who there is: identities with labels and named ports, and CIDR identities.
//! 3. [`Compiler::compile`] makes the [`Table`] of one local identity: the kernel's keys and
//!    entries, each with a rule id that [`RuleRegistry::resolve`] leads back to policy and rule.
//! 4. [`lookup`] decides in the same numbered order as the kernel's `policy.h`; [`steps`] shows how.
//! 5. [`explain`] says which rules match a packet, and by what the others miss it.
//!
//! [`oracle`] says the same thing the slow way, for tests.
#![forbid(unsafe_code)]

mod audit;
pub mod cilium;
mod compile;
mod explain;
mod lookup;
pub mod oracle;
mod parse;
mod policy;
mod ports;
mod problem;
mod rules;
mod select;
mod selections;
mod selector;
pub mod spec;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod world;

pub use audit::{Notice, audit};
pub use compile::{Compiler, compile};
pub use explain::{Explanation, Miss, Missed, explain};
pub use lookup::{Decision, Level, MatchType, Probe, Step, Verdict, lookup, steps};
pub use policy::{
    Edited, IpBlock, Namespaces, Peer, Peers, Policy, PolicyMeta, PortMatch, Ports, Protocol, Rule,
};
pub use policy::{asked_labels, required_prefixes};
pub use ports::port_prefixes;
pub use problem::{Effect, Fault, Problem};
pub use rules::{RuleRef, RuleRegistry, RuleSet};
pub use selections::{Selection, selections};
pub use selector::{Requirement, Selector};
pub use table::{ANY_IDENTITY, Action, Direction, DirectionState, Entry, PolicyKey, Table};
pub use text::{NoSelector, rule as rule_text};
pub use world::{NamedPort, PodFacts, World};
