//! The messages that are measured: what an opening says once, then one request and one response over
//! and over, each in a packet of its own.

use fathom_bpf::testing::Stepper;

use crate::kafka;
use crate::packets::{ACK, Family, SERVER_PORT, SYN};

/// Where the payload of a packet over TCP begins.
const TCP_PAYLOAD: u16 = 14 + 20 + 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// A packet that comes again and again, its number one step further each time.
pub struct Repeated {
    pub frame: Vec<u8>,
    /// Where the running number goes: TCP's sequence number, or the id of a DNS message.
    pub sequence_at: u16,
    pub stride: u16,
    /// Where the number itself goes besides, in messages that have one.
    pub number_at: Option<u16>,
    /// Its first number, in strides.
    pub first: u32,
}

impl Repeated {
    /// What writes its numbers.
    pub fn stepper(&self) -> fathom_bpf::Result<Stepper> {
        match self.number_at {
            Some(at) => Stepper::numbered_sequence(self.sequence_at, self.stride, at),
            None => Stepper::sequence(self.sequence_at, self.stride),
        }
    }
}

pub struct Dialogue {
    pub name: &'static str,
    opening: Vec<(Side, Vec<u8>)>,
    pub repeated: [Repeated; 2],
    /// Whether each of them is told; the segments of a body are not.
    pub told: bool,
}

impl Dialogue {
    /// Messages known by a number, so many bytes from the beginning of each, and not by their order.
    fn numbered(mut self, at: [u16; 2]) -> Self {
        for (repeated, at) in self.repeated.iter_mut().zip(at) {
            repeated.number_at = Some(TCP_PAYLOAD + at);
        }
        self
    }

    fn untold(self) -> Self {
        Self { told: false, ..self }
    }

    pub fn opening(&self) -> impl Iterator<Item = (Side, Vec<u8>)> {
        self.opening.clone().into_iter()
    }
}

pub fn all() -> Vec<Dialogue> {
    vec![
        tcp(
            "http1.small",
            41_001,
            [b"", b""],
            [
                b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            ],
        ),
        tcp("http1.browser", 41_002, [b"", b""], [BROWSER, NGINX]),
        tcp(
            "http2.indexed",
            41_003,
            [&h2_opening(), &h2_first_answer()],
            [
                // All of it is in the tables: GET, http, /api/items/17, shop.example, user-agent, accept.
                &frame(1, 5, 1, &[0x82, 0x86, 0xc1, 0xc0, 0xbf, 0xbe]),
                &[frame(1, 4, 1, &[0x88, 0xbe, 0xbf]), frame(0, 1, 1, b"hello")].concat(),
            ],
        ),
        tcp(
            "http2.nginx",
            41_005,
            [&h2_opening(), &frame(4, 0, 0, b"")],
            [
                &frame(1, 5, 1, &[0x82, 0x86, 0xc1, 0xc0, 0xbf, 0xbe]),
                // Huffman's code, and all that nginx says goes into the table again each time.
                &[frame(1, 4, 1, &h2_nginx()), frame(0, 1, 1, b"hello")].concat(),
            ],
        ),
        tcp("grpc.unary", 41_006, [&grpc_opening(), &grpc_first_answer()], [&grpc_call(), &grpc_answer()]),
        tcp("kafka.produce", 41_007, [b"", b""], [&kafka::produce(), &kafka::produced()])
            .numbered(kafka::NUMBER_AT),
        tcp("kafka.fetch", 41_008, [b"", b""], [&kafka::fetch(), &kafka::fetched()])
            .numbered(kafka::NUMBER_AT),
        udp("dns", 41_004, [&dns(0x0100, 0), &dns(0x8180, 3)]),
        tcp(
            "http1.body",
            41_009,
            [
                b"PUT / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000000000\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n",
            ],
            [&[b'x'; 1448], &[b'x'; 1448]],
        )
        .untold(),
    ]
}

const BROWSER: &[u8] = b"GET /api/v1/items/17?colour=blue HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\nUpgrade-Insecure-Requests: 1\r\n\r\n";
const NGINX: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 25 Nov 2026 14:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: 12\r\nLast-Modified: Wed, 25 Nov 2026 13:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"6743c1f0-c\"\r\nAccept-Ranges: bytes\r\n\r\nhello world\n";

/// After the handshake, `first` of each side; then the two of `again`, which differ in nothing but
/// their place. All of one HTTP/2 connection's requests are on one stream, which no peer would take;
/// to a reader it is the newest one each time.
fn tcp(name: &'static str, port: u16, first: [&[u8]; 2], again: [&[u8]; 2]) -> Dialogue {
    // So that the first repeated segment's number is a multiple of the stride.
    let begins: [u32; 2] = std::array::from_fn(|side| {
        let stride = again[side].len() as u32;
        stride * 1000 - first[side].len() as u32
    });
    let mut opening = vec![
        (Side::Client, segment(Side::Client, port, SYN, [begins[0] - 1, 0], b"")),
        (Side::Server, segment(Side::Server, port, SYN | ACK, [begins[1] - 1, begins[0]], b"")),
        (Side::Client, segment(Side::Client, port, ACK, begins, b"")),
    ];
    for (side, bytes) in [Side::Client, Side::Server].into_iter().zip(first) {
        if !bytes.is_empty() {
            let number = begins[side as usize];
            opening.push((side, segment(side, port, ACK, [number, 0], bytes)));
        }
    }
    let repeated = [Side::Client, Side::Server].map(|side| {
        let bytes = again[side as usize];
        Repeated {
            frame: segment(side, port, ACK, [0, 0], bytes),
            sequence_at: 14 + 20 + 4,
            stride: bytes.len() as u16,
            number_at: None,
            first: 1000,
        }
    });
    Dialogue { name, opening, repeated, told: true }
}

