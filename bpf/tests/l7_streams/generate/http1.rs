//! Valid HTTP/1: pipelines, every kind of body, long and many fields, upgrades.

use super::{exact_word, length, noise, word};
use crate::dialogue::{Dialogue, Ending, Side};
use crate::packet::random::Random;

const METHODS: [&str; 14] = [
    "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND",
    "M-SEARCH", "PURGE",
];

const STATUSES: [u16; 16] = [200, 200, 200, 201, 202, 204, 206, 301, 304, 400, 404, 409, 418, 500, 503, 599];

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Bodies that would be something else in another place.
const DECOYS: [&[u8]; 3] =
    [b"GET /in-a-body HTTP/1.1\r\nHost: body\r\n\r\n", b"HTTP/1.1 500 No\r\n\r\n", b"0\r\n\r\n"];

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What a side writes next.
struct Exchange {
    request: Vec<u8>,
    /// Parts of the response, an interim one first.
    responses: Vec<Vec<u8>>,
    upgraded: bool,
    /// The response ends with the connection.
    last: bool,
    decoys: bool,
}

/// One connection of 1 to 6 exchanges.
pub fn dialogue(random: &mut Random) -> Dialogue {
    let port = *random.pick(&[80, 8080, 3000, 9090, 5000]);
    let mut dialogue = Dialogue::tcp("generated HTTP/1", port);
    let count = 1 + random.below(6);
    let pipelined = random.one_in(3);
    let mut held: Vec<Exchange> = Vec::new();
    dialogue.meant = Some([0, 0]);
    for _ in 0..count {
        let exchange = exchange(random);
        let stop = exchange.upgraded || exchange.last;
        dialogue.decoys |= exchange.decoys;
        dialogue = write(random, dialogue, Side::Client, &exchange.request);
        dialogue.mean(1, 1);
        held.push(exchange);
        if stop || !pipelined || random.one_in(3) {
            for exchange in held.drain(..) {
                for part in &exchange.responses {
                    dialogue = write(random, dialogue, Side::Server, part);
                }
                if exchange.last {
                    return dialogue.ending(Ending::ServerFin);
                }
                if exchange.upgraded {
                    return tunnel(random, dialogue);
                }
            }
        }
    }
    for exchange in held {
        for part in &exchange.responses {
            dialogue = write(random, dialogue, Side::Server, part);
        }
    }
    dialogue.ending(*random.pick(&[Ending::Fin, Ending::ServerFin, Ending::Reset, Ending::Open]))
}

/// As one write or as several.
fn write(random: &mut Random, mut dialogue: Dialogue, side: Side, bytes: &[u8]) -> Dialogue {
    let mut rest = bytes;
    while random.one_in(3) && rest.len() > 1 {
        let (first, after) = rest.split_at(1 + random.below(rest.len() - 1));
        dialogue = dialogue.write(side, first);
        rest = after;
    }
    dialogue.write(side, rest)
}

/// Bytes of another protocol, which may look like this one.
fn tunnel(random: &mut Random, mut dialogue: Dialogue) -> Dialogue {
    for _ in 0..random.below(6) {
        let side = *random.pick(&Side::BOTH);
        let bytes = if random.one_in(4) {
            dialogue.decoys = true;
            b"GET /not-a-request HTTP/1.1\r\nHost: hidden\r\n\r\n".to_vec()
        } else {
            let len = 1 + random.below(300);
            noise(random, len)
        };
        dialogue = dialogue.write(side, &bytes);
    }
    dialogue
}

