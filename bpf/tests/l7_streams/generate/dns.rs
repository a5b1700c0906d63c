//! Valid DNS: names in pointers, CNAME chains, EDNS, many answers, over UDP and TCP.

use super::{exact_word, length, noise, word};
use crate::dialogue::{Dialogue, Side};
use crate::packet::random::Random;
use crate::plan::MOST;

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const AAAA: u16 = 28;
pub const OPT: u16 = 41;

const QUERY_TYPES: [u16; 12] = [A, A, A, AAAA, AAAA, CNAME, 2, 6, 12, 15, 16, 255];

/// A name, as labels.
pub type Name = Vec<Vec<u8>>;

pub fn name(text: &str) -> Name {
    text.split('.').filter(|label| !label.is_empty()).map(|label| label.as_bytes().to_vec()).collect()
}

/// A message as it grows.
pub struct Writer {
    pub bytes: Vec<u8>,
    /// Where each name written before begins.
    names: Vec<(Name, usize)>,
    compress: bool,
}

impl Writer {
    pub fn new(id: u16, flags: u16, compress: bool) -> Self {
        let mut bytes = [id.to_be_bytes(), flags.to_be_bytes()].concat();
        bytes.extend([0; 8]);
        Self { bytes, names: Vec::new(), compress }
    }

    /// Adds to a section's count: 0 questions, 1 answers, 2 authorities, 3 additional.
    fn count(&mut self, section: usize) {
        let at = 4 + section * 2;
        let count = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]) + 1;
        self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// A name; the longest end of it that was written before is pointed to.
    pub fn name(&mut self, name: &Name) {
        for start in 0..name.len() {
            let rest = name[start..].to_vec();
            let known = self.names.iter().find(|(known, at)| *known == rest && *at < 0x4000);
            if let Some((_, at)) = known.filter(|_| self.compress) {
                let pointer = 0xc000 | *at as u16;
                self.bytes.extend(pointer.to_be_bytes());
                return;
            }
            self.names.push((rest, self.bytes.len()));
            self.bytes.push(name[start].len() as u8);
            self.bytes.extend(&name[start]);
        }
        self.bytes.push(0);
    }

    pub fn question(&mut self, name: &Name, kind: u16, class: u16) {
        self.count(0);
        self.name(name);
        self.bytes.extend([kind.to_be_bytes(), class.to_be_bytes()].concat());
    }

    /// A record whose data `write` appends.
    pub fn record(
        &mut self,
        section: usize,
        owner: &Name,
        kind: u16,
        ttl: u32,
        write: impl FnOnce(&mut Self),
    ) {
        self.count(section);
        self.name(owner);
        let class = if kind == OPT { 1232 } else { 1u16 };
        self.bytes.extend([kind.to_be_bytes(), class.to_be_bytes()].concat());
        self.bytes.extend(ttl.to_be_bytes());
        let at = self.bytes.len();
        self.bytes.extend([0, 0]);
        write(self);
        let len = (self.bytes.len() - at - 2) as u16;
        self.bytes[at..at + 2].copy_from_slice(&len.to_be_bytes());
    }
}

/// A host's name; now and then of the greatest length, or of bytes nobody uses.
fn random_name(random: &mut Random) -> Name {
    match random.below(12) {
        0 => Vec::new(),
        1 => {
            // 255 bytes on the wire, or a little less.
            let mut name = Vec::new();
            let mut room = 254 - random.below(4);
            while room > 1 {
                let len = (1 + random.below(63)).min(room - 1);
                name.push(exact_word(random, len).into_bytes());
                room -= len + 1;
            }
            name
        }
        2 => {
            let count = 1 + random.below(100);
            (0..count).map(|_| exact_word(random, 1).into_bytes()).collect()
        }
        3 => {
            let len = 1 + random.below(20);
            vec![noise(random, len), b"Odd".to_vec()]
        }
        _ => {
            let zones = ["svc.cluster.local", "example.com", "Example.COM", "org"];
            let mut name = name(zones[random.below(zones.len())]);
            for _ in 0..1 + random.below(3) {
                name.insert(0, word(random, 20).into_bytes());
            }
            name
        }
    }
}

fn ttl(random: &mut Random) -> u32 {
    *random.pick(&[0, 1, 5, 30, 300, 86_400, 0x7fff_ffff])
}

