//! What a record says about its payload: application messages, and what is encrypted.
//!
//! [`join`] owns what is remembered between records: requests that wait for their response ([`pairs`]),
//! names that addresses were looked up by ([`names`]), connections whose payload is encrypted
//! ([`encrypted`]). Everything in here comes from whoever sends traffic: texts are made printable
//! ([`text`]), tables are bounded ([`bounded`]), and secrets are taken out ([`redact`]) before a flow is
//! anybody's to see.

mod bounded;
mod decode;
mod dns;
mod encrypted;
mod http;
mod join;
mod message;
mod names;
mod pairs;
mod redact;
#[cfg(test)]
pub(crate) mod testing;
mod text;

pub use join::{Join, Sizes};
pub use message::{Content, Dns, Encrypted, HttpRequest, KafkaRequest, Message, Payload};
pub use names::Names;
pub use redact::{REDACTED, Redaction, header_name};
