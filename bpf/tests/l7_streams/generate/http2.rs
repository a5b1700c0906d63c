//! Valid HTTP/2: interleaved streams, header blocks in every form and cut anywhere, gRPC calls of each kind.

use super::frames::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, frame,
};
use super::hpack::{Encoder, Field, Style};
use super::{exact_word, length, noise, word};
use crate::dialogue::{Dialogue, Ending, Side};
use crate::packet::random::Random;

const TABLE_SIZES: [usize; 6] = [0, 64, 256, 4096, 4096, 65_536];
const HEADER_TABLE_SIZE: u16 = 1;
const CANCEL: u32 = 8;

/// What a stream does next.
enum Step {
    Headers { side: Side, fields: Vec<Field>, end: bool },
    Data { side: Side, bytes: Vec<u8>, end: bool },
    Reset { side: Side, code: u32 },
}

impl Step {
    fn side(&self) -> Side {
        match self {
            Self::Headers { side, .. } | Self::Data { side, .. } | Self::Reset { side, .. } => *side,
        }
    }
}

/// Both ends of a connection as they write.
struct Talk<'a> {
    random: &'a mut Random,
    encoders: [Encoder; 2],
    dialogue: Dialogue,
    /// What a side has not sent yet.
    pending: Option<(Side, Vec<u8>)>,
}

