//! Of the packets that show a difference, the fewest that still do.

use crate::dialogue::{Dialogue, Side, Transport};
use crate::plan::{Packet, Plan};

/// Most tries of one shrinking.
const TRIES: usize = 5000;

/// Leaves out packets, joins neighbours and puts them in order while `fails` holds and every byte still comes.
pub fn shrink(
    dialogue: &Dialogue,
    plan: &Plan,
    mut packets: Vec<Packet>,
    mut fails: impl FnMut(&[Packet]) -> bool,
) -> Vec<Packet> {
    if dialogue.transport == Transport::Udp {
        return packets;
    }
    let mut tries = 0;
    loop {
        let before = packets.clone();
        let mut at = 0;
        while at < packets.len() {
            for smaller in
                [without(&packets, at), joined(&packets, at), ordered(&packets, at)].into_iter().flatten()
            {
                tries += 1;
                if whole(dialogue, plan, &smaller) && fails(&smaller) {
                    packets = smaller;
                    break;
                }
            }
            at += 1;
        }
        if packets == before || tries > TRIES {
            return packets;
        }
    }
}

fn without(packets: &[Packet], at: usize) -> Option<Vec<Packet>> {
    let mut fewer = packets.to_vec();
    // The handshake and the end belong to the dialogue.
    let data = fewer.remove(at).flags & (crate::packet::SYN | crate::packet::FIN | crate::packet::RST) == 0;
    (data && at > 2).then_some(fewer)
}

/// A packet and the next one of its side as one, if they are neighbours in the stream too.
fn joined(packets: &[Packet], at: usize) -> Option<Vec<Packet>> {
    let (first, next) = (packets.get(at)?, packets.get(at + 1)?);
    let neighbours = first.side == next.side
        && first.flags == next.flags
        && !first.bytes.is_empty()
        && first.seq.wrapping_add(first.bytes.len() as u32) == next.seq
        && first.bytes.len() + next.bytes.len() <= crate::plan::MOST_HELD;
    let mut fewer = packets.to_vec();
    let next = fewer.remove(at + 1);
    fewer[at].bytes.extend(next.bytes);
    neighbours.then_some(fewer)
}

/// A packet and the next one of its side in the order of the stream.
fn ordered(packets: &[Packet], at: usize) -> Option<Vec<Packet>> {
    let (first, next) = (packets.get(at)?, packets.get(at + 1)?);
    let early = first.side == next.side && (next.seq.wrapping_sub(first.seq) as i32) < 0;
    let mut swapped = packets.to_vec();
    swapped.swap(at, at + 1);
    early.then_some(swapped)
}

/// Every byte of both streams comes in some packet.
fn whole(dialogue: &Dialogue, plan: &Plan, packets: &[Packet]) -> bool {
    Side::BOTH.into_iter().all(|side| {
        let mut come = vec![false; dialogue.len(side)];
        for packet in packets.iter().filter(|packet| packet.side == side) {
            let start = packet.seq.wrapping_sub(plan.first[side as usize]).wrapping_sub(1) as usize;
            let end = start + packet.bytes.len();
            if end <= come.len() {
                come[start..end].fill(true);
            }
        }
        come.into_iter().all(|byte| byte)
    })
}
