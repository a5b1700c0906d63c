//! Valid ClientHellos: with names and protocols or without, large key shares, in one record or several.

use super::{exact_word, noise, word};
use crate::dialogue::{Dialogue, Ending, Side};
use crate::packet::random::Random;

pub fn counted(width: usize, bytes: &[u8]) -> Vec<u8> {
    [&bytes.len().to_be_bytes()[size_of::<usize>() - width..], bytes].concat()
}

pub fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &counted(2, data)].concat()
}

pub fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &counted(2, &[&[0][..], &counted(2, name)].concat()))
}

pub fn alpn(names: &[&[u8]]) -> Vec<u8> {
    extension(16, &counted(2, &names.iter().flat_map(|name| counted(1, name)).collect::<Vec<u8>>()))
}

/// A handshake message: version, random, session, ciphers, compression, extensions.
pub fn hello(session: &[u8], ciphers: usize, extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = [&[3, 3][..], &[7; 32], &counted(1, session)].concat();
    body.extend(counted(2, &[0x13, 1].repeat(ciphers)));
    body.extend(counted(1, &[0]));
    body.extend(extensions.map(|extensions| counted(2, extensions)).unwrap_or_default());
    [&[1][..], &counted(3, &body)].concat()
}

pub fn record(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &counted(2, bytes)].concat()
}

fn extensions(random: &mut Random) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..random.below(12) {
        let len = if random.one_in(6) { random.below(2000) } else { random.below(60) };
        let data = noise(random, len);
        all.push(extension(*random.pick(&[5, 10, 11, 13, 23, 43, 45, 51, 0x4469, 0xfe0d, 0x1a1a]), &data));
    }
    if !random.one_in(4) {
        let len = if random.one_in(8) { 200 + random.below(56) } else { 1 + random.below(40) };
        let name = exact_word(random, len);
        all.insert(random.below(all.len() + 1), server_name(name.as_bytes()));
    }
    if !random.one_in(4) {
        let own = word(random, 20);
        let names: Vec<&[u8]> = (0..1 + random.below(6))
            .map(|_| *random.pick(&[&b"h2"[..], b"http/1.1", b"acme", own.as_bytes()]))
            .collect();
        all.insert(random.below(all.len() + 1), alpn(&names));
    }
    all.concat()
}

/// A hello, an answer, and what nobody can read.
pub fn dialogue(random: &mut Random) -> Dialogue {
    let session = noise(random, 32);
    let session = &session[..*random.pick(&[0, 32])];
    let extensions = extensions(random);
    let old = random.one_in(10);
    let ciphers = 1 + random.below(60);
    let hello = hello(session, ciphers, if old { None } else { Some(&extensions) });
    let mut dialogue = Dialogue::tcp("generated TLS", *random.pick(&[443, 8443, 5432]));
    dialogue.meant = Some([0, 0]);
    let bytes = if random.one_in(6) {
        let (first, rest) = hello.split_at(40 + random.below(hello.len() - 40));
        [record(22, first), record(22, rest)].concat()
    } else {
        record(22, &hello)
    };
    dialogue = dialogue.client(bytes);
    let answer = noise(random, 90);
    // A ServerHello: one of the other kind would be a client's, for who comes late.
    dialogue = dialogue.server(record(22, &[&[2][..], &answer].concat()));
    for _ in 0..random.below(6) {
        let side = *random.pick(&Side::BOTH);
        let len = random.below(3000);
        let secret = noise(random, len);
        dialogue = dialogue.write(side, &record(23, &secret));
    }
    dialogue.ending(*random.pick(&[Ending::Fin, Ending::ServerFin, Ending::Reset, Ending::Open]))
}