impl Talk<'_> {
    /// After what the same side said just before, in the same write or in its own.
    fn say(&mut self, side: Side, bytes: &[u8]) {
        match &mut self.pending {
            Some((last, pending)) if *last == side && !self.random.one_in(3) => pending.extend(bytes),
            _ => {
                self.flush();
                self.pending = Some((side, bytes.to_vec()));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((side, bytes)) = self.pending.take() {
            let dialogue = std::mem::replace(&mut self.dialogue, Dialogue::tcp("", 0));
            self.dialogue = dialogue.write(side, &bytes);
        }
    }

    /// The payload in some padding.
    fn padded(&mut self, payload: Vec<u8>) -> (u8, Vec<u8>) {
        if !self.random.one_in(8) {
            return (0, payload);
        }
        let len = *self.random.pick(&[0, 1, 10, 255]);
        let mut padded = vec![len as u8];
        padded.extend(payload);
        padded.resize(padded.len() + len, 0);
        (PADDED, padded)
    }

    fn headers(&mut self, side: Side, stream: u32, fields: &[Field], end: bool) {
        if self.random.one_in(12) {
            let allowed = self.encoders[side as usize].allowed();
            let size = self.random.below(allowed + 1);
            self.encoders[side as usize].resize(size);
            if self.random.one_in(2) {
                self.encoders[side as usize].resize(allowed);
            }
        }
        let block = self.encoders[side as usize].block(self.random, fields);
        // The first fragment in HEADERS, the others in CONTINUATION.
        let mut fragments = vec![block];
        while self.random.one_in(4) {
            let last = fragments.pop().expect("one");
            let (first, rest) = last.split_at(self.random.below(last.len() + 1));
            fragments.extend([first.to_vec(), rest.to_vec()]);
        }
        let count = fragments.len();
        for (number, fragment) in fragments.into_iter().enumerate() {
            let last = if number + 1 == count { END_HEADERS } else { 0 };
            if number > 0 {
                self.say(side, &frame(CONTINUATION, last, stream, &fragment));
                continue;
            }
            let mut flags = last | if end { END_STREAM } else { 0 };
            let mut payload = fragment;
            if self.random.one_in(8) {
                flags |= WITH_PRIORITY;
                payload.splice(0..0, [0x80, 0, 0, 0, 16]);
            }
            let (padding, payload) = self.padded(payload);
            self.say(side, &frame(HEADERS, flags | padding, stream, &payload));
        }
    }

    /// A frame that belongs to no exchange.
    fn aside(&mut self) {
        let side = *self.random.pick(&Side::BOTH);
        let bytes = match self.random.below(6) {
            0 => frame(PING, 0, 0, &[7; 8]),
            1 => frame(PING, ACK, 0, &[7; 8]),
            2 => frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
            3 => frames::settings(&[(3, 100), (4, 1 << 20)]),
            4 => frame(SETTINGS, ACK, 0, &[]),
            _ => frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        };
        self.say(side, &bytes);
    }

    fn step(&mut self, stream: u32, step: Step) {
        match step {
            Step::Headers { side, fields, end } => self.headers(side, stream, &fields, end),
            Step::Data { side, bytes, end } => {
                let (padding, payload) = self.padded(bytes);
                let flags = padding | if end { END_STREAM } else { 0 };
                self.say(side, &frame(DATA, flags, stream, &payload));
            }
            Step::Reset { side, code } => self.say(side, &frame(RST_STREAM, 0, stream, &code.to_be_bytes())),
        }
    }
}

/// One connection of 1 to 8 streams.
pub fn dialogue(random: &mut Random) -> Dialogue {
    let style = |random: &mut Random| Style {
        huffman: *random.pick(&[0, 5, 10]),
        index: *random.pick(&[0, 5, 9, 10]),
        refer: *random.pick(&[0, 5, 10, 10]),
    };
    let sizes = [0; 2].map(|_| *random.pick(&TABLE_SIZES));
    let styles = [style(random), style(random)];
    // What one end allows, the other one's encoder uses.
    let encoders = [Encoder::new(styles[0], sizes[1]), Encoder::new(styles[1], sizes[0])];
    let dialogue = Dialogue::tcp("generated HTTP/2", *random.pick(&[80, 8080, 50_051]));
    let mut talk = Talk { random, encoders, dialogue, pending: None };
    let said = |size: usize| frames::settings(&[(HEADER_TABLE_SIZE, size as u32), (3, 100)]);
    talk.say(Side::Client, &[PREFACE, &said(sizes[0])].concat());
    talk.say(Side::Server, &said(sizes[1]));
    talk.say(Side::Client, &frame(SETTINGS, ACK, 0, &[]));
    talk.say(Side::Server, &frame(SETTINGS, ACK, 0, &[]));

    let count = 1 + talk.random.below(8);
    let mut streams: Vec<(u32, Vec<Step>)> = Vec::new();
    let mut next = 1;
    let mut opened = 0;
    while opened < count || !streams.is_empty() {
        if opened < count && (streams.is_empty() || talk.random.one_in(4)) {
            let (mut steps, mut responses) = stream(talk.random);
            // The connection ends before the server says anything to it.
            if talk.random.one_in(8) {
                let answered =
                    |step: &Step| step.side() == Side::Server || matches!(step, Step::Reset { .. });
                let most = steps.iter().position(answered).unwrap_or(steps.len());
                steps.truncate(1 + talk.random.below(most));
                steps.truncate(most.max(1));
                responses = 0;
            }
            talk.dialogue.mean(1, responses);
            // Streams begin in the order of their numbers.
            let first = steps.remove(0);
            talk.step(next, first);
            streams.push((next, steps));
            next += 2 * (1 + talk.random.below(3) as u32);
            opened += 1;
        }
        let at = talk.random.below(streams.len());
        let (id, steps) = &mut streams[at];
        let id = *id;
        if steps.is_empty() {
            streams.swap_remove(at);
            continue;
        }
        let step = steps.remove(0);
        let side = step.side();
        talk.step(id, step);
        if talk.random.one_in(10) {
            talk.aside();
        }
        if talk.random.one_in(10) {
            talk.say(side.other(), &frame(WINDOW_UPDATE, 0, id, &[0, 0, 16, 0]));
        }
    }
    if talk.random.one_in(3) {
        talk.say(Side::Server, &frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0, b'b', b'y', b'e']));
    }
    talk.flush();
    let ending = *talk.random.pick(&[Ending::Fin, Ending::ServerFin, Ending::Reset, Ending::Open]);
    talk.dialogue.ending(ending)
}

