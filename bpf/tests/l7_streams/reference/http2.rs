//! HTTP/2 (RFC 9113) and gRPC by `loona-hpack` and frames read here.

use std::collections::HashMap;

use fathom_bpf::abi::{l7_flag as flag, l7_protocol, l7_text};
use loona_hpack::Decoder;

use super::{Telling, http1};
use crate::dialogue::{Dialogue, Ending, Side};
use crate::message::Message;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What a frame, or a header block of several, says.
#[derive(Debug)]
enum Said {
    Headers(Vec<(Vec<u8>, Vec<u8>)>),
    Data(Vec<u8>),
    Reset(u32),
}

#[derive(Debug)]
struct Item {
    moment: usize,
    side: Side,
    stream: u32,
    said: Said,
    end_stream: bool,
}

/// A payload without its padding, and without a HEADERS frame's priority.
fn content(kind: u8, flags: u8, payload: &[u8]) -> Option<&[u8]> {
    let mut content = payload;
    let mut padding = 0;
    if flags & PADDED != 0 && kind != CONTINUATION {
        let (len, rest) = content.split_first()?;
        (padding, content) = (usize::from(*len), rest);
    }
    let skip = match kind {
        HEADERS if flags & PRIORITY != 0 => 5,
        PUSH_PROMISE => 4,
        _ => 0,
    };
    content.get(skip..content.len().checked_sub(padding)?)
}

/// What one side says from `start` on, in its order; ends where it breaks the protocol.
fn items(dialogue: &Dialogue, side: Side, start: usize) -> Vec<Item> {
    let stream = dialogue.stream(side);
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    let mut at = start + if side == Side::Client { PREFACE.len() } else { 0 };
    let mut block: Vec<u8> = Vec::new();
    let (mut opener, mut opener_flags) = (HEADERS, 0);
    while let Some((head, rest)) = stream.get(at..).and_then(|rest| rest.split_first_chunk::<9>()) {
        let [a, b, c, kind, flags, id @ ..] = *head;
        let Some(payload) = rest.get(..u32::from_be_bytes([0, a, b, c]) as usize) else { break };
        at += 9 + payload.len();
        let id = u32::from_be_bytes(id) & 0x7fff_ffff;
        let moment = dialogue.moment(side, at);
        let mut say = |said, end_stream| items.push(Item { moment, side, stream: id, said, end_stream });
        match kind {
            HEADERS | PUSH_PROMISE | CONTINUATION => {
                let Some(fragment) = content(kind, flags, payload) else { break };
                if kind != CONTINUATION {
                    block.clear();
                    (opener, opener_flags) = (kind, flags);
                }
                block.extend(fragment);
                if flags & END_HEADERS == 0 {
                    continue;
                }
                let Ok(fields) = decoder.decode(&block) else { break };
                if opener == HEADERS {
                    say(Said::Headers(fields), opener_flags & END_STREAM != 0);
                }
            }
            DATA => {
                let Some(data) = content(kind, flags, payload) else { break };
                say(Said::Data(data.to_vec()), flags & END_STREAM != 0);
            }
            RST_STREAM => {
                let Some(code) = payload.first_chunk() else { break };
                say(Said::Reset(u32::from_be_bytes(*code)), false);
            }
            _ => {}
        }
    }
    items
}

/// Messages by their five-byte prefixes, however DATA frames cut them.
#[derive(Debug, Default)]
struct Counter {
    prefix: Vec<u8>,
    left: usize,
    count: u32,
    bytes: u64,
}

impl Counter {
    fn pass(&mut self, mut data: &[u8]) {
        self.bytes += data.len() as u64;
        while !data.is_empty() {
            let skip = self.left.min(data.len());
            self.left -= skip;
            data = &data[skip..];
            let want = (5 - self.prefix.len()).min(data.len());
            self.prefix.extend(&data[..want]);
            data = &data[want..];
            if let [_, a, b, c, d] = self.prefix[..] {
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.count += 1;
                self.prefix.clear();
            }
        }
    }
}

#[derive(Debug, Default)]
struct Stream {
    grpc: bool,
    status: Option<u16>,
    code: Option<u16>,
    counters: [Counter; 2],
    /// The response was told.
    told: bool,
    /// Of a connection that began as HTTP/1: its request's number.
    upgraded: Option<u32>,
}

fn field<'a>(fields: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    let field = fields.iter().find(|(field, _)| field == name.as_bytes());
    field.map(|(_, value)| value.as_slice())
}

fn number(fields: &[(Vec<u8>, Vec<u8>)], name: &str) -> Option<u16> {
    std::str::from_utf8(field(fields, name)?).ok()?.parse().ok()
}

