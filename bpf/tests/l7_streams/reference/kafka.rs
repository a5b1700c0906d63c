//! Kafka by `kafka-protocol`: headers of every request, bodies where topics or error codes are told.

use std::collections::HashMap;

use bytes::Bytes;
use fathom_bpf::abi::{l7_flag as flag, l7_protocol, l7_text, l7_text_flag};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseKind};
use kafka_protocol::protocol::Decodable as _;

use super::Telling;
use crate::dialogue::{Dialogue, Ending, Side};
use crate::message::{Message, Text};

/// Topics told by name or id.
const MOST_TOPICS: usize = 3;

/// Newest correlation ids that are looked at when their connection ends.
const MOST_ENDED: i32 = 64;

/// A topic as the request names it.
enum Topic {
    Name(Vec<u8>),
    Id([u8; 16]),
}

/// What a response is read by.
struct Asked {
    key: i16,
    version: i16,
}

/// The frames of a stream: where each ends, and its bytes behind the length.
fn frames(stream: &[u8]) -> Vec<(usize, &[u8])> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some((length, rest)) = stream[at..].split_first_chunk::<4>() {
        let Some(bytes) = rest.get(..u32::from_be_bytes(*length) as usize) else { break };
        at += 4 + bytes.len();
        frames.push((at, bytes));
    }
    frames
}

