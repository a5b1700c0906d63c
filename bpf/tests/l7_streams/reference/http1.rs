//! HTTP/1 by `httparse` for heads and RFC 9112 section 6 for where bodies end.

use fathom_bpf::abi::{l7_flag as flag, l7_protocol, l7_text};

use super::Telling;
use crate::dialogue::{Dialogue, Ending, Side};
use crate::message::Message;

const MOST_HEADERS: usize = 512;

/// Bytes of a line that are looked at: a request line's version may be behind them.
const MOST_LINE: usize = 1024;

/// How many bytes follow a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    None,
    Length(usize),
    Chunked,
    UntilClose,
    /// The connection speaks something else from here on.
    Upgrade,
}

/// A head and what it says of its body.
#[derive(Debug)]
struct Head {
    /// Where the head ends in its stream.
    end: usize,
    version: u16,
    status: u16,
    method: Vec<u8>,
    target: Vec<u8>,
    fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The first field of this name.
    fn field(&self, name: &str) -> Option<&[u8]> {
        let field = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_slice())
    }

    /// The lists of all fields of this name, joined.
    fn list(&self, name: &str) -> Vec<String> {
        let fields = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        let values = fields.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase());
        values
            .flat_map(|value| value.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>())
            .collect()
    }

    fn length(&self) -> Option<usize> {
        String::from_utf8_lossy(self.field("content-length")?).trim().parse().ok()
    }

    /// Section 6.3 for a request.
    fn request_body(&self) -> Body {
        if self.list("transfer-encoding").last().is_some_and(|coding| coding == "chunked") {
            return Body::Chunked;
        }
        self.length().map_or(Body::None, Body::Length)
    }

    /// Section 6.3 for a response to a request with this method.
    fn response_body(&self, method: &[u8]) -> Body {
        match self.status {
            101 => return Body::Upgrade,
            200..300 if method == b"CONNECT" => return Body::Upgrade,
            100..200 | 204 | 304 => return Body::None,
            _ if method == b"HEAD" => return Body::None,
            _ => {}
        }
        match self.list("transfer-encoding").last() {
            Some(coding) if coding == "chunked" => Body::Chunked,
            Some(_) => Body::UntilClose,
            None => self.length().map_or(Body::UntilClose, Body::Length),
        }
    }
}