fn own(name: &str, value: impl Into<String>) -> Field {
    (name.as_bytes().to_vec(), value.into().into_bytes())
}

/// Fields nobody asks for.
fn others(random: &mut Random) -> Vec<Field> {
    let mut fields = Vec::new();
    for _ in 0..random.below(6) {
        let len = if random.one_in(10) { length(random, 1500) } else { random.below(40) };
        let field = match random.below(8) {
            0 => own("user-agent", "grpc-go/1.60.1"),
            1 => own("cookie", exact_word(random, len)),
            2 => own("accept-encoding", "gzip, deflate"),
            3 => own("x-request-id", exact_word(random, 36)),
            4 => own("date", "Tue, 01 Jan 2030 00:00:00 GMT"),
            5 => own("grpc-timeout", "1S"),
            6 => (b"x-bin".to_vec(), noise(random, len)),
            _ => own(&format!("x-{}", word(random, 12).to_ascii_lowercase()), exact_word(random, len)),
        };
        fields.push(field);
    }
    fields
}

fn request(random: &mut Random, method: &str, path: String, content: Option<&str>) -> Vec<Field> {
    let authority = match random.below(6) {
        0 => {
            let len = length(random, 400).max(1);
            exact_word(random, len)
        }
        _ => (*random.pick(&["api.default.svc.cluster.local", "web:8080", "10.1.0.5:50051"])).to_owned(),
    };
    let mut fields = vec![
        own(":method", method),
        own(":scheme", "http"),
        own(":path", path),
        own(":authority", authority),
    ];
    for last in (1..fields.len()).rev() {
        fields.swap(last, random.below(last + 1));
    }
    fields.extend(others(random));
    if let Some(content) = content {
        fields.push(own("content-type", content));
    }
    if random.one_in(4) {
        let id: String = noise(random, 16).iter().map(|byte| format!("{byte:02x}")).collect();
        fields.push(own("traceparent", format!("00-{id}-00f067aa0ba902b7-01")));
    }
    fields.extend(others(random));
    fields
}

/// A stream's steps, and how many responses it gets.
fn stream(random: &mut Random) -> (Vec<Step>, usize) {
    if random.one_in(2) { call(random) } else { exchange(random) }
}

