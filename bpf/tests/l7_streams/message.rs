//! One message in the form in which the kernel's and the reference's are compared.

use std::fmt;

use fathom_bpf::abi::{
    Event, L7_RECORD_MAX, L7_TEXT_MAX, L7Head, L7Text, l7_flag as flag, l7_method as method, l7_protocol,
    l7_text, l7_text_flag, l7_type,
};
use fathom_bpf::decode;

/// Head flags that are compared; the others tell of the way, not of the message.
const COMPARED: u16 = flag::GRPC
    | flag::STREAMED
    | flag::UNKNOWN
    | flag::UNMATCHED
    | flag::UPGRADED
    | flag::RESET
    | flag::STATUS
    | flag::CODE
    | flag::TRUNCATED
    | flag::NO_REPLY
    | flag::ENDED
    | flag::MALFORMED
    | flag::EDNS;

const FLAG_NAMES: [(u16, &str); 15] = [
    (flag::GRPC, "grpc"),
    (flag::STREAMED, "streamed"),
    (flag::UNKNOWN, "unknown"),
    (flag::UNMATCHED, "unmatched"),
    (flag::FIRST, "first"),
    (flag::UPGRADED, "upgraded"),
    (flag::RESET, "reset"),
    (flag::STATUS, "status"),
    (flag::CODE, "code"),
    (flag::TRUNCATED, "truncated"),
    (flag::NO_REPLY, "no-reply"),
    (flag::JOINED, "joined"),
    (flag::ENDED, "ended"),
    (flag::MALFORMED, "malformed"),
    (flag::EDNS, "edns"),
];

const METHODS: [(u8, &str); 9] = [
    (method::GET, "GET"),
    (method::HEAD, "HEAD"),
    (method::POST, "POST"),
    (method::PUT, "PUT"),
    (method::DELETE, "DELETE"),
    (method::CONNECT, "CONNECT"),
    (method::OPTIONS, "OPTIONS"),
    (method::TRACE, "TRACE"),
    (method::PATCH, "PATCH"),
];

const TEXT_NAMES: [&str; 16] = [
    "?",
    "path",
    "host",
    "method",
    "header",
    "traceparent",
    "upgrade",
    "name",
    "a",
    "aaaa",
    "cname",
    "other",
    "client",
    "topic",
    "sni",
    "alpn",
];

/// A text, cut to its greatest length.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    pub kind: u8,
    pub flags: u8,
    pub number: u32,
    pub bytes: Vec<u8>,
}

/// A message as a record tells it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub proto: u8,
    pub kind: u8,
    pub exchange: u32,
    pub method: u8,
    pub version: u16,
    pub flags: u16,
    pub status: u16,
    pub code: u16,
    pub detail: u32,
    pub messages: [u32; 2],
    pub bytes: [u64; 2],
    pub texts: Vec<Text>,
    /// A latency was told.
    pub timed: bool,
}

impl Message {
    pub fn request(proto: u8, exchange: u32) -> Self {
        Self { proto, kind: l7_type::REQUEST, exchange, ..Self::default() }
    }

    /// The answer to a request that was seen.
    pub fn response(proto: u8, exchange: u32) -> Self {
        Self { proto, kind: l7_type::RESPONSE, exchange, timed: true, ..Self::default() }
    }

