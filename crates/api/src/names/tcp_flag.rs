//! TCP flags: bits 0–7 as in byte 13 of the TCP header (RFC 9293 section 3.1), bit 8 the old nonce sum.

pub const FIN: u16 = 1 << 0;
pub const SYN: u16 = 1 << 1;
pub const RST: u16 = 1 << 2;
pub const PSH: u16 = 1 << 3;
pub const ACK: u16 = 1 << 4;
pub const URG: u16 = 1 << 5;
pub const ECE: u16 = 1 << 6;
pub const CWR: u16 = 1 << 7;
pub const NS: u16 = 1 << 8;