fn topics(request: &RequestKind, version: i16) -> Vec<Topic> {
    let topic = |by_id: bool, name: &[u8], id: [u8; 16]| {
        if by_id { Topic::Id(id) } else { Topic::Name(name.to_vec()) }
    };
    match request {
        RequestKind::Produce(produce) => {
            let each = produce.topic_data.iter();
            each.map(|data| topic(version >= 13, data.name.as_bytes(), *data.topic_id.as_bytes())).collect()
        }
        RequestKind::Fetch(fetch) => {
            let each = fetch.topics.iter();
            each.map(|data| topic(version >= 13, data.topic.as_bytes(), *data.topic_id.as_bytes())).collect()
        }
        RequestKind::Metadata(metadata) => {
            let each = metadata.topics.iter().flatten();
            each.map(|data| {
                let name = data.name.as_ref().map_or(&b""[..], |name| name.as_bytes());
                topic(data.name.is_none(), name, *data.topic_id.as_bytes())
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

fn with_topics(mut message: Message, topics: &[Topic]) -> Message {
    message.detail = topics.len() as u32;
    for topic in topics.iter().take(MOST_TOPICS) {
        message = match topic {
            Topic::Name(name) => message.text(l7_text::KAFKA_TOPIC, name),
            Topic::Id(id) => {
                let text = Text {
                    kind: l7_text::KAFKA_TOPIC,
                    flags: l7_text_flag::ID,
                    number: 0,
                    bytes: id.to_vec(),
                };
                message.texts.push(text);
                message
            }
        };
    }
    if topics.len() > MOST_TOPICS { message.with(flag::TRUNCATED) } else { message }
}

fn request(bytes: &[u8]) -> Option<(RequestHeader, Message)> {
    let key = i16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    let version = i16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    let api = ApiKey::try_from(key).ok()?;
    let mut rest = Bytes::copy_from_slice(bytes);
    let header = RequestHeader::decode(&mut rest, api.request_header_version(version)).ok()?;
    let mut message = Message::request(l7_protocol::KAFKA, header.correlation_id as u32).code(key as u16);
    message.version = version as u16;
    message.bytes[0] = bytes.len() as u64 + 4;
    if let Some(client) = header.client_id.as_ref().filter(|client| !client.is_empty()) {
        message = message.text(l7_text::KAFKA_CLIENT, client.as_bytes());
    }
    if matches!(api, ApiKey::Produce | ApiKey::Fetch | ApiKey::Metadata) {
        let body = RequestKind::decode(api, &mut rest, version).ok()?;
        message = with_topics(message, &topics(&body, version));
        if matches!(&body, RequestKind::Produce(produce) if produce.acks == 0) {
            message = message.with(flag::NO_REPLY);
        }
    }
    Some((header, message))
}

/// The first error code of a response, in the order of its fields.
fn error(api: ApiKey, version: i16, rest: &mut Bytes) -> Option<i16> {
    if api == ApiKey::ApiVersions {
        // Its own place in every version, so that a client of the wrong one can read it.
        return Some(i16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    }
    let response = ResponseKind::decode(api, rest, version).ok()?;
    // Of an array its first element is looked at, and no further.
    match &response {
        ResponseKind::Produce(produce) => {
            return Some(produce.responses.first()?.partition_responses.first()?.error_code);
        }
        ResponseKind::Fetch(fetch) if version < 7 => {
            return Some(fetch.responses.first()?.partitions.first()?.error_code);
        }
        ResponseKind::Metadata(metadata) if version < 13 => return Some(metadata.topics.first()?.error_code),
        ResponseKind::OffsetFetch(offsets) if version < 2 => {
            return Some(offsets.topics.first()?.partitions.first()?.error_code);
        }
        ResponseKind::DescribeShareGroupOffsets(_) => return None,
        _ => {}
    }
    // Every message prints its fields in their order, those too that this version lacks.
    let lacks = match api {
        ApiKey::FindCoordinator => version >= 4,
        ApiKey::OffsetFetch => version >= 8,
        ApiKey::AddPartitionsToTxn => version < 4,
        ApiKey::DescribeLogDirs => version < 3,
        ApiKey::ElectLeaders => version < 1,
        _ => false,
    };
    let printed = format!("{response:?}");
    let mut codes = printed.split("error_code: ").skip(1).map(|rest| {
        let end = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().expect("a code")
    });
    codes.nth(usize::from(lacks))
}

fn response(bytes: &[u8], waiting: &mut HashMap<i32, Asked>) -> Option<Message> {
    let correlation = i32::from_be_bytes(*bytes.first_chunk()?);
    let mut message = Message::response(l7_protocol::KAFKA, correlation as u32);
    message.bytes[1] = bytes.len() as u64 + 4;
    let Some(asked) = waiting.remove(&correlation) else { return Some(message.with(flag::UNMATCHED)) };
    let api = ApiKey::try_from(asked.key).ok()?;
    let mut message = message.code(asked.key as u16);
    message.version = asked.version as u16;
    let mut rest = Bytes::copy_from_slice(&bytes[4..]);
    if api.response_header_version(asked.version) == 1 {
        // Tagged fields, of which no broker sends any.
        rest = rest.split_off(1);
    }
    match error(api, asked.version, &mut rest) {
        Some(error) => Some(message.status(error as u16)),
        None => Some(message),
    }
}

pub fn read(dialogue: &Dialogue) -> Telling {
    let streams = Side::BOTH.map(|side| dialogue.stream(side));
    let mut all = Vec::new();
    for side in Side::BOTH {
        for (end, bytes) in frames(&streams[side as usize]) {
            all.push((dialogue.moment(side, end), side, bytes));
        }
    }
    all.sort_by_key(|(moment, ..)| *moment);
    let mut telling = Telling::default();
    let mut waiting = HashMap::new();
    let (mut newest, mut tokens) = (0, false);
    for (moment, side, bytes) in all {
        if side == Side::Server {
            let Some(message) = response(bytes, &mut waiting) else { continue };
            tokens = message.code == ApiKey::SaslHandshake as u16 && message.version == 0;
            telling.add(moment, message);
            if tokens {
                // Tokens without headers follow.
                break;
            }
        } else if let Some((header, message)) = request(bytes) {
            if !message.has(flag::NO_REPLY) {
                let asked = Asked { key: header.request_api_key, version: header.request_api_version };
                waiting.insert(header.correlation_id, asked);
            }
            newest = header.correlation_id;
            telling.add(moment, message);
        }
    }
    if dialogue.ending != Ending::Open && !tokens {
        unanswered(dialogue, &waiting, newest, &mut telling);
    }
    telling
}

/// What is told of the requests that nobody answered.
fn unanswered(dialogue: &Dialogue, waiting: &HashMap<i32, Asked>, newest: i32, telling: &mut Telling) {
    for back in (0..MOST_ENDED).rev() {
        let id = newest.wrapping_sub(back);
        let Some(asked) = waiting.get(&id) else { continue };
        let message = Message::response(l7_protocol::KAFKA, id as u32).code(asked.key as u16);
        let mut message = message.with(flag::ENDED);
        message.version = asked.version as u16;
        message.timed = false;
        telling.add(dialogue.writes.len(), message);
    }
}
