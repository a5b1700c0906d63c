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

/// Whether a name is one of these but for a slip or two of the hand.
pub fn is_nearly(written: &str, names: &[&str]) -> bool {
    names.iter().any(|name| distance(&written.to_lowercase(), &name.to_lowercase()) <= 2)
}

/// Letters to be put in, left out or changed to make one of the other (Levenshtein), up to 3.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > 2 {
        return 3;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (place, wanted) in other.iter().enumerate() {
            let changed = before + usize::from(letter != wanted);
            before = row[place + 1];
            row[place + 1] = changed.min(before + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}
