//! DNS by `hickory-proto`, over UDP and over TCP with its lengths (RFC 1035 section 4.2.2).

use std::collections::HashSet;

use fathom_bpf::abi::{L7_ANSWERS, l7_flag as flag, l7_protocol, l7_text, l7_type};
use hickory_proto::op;
use hickory_proto::rr::{Name, RData, Record};

use super::Telling;
use crate::dialogue::{Dialogue, Side, Transport};
use crate::message::Message;

/// Lower case, dots between labels, none at the end.
fn text(name: &Name) -> Vec<u8> {
    if name.is_root() {
        return b".".to_vec();
    }
    name.iter().map(<[u8]>::to_ascii_lowercase).collect::<Vec<_>>().join(&b'.')
}

fn answer(message: Message, record: &Record) -> Message {
    match &record.data {
        RData::A(address) => message.fitting(l7_text::DNS_A, record.ttl, &address.0.octets()),
        RData::AAAA(address) => message.fitting(l7_text::DNS_AAAA, record.ttl, &address.0.octets()),
        RData::CNAME(name) => message.fitting(l7_text::DNS_CNAME, record.ttl, &text(&name.0)),
        other => {
            let kind = u16::from(other.record_type());
            message.fitting(l7_text::DNS_OTHER, record.ttl, &kind.to_be_bytes())
        }
    }
}

/// One message of a side, unless it is none.
fn message(bytes: &[u8], side: Side, waiting: &mut HashSet<u16>) -> Option<Message> {
    let dns = op::Message::from_vec(bytes).ok()?;
    let [query] = dns.queries.as_slice() else { return None };
    let id = dns.metadata.id;
    let mut message = Message::request(l7_protocol::DNS, id.into());
    if side == Side::Client {
        waiting.insert(id);
    } else {
        message = Message::response(l7_protocol::DNS, id.into()).status(u16::from(bytes[3] & 0xf));
        if !waiting.remove(&id) {
            message = message.with(flag::UNMATCHED);
        }
    }
    message.version = u16::from_be_bytes([bytes[2], bytes[3]]);
    message = message.code(query.query_type.into()).text(l7_text::DNS_NAME, &text(&query.name));
    message.detail = u32::from(u16::from_be_bytes([bytes[6], bytes[7]]));
    for record in dns.answers.iter().take(L7_ANSWERS) {
        message = answer(message, record);
    }
    if dns.answers.len() > L7_ANSWERS {
        message = message.with(flag::TRUNCATED);
    }
    if dns.edns.is_some() {
        message = message.with(flag::EDNS);
    }
    Some(message)
}

/// A connection's or a pair of ports' messages.
pub fn read(dialogue: &Dialogue) -> Telling {
    let mut telling = Telling::default();
    let mut waiting = HashSet::new();
    for (moment, side, bytes) in messages(dialogue) {
        if let Some(message) = message(&bytes, side, &mut waiting) {
            telling.add(moment, message);
        }
    }
    telling
}

/// The messages' bytes in the order in which they become complete, each with its moment.
fn messages(dialogue: &Dialogue) -> Vec<(usize, Side, Vec<u8>)> {
    if dialogue.transport == Transport::Udp {
        let writes = dialogue.writes.iter().enumerate();
        return writes.map(|(number, write)| (number, write.side, write.bytes.clone())).collect();
    }
    let mut all = Vec::new();
    for side in Side::BOTH {
        let stream = dialogue.stream(side);
        let mut at = 0;
        while let Some((length, rest)) = stream[at..].split_first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*length));
            let Some(bytes) = rest.get(..len) else { break };
            at += 2 + len;
            all.push((dialogue.moment(side, at), side, bytes.to_vec()));
        }
    }
    all.sort_by_key(|(moment, ..)| *moment);
    all
}

/// That whoever made a dialogue meant as much.
#[test]
fn a_name_is_told_in_lower_case_without_its_last_dot() {
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03WwW\x07Example\x03com\0\0\x1c\0\x01";
    let message = read(&Dialogue::udp("a query", 53).client(query)).messages().remove(0);
    assert_eq!((message.kind, message.exchange, message.code), (l7_type::REQUEST, 0x1234, 28));
    assert_eq!(message.texts[0].bytes, b"www.example.com");
}