fn exchange(random: &mut Random) -> Exchange {
    let upgrade = random.one_in(15);
    let connect = !upgrade && random.one_in(15);
    let method = if connect { "CONNECT" } else { *random.pick(&METHODS) };
    let host = host(random);
    let target = if connect { host.clone() } else { target(random, &host) };
    let minor = usize::from(upgrade || connect || !random.one_in(8));
    let mut fields = fields(random);
    if minor == 1 || random.one_in(2) {
        fields.push(field(random, "Host", &host));
    }
    if random.one_in(5) {
        fields.push(field(random, "traceparent", TRACEPARENT));
    }
    if upgrade {
        fields.push("Connection: keep-alive, Upgrade".into());
        fields.push("Upgrade: websocket".into());
    }
    let body = if upgrade || connect { Vec::new() } else { request_body(random, minor, &mut fields) };
    let request = head(random, &format!("{method} {target} HTTP/1.{minor}"), fields, &body);

    let mut responses = Vec::new();
    while random.one_in(12) {
        responses.push(interim(random));
    }
    let upgraded = (upgrade || connect) && !random.one_in(3);
    let (response, last) =
        if upgraded { (accepted(random, upgrade), false) } else { response(random, method, minor) };
    responses.push(response);
    // Behind the message's own beginning, and as much of it as makes one with what follows; or a letter that
    // makes another method of the next one, for who comes between the two.
    let decoys = request.last().is_some_and(u8::is_ascii_uppercase)
        || responses
            .iter()
            .chain([&request])
            .any(|bytes| [&b"GET /"[..], b"HTTP/1.1 5"].iter().any(|decoy| contains(&bytes[1..], decoy)));
    Exchange { request, responses, upgraded, last, decoys }
}

fn interim(random: &mut Random) -> Vec<u8> {
    if random.one_in(2) {
        b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()
    } else {
        let fields = fields(random);
        head(random, "HTTP/1.1 103 Early Hints", fields, &[])
    }
}

fn accepted(random: &mut Random, upgrade: bool) -> Vec<u8> {
    let mut fields = fields(random);
    if upgrade {
        fields.push("Upgrade: websocket".into());
        fields.push("Connection: Upgrade".into());
        head(random, "HTTP/1.1 101 Switching Protocols", fields, &[])
    } else {
        head(random, "HTTP/1.1 200 Connection Established", fields, &[])
    }
}

/// And whether the connection ends with it.
fn response(random: &mut Random, method: &str, minor: usize) -> (Vec<u8>, bool) {
    let mut status = *random.pick(&STATUSES);
    if method == "CONNECT" && status < 300 {
        status = 407;
    }
    let reason = if random.one_in(8) { String::new() } else { format!("R {}", word(random, 20)) };
    let mut fields = fields(random);
    let line = format!("HTTP/1.{minor} {status} {reason}");
    let bodiless = method == "HEAD" || status == 204 || status == 304;
    if bodiless {
        // A length that tells what a GET would have got.
        if status != 204 && random.one_in(2) {
            fields.push(format!("Content-Length: {}", random.below(5000)));
        } else if status != 204 && random.one_in(3) {
            fields.push("Transfer-Encoding: chunked".into());
        }
        return (head(random, &line, fields, &[]), false);
    }
    if random.one_in(12) {
        if random.one_in(3) {
            fields.push("Transfer-Encoding: gzip".into());
        }
        let len = length(random, 6000);
        let body = noise(random, len);
        return (head(random, &line, fields, &body), true);
    }
    let body = sized(random, minor, &mut fields);
    (head(random, &line, fields, &body), false)
}

fn request_body(random: &mut Random, minor: usize, fields: &mut Vec<String>) -> Vec<u8> {
    if random.one_in(2) { Vec::new() } else { sized(random, minor, fields) }
}

/// A body by its length or in chunks, with its field.
fn sized(random: &mut Random, minor: usize, fields: &mut Vec<String>) -> Vec<u8> {
    let len = length(random, 9000);
    let content = content(random, len);
    if minor == 1 && random.one_in(2) {
        let coding = *random.pick(&["chunked", "chunked", "Chunked", "gzip, chunked"]);
        fields.push(field(random, "Transfer-Encoding", coding));
        return chunked(random, &content);
    }
    let zeros = if random.one_in(10) { "000" } else { "" };
    fields.push(field(random, "Content-Length", &format!("{zeros}{}", content.len())));
    content
}

