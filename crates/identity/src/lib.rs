//! Who is who: labels, identity numbers, and which address belongs to which identity.
//!
//! Pure: knows nothing of Kubernetes clients, BPF, async or RPC. The node agent feeds it with
//! metadata and carries its deltas into kernel maps.
//!
//! * [`PodMeta`] + [`LabelFilter`] → [`LabelSet`]: what makes two pods the same to policy.
//! * [`allocate`] / [`Identities`]: label set → 16-bit number, agreed on through a [`Registry`].
//! * [`CidrIdentities`]: node-local numbers of prefixes that policies name.
//! * [`Ipcache`]: address or prefix → identity, as wanted; deltas against what is applied.
#![forbid(unsafe_code)]

mod allocate;
mod cidr;
mod filter;
pub mod hash;
mod identities;
mod ipcache;
mod label;
mod label_set;
mod pod;
mod prefix;
mod registry;
pub mod reserved;

pub use allocate::{AllocateError, CLUSTER_MAX, CLUSTER_MIN, allocate, candidates};
pub use cidr::{CIDR_MAX, CIDR_MIN, CidrExhausted, CidrIdentities};
pub use filter::{FilterError, FilterRule, LabelFilter};
pub use identities::Identities;
pub use ipcache::{Applied, Conflict, Delta, Entry as IpcacheEntry, Ipcache, Rank, View};
pub use label::{Label, LabelError, source};
pub use label_set::LabelSet;
pub use pod::{PodMeta, PodScope, key};
pub use prefix::{canonical_address, canonical_prefix};
pub use registry::{Claim, MemoryRegistry, Registry};

/// An identity number as it travels in records and map keys.
pub type NumericIdentity = u32;
