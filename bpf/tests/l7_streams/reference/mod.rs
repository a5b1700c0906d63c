//! What each protocol's messages are, read from complete streams by crates that know the protocol.

pub mod dns;
pub mod http1;
pub mod http2;
pub mod kafka;
pub mod tls;
pub mod websocket;

use crate::message::Message;

/// Messages with the number of the write that completes each.
#[derive(Debug, Default)]
pub struct Telling(Vec<(usize, Message)>);

impl Telling {
    pub fn add(&mut self, moment: usize, message: Message) {
        self.0.push((moment, message));
    }

    /// In the order in which they become complete.
    pub fn messages(mut self) -> Vec<Message> {
        self.0.sort_by_key(|(moment, _)| *moment);
        self.0.into_iter().map(|(_, message)| message).collect()
    }
}
