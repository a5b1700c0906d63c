//! Dialogues somebody thought of: the usual and the nasty ones.

pub mod dns;
pub mod http1;
pub mod http2;
pub mod kafka;
pub mod tls;
pub mod websocket;
