//! Numbers of the wire contract and the texts people know them by.

pub mod event;
pub mod tcp_flag;