fn udp(name: &'static str, port: u16, again: [&[u8]; 2]) -> Dialogue {
    let repeated = [Side::Client, Side::Server].map(|side| {
        let bytes = again[side as usize];
        let mut frame = headers(side, 17, 8 + bytes.len());
        frame.extend(ports(side, port));
        frame.extend((8 + bytes.len() as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(bytes);
        // The low half of the running number is the id; its high half falls on the checksum.
        Repeated { frame, sequence_at: 14 + 20 + 6, stride: 1, number_at: None, first: 0 }
    });
    Dialogue { name, opening: Vec::new(), repeated, told: true }
}

fn headers(side: Side, proto: u8, length: usize) -> Vec<u8> {
    let (pod, peer) = (Family::V4.pod(), Family::V4.peer(0));
    let ends = if side == Side::Client { [peer, pod] } else { [pod, peer] };
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend((20 + length as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, proto, 0, 0]);
    for end in ends {
        let std::net::IpAddr::V4(v4) = end else { unreachable!("an IPv4 address") };
        frame.extend(v4.octets());
    }
    frame
}

fn ports(side: Side, port: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (port.to_be_bytes(), SERVER_PORT.to_be_bytes());
    if side == Side::Client { [a, b, c, d] } else { [c, d, a, b] }
}

pub fn segment(side: Side, port: u16, flags: u8, [seq, ack]: [u32; 2], bytes: &[u8]) -> Vec<u8> {
    let mut out = headers(side, 6, 20 + bytes.len());
    out.extend(ports(side, port));
    out.extend(seq.to_be_bytes());
    out.extend(ack.to_be_bytes());
    out.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    out.extend(bytes);
    out
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A header field that goes into the dynamic table.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0x40, name.len() as u8];
    out.extend(name.bytes());
    out.push(value.len() as u8);
    out.extend(value.bytes());
    out
}

fn h2_first_answer() -> Vec<u8> {
    let block = [vec![0x88], field("content-type", "text/html"), field("server", "nginx")];
    [frame(4, 0, 0, b""), frame(1, 5, 1, &block.concat())].concat()
}

/// Preface, SETTINGS, and the request whose fields later ones refer to.
fn h2_opening() -> Vec<u8> {
    let block = [
        vec![0x82, 0x86],
        field(":path", "/api/items/17"),
        field(":authority", "shop.example"),
        field("user-agent", "grpc-rust/1.0"),
        field("accept", "*/*"),
    ];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b""), frame(1, 5, 1, &block.concat())]
        .concat()
}

/// The fields of a 200 as nginx 1.22 sends them: name and value of server, date, content-type, content-length,
/// last-modified and etag, each to be inserted.
fn h2_nginx() -> Vec<u8> {
    const FIELDS: &str = "887689aa6355e580ae212e1f6196e4593e94136a693f75040138a05bb8cbb71a0a98b46f5f87497ca589d3\
                          4d1f5c033631326c96e4593e94136a693f75040138a05bb8cbb71a0298b46f00832a47378bfe5c8c0e8004\
                          696138d7f3008919085ad2b583aa62a3848fd24a8f";
    FIELDS
        .as_bytes()
        .chunks(2)
        .map(|digits| digits.iter().fold(0, |byte, digit| byte << 4 | hex(*digit)))
        .collect()
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).expect("a digit") as u8
}

/// A message of gRPC in a frame of its own: 20 bytes.
fn grpc_data(flags: u8) -> Vec<u8> {
    frame(0, flags, 1, &[&[0, 0, 0, 0, 20][..], &[7; 20]].concat())
}

fn grpc_opening() -> Vec<u8> {
    let block = [
        vec![0x83, 0x86],
        field(":path", "/shop.Items/Get"),
        field(":authority", "shop.example"),
        field("te", "trailers"),
        field("content-type", "application/grpc"),
        field("user-agent", "grpc-rust/1.0"),
    ];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [preface, frame(4, 0, 0, b""), frame(1, 4, 1, &block.concat()), grpc_data(1)].concat()
}

fn grpc_call() -> Vec<u8> {
    [frame(1, 4, 1, &[0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe]), grpc_data(1)].concat()
}

fn grpc_first_answer() -> Vec<u8> {
    let block = [vec![0x88], field("content-type", "application/grpc")].concat();
    let trailers = frame(1, 5, 1, &field("grpc-status", "0"));
    [frame(4, 0, 0, b""), frame(1, 4, 1, &block), grpc_data(0), trailers].concat()
}

fn grpc_answer() -> Vec<u8> {
    [frame(1, 4, 1, &[0x88, 0xbf]), grpc_data(0), frame(1, 5, 1, &[0xbe])].concat()
}

/// A question for api.shop.svc.cluster.local, or an answer to it.
fn dns(flags: u16, answers: u16) -> Vec<u8> {
    let mut out = vec![0, 0];
    out.extend([flags, 1, answers, 0, 0].into_iter().flat_map(u16::to_be_bytes));
    for label in ["api", "shop", "svc", "cluster", "local"] {
        out.push(label.len() as u8);
        out.extend(label.bytes());
    }
    out.extend([0, 0, 1, 0, 1]);
    for answer in 0..answers {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 0, 0, answer as u8]);
    }
    out
}
