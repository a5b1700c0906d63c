//! How a dialogue travels: where its bytes are cut, what comes twice, early, or never.

use std::ops::Range;

use crate::dialogue::{Dialogue, Ending, Side, Transport};
use crate::packet::random::Random;
use crate::packet::{ACK, FIN, PSH, RST, SYN};

/// Payload of the longest frame that test_run takes on every kernel of the matrix.
pub const MOST: usize = 3200;

/// Bytes kept of a segment that comes before its turn.
pub const MOST_HELD: usize = 2048;

/// Payload of a segment as long as offloads make them.
pub const MOST_LONG: usize = 60_000;

/// Where a write is cut into segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// As few segments as the frame's limit allows.
    Whole,
    /// Besides, before this byte of a side's stream.
    At(Side, usize),
    /// Segments of this many bytes.
    Each(usize),
    /// Of 1 to this many bytes, most often short.
    Random(usize),
}

/// Everything that is done to a dialogue on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub ipv6: bool,
    /// Requests arrive by `to_pod`; otherwise they leave by `from_pod`.
    pub server_in_pod: bool,
    /// Sequence number of each side's SYN.
    pub first: [u32; 2],
    /// Payload of the longest frame.
    pub most: usize,
    pub cuts: Cuts,
    /// One in this many segments comes again: whole, in part, or with what precedes it; 0 = none.
    pub repeats: usize,
    /// Segments within this many of one another change places; below 2 = none.
    pub disorder: usize,
    /// One in this many bursts is followed by a keep-alive probe; 0 = none.
    pub probes: usize,
    /// No handshake is seen, and of each side's bytes the first so many are not.
    pub joined: Option<[usize; 2]>,
    /// Of a joined connection the first packet seen is an acknowledgement of the server's, not of the client's.
    pub server_first: bool,
    /// One in this many segments never comes; 0 = none.
    pub losses: usize,
    /// Of everything above that is random.
    pub seed: u64,
}

impl Plan {
    /// What a quiet network does.
    pub fn whole() -> Self {
        Self {
            ipv6: false,
            server_in_pod: true,
            first: [1000, 90_000],
            most: MOST,
            cuts: Cuts::Whole,
            repeats: 0,
            disorder: 0,
            probes: 0,
            joined: None,
            server_first: false,
            losses: 0,
            seed: 0,
        }
    }

    /// Any of it, with nothing missing.
    pub fn random(random: &mut Random) -> Self {
        let first = [0; 2].map(|_| {
            if random.one_in(4) { u32::MAX - random.below(400) as u32 } else { random.next() as u32 }
        });
        let disorder = *random.pick(&[0, 0, 2, 3, 4]);
        Self {
            ipv6: random.one_in(3),
            server_in_pod: !random.one_in(3),
            first,
            most: if disorder > 0 { MOST_HELD } else { MOST },
            cuts: match random.below(6) {
                0 => Cuts::Whole,
                1 => Cuts::Each(1 + random.below(9)),
                2 => Cuts::Each(1 + random.below(1460)),
                3 => Cuts::Random(1460),
                4 => Cuts::Random(MOST),
                _ => Cuts::Random(1 + random.below(100)),
            },
            repeats: *random.pick(&[0, 0, 2, 5, 20]),
            disorder,
            probes: *random.pick(&[0, 0, 3]),
            joined: None,
            server_first: false,
            losses: 0,
            seed: random.next(),
        }
    }

    /// The packets of a dialogue, in the order of their arrival.
    pub fn packets(&self, dialogue: &Dialogue) -> Vec<Packet> {
        let mut random = Random::new(self.seed);
        if dialogue.transport == Transport::Udp {
            let datagrams = dialogue.writes.iter();
            return datagrams.map(|write| Packet::new(write.side, 0, 0, 0, &write.bytes)).collect();
        }
        let streams = Side::BOTH.map(|side| dialogue.stream(side));
        let mut road =
            Road { plan: self, random: &mut random, streams: &streams, seen: [0; 2], packets: Vec::new() };
        if self.joined.is_none() {
            road.handshake();
        } else {
            let first = if self.server_first { Side::Server } else { Side::Client };
            road.push(first, ACK, 0, &[]);
        }
        for (side, writes) in dialogue.bursts() {
            road.burst(side, &writes);
        }
        road.end(dialogue.ending);
        road.packets
    }
}

/// One packet, before it has addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub side: Side,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub bytes: Vec<u8>,
}

impl Packet {
    fn new(side: Side, flags: u8, seq: u32, ack: u32, bytes: &[u8]) -> Self {
        Self { side, flags, seq, ack, bytes: bytes.to_vec() }
    }
}

/// Packets as they are made.
struct Road<'a> {
    plan: &'a Plan,
    random: &'a mut Random,
    streams: &'a [Vec<u8>; 2],
    /// Bytes of each stream that have arrived.
    seen: [usize; 2],
    packets: Vec<Packet>,
}

