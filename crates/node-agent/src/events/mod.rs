//! Data in: kernel records become flows, and every one that does not is accounted for.
//!
//! Read in this order: [`source`] → [`reader`] → [`enrich`] → [`l7`] → [`store`] → [`cursor`]. Beside
//! them: [`lost`] (losses for clients) and [`ledger`] (the balance for everybody).

pub mod agent_events;
pub mod clock;
pub mod cursor;
pub mod enrich;
pub mod flow;
pub mod intake;
pub mod l7;
pub mod ledger;
pub mod lost;
pub mod namespaces;
pub mod rate;
pub mod reader;
pub mod seek;
pub mod sequence;
pub mod source;
mod stand_in;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;

pub use flow::Flow;
pub use source::{Drained, RecordSource};
pub use store::{Store, StoreSize};
