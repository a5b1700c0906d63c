//! Packets of every kind, and a rig that runs them through `from_pod` and `to_pod`.
#![allow(dead_code, unused_imports)] // each test binary uses its own part

pub mod checksum;
pub mod frame;
pub mod random;
pub mod rig;
pub mod table;

pub use frame::{ACK, FIN, Frame, PSH, RST, SYN, URG};
pub use rig::{Fate, Outcome, Rig};

use std::net::{IpAddr, SocketAddr};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const SCTP: u8 = 132;
pub const ICMP4: u8 = 1;
pub const ICMP6: u8 = 58;

/// The pod behind the rig's device, in both families.
pub const POD4: &str = "10.1.0.5";
pub const POD6: &str = "fd00:1::5";
/// Another pod, known to the ipcache as [`PEER_IDENTITY`].
pub const PEER4: &str = "10.1.0.9";
pub const PEER6: &str = "fd00:1::9";
/// An address nobody knows.
pub const WORLD4: &str = "198.51.100.7";
pub const WORLD6: &str = "2001:db8::7";
/// The node itself.
pub const HOST4: &str = "10.1.0.1";

pub const POD_IDENTITY: u32 = 1000;
pub const PEER_IDENTITY: u32 = 2000;
pub const HOST_IDENTITY: u32 = 1;
pub const WORLD_IDENTITY: u32 = 2;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|e| panic!("address {text}: {e}"))
}

pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// The pod and its peer in each family: what most tables run over.
pub fn families() -> [(&'static str, &'static str); 2] {
    [(POD4, PEER4), (POD6, PEER6)]
}
