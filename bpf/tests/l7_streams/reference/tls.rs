//! What a ClientHello says in the clear (RFC 8446 section 4.1.2): the server's name and the protocols offered.

use fathom_bpf::abi::{l7_flag as flag, l7_protocol, l7_text};

use super::Telling;
use crate::dialogue::{Dialogue, Side};
use crate::message::Message;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// Bytes read one part after the other.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(part)
    }

    /// A big-endian number of so many bytes.
    fn number(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// Bytes with their length before them.
    fn counted(&mut self, width: usize) -> Option<&'a [u8]> {
        let len = self.number(width)?;
        self.take(len)
    }
}

/// What is in the extensions, as far as they are there.
fn extensions(mut parts: Parts<'_>, message: &mut Message) -> Option<()> {
    while !parts.0.is_empty() {
        let kind = parts.number(2)? as u16;
        let mut data = Parts(parts.counted(2)?);
        match kind {
            SERVER_NAME => {
                let mut names = Parts(data.counted(2)?);
                if names.number(1)? == 0 {
                    *message = message.clone().text(l7_text::SNI, names.counted(2)?);
                }
            }
            ALPN => {
                let mut names = Parts(data.counted(2)?);
                let mut all = Vec::new();
                while !names.0.is_empty() {
                    all.push(names.counted(1)?);
                }
                *message = message.clone().text(l7_text::ALPN, &all.join(&b','));
            }
            _ => {}
        }
    }
    Some(())
}

/// A hello's body, of which `cut` says that it is only the beginning.
fn hello(body: &[u8], cut: bool) -> Message {
    let mut message = Message { proto: l7_protocol::TLS, ..Message::default() };
    let mut parts = Parts(body);
    let read = (|| {
        parts.take(34)?;
        parts.counted(1)?;
        parts.counted(2)?;
        parts.counted(1)?;
        if parts.0.is_empty() {
            return Some(());
        }
        let len = parts.number(2)?;
        let there = len.min(parts.0.len());
        extensions(Parts(parts.take(there)?), &mut message)
    })();
    if cut || read.is_none() { message.with(flag::TRUNCATED) } else { message }
}

pub fn read(dialogue: &Dialogue) -> Telling {
    let stream = dialogue.stream(Side::Client);
    let mut telling = Telling::default();
    let mut parts = Parts(&stream);
    let mut first = || -> Option<(Message, usize)> {
        parts.take(3)?;
        let record = parts.counted(2)?;
        let mut record_parts = Parts(record);
        record_parts.number(1).filter(|kind| *kind == 1)?;
        let len = record_parts.number(3)?;
        let there = len.min(record_parts.0.len());
        let end = 5 + 4 + there;
        Some((hello(record_parts.take(there)?, there < len), end))
    };
    if let Some((message, end)) = first() {
        telling.add(dialogue.moment(Side::Client, end), message);
    }
    telling
}
