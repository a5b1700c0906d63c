//! Valid WebSocket: an upgrade, frames of every length and kind, closed by either side or not at all.

use super::{length, noise, word};
use crate::dialogue::{Dialogue, Ending, Side};
use crate::packet::random::Random;

pub fn dialogue(random: &mut Random) -> Dialogue {
    let ask = format!(
        "GET /{} HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n",
        word(random, 20)
    );
    let accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let mut dialogue = Dialogue::tcp("generated WebSocket", 8080).client(ask).server(accept);
    dialogue.mean(1, 1);
    for _ in 0..random.below(20) {
        let side = *random.pick(&Side::BOTH);
        let opcode = *random.pick(&[0, 1, 1, 2, 2, 9, 10]);
        let most = if opcode > 8 { 125 } else { 70_000 };
        let len = if random.one_in(30) { most } else { length(random, 3000).min(most) };
        let payload = noise(random, len);
        let bytes = frame(random, side, opcode, &payload);
        dialogue = dialogue.write(side, &bytes);
    }
    if !random.one_in(3) {
        let first = *random.pick(&Side::BOTH);
        for side in [first, first.other()] {
            let payload: &[u8] = random.pick::<&[u8]>(&[b"", b"\x03\xe8", b"\x03\xf3going away"]);
            let bytes = frame(random, side, 8, payload);
            dialogue = dialogue.write(side, &bytes);
            if random.one_in(6) {
                break;
            }
        }
    }
    dialogue.ending(*random.pick(&[Ending::Fin, Ending::ServerFin, Ending::Reset, Ending::Open]))
}

/// As its side sends it: the client's masked.
fn frame(random: &mut Random, side: Side, opcode: u8, payload: &[u8]) -> Vec<u8> {
    // The end of a message, or compressed, as was agreed on.
    let bits = if opcode >= 8 { 0x80 } else { *random.pick(&[0x80, 0x80, 0x00, 0xc0]) };
    let masked = if side == Side::Client { 0x80 } else { 0 };
    let mut bytes = vec![bits | opcode];
    match payload.len() {
        len @ 0..126 => bytes.push(masked | len as u8),
        len @ 126..0x10000 => {
            bytes.push(masked | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(masked | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    let mut mask = [0; 4];
    if side == Side::Client {
        mask.fill_with(|| random.byte());
        bytes.extend(mask);
    }
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
