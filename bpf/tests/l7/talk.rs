//! A TCP connection between the peer and the pod, a segment at a time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use fathom_bpf::abi::{Endpoint, Event, L7Head, LedgerStage, l7_flag, l7_text};
use fathom_bpf::load::Program;
use fathom_bpf::maps::LedgerSnapshot;
use fathom_bpf::testing;

use crate::packet::frame::{ACK, FIN, PSH, RST, SYN};
use crate::packet::rig::LOOPBACK;
use crate::packet::{Frame, PEER4, POD4, Rig, ip};

/// One message as the kernel told it.
#[derive(Clone, Debug)]
pub struct Told {
    pub event: Event,
    pub head: L7Head,
    /// (kind, flags, number, bytes)
    pub texts: Vec<(u8, u8, u32, Vec<u8>)>,
}

impl Told {
    pub fn text(&self, kind: u8) -> Option<String> {
        let found = self.texts.iter().find(|text| text.0 == kind)?;
        Some(String::from_utf8_lossy(&found.3).into_owned())
    }

    pub fn path(&self) -> String {
        self.text(l7_text::PATH).unwrap_or_default()
    }

    pub fn host(&self) -> String {
        self.text(l7_text::HOST).unwrap_or_default()
    }

    pub fn has(&self, flag: u16) -> bool {
        self.head.flags & flag != 0
    }

    pub fn status(&self) -> Option<u16> {
        self.has(l7_flag::STATUS).then_some(self.head.status)
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// A connection to the pod's port 8080, or from it.
pub struct Talk<'a> {
    rig: &'a mut Rig,
    client: SocketAddr,
    server: SocketAddr,
    pod_is_server: bool,
    /// Sequence numbers of the next byte: client, server.
    pub next: [u32; 2],
    pub told: Vec<Told>,
    before: LedgerSnapshot,
}

/// Payload of a test run's packet: with headers and room around it, it must fit a page.
const TEST_RUN_MAX: usize = 3000;

static PORT: AtomicU16 = AtomicU16::new(20_000);

impl<'a> Talk<'a> {
    /// After the handshake.
    pub fn open(rig: &'a mut Rig) -> Self {
        let mut talk = Self::silent(rig, true);
        talk.handshake();
        talk
    }

    /// Without a handshake: the connection was there before.
    pub fn joined(rig: &'a mut Rig) -> Self {
        Self::silent(rig, true)
    }

    pub fn silent(rig: &'a mut Rig, pod_is_server: bool) -> Self {
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        let (client, server) = if pod_is_server { (PEER4, POD4) } else { (POD4, PEER4) };
        let before = rig.datapath.maps().ledger.read().expect("ledger");
        Self {
            rig,
            client: (ip(client), port).into(),
            server: (ip(server), 8080).into(),
            pod_is_server,
            next: [0xffff_ff00, 0x7fff_ff80],
            told: Vec::new(),
            before,
        }
    }

    /// The pod has another identity from here on.
    pub fn relabel(&self, identity: u32) {
        let maps = self.rig.datapath.maps();
        let pod = maps.endpoints.get(&LOOPBACK).expect("endpoints").expect("the pod");
        maps.endpoints.upsert(&LOOPBACK, &Endpoint { identity, ..pod }).expect("endpoint");
        maps.policy.swap(identity, &[]).expect("policy table");
        maps.runtime.bump_revision().expect("revision");
    }

    pub fn handshake(&mut self) {
        self.handshake_with([SYN, SYN | ACK]);
    }

    /// With these flags in the first two packets.
    pub fn handshake_with(&mut self, [ask, answer]: [u8; 2]) {
        let [client, server] = self.next;
        self.frame(Side::Client, ask, client.wrapping_sub(1), 0, b"");
        self.frame(Side::Server, answer, server.wrapping_sub(1), client, b"");
        self.frame(Side::Client, ACK, client, server, b"");
    }

    /// A packet with these flags and no bytes, so far from where the side's stream is.
    pub fn bare(&mut self, side: Side, flags: u8, offset: i32) -> &mut Self {
        let (mine, theirs) = self.numbers(side);
        self.frame(side, flags, mine.wrapping_add_signed(offset), theirs, b"");
        self
    }

    /// The next bytes of a side, in one segment as far as a test run takes so many.
    pub fn says(&mut self, side: Side, bytes: &[u8]) -> &mut Self {
        for part in bytes.chunks(TEST_RUN_MAX) {
            let (mine, theirs) = self.numbers(side);
            self.frame(side, ACK | PSH, mine, theirs, part);
            self.next[side as usize] = mine.wrapping_add(part.len() as u32);
        }
        self
    }