impl Road<'_> {
    fn one_in(&mut self, times: usize) -> bool {
        times > 0 && self.random.one_in(times)
    }

    /// Sequence number of a byte of a side's stream.
    fn number(&self, side: Side, at: usize) -> u32 {
        self.plan.first[side as usize].wrapping_add(1).wrapping_add(at as u32)
    }

    fn push(&mut self, side: Side, flags: u8, at: usize, bytes: &[u8]) {
        let ack = self.number(side.other(), self.seen[side.other() as usize]);
        let seq = self.number(side, at);
        self.packets.push(Packet::new(side, flags, seq, ack, bytes));
    }

    fn handshake(&mut self) {
        let [client, server] = self.plan.first;
        self.packets.push(Packet::new(Side::Client, SYN, client, 0, &[]));
        self.packets.push(Packet::new(Side::Server, SYN | ACK, server, client.wrapping_add(1), &[]));
        self.push(Side::Client, ACK, 0, &[]);
    }

    /// What one side writes before the other answers.
    fn burst(&mut self, side: Side, writes: &[Range<usize>]) {
        let skip = self.plan.joined.map_or(0, |skip| skip[side as usize]);
        let mut segments = Vec::new();
        for write in writes {
            let write = write.start.max(skip)..write.end;
            if !write.is_empty() {
                self.cut(side, write, &mut segments);
            }
        }
        let segments = self.repeat(segments, skip);
        let segments = self.mix(segments);
        for segment in segments {
            if self.one_in(self.plan.losses) {
                continue;
            }
            let bytes = &self.streams[side as usize][segment.clone()];
            self.push(side, ACK | PSH, segment.start, bytes);
            self.seen[side as usize] = self.seen[side as usize].max(segment.end);
        }
        self.seen[side as usize] = self.seen[side as usize].max(writes.last().map_or(0, |last| last.end));
        // Nobody probes before everything was acknowledged.
        if self.plan.losses == 0 && self.one_in(self.plan.probes) {
            self.probe(side);
        }
        // The server's stack took none of it, as far as the server's answer to the SYN says, once more.
        if self.plan.joined.is_none() && self.seen[Side::Server as usize] == 0 && self.one_in(8) {
            let [client, server] = self.plan.first;
            self.packets.push(Packet::new(Side::Server, SYN | ACK, server, client.wrapping_add(1), &[]));
        }
        if self.one_in(2) {
            let at = self.seen[side.other() as usize];
            self.push(side.other(), ACK, at, &[]);
        }
    }

    fn cut(&mut self, side: Side, write: Range<usize>, segments: &mut Vec<Range<usize>>) {
        let mut start = write.start;
        while start < write.end {
            let mut end = write.end.min(start + self.plan.most);
            match self.plan.cuts {
                Cuts::Whole => {}
                Cuts::At(of, at) => {
                    if of == side && start < at && at < end {
                        end = at;
                    }
                }
                Cuts::Each(len) => end = end.min(start + len),
                Cuts::Random(most) => {
                    let most = if self.random.one_in(3) { most } else { most.min(12) };
                    end = end.min(start + 1 + self.random.below(most));
                }
            }
            segments.push(start..end);
            start = end;
        }
    }

    fn repeat(&mut self, segments: Vec<Range<usize>>, skip: usize) -> Vec<Range<usize>> {
        let mut all = Vec::new();
        for segment in segments {
            let Range { start, end } = segment;
            if !self.one_in(self.plan.repeats) {
                all.push(segment);
                continue;
            }
            match self.random.below(4) {
                0 => all.extend([segment.clone(), segment]),
                1 => {
                    // Begins in what was seen.
                    let back = self.random.below(self.plan.most.min(200));
                    let start = start.saturating_sub(back).max(skip).max(end.saturating_sub(self.plan.most));
                    all.push(start..end);
                }
                2 => {
                    // A part of it again, first or later.
                    let from = start + self.random.below(end - start);
                    let to = from + 1 + self.random.below(end - from);
                    if self.random.one_in(2) {
                        all.extend([segment, from..to]);
                    } else {
                        all.extend([start..to, segment]);
                    }
                }
                _ => {
                    // Anything from before.
                    let from = skip + self.random.below(end - skip);
                    let to = from + 1 + self.random.below((end - from).min(self.plan.most));
                    all.extend([segment, from..to]);
                }
            }
        }
        all
    }

    fn mix(&mut self, mut segments: Vec<Range<usize>>) -> Vec<Range<usize>> {
        if self.plan.disorder >= 2 {
            for group in segments.chunks_mut(self.plan.disorder) {
                if self.random.one_in(2) {
                    continue;
                }
                for last in (1..group.len()).rev() {
                    group.swap(last, self.random.below(last + 1));
                }
            }
        }
        segments
    }

    /// A segment before the next byte: empty, or a byte that was acknowledged long ago.
    fn probe(&mut self, side: Side) {
        let at = self.seen[side as usize];
        let seq = self.number(side, at).wrapping_sub(1);
        let ack = self.number(side.other(), self.seen[side.other() as usize]);
        let garbage: &[u8] = if self.random.one_in(2) { b"\0" } else { b"" };
        self.packets.push(Packet::new(side, ACK, seq, ack, garbage));
    }

    fn end(&mut self, ending: Ending) {
        let first = match ending {
            Ending::Open => return,
            Ending::Reset => {
                let at = self.seen[Side::Client as usize];
                return self.push(Side::Client, RST | ACK, at, &[]);
            }
            Ending::Fin => Side::Client,
            Ending::ServerFin => Side::Server,
        };
        for side in [first, first.other()] {
            let at = self.seen[side as usize];
            self.push(side, FIN | ACK, at, &[]);
            self.seen[side as usize] += 1;
        }
        let at = self.seen[first as usize];
        self.push(first, ACK, at, &[]);
    }
}
