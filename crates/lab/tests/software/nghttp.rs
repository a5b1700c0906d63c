//! What nghttp says of its streams.

use std::collections::BTreeMap;

use crate::message::Exchange;

/// A stream as its client saw it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stream {
    /// "GET http://host/path".
    pub asked: String,
    /// 0 when there was no response.
    pub status: u32,
    /// What the server reset it with, when it had not answered.
    pub reset: Option<u32>,
}

/// By number.
pub type Streams = BTreeMap<u32, Stream>;

/// What `nghttp --verbose` printed.
#[track_caller]
pub fn streams(said: &str) -> Streams {
    let mut streams = Streams::new();
    // What a line without a time belongs to.
    let (mut frame, mut id) = ("", 0);
    let mut fields = BTreeMap::new();
    for line in said.lines() {
        if let Some(event) =
            line.strip_prefix('[').and_then(|line| line.split_once("] ")).map(|(_, rest)| rest)
        {
            frame = event;
            id = number(event, "stream_id=", 10).unwrap_or(0);
            fields.clear();
            if let Some((_, status)) = event.split_once(") :status: ") {
                streams.entry(id).or_default().status = status.parse().unwrap();
            }
            continue;
        }
        let line = line.trim();
        if frame.starts_with("send HEADERS") {
            let Some((name, value)) = line.strip_prefix(':').and_then(|field| field.split_once(": ")) else {
                continue;
            };
            fields.insert(name, value);
            if let (Some(method), Some(host), Some(path)) =
                (fields.get("method"), fields.get("authority"), fields.get("path"))
            {
                streams.entry(id).or_default().asked = format!("{method} http://{host}{path}");
            }
        } else if frame.starts_with("recv RST_STREAM") && line.starts_with("(error_code=") {
            let stream = streams.entry(id).or_default();
            stream.reset = number(line, "(0x", 16).filter(|_| stream.status == 0);
        }
    }
    streams
}

fn number(text: &str, before: &str, radix: u32) -> Option<u32> {
    let digits = text.split_once(before)?.1;
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    u32::from_str_radix(&digits[..end], radix).ok()
}

/// An exchange in the client's words.
#[track_caller]
pub fn stream(exchange: &Exchange) -> Stream {
    let asked = exchange.asked().http();
    Stream {
        asked: format!("{} {}", asked.method, asked.url),
        status: exchange.response.as_ref().map_or(0, |response| response.http().code),
        reset: exchange.response.as_ref().and_then(|response| response.facts.reset_code),
    }
}