    pub fn client(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.says(Side::Client, bytes.as_ref())
    }

    pub fn server(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.says(Side::Server, bytes.as_ref())
    }

    /// A segment that begins `offset` bytes from where the side's stream is; moves nothing.
    pub fn out_of_turn(&mut self, side: Side, offset: i32, bytes: &[u8]) -> &mut Self {
        let (mine, theirs) = self.numbers(side);
        self.frame(side, ACK, mine.wrapping_add_signed(offset), theirs, bytes);
        self
    }

    /// The stream is there now.
    pub fn moved(&mut self, side: Side, bytes: usize) -> &mut Self {
        self.next[side as usize] = self.next[side as usize].wrapping_add(bytes as u32);
        self
    }

    pub fn close(&mut self) -> &mut Self {
        for side in [Side::Client, Side::Server] {
            let (mine, theirs) = self.numbers(side);
            self.frame(side, ACK | FIN, mine, theirs, b"");
            self.next[side as usize] = mine.wrapping_add(1);
        }
        self
    }

    pub fn reset(&mut self) -> &mut Self {
        let (mine, theirs) = self.numbers(Side::Client);
        self.frame(Side::Client, ACK | RST, mine, theirs, b"");
        self
    }

    /// What was told since the last time.
    pub fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// How much a stage has counted since the connection began.
    pub fn counted(&self, stage: LedgerStage) -> u64 {
        let now = self.rig.datapath.maps().ledger.read().expect("ledger");
        now.since(&self.before)[stage]
    }

    fn numbers(&self, side: Side) -> (u32, u32) {
        let [client, server] = self.next;
        if side == Side::Client { (client, server) } else { (server, client) }
    }

    fn frame(&mut self, side: Side, flags: u8, seq: u32, ack: u32, bytes: &[u8]) {
        let (src, dst) = match side {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        };
        let mut frame = Frame::tcp(src, dst, flags).payload(bytes).build();
        frame[38..42].copy_from_slice(&seq.to_be_bytes());
        frame[42..46].copy_from_slice(&ack.to_be_bytes());
        self.run(side, &frame);
    }

    /// A datagram of a side, to the same ports.
    pub fn datagram(&mut self, side: Side, bytes: &[u8]) -> &mut Self {
        let (src, dst) = match side {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        };
        let frame = Frame::udp(src, dst).payload(bytes).build();
        self.run(side, &frame);
        self
    }

    /// A datagram in two fragments, the first with so many bytes of it.
    pub fn fragments(&mut self, side: Side, bytes: &[u8], first: u16) -> &mut Self {
        let (src, dst) = match side {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        };
        let (begin, end) = bytes.split_at(first.into());
        let mut frame = Frame::udp(src, dst).payload(begin).fragment(77, 0, true).build();
        // The header is that of the whole datagram.
        frame[38..40].copy_from_slice(&(8 + bytes.len() as u16).to_be_bytes());
        self.run(side, &frame);
        let mut rest = Frame::udp(src, dst).payload(end).fragment(77, 8 + first, false).build();
        // And the second fragment has none.
        rest.drain(34..42);
        let len = (20 + end.len() as u16).to_be_bytes();
        rest[16..18].copy_from_slice(&len);
        rest[24..26].fill(0);
        let sum = checksum_of(&rest[14..34]);
        rest[24..26].copy_from_slice(&sum);
        self.run(side, &rest);
        self
    }

    fn run(&mut self, side: Side, frame: &[u8]) {
        let to_pod = (side == Side::Client) == self.pod_is_server;
        let program = if to_pod { Program::ToPod } else { Program::FromPod };
        let outcome = testing::run(&self.rig.datapath, program, frame, 1).expect("run");
        assert_eq!(outcome.retval, -1, "every packet passes");
        let told = &mut self.told;
        self.rig.reader.consume(|record, _| {
            if let Some(message) = record.message {
                let texts = message.texts();
                let texts = texts.map(|t| (t.kind, t.flags, t.number, t.bytes.to_vec())).collect();
                told.push(Told { event: *record.event, head: *message.head, texts });
            }
        });
    }
}

/// Of an IPv4 header whose own is zero.
fn checksum_of(header: &[u8]) -> [u8; 2] {
    let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    (!(((sum & 0xffff) + (sum >> 16)) as u16)).to_be_bytes()
}