/// A query and its response.
fn exchange(random: &mut Random, id: u16) -> (Vec<u8>, Vec<u8>) {
    let question = random_name(random);
    let kind = *random.pick(&QUERY_TYPES);
    let class = if random.one_in(20) { 3 } else { 1 };
    let edns = random.one_in(2);
    let asked = 0x0100 | *random.pick(&[0, 0, 0x20, 0x10]);
    let mut query = Writer::new(id, asked, true);
    query.question(&question, kind, class);
    if edns {
        opt(random, &mut query);
    }

    let rcode = *random.pick(&[0, 0, 0, 0, 2, 3, 5]);
    let flags = 0x8180 | *random.pick(&[0, 0x400, 0x200, 0x20]) | rcode;
    let compress = !random.one_in(5);
    let mut response = Writer::new(id, flags, compress);
    response.question(&question, kind, class);
    if rcode == 0 {
        answers(random, &mut response, question, kind);
    }
    if rcode == 3 || random.one_in(6) {
        for _ in 0..1 + random.below(3) {
            let zone = random_name(random);
            let ttl = ttl(random);
            response.record(2, &zone, 2, ttl, |w| w.name(&name("ns1.example.com")));
        }
    }
    while random.one_in(5) {
        let (glue, ttl) = (random_name(random), ttl(random));
        response.record(3, &glue, A, ttl, |w| w.bytes.extend([192, 0, 2, 53]));
    }
    if edns {
        opt(random, &mut response);
    }
    (query.bytes, response.bytes)
}

fn opt(random: &mut Random, writer: &mut Writer) {
    let len = length(random, 60);
    let cookie = noise(random, len);
    writer.record(3, &Vec::new(), OPT, *random.pick(&[0, 0x8000, 0x0100_8000]), |w| {
        if !cookie.is_empty() {
            // An option nobody knows.
            w.bytes.extend([0xfd, 0xe9]);
            w.bytes.extend((cookie.len() as u16).to_be_bytes());
            w.bytes.extend(&cookie);
        }
    });
}

fn answers(random: &mut Random, response: &mut Writer, question: Name, kind: u16) {
    let mut owner = question;
    let links = if random.one_in(3) { 1 + random.below(4) } else { 0 };
    for _ in 0..links {
        let target = random_name(random);
        let ttl = ttl(random);
        response.record(1, &owner, CNAME, ttl, |w| w.name(&target));
        owner = target;
    }
    let count = match random.below(6) {
        0 => 0,
        1 => 6 + random.below(6),
        2 => random.below(30),
        _ => 1 + random.below(3),
    };
    for _ in 0..count {
        let kind = if random.one_in(6) { *random.pick(&[2, 12, 15, 16, 33, 99]) } else { kind };
        record(random, response, &owner, kind);
    }
}

fn record(random: &mut Random, response: &mut Writer, owner: &Name, kind: u16) {
    let ttl = ttl(random);
    let target = random_name(random);
    let address = noise(random, 16);
    match kind {
        AAAA => response.record(1, owner, AAAA, ttl, |w| w.bytes.extend(&address)),
        2 | CNAME | 12 => response.record(1, owner, kind, ttl, |w| w.name(&target)),
        6 => response.record(1, owner, kind, ttl, |w| {
            w.name(&target);
            w.name(&name("admin.example.com"));
            w.bytes.extend([0; 20]);
        }),
        15 => response.record(1, owner, kind, ttl, |w| {
            w.bytes.extend([0, 10]);
            w.name(&target);
        }),
        16 => {
            let text = exact_word(random, 20);
            response.record(1, owner, kind, ttl, |w| {
                w.bytes.push(20);
                w.bytes.extend(text.bytes());
            });
        }
        33 => response.record(1, owner, kind, ttl, |w| {
            w.bytes.extend([0, 1, 0, 2, 0x1f, 0x90]);
            w.name(&target);
        }),
        // A type nobody knows.
        99 => response.record(1, owner, 0xff01, ttl, |w| w.bytes.extend(&address)),
        _ => response.record(1, owner, A, ttl, |w| w.bytes.extend(&address[..4])),
    }
}

/// 1 to 6 exchanges, some at once.
pub fn dialogue(random: &mut Random) -> Dialogue {
    let tcp = random.one_in(2);
    let mut dialogue =
        if tcp { Dialogue::tcp("generated DNS over TCP", 53) } else { Dialogue::udp("generated DNS", 53) };
    let mut id = random.next() as u16;
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    for _ in 0..1 + random.below(6) {
        id = id.wrapping_add(1 + random.below(1000) as u16);
        let (query, mut response) = exchange(random, id);
        if !tcp && response.len() > MOST {
            // As a server does: no answers, and the bit that says so.
            response = query.clone();
            response[2] |= 0x82;
        }
        dialogue = dialogue.write(Side::Client, &framed(tcp, query));
        waiting.push(framed(tcp, response));
        dialogue.mean(1, 1);
        while !waiting.is_empty() && !random.one_in(4) {
            // In any order.
            let response = waiting.swap_remove(random.below(waiting.len()));
            dialogue = dialogue.write(Side::Server, &response);
        }
    }
    waiting.iter().fold(dialogue, |dialogue, response| dialogue.write(Side::Server, response))
}

fn framed(tcp: bool, message: Vec<u8>) -> Vec<u8> {
    if tcp { [&(message.len() as u16).to_be_bytes()[..], &message].concat() } else { message }
}