/// Plain HTTP.
fn exchange(random: &mut Random) -> (Vec<Step>, usize) {
    let method =
        *random.pick(&["GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "PROPFIND"]);
    let len = length(random, 900);
    let path = match random.below(6) {
        0 => "/".into(),
        1 => "/index.html".into(),
        2 => "/api/v1/orders?limit=10".into(),
        _ => format!("/{}", exact_word(random, len)),
    };
    let body = method.starts_with('P') && !random.one_in(4);
    let fields = request(random, method, path, body.then_some("application/json"));
    let mut steps = vec![Step::Headers { side: Side::Client, fields, end: !body }];
    if body {
        data(random, &mut steps, Side::Client, true);
    }
    if random.one_in(12) {
        let side = *random.pick(&Side::BOTH);
        steps.push(Step::Reset { side, code: CANCEL });
        return (steps, 1);
    }
    while random.one_in(12) {
        let fields = vec![own(":status", "103"), own("link", "</a>; rel=preload")];
        steps.push(Step::Headers { side: Side::Server, fields, end: false });
    }
    let status =
        *random.pick(&["200", "200", "200", "204", "206", "304", "400", "404", "500", "201", "418", "503"]);
    let mut fields = vec![own(":status", status)];
    fields.extend(others(random));
    let bodiless = method == "HEAD" || status == "204" || status == "304" || random.one_in(8);
    steps.push(Step::Headers { side: Side::Server, fields, end: bodiless });
    if !bodiless {
        let trailers = random.one_in(6);
        data(random, &mut steps, Side::Server, !trailers);
        if trailers {
            let fields = vec![own("x-checksum", word(random, 20))];
            steps.push(Step::Headers { side: Side::Server, fields, end: true });
        }
    }
    (steps, 1)
}

fn data(random: &mut Random, steps: &mut Vec<Step>, side: Side, end: bool) {
    let count = 1 + random.below(3);
    for number in 1..=count {
        let len = length(random, 5000);
        steps.push(Step::Data { side, bytes: noise(random, len), end: end && number == count });
    }
}

/// gRPC messages in DATA frames that know nothing of where messages end.
fn messages(random: &mut Random, steps: &mut Vec<Step>, side: Side, count: usize, end: bool) {
    let mut bytes = Vec::new();
    for _ in 0..count {
        let len = length(random, 3000);
        let message = noise(random, len);
        bytes.extend(frames::grpc(&message));
        // As most do: a frame per message.
        if random.one_in(2) {
            steps.push(Step::Data { side, bytes: std::mem::take(&mut bytes), end: false });
        }
    }
    while random.one_in(2) && !bytes.is_empty() {
        let rest = bytes.split_off(1 + random.below(bytes.len().min(12)));
        steps.push(Step::Data { side, bytes: std::mem::replace(&mut bytes, rest), end: false });
    }
    if end || !bytes.is_empty() {
        steps.push(Step::Data { side, bytes, end });
    }
}

/// A gRPC call: unary, of one stream or of two, answered, refused or cut off.
fn call(random: &mut Random) -> (Vec<Step>, usize) {
    let method = *random.pick(&["/shop.Orders/Get", "/shop.Orders/Watch", "/grpc.health.v1.Health/Check"]);
    let path = if random.one_in(6) {
        format!("/{}.S/{}", word(random, 60), word(random, 300))
    } else {
        method.into()
    };
    let content = *random.pick(&["application/grpc", "application/grpc+proto"]);
    let fields = request(random, "POST", path, Some(content));
    let mut steps = vec![Step::Headers { side: Side::Client, fields, end: false }];
    let count = |random: &mut Random| *random.pick(&[0, 1, 1, 1, 3, 20]);
    let asked = count(random);
    messages(random, &mut steps, Side::Client, asked, true);
    if random.one_in(10) {
        let side = *random.pick(&Side::BOTH);
        steps.push(Step::Reset { side, code: *random.pick(&[CANCEL, 2, 7]) });
        return (steps, 1);
    }
    let status = own("grpc-status", random.below(17).to_string());
    let mut trailers = vec![status, own("grpc-message", word(random, 40))];
    for last in (1..trailers.len()).rev() {
        trailers.swap(last, random.below(last + 1));
    }
    let mut fields = vec![own(":status", "200"), own("content-type", content)];
    fields.extend(others(random));
    if random.one_in(5) {
        // Trailers only.
        fields.extend(trailers);
        steps.push(Step::Headers { side: Side::Server, fields, end: true });
        return (steps, 1);
    }
    steps.push(Step::Headers { side: Side::Server, fields, end: false });
    let answered = count(random);
    messages(random, &mut steps, Side::Server, answered, false);
    if random.one_in(4) {
        // Two streams at once: the client's go on while the server's come.
        let half = steps.len() / 2;
        interleave(random, &mut steps[1..], half);
    }
    if random.one_in(10) {
        let side = *random.pick(&Side::BOTH);
        steps.push(Step::Reset { side, code: CANCEL });
    } else {
        steps.push(Step::Headers { side: Side::Server, fields: trailers, end: true });
    }
    (steps, 1)
}

/// Neighbours of two sides change places; each side's own order stays.
fn interleave(random: &mut Random, steps: &mut [Step], times: usize) {
    for _ in 0..times * 4 {
        let at = random.below(steps.len());
        if at > 0 && steps[at].side() != steps[at - 1].side() {
            steps.swap(at, at - 1);
        }
    }
}