/// Noise, or what would be a message elsewhere.
fn content(random: &mut Random, len: usize) -> Vec<u8> {
    match random.below(4) {
        0 => {
            let text = *random.pick(&DECOYS);
            text.iter().copied().cycle().take(len).collect()
        }
        1 => vec![b'\n'; len],
        _ => noise(random, len),
    }
}

fn chunked(random: &mut Random, mut content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !content.is_empty() {
        let len = (1 + length(random, 2000)).min(content.len());
        let (chunk, rest) = content.split_at(len);
        content = rest;
        let size = if random.one_in(2) { format!("{len:x}") } else { format!("{len:04X}") };
        bytes.extend(size.bytes());
        if random.one_in(6) {
            bytes.extend(format!(";{}=\"{}\"", word(random, 8), word(random, 20)).bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n");
    while random.one_in(6) {
        bytes.extend(format!("X-Trailer: {}\r\n", word(random, 30)).bytes());
    }
    bytes.extend(b"\r\n");
    bytes
}

fn host(random: &mut Random) -> String {
    match random.below(8) {
        0 => "10.1.0.5:8080".into(),
        1 => "[fd00:1::5]".into(),
        2 => {
            let len = length(random, 600).max(1);
            exact_word(random, len)
        }
        _ => format!("{}.svc.cluster.local", word(random, 12)),
    }
}

fn target(random: &mut Random, host: &str) -> String {
    let len = length(random, 1200);
    let path = format!("/{}", exact_word(random, len));
    match random.below(10) {
        0 => "*".into(),
        1 => format!("http://{host}{path}"),
        2 => format!("{path}?a=1&b=%20{}", word(random, 30)),
        3 => "/".into(),
        _ => path,
    }
}

/// Fields that say nothing about where the message ends; some have names that begin or end like one
/// that does.
fn fields(random: &mut Random) -> Vec<String> {
    let count = match random.below(8) {
        0 => 0,
        1..=5 => random.below(8),
        6 => random.below(20),
        _ => 30 + random.below(30),
    };
    let mut fields = Vec::new();
    for _ in 0..count {
        let name = match random.below(6) {
            0 => (*random.pick(&[
                "X-Host",
                "Hosts",
                "Host-Name",
                "Content-Lengths",
                "X-Content-Length",
                "Transfer-Encodings",
                "X-Transfer-Encoding",
                "TE",
                "Content-Type",
                "H",
                "traceparents",
                "Tracestate",
                "Upgrade-Insecure-Requests",
                "Accept-Encoding",
                "Proxy-Connection",
            ]))
            .to_owned(),
            _ => word(random, 24),
        };
        let len = if random.one_in(20) { length(random, 2000) } else { random.below(40) };
        let mut value = exact_word(random, len);
        if random.one_in(10) {
            value = format!("{value}: Host: chunked, {value}");
        }
        fields.push(field(random, &name, &value));
    }
    fields
}

/// A field, its name in some case and its value in some space.
fn field(random: &mut Random, name: &str, value: &str) -> String {
    let name = match random.below(4) {
        0 => name.to_ascii_lowercase(),
        1 => name.to_ascii_uppercase(),
        _ => name.to_owned(),
    };
    let before = *random.pick(&[" ", " ", " ", "", "  ", "\t"]);
    let after = *random.pick(&["", "", "", " ", "\t "]);
    format!("{name}:{before}{value}{after}")
}

/// A start line and fields in any order, and what follows.
fn head(random: &mut Random, line: &str, mut fields: Vec<String>, body: &[u8]) -> Vec<u8> {
    for last in (1..fields.len()).rev() {
        fields.swap(last, random.below(last + 1));
    }
    let mut text = format!("{line}\r\n");
    for field in fields {
        text += &field;
        text += "\r\n";
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    bytes.extend(body);
    bytes
}
