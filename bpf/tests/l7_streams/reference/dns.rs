//! DNS by `hickory-proto`, over UDP and over TCP with its lengths (RFC 1035 section 4.2.2).
//!
//! Of a long message its beginning is told: as many bytes and records as the kernel looks at.

use std::collections::HashSet;

use fathom_bpf::abi::{L7_ANSWERS, L7_TEXT_MAX, l7_flag as flag, l7_protocol, l7_text, l7_type};
use hickory_proto::op::{self, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use super::Telling;
use crate::dialogue::{Dialogue, Side, Transport};
use crate::message::Message;

/// Bytes of a message that are looked at, over each transport.
const UDP_PART: usize = 2048;
const TCP_PART: usize = 1000;
/// Resource records that are looked at.
const RECORDS: usize = 40;

const HEADER: usize = 12;
const TRUNCATION: u16 = 0x0200;

/// Lower case, dots between labels, none at the end; dots and backslashes within a label after a backslash.
fn text(name: &Name) -> Vec<u8> {
    if name.is_root() {
        return b".".to_vec();
    }
    let label = |label: &[u8]| -> Vec<u8> {
        let bytes = label.to_ascii_lowercase();
        let escape = |byte: u8| if matches!(byte, b'.' | b'\\') { vec![b'\\', byte] } else { vec![byte] };
        bytes.into_iter().flat_map(escape).collect()
    };
    name.iter().map(label).collect::<Vec<_>>().join(&b'.')
}

fn answer(message: Message, record: &Record) -> Message {
    match &record.data {
        RData::A(address) => message.fitting(l7_text::DNS_A, record.ttl, &address.0.octets()),
        RData::AAAA(address) => message.fitting(l7_text::DNS_AAAA, record.ttl, &address.0.octets()),
        // A name's length is known when it is written: it needs the room of the longest.
        RData::CNAME(_) if !message.fits(L7_TEXT_MAX) => message.with(flag::TRUNCATED),
        RData::CNAME(name) => message.fitting(l7_text::DNS_CNAME, record.ttl, &text(&name.0)),
        other => {
            let kind = u16::from(other.record_type());
            message.fitting(l7_text::DNS_OTHER, record.ttl, &kind.to_be_bytes())
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// One message, unless it is none; of its bytes the first `part` are looked at.
fn message(bytes: &[u8], part: usize, waiting: &mut HashSet<u16>) -> Option<Message> {
    // All of it must be well made.
    op::Message::from_vec(bytes).ok()?;
    let (id, flags) = (number(bytes, 0)?, number(bytes, 2)?);
    let mut message = Message::request(l7_protocol::DNS, id.into());
    if flags & 0x8000 == 0 {
        waiting.insert(id);
    } else {
        message = Message::response(l7_protocol::DNS, id.into()).status(flags & 0xf);
        if !waiting.remove(&id) {
            message = message.with(flag::UNMATCHED);
        }
    }
    message.version = flags;
    let [questions, answers, authorities, additional] =
        [4, 6, 8, 10].map(|at| number(bytes, at).unwrap_or_default());
    message.detail = answers.into();
    if part < bytes.len() || flags & TRUNCATION != 0 || usize::from(answers) > L7_ANSWERS {
        message = message.with(flag::TRUNCATED);
    }
    let mut decoder = BinDecoder::new(bytes);
    decoder.read_slice(HEADER).ok()?;
    if questions == 1 {
        let query = Query::read(&mut decoder).ok()?;
        if decoder.index() > part {
            return Some(message);
        }
        message = message.code(query.query_type.into()).text(l7_text::DNS_NAME, &text(&query.name));
    }
    let all = usize::from(answers) + usize::from(authorities) + usize::from(additional);
    for nth in 0..all.min(RECORDS) {
        // Where its data begins.
        let mut ahead = decoder.clone(decoder.index() as u16);
        Name::read(&mut ahead).ok()?;
        let data = ahead.index() + 10;
        if data > part {
            break;
        }
        if number(bytes, data - 10)? == u16::from(RecordType::OPT) {
            // An extended RCODE's upper bits (RFC 6891 section 6.1.3).
            message.status |= u16::from(bytes[data - 6]) << 4;
            message = message.with(flag::EDNS);
        }
        if data + usize::from(number(bytes, data - 2)?) > part {
            break;
        }
        let record = Record::read(&mut decoder).ok()?;
        if nth < usize::from(answers).min(L7_ANSWERS) {
            message = answer(message, &record);
        }
    }
    Some(message)
}

/// A connection's or a pair of ports' messages.
pub fn read(dialogue: &Dialogue) -> Telling {
    let mut telling = Telling::default();
    let mut waiting = HashSet::new();
    let most = if dialogue.transport == Transport::Udp { UDP_PART } else { TCP_PART };
    for (moment, bytes) in messages(dialogue) {
        if let Some(message) = message(&bytes, bytes.len().min(most), &mut waiting) {
            telling.add(moment, message);
        }
    }
    telling
}

/// The messages' bytes in the order in which they become complete, each with its moment.
fn messages(dialogue: &Dialogue) -> Vec<(usize, Vec<u8>)> {
    if dialogue.transport == Transport::Udp {
        let writes = dialogue.writes.iter().enumerate();
        return writes.map(|(number, write)| (number, write.bytes.clone())).collect();
    }
    let mut all = Vec::new();
    for side in Side::BOTH {
        let stream = dialogue.stream(side);
        let mut at = 0;
        while let Some((length, rest)) = stream[at..].split_first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*length));
            let Some(bytes) = rest.get(..len) else { break };
            at += 2 + len;
            all.push((dialogue.moment(side, at), bytes.to_vec()));
        }
    }
    all.sort_by_key(|(moment, ..)| *moment);
    all
}

#[test]
fn a_name_is_told_in_lower_case_without_its_last_dot() {
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03WwW\x07Example\x03com\0\0\x1c\0\x01";
    let message = read(&Dialogue::udp("a query", 53).client(query)).messages().remove(0);
    assert_eq!((message.kind, message.exchange, message.code), (l7_type::REQUEST, 0x1234, 28));
    assert_eq!(message.texts[0].bytes, b"www.example.com");
}
