//! HTTP/2 as its clients and servers begin, and what RFC 9113 allows besides.

use crate::dialogue::{Dialogue, Side};
use crate::generate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, frame, grpc, settings,
};
use crate::generate::hpack::{Encoder, Field, Style};
use crate::packet::random::Random;

fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
    pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// A connection whose encoders do the same each time.
struct Talk {
    dialogue: Dialogue,
    encoders: [Encoder; 2],
    random: Random,
}

const BEST: Style = Style { huffman: 10, index: 10, refer: 10 };
const PLAIN: Style = Style { huffman: 0, index: 0, refer: 0 };

impl Talk {
    fn new(name: &str, style: Style) -> Self {
        Self::with_tables(name, style, 4096)
    }

    fn with_tables(name: &str, style: Style, size: usize) -> Self {
        let dialogue = Dialogue::tcp(format!("HTTP/2: {name}"), 8080)
            .client([PREFACE, &settings(&[(1, size as u32)])].concat())
            .server(settings(&[(1, size as u32), (3, 100)]))
            .client(frame(SETTINGS, ACK, 0, &[]))
            .server(frame(SETTINGS, ACK, 0, &[]));
        let encoders = [Encoder::new(style, size), Encoder::new(style, size)];
        Self { dialogue, encoders, random: Random::new(7) }
    }

    /// Begun as HTTP/1 (RFC 7540 section 3.2).
    fn upgraded(name: &str, before: &str) -> Self {
        let ask = "GET /first HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
        let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        let mut dialogue = Dialogue::tcp(format!("HTTP/2: {name}"), 8080);
        if !before.is_empty() {
            dialogue = dialogue.client(before).server("HTTP/1.1 204 No Content\r\n\r\n");
        }
        let dialogue = dialogue
            .client(ask)
            .server([accept.as_bytes(), &settings(&[(3, 100)])].concat())
            .client([PREFACE, &settings(&[])].concat());
        Self {
            dialogue,
            encoders: [Encoder::new(BEST, 4096), Encoder::new(BEST, 4096)],
            random: Random::new(7),
        }
    }

    fn write(mut self, side: Side, bytes: &[u8]) -> Self {
        self.dialogue = self.dialogue.write(side, bytes);
        self
    }

    fn block(&mut self, side: Side, pairs: &[(&str, &str)]) -> Vec<u8> {
        self.encoders[side as usize].block(&mut self.random, &fields(pairs))
    }

    fn headers(mut self, side: Side, stream: u32, end: bool, pairs: &[(&str, &str)]) -> Self {
        let block = self.block(side, pairs);
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.write(side, &frame(HEADERS, flags, stream, &block))
    }

    fn get(self, stream: u32, path: &str) -> Self {
        let pairs = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "web")];
        self.headers(Side::Client, stream, true, &pairs)
    }

    fn call(self, stream: u32, path: &str) -> Self {
        let pairs = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "grpc:50051"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "grpc-python/1.60"),
        ];
        self.headers(Side::Client, stream, false, &pairs)
    }

    fn ok(self, stream: u32, end: bool) -> Self {
        self.headers(Side::Server, stream, end, &[(":status", "200"), ("content-type", "text/plain")])
    }

    fn begun(self, stream: u32) -> Self {
        self.headers(Side::Server, stream, false, &[(":status", "200"), ("content-type", "application/grpc")])
    }

    fn done(self, stream: u32, status: &str) -> Self {
        self.headers(Side::Server, stream, true, &[("grpc-status", status), ("grpc-message", "")])
    }

    fn data(self, side: Side, stream: u32, end: bool, bytes: &[u8]) -> Self {
        self.write(side, &frame(DATA, if end { END_STREAM } else { 0 }, stream, bytes))
    }
}

pub fn dialogues() -> Vec<Dialogue> {
    let mut all: Vec<Talk> = Vec::new();
    for (name, style) in [("with every compression", BEST), ("with none", PLAIN)] {
        let mut talk = Talk::new(&format!("three requests {name}"), style);
        for stream in [1, 3, 5] {
            talk = talk.get(stream, "/index").ok(stream, false).data(Side::Server, stream, true, b"hello");
        }
        all.push(talk);
        let mut talk = Talk::new(&format!("unary calls {name}"), style);
        for stream in [1, 3, 5] {
            talk = talk.call(stream, "/shop.Orders/Get").data(Side::Client, stream, true, &grpc(b"ask"));
            talk = talk.begun(stream).data(Side::Server, stream, false, &grpc(b"tell")).done(stream, "0");
        }
        all.push(talk);
    }
    for size in [0, 100, 256, 65_536] {
        let mut talk = Talk::with_tables(&format!("a table of {size}"), BEST, size);
        for stream in (1..20).step_by(2) {
            talk = talk.get(stream, &format!("/path/{}", stream % 6)).ok(stream, true);
        }
        all.push(talk);
    }
    all.extend(blocks());
    all.extend(calls());
    all.extend(oddities());
    all.into_iter().map(|talk| talk.dialogue).collect()
}

