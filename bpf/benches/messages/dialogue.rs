//! The messages that are measured: what an opening says once, then one request and one response over
//! and over, each in a packet of its own.

use crate::packets::{ACK, Family, SERVER_PORT, SYN};

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
    /// Its first number, in strides.
    pub first: u32,
}

pub struct Dialogue {
    pub name: &'static str,
    opening: Vec<(Side, Vec<u8>)>,
    pub repeated: [Repeated; 2],
}

impl Dialogue {
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
        udp("dns", 41_004, [&dns(0x0100, 0), &dns(0x8180, 3)]),
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
            first: 1000,
        }
    });
    Dialogue { name, opening, repeated }
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
        Repeated { frame, sequence_at: 14 + 20 + 6, stride: 1, first: 0 }
    });
    Dialogue { name, opening: Vec::new(), repeated }
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

fn segment(side: Side, port: u16, flags: u8, [seq, ack]: [u32; 2], bytes: &[u8]) -> Vec<u8> {
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
