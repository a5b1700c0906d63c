//! The CNI plugin's other half: addresses, attachments, and the socket on which it asks.

pub mod attachments;
pub mod ipam;
pub mod mtu;
pub mod notes;
pub mod server;