fn fields(headers: &[httparse::Header<'_>]) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect()
}

fn version(minor: Option<u8>) -> u16 {
    10 + u16::from(minor.unwrap_or_default())
}

/// The request head at `at`, if it is all there.
fn request_head(stream: &[u8], at: usize) -> Option<Head> {
    let mut headers = vec![httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(len) = request.parse(&stream[at..]).ok()? else { return None };
    let line = &stream[at..at + len];
    let start = line.iter().position(|byte| !b"\r\n".contains(byte))?;
    let far = line[start..].iter().position(|byte| *byte == b'\n').is_none_or(|end| end >= MOST_LINE);
    Some(Head {
        end: at + len,
        version: if far { 0 } else { version(request.version) },
        status: 0,
        method: request.method?.as_bytes().to_vec(),
        target: request.path?.as_bytes().to_vec(),
        fields: fields(request.headers),
    })
}

fn response_head(stream: &[u8], at: usize) -> Option<Head> {
    let mut headers = vec![httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = response.parse(&stream[at..]).ok()? else { return None };
    Some(Head {
        end: at + len,
        version: version(response.version),
        status: response.code?,
        method: Vec::new(),
        target: Vec::new(),
        fields: fields(response.headers),
    })
}

/// Where a body that begins at `at` ends; `None` when the stream ends first or nothing can follow it.
fn body_end(stream: &[u8], at: usize, body: Body) -> Option<usize> {
    match body {
        Body::None => Some(at),
        Body::Length(len) => at.checked_add(len).filter(|end| *end <= stream.len()),
        Body::Chunked => chunked_end(stream, at),
        Body::UntilClose | Body::Upgrade => None,
    }
}

/// Chunks, then trailers to an empty line (section 7.1).
fn chunked_end(stream: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let httparse::Status::Complete((skip, len)) = httparse::parse_chunk_size(stream.get(at..)?).ok()?
        else {
            return None;
        };
        at += skip;
        if len == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(len).ok()?)?.checked_add(2)?;
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(stream.get(at..)?, &mut headers).ok()? {
        httparse::Status::Complete((skip, _)) => Some(at + skip),
        httparse::Status::Partial => None,
    }
}

fn request_message(head: &Head, number: u32) -> Message {
    let mut message = Message::request(l7_protocol::HTTP1, number).method(&head.method);
    message.version = head.version;
    message = message.text(l7_text::PATH, &head.target);
    if let Some(host) = head.field("host") {
        message = message.text(l7_text::HOST, host);
    }
    if let Some(parent) = head.field("traceparent") {
        message = message.text(l7_text::TRACEPARENT, parent);
    }
    message
}

fn response_message(head: &Head, number: u32, body: Body) -> Message {
    let mut message = Message::response(l7_protocol::HTTP1, number).status(head.status);
    message.version = head.version;
    if body == Body::Upgrade {
        message = message.with(flag::UPGRADED);
    }
    if head.status == 101
        && let Some(protocol) = head.field("upgrade")
    {
        message = message.text(l7_text::UPGRADE, protocol);
    }
    message
}

/// Where a connection begins to speak something else.
#[derive(Debug)]
pub struct Upgraded {
    /// Of each stream.
    pub at: [usize; 2],
    /// The request that asked for it.
    pub exchange: u32,
    pub websocket: bool,
    /// HTTP/2 in the clear (RFC 7540 section 3.2), which answers on stream 1.
    pub h2c: bool,
}

/// Requests that are told of when the connection ends without their response.
const MOST_ENDED: usize = 8;

/// A connection's messages.
pub fn read(dialogue: &Dialogue) -> Telling {
    read_on(dialogue).0
}

/// What is told of the requests that nobody answered.
fn unanswered(dialogue: &Dialogue, asked: u32, answered: u32, telling: &mut Telling) {
    if dialogue.ending == Ending::Open {
        return;
    }
    for number in (answered..asked).take(MOST_ENDED) {
        let mut message = Message::response(l7_protocol::HTTP1, number).with(flag::ENDED);
        message.timed = false;
        telling.add(dialogue.writes.len(), message);
    }
}

/// And where it goes on as something else.
pub fn read_on(dialogue: &Dialogue) -> (Telling, Option<Upgraded>) {
    let [client, server] = Side::BOTH.map(|side| dialogue.stream(side));
    let mut telling = Telling::default();
    let (mut asked, mut answered) = (Some(0), Some(0));
    let (mut number, mut told) = (0, 0);
    // Responses come in the order of their requests; a request may have none yet.
    while let Some(request) = asked.and_then(|at| request_head(&client, at)) {
        telling.add(dialogue.moment(Side::Client, request.end), request_message(&request, number));
        asked = body_end(&client, request.end, request.request_body());
        while let Some(response) = answered.and_then(|at| response_head(&server, at)) {
            let body = response.response_body(&request.method);
            answered = body_end(&server, response.end, body);
            if (100..200).contains(&response.status) && body == Body::None {
                continue;
            }
            telling
                .add(dialogue.moment(Side::Server, response.end), response_message(&response, number, body));
            told += 1;
            if body == Body::Upgrade {
                let to = |protocol: &str| response.status == 101 && response.list("upgrade") == [protocol];
                let upgraded = Upgraded {
                    at: [asked.unwrap_or(client.len()), response.end],
                    exchange: number,
                    websocket: to("websocket"),
                    h2c: to("h2c"),
                };
                return (telling, Some(upgraded));
            }
            break;
        }
        number += 1;
    }
    unanswered(dialogue, number, told, &mut telling);
    (telling, None)
}
