//! What the kernel makes of application messages, by hand-written dialogues: one table per protocol.
//! Root only. The streams at random, and against a reference, are in `l7_streams`.

#[path = "../packet/mod.rs"]
mod packet;

mod dns;
mod http1;
mod http2;
mod kafka;
mod talk;
mod tls;
mod websocket;