/// Header blocks in several frames.
fn blocks() -> Vec<Talk> {
    let mut all = Vec::new();
    let pairs = [(":method", "GET"), (":scheme", "http"), (":path", "/in/parts"), (":authority", "web")];
    for parts in [2, 3, 100] {
        let mut talk = Talk::new(&format!("a block in {parts} frames"), BEST);
        let block = talk.block(Side::Client, &pairs);
        let len = block.len().div_ceil(parts).max(1);
        let fragments: Vec<&[u8]> = block.chunks(len).collect();
        for (number, fragment) in fragments.iter().enumerate() {
            let last = if number + 1 == fragments.len() { END_HEADERS } else { 0 };
            let (kind, end) = if number == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
            talk = talk.write(Side::Client, &frame(kind, last | end, 1, fragment));
        }
        all.push(talk.ok(1, true).get(3, "/next").ok(3, true));
    }
    let mut talk = Talk::new("frames of nothing around a block", BEST);
    let block = talk.block(Side::Client, &pairs);
    talk = talk.write(Side::Client, &frame(HEADERS, END_STREAM, 1, &[]));
    talk = talk.write(Side::Client, &frame(CONTINUATION, 0, 1, &block));
    talk = talk.write(Side::Client, &frame(CONTINUATION, END_HEADERS, 1, &[]));
    all.push(talk.ok(1, true).get(3, "/next").ok(3, true));

    let mut talk = Talk::new("padding and priority", BEST);
    let block = talk.block(Side::Client, &pairs);
    let payload = [&[9, 0x80, 0, 0, 0, 200][..], &block, &[0; 9]].concat();
    talk = talk
        .write(Side::Client, &frame(HEADERS, END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY, 1, &payload));
    talk = talk
        .ok(1, false)
        .write(Side::Server, &frame(DATA, PADDED | END_STREAM, 1, &[3, b'o', b'k', 0, 0, 0]));
    all.push(talk.get(3, "/next").ok(3, true));

    // Wherever the window ends that a long segment is read through.
    for before in (1400..1500).step_by(10) {
        let mut talk =
            Talk::new("a field in two frames at the window's end", PLAIN).call(1, "/shop.Files/Put");
        let block = talk.block(Side::Client, &pairs);
        let (first, rest) = block.split_at(block.len() - 12);
        let frames = [
            frame(DATA, 0, 1, &vec![0; before]),
            frame(HEADERS, END_STREAM, 3, first),
            frame(CONTINUATION, END_HEADERS, 3, rest),
            frame(DATA, END_STREAM, 1, &[0; 200]),
        ];
        all.push(talk.write(Side::Client, &frames.concat()).ok(3, true).begun(1).done(1, "0"));
    }

    for len in [100, 126, 127, 128, 255, 256, 257, 1000, 3000] {
        for (name, style) in [("Huffman", BEST), ("plain", PLAIN)] {
            let path = format!("/{}", "p".repeat(len - 1));
            let talk = Talk::new(&format!("a path of {len}, {name}"), style);
            all.push(talk.get(1, &path).ok(1, true).get(3, &path).ok(3, true).get(5, "/next").ok(5, true));
            let talk = Talk::new(&format!("a value of {len}, {name}"), style);
            let long = "v".repeat(len);
            let pairs = [(":method", "GET"), (":path", "/v"), ("x-long", &long), (":authority", "web")];
            all.push(talk.headers(Side::Client, 1, true, &pairs).ok(1, true).get(3, "/next").ok(3, true));
        }
    }
    all
}