    /// As a record of the kernel has it.
    pub fn told(message: &decode::Message<'_>) -> Self {
        let head = message.head;
        let text = |text: decode::Text<'_>| Text {
            kind: text.kind,
            flags: text.flags,
            number: text.number,
            bytes: text.bytes.to_vec(),
        };
        Self {
            proto: head.proto,
            kind: head.kind,
            exchange: head.exchange,
            method: head.method,
            version: head.version,
            flags: head.flags,
            status: head.status,
            code: head.code,
            detail: head.detail,
            messages: head.messages,
            bytes: head.bytes,
            texts: message.texts().map(text).collect(),
            timed: head.latency_ns > 0,
        }
    }

    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub fn with(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }

    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self.with(flag::STATUS)
    }

    pub fn code(mut self, code: u16) -> Self {
        self.code = code;
        self.with(flag::CODE)
    }

    /// A method by its number, or by its name as a text.
    pub fn method(mut self, name: &[u8]) -> Self {
        match METHODS.iter().find(|(_, known)| known.as_bytes() == name) {
            Some((number, _)) => self.method = *number,
            None => self = self.text(l7_text::METHOD, name),
        }
        self
    }

    /// By its number or its text.
    pub fn method_name(&self) -> Option<&[u8]> {
        let text = self.texts.iter().find(|text| text.kind == l7_text::METHOD);
        let known = METHODS.iter().find(|(number, _)| *number == self.method);
        known.map(|(_, name)| name.as_bytes()).or(text.map(|text| text.bytes.as_slice()))
    }

    pub fn text(self, kind: u8, bytes: &[u8]) -> Self {
        self.numbered(kind, 0, bytes)
    }

    pub fn numbered(mut self, kind: u8, number: u32, bytes: &[u8]) -> Self {
        let mut flags = 0;
        if bytes.len() > L7_TEXT_MAX {
            flags |= l7_text_flag::TRUNCATED;
            self.flags |= flag::TRUNCATED;
        }
        let bytes = bytes[..bytes.len().min(L7_TEXT_MAX)].to_vec();
        self.texts.push(Text { kind, flags, number, bytes });
        self
    }

    /// Whether the record has room for a text of this length.
    pub fn fits(&self, len: usize) -> bool {
        let span = |len: usize| size_of::<L7Text>() + len.min(L7_TEXT_MAX).next_multiple_of(8);
        let taken: usize = self.texts.iter().map(|text| span(text.bytes.len())).sum();
        size_of::<Event>() + size_of::<L7Head>() + taken + span(len) <= L7_RECORD_MAX
    }

    /// A text if there is room for it; else the message says that there was more.
    pub fn fitting(self, kind: u8, number: u32, bytes: &[u8]) -> Self {
        if self.fits(bytes.len()) { self.numbered(kind, number, bytes) } else { self.with(flag::TRUNCATED) }
    }

    /// The same for its compared parts: header fields of one kind keep their order, kinds have none.
    pub fn normal(&self) -> Self {
        let mut normal = self.clone();
        normal.flags &= COMPARED;
        if matches!(self.proto, l7_protocol::HTTP1 | l7_protocol::HTTP2) {
            normal.texts.sort_by_key(|text| text.kind);
        }
        // Requests have none, and that of a response nobody waited for can't be known.
        normal.timed &= self.kind == l7_type::RESPONSE && !self.has(flag::UNMATCHED);
        normal
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TEXT_NAMES.get(usize::from(self.kind)).unwrap_or(&"?");
        write!(f, "{name}=\"{}\"", self.bytes.escape_ascii())?;
        if self.number != 0 {
            write!(f, "({})", self.number)?;
        }
        if self.flags & l7_text_flag::TRUNCATED != 0 {
            write!(f, "…")?;
        }
        if self.flags & !l7_text_flag::TRUNCATED != 0 {
            write!(f, "!{:#x}", self.flags)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto = match self.proto {
            l7_protocol::HTTP1 => "HTTP/1",
            l7_protocol::HTTP2 => "HTTP/2",
            l7_protocol::DNS => "DNS",
            l7_protocol::KAFKA => "Kafka",
            l7_protocol::TLS => "TLS",
            l7_protocol::QUIC => "QUIC",
            l7_protocol::WEBSOCKET => "WebSocket",
            _ => "?",
        };
        let kind = match self.kind {
            l7_type::REQUEST => "request",
            l7_type::RESPONSE => "response",
            l7_type::SAMPLE => "sample",
            _ => "?",
        };
        write!(f, "{proto} {kind} {}", self.exchange)?;
        if self.method != 0 {
            let known = METHODS.iter().find(|(number, _)| *number == self.method);
            write!(f, " {}", known.map_or("?", |(_, name)| name))?;
        }
        match self.proto {
            l7_protocol::DNS => write!(f, " v{:#06x}", self.version)?,
            _ => write!(f, " v{}", self.version)?,
        }
        for (name, value) in [("status", self.status), ("code", self.code)] {
            if value != 0 {
                write!(f, " {name}={value}")?;
            }
        }
        if self.detail != 0 {
            write!(f, " detail={}", self.detail)?;
        }
        if self.messages != [0, 0] {
            write!(f, " messages={:?}", self.messages)?;
        }
        if self.bytes != [0, 0] {
            write!(f, " bytes={:?}", self.bytes)?;
        }
        for (_, name) in FLAG_NAMES.iter().filter(|(flag, _)| self.has(*flag)) {
            write!(f, " +{name}")?;
        }
        if self.timed {
            write!(f, " timed")?;
        }
        self.texts.iter().try_for_each(|text| write!(f, " {text:?}"))
    }
}
