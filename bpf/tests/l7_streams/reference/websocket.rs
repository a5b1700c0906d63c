//! WebSocket (RFC 6455 section 5.2) after HTTP/1's upgrade: frames and their bytes, counted.

use fathom_bpf::abi::{l7_flag as flag, l7_protocol, l7_type};

use super::{Telling, http1};
use crate::dialogue::{Dialogue, Ending, Side};
use crate::message::Message;

const CLOSE: u8 = 8;
/// Of a close frame without a status (section 7.4.1).
const NO_STATUS: u16 = 1005;

struct Frame {
    moment: usize,
    side: Side,
    opcode: u8,
    payload: Vec<u8>,
}

/// A side's frames, unmasked, from `at` on.
fn frames(dialogue: &Dialogue, side: Side, mut at: usize) -> Vec<Frame> {
    let stream = dialogue.stream(side);
    let mut frames = Vec::new();
    while let Some((&[first, second], rest)) = stream[at..].split_first_chunk::<2>() {
        let (width, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            len => (0, usize::from(len)),
        };
        let Some((length, rest)) = rest.split_at_checked(width) else { break };
        let len = length.iter().fold(short, |len, byte| len << 8 | usize::from(*byte));
        let masked = if second & 0x80 != 0 { 4 } else { 0 };
        let Some((mask, rest)) = rest.split_at_checked(masked) else { break };
        let Some(payload) = rest.get(..len) else { break };
        let mask = if mask.is_empty() { &[0; 4] } else { mask };
        let payload: Vec<u8> =
            payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        at += 2 + width + masked + len;
        frames.push(Frame { moment: dialogue.moment(side, at), side, opcode: first & 0xf, payload });
    }
    frames
}

pub fn read(dialogue: &Dialogue) -> Telling {
    let (mut telling, upgraded) = http1::read_on(dialogue);
    let Some(left) = upgraded.filter(|left| left.websocket) else { return telling };
    let mut all: Vec<Frame> =
        Side::BOTH.into_iter().flat_map(|side| frames(dialogue, side, left.at[side as usize])).collect();
    all.sort_by_key(|frame| frame.moment);
    let mut sample = Message { proto: l7_protocol::WEBSOCKET, kind: l7_type::SAMPLE, ..Message::default() };
    sample.exchange = left.exchange;
    let mut closed = [false; 2];
    for Frame { moment, side, opcode, payload } in all {
        match opcode {
            0..CLOSE => {
                sample.messages[side as usize] += 1;
                sample.bytes[side as usize] += payload.len() as u64;
            }
            CLOSE => {
                closed[side as usize] = true;
                if !closed[side.other() as usize] {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    sample = sample.status(code.unwrap_or(NO_STATUS));
                }
            }
            _ => {}
        }
        if closed == [true; 2] {
            telling.add(moment, sample);
            return telling;
        }
    }
    if dialogue.ending != Ending::Open {
        telling.add(dialogue.writes.len(), sample.with(flag::ENDED));
    }
    telling
}