fn calls() -> Vec<Talk> {
    let (client, server) = (Side::Client, Side::Server);
    let watch =
        Talk::new("a server's stream", BEST).call(1, "/shop.Orders/Watch").data(client, 1, true, &grpc(b""));
    let many =
        (0..50).fold(watch.begun(1), |talk, n| talk.data(server, 1, false, &grpc(&vec![n; n as usize])));
    let upload = Talk::new("a client's stream in one frame", BEST).call(1, "/shop.Orders/Put");
    let three = [grpc(b"one"), grpc(b"two"), grpc(b"")].concat();
    let mut prefix = Talk::new("prefixes cut by frames", BEST).call(1, "/shop.Orders/Put");
    for byte in [grpc(b"abc"), grpc(b"")].concat() {
        prefix = prefix.data(client, 1, false, &[byte]);
    }
    let chat = Talk::new("both at once", BEST).call(1, "/shop.Chat/Talk").begun(1);
    let chat = (0..5).fold(chat, |talk, _| {
        talk.data(client, 1, false, &grpc(b"ping")).data(server, 1, false, &grpc(b"pong"))
    });
    vec![
        many.done(1, "0"),
        upload.data(client, 1, true, &three).begun(1).data(server, 1, false, &grpc(b"3")).done(1, "0"),
        prefix.data(client, 1, true, b"").begun(1).done(1, "0"),
        chat.data(client, 1, true, b"").done(1, "0"),
        Talk::new("refused by trailers alone", BEST)
            .call(1, "/shop.Orders/None")
            .data(client, 1, true, &grpc(b"x"))
            .headers(
                server,
                1,
                true,
                &[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "12")],
            )
            .call(3, "/shop.Orders/Get")
            .data(client, 3, true, &grpc(b"x"))
            .begun(3)
            .done(3, "16"),
        Talk::new("an answer that isn't gRPC", BEST)
            .call(1, "/shop.Orders/Get")
            .data(client, 1, true, &grpc(b"x"))
            .headers(server, 1, false, &[(":status", "502"), ("content-type", "text/html")])
            .data(server, 1, true, b"<html>bad gateway</html>"),
        Talk::new("cancelled", BEST)
            .call(1, "/shop.Orders/Watch")
            .data(client, 1, true, &grpc(b"x"))
            .begun(1)
            .data(server, 1, false, &grpc(b"y"))
            .write(client, &frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()))
            .get(3, "/next")
            .ok(3, true),
        Talk::new("a large message over many frames", BEST)
            .call(1, "/shop.Files/Get")
            .data(client, 1, true, &grpc(b"x"))
            .begun(1)
            .data(server, 1, false, &[&[0, 0, 0, 0x27, 0x10][..], &[1; 5000]].concat())
            .data(server, 1, false, &[2; 5000])
            .data(server, 1, false, &grpc(b"second"))
            .done(1, "0"),
    ]
}

fn oddities() -> Vec<Talk> {
    let (client, server) = (Side::Client, Side::Server);
    let mut pushed = Talk::new("a push", BEST).get(1, "/page");
    let promise = pushed.block(server, &[(":method", "GET"), (":path", "/style.css"), (":authority", "web")]);
    let promise = [&[0, 0, 0, 2][..], &promise].concat();
    let hundred = Talk::new("a hundred streams at once", BEST);
    let hundred = (0..100).fold(hundred, |talk, n| talk.get(2 * n + 1, &format!("/{n}")));
    let hundred = (0..100).rev().fold(hundred, |talk, n| talk.ok(2 * n + 1, true));
    vec![
        hundred,
        Talk::upgraded("from HTTP/1", "")
            .ok(1, false)
            .data(server, 1, true, b"hello")
            .get(3, "/next")
            .ok(3, true),
        Talk::upgraded("from HTTP/1 that was spoken before", "GET /zeroth HTTP/1.1\r\nHost: web\r\n\r\n")
            .ok(1, true)
            .get(3, "/next")
            .ok(3, true),
        Talk::new("early hints", BEST)
            .get(1, "/")
            .headers(server, 1, false, &[(":status", "103"), ("link", "</a>")])
            .ok(1, true),
        Talk::new("trailers", BEST)
            .get(1, "/")
            .ok(1, false)
            .data(server, 1, false, b"body")
            .headers(server, 1, true, &[("x-sum", "1")])
            .get(3, "/next")
            .ok(3, true),
        Talk::new("a reset before the answer", BEST)
            .get(1, "/slow")
            .write(client, &frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()))
            .get(3, "/next")
            .ok(3, true),
        Talk::new("a reset after the answer", BEST)
            .get(1, "/")
            .ok(1, false)
            .write(server, &frame(RST_STREAM, 0, 1, &[0; 4]))
            .get(3, "/next")
            .ok(3, true),
        Talk::new("frames between", BEST)
            .write(client, &frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]))
            .get(1, "/")
            .write(server, &[frame(PING, 0, 0, &[1; 8]), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0])].concat())
            .write(client, &frame(PING, ACK, 0, &[1; 8]))
            .ok(1, true)
            .write(server, &frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])),
        // RFC 9113 section 4.1: a type nobody knows is ignored.
        Talk::new("frames of an unknown type", BEST)
            .get(1, "/")
            .write(server, &[frame(0xa, 0, 0, b"alt-svc"), frame(0xbb, 0xff, 1, &[7; 40])].concat())
            .ok(1, true)
            .get(3, "/next")
            .ok(3, true),
        pushed
            .write(server, &frame(PUSH_PROMISE, END_HEADERS, 1, &promise))
            .ok(1, true)
            .ok(2, true)
            .get(3, "/next")
            .ok(3, true),
        Talk::new("a host field and no authority", BEST)
            .headers(
                client,
                1,
                true,
                &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "web")],
            )
            .ok(1, true),
        Talk::new("large data", BEST)
            .get(1, "/big")
            .ok(1, false)
            .data(server, 1, true, &[b'x'; 16_384])
            .get(3, "/next")
            .ok(3, true),
        Talk::new("a method of its own", BEST)
            .headers(
                client,
                1,
                true,
                &[(":method", "PROPFIND"), (":scheme", "http"), (":path", "/"), (":authority", "web")],
            )
            .ok(1, true),
    ]
}
