//! Records of messages as the kernel would write them.

use fathom_bpf::abi::{Event, L7Head, flag, kind, l7_text, l7_type};
use fathom_bpf::decode::{Record, decode};
use zerocopy::IntoBytes as _;

use crate::events::testing::event;

/// A record's bytes, aligned as in a ring.
pub struct Written(Vec<u64>);

impl Written {
    pub fn record(&self) -> Record<'_> {
        decode(self.0.as_bytes()).expect("a record")
    }
}

/// (kind, flags, number, bytes).
pub type TextParts<'a> = (u8, u8, u32, &'a [u8]);

/// A text without flags.
pub fn text(kind: u8, text: &str) -> TextParts<'_> {
    (kind, 0, 0, text.as_bytes())
}

/// A record of this event.
pub fn written(event: Event, head: L7Head, texts: &[TextParts<'_>]) -> Written {
    let mut bytes = Vec::from(head_of(head, texts).as_bytes());
    for (kind, flags, number, value) in texts {
        bytes.extend([*kind, *flags]);
        bytes.extend((value.len() as u16).to_ne_bytes());
        bytes.extend(number.to_ne_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let len = (size_of::<Event>() + bytes.len()) as u16;
    let event = Event { kind: kind::L7, len, ..event };
    let mut words = vec![0u64; usize::from(len) / 8];
    words.as_mut_bytes()[..128].copy_from_slice(event.as_bytes());
    words.as_mut_bytes()[128..].copy_from_slice(&bytes);
    Written(words)
}

fn head_of(head: L7Head, texts: &[TextParts<'_>]) -> L7Head {
    L7Head { texts: texts.len() as u8, ..head }
}

/// The client's request; its event is [`event`]'s.
pub fn request(head: L7Head, texts: &[TextParts<'_>]) -> Written {
    written(event(), L7Head { kind: l7_type::REQUEST, ..head }, texts)
}

/// The server's response to it, or with another kind a sample.
pub fn response(head: L7Head, texts: &[TextParts<'_>]) -> Written {
    let asked = event();
    let answer = Event {
        saddr: asked.daddr,
        daddr: asked.saddr,
        sport_be: asked.dport_be,
        dport_be: asked.sport_be,
        src_identity: asked.dst_identity,
        dst_identity: asked.src_identity,
        direction: fathom_bpf::abi::direction::INGRESS,
        flags: flag::REPLY | flag::REPLY_KNOWN,
        ..asked
    };
    let kind = if head.kind == 0 { l7_type::RESPONSE } else { head.kind };
    written(answer, L7Head { kind, ..head }, texts)
}

/// A GET of "http://chat/rooms".
pub fn get(exchange: u32) -> Written {
    let head = L7Head { conn: 7, exchange, proto: 1, version: 11, method: 1, ..Default::default() };
    request(head, &[text(l7_text::PATH, "/rooms"), text(l7_text::HOST, "chat")])
}