/// Alone, or with a format or parameters behind it.
fn is_grpc(kind: &[u8]) -> bool {
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn request(id: u32, fields: &[(Vec<u8>, Vec<u8>)], grpc: bool) -> Message {
    let mut message = Message::request(l7_protocol::HTTP2, id);
    message.version = 20;
    if let Some(method) = field(fields, ":method") {
        message = message.method(method);
    }
    let host = field(fields, ":authority").or_else(|| field(fields, "host"));
    let texts = [
        (l7_text::PATH, field(fields, ":path")),
        (l7_text::HOST, host),
        (l7_text::TRACEPARENT, field(fields, "traceparent")),
    ];
    for (kind, text) in texts {
        if let Some(text) = text {
            message = message.text(kind, text);
        }
    }
    if grpc { message.with(flag::GRPC) } else { message }
}

impl Stream {
    fn response(&mut self, id: u32) -> Message {
        self.told = true;
        let mut message = Message::response(l7_protocol::HTTP2, self.upgraded.unwrap_or(id));
        message.version = 20;
        if self.upgraded.is_some() {
            message = message.with(flag::UPGRADED).text(l7_text::UPGRADE, b"h2c");
        }
        if let Some(status) = self.status {
            message = message.status(status);
        }
        if self.grpc {
            message = message.with(flag::GRPC | flag::STREAMED);
            message.messages = [self.counters[0].count, self.counters[1].count];
            message.bytes = [self.counters[0].bytes, self.counters[1].bytes];
        }
        if let Some(code) = self.code.filter(|_| self.grpc) {
            message = message.code(code);
        }
        message
    }

    /// What a frame of the server makes known.
    fn answer(&mut self, id: u32, item: &Item) -> Option<Message> {
        if let Said::Headers(fields) = &item.said {
            let status = number(fields, ":status");
            if self.status.is_none() {
                // Interim responses are no answer.
                self.status = status.filter(|status| *status >= 200);
                if self.status.is_some() && !self.grpc {
                    return Some(self.response(id));
                }
            }
            self.code = self.code.or_else(|| number(fields, "grpc-status"));
        }
        (item.end_stream && !self.told).then(|| self.response(id))
    }
}

pub fn read(dialogue: &Dialogue) -> Telling {
    let mut streams: HashMap<u32, Stream> = HashMap::new();
    let (mut telling, mut start) = (Telling::default(), [0, 0]);
    if !dialogue.stream(Side::Client).starts_with(PREFACE) {
        let (before, upgraded) = http1::read_on(dialogue);
        telling = before;
        let Some(upgraded) = upgraded.filter(|upgraded| upgraded.h2c) else { return telling };
        // The response comes on stream 1; that the protocol changes is told with it.
        telling.0.retain(|(_, message)| !message.has(flag::UPGRADED));
        streams.insert(1, Stream { upgraded: Some(upgraded.exchange), ..Stream::default() });
        start = upgraded.at;
    }
    let of = |side: Side| items(dialogue, side, start[side as usize]);
    let mut items: Vec<Item> = Side::BOTH.into_iter().flat_map(of).collect();
    items.sort_by_key(|item| item.moment);
    for item in items {
        let id = item.stream;
        if item.side == Side::Client
            && !streams.contains_key(&id)
            && let Said::Headers(fields) = &item.said
        {
            let kind = field(fields, "content-type");
            let grpc = kind.is_some_and(is_grpc);
            telling.add(item.moment, request(id, fields, grpc));
            streams.insert(id, Stream { grpc, ..Stream::default() });
            continue;
        }
        let Some(stream) = streams.get_mut(&id) else {
            // Nobody asked: it was promised, or the request was missed.
            if let Said::Headers(fields) = &item.said
                && let Some(status) = number(fields, ":status").filter(|status| *status >= 200)
            {
                let mut message =
                    Message::response(l7_protocol::HTTP2, id).status(status).with(flag::UNMATCHED);
                message.version = 20;
                telling.add(item.moment, message);
            }
            continue;
        };
        if let Said::Data(data) = &item.said
            && stream.grpc
        {
            stream.counters[item.side as usize].pass(data);
        }
        let response = match &item.said {
            Said::Reset(code) if !stream.told => {
                let mut message = stream.response(id).with(flag::RESET);
                message.flags &= !(flag::STATUS | flag::STREAMED | flag::CODE);
                message.code = 0;
                message.status = u16::try_from(*code).unwrap_or(u16::MAX);
                // There may have been no answer to measure.
                message.timed = stream.status.is_some();
                Some(message)
            }
            Said::Reset(_) => None,
            _ if item.side == Side::Server => stream.answer(id, &item),
            _ => None,
        };
        if let Some(response) = response {
            telling.add(item.moment, response);
        }
    }
    if dialogue.ending != Ending::Open {
        unended(dialogue, streams, &mut telling);
    }
    telling
}

/// Streams that nobody ended are told when their connection ends.
fn unended(dialogue: &Dialogue, streams: HashMap<u32, Stream>, telling: &mut Telling) {
    let mut streams: Vec<(u32, Stream)> = streams.into_iter().filter(|(_, stream)| !stream.told).collect();
    streams.sort_by_key(|(id, _)| *id);
    for (id, mut stream) in streams {
        let mut message = stream.response(id).with(flag::ENDED);
        message.flags &= !(flag::STREAMED | flag::CODE);
        message.code = 0;
        message.timed = stream.status.is_some();
        telling.add(dialogue.writes.len(), message);
    }
}
