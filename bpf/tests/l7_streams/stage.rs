//! Where dialogues are played: a rig, a new pair of ports for each of them, and what the kernel told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use fathom_bpf::abi::{ENDPOINT_READY, Event, L7_TEXT_MAX, LedgerStage, kind, l7_type};
use fathom_bpf::load::{L7Mode, Program};
use fathom_bpf::maps::LedgerSnapshot;
use fathom_bpf::ring::Lane;
use fathom_bpf::testing::{self, Veth};

use crate::dialogue::{Dialogue, Side, Transport};
use crate::envelope::{self, Envelope};
use crate::message::Message;
use crate::packet::rig::{LOOPBACK, assert_balanced};
use crate::packet::{Frame, PEER_IDENTITY, POD4, POD6, Rig, ip};
use crate::plan::{Packet, Plan};

/// Where the pod's peers are.
const PEERS4: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 0);
const PEERS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0);

/// What a dialogue left behind.
#[derive(Debug)]
pub struct Played {
    /// In the order in which they were written.
    pub messages: Vec<Message>,
    pub ledger: LedgerSnapshot,
}

/// How packets reach the programs.
enum Road {
    TestRun,
    /// As on a node: the programs sit on a device, and a frame may be as long as IP allows.
    Cable(Veth),
}

pub struct Stage {
    rig: Rig,
    road: Road,
    /// Of the next dialogue.
    number: u32,
    last: LedgerSnapshot,
}

impl Stage {
    pub fn new() -> Self {
        Self::on(Road::TestRun)
    }

    /// On a device of its own; in a network namespace of its own.
    pub fn on_cable() -> Self {
        let veth = Veth::new("l7").expect("a veth pair");
        for device in ["l7h", "l7p"] {
            let mut ip = Command::new("ip");
            let set = ip.args(["link", "set", device, "mtu", "65535"]).status().expect("ip");
            assert!(set.success(), "{device} takes long frames");
        }
        let stage = Self::on(Road::Cable(veth));
        let Road::Cable(veth) = &stage.road else { unreachable!() };
        stage.rig.endpoint(veth.ifindex(), ENDPOINT_READY);
        stage.rig.datapath.attach_endpoint(veth.ifindex()).expect("attached");
        stage
    }

    fn on(road: Road) -> Self {
        // Old connections' remains don't displace the present one's, nor their requests its own.
        let rig = Rig::with(|config| {
            config.l7 = L7Mode::All;
            config.sizes.l7_connections = 32 << 10;
            config.sizes.l7_exchanges = 256 << 10;
        });
        rig.prefix(&format!("{PEERS4}/16"), PEER_IDENTITY);
        rig.prefix(&format!("{PEERS6}/64"), PEER_IDENTITY);
        let last = rig.datapath.maps().ledger.read().expect("ledger");
        Self { rig, road, number: 0, last }
    }

    /// Both ends: client, then server. No two dialogues have the same: who wasn't seen to end is still known,
    /// and one that joins without a handshake would be taken for it.
    fn ends(&mut self, dialogue: &Dialogue, plan: &Plan) -> [SocketAddr; 2] {
        let port = 20_000 + (self.number % 40_000) as u16;
        let host = self.number / 40_000;
        self.number += 1;
        let (pod, peer) = if plan.ipv6 {
            (ip(POD6), IpAddr::V6((PEERS6.to_bits() + 1 + u128::from(host)).into()))
        } else {
            (ip(POD4), IpAddr::V4((PEERS4.to_bits() + 1 + host).into()))
        };
        let (client, server) = if plan.server_in_pod { (peer, pod) } else { (pod, peer) };
        [SocketAddr::new(client, port), SocketAddr::new(server, dialogue.server_port)]
    }

    /// Sends a dialogue's packets.
    ///
    /// # Panics
    /// When something is off whatever the bytes were: see [`Stage::judge`].
    pub fn play(&mut self, dialogue: &Dialogue, plan: &Plan, packets: &[Packet]) -> Played {
        let ends = self.ends(dialogue, plan);
        let mut records = Vec::new();
        let mut messages = Vec::new();
        let mut envelopes = Vec::new();
        for packet in packets {
            let frame = frame(dialogue, packet, ends).build();
            let to_pod = (packet.side == Side::Client) == plan.server_in_pod;
            self.carry(&frame, to_pod);
            while self
                .rig
                .reader
                .consume(|record, lane| {
                    records.push((lane, *record.event));
                    assert_eq!(record.message.is_some(), record.event.kind == kind::L7);
                    if let Some(message) = record.message {
                        messages.push(Message::told(&message));
                        envelopes.push(Envelope { event: *record.event, head: *message.head });
                    }
                })
                .more
            {}
        }
        let ledger = self.rig.datapath.maps().ledger.read().expect("ledger");
        let step = ledger.since(&self.last);
        self.last = ledger;
        self.judge(packets.len(), &step, &records, &messages);
        let whole = step[LedgerStage::L7Gaps] + step[LedgerStage::L7Malformed] == 0;
        envelope::judge(dialogue.transport, plan, ends, &envelopes, whole);
        Played { messages, ledger: step }
    }

    /// One frame through its program; whatever it carries, it passes as it is.
    fn carry(&self, frame: &[u8], to_pod: bool) {
        match &self.road {
            Road::TestRun => {
                let program = if to_pod { Program::ToPod } else { Program::FromPod };
                let outcome = testing::run(&self.rig.datapath, program, frame, LOOPBACK)
                    .unwrap_or_else(|e| panic!("{e}: a frame of {} bytes", frame.len()));
                assert_eq!(outcome.retval, -1, "return value of {frame:02x?}");
                assert!(outcome.packet == frame, "{frame:02x?} was changed");
            }
            Road::Cable(veth) if to_pod => veth.send_to_pod(frame).expect("sent"),
            Road::Cable(veth) => veth.send_from_pod(frame).expect("sent"),
        }
    }

    /// What must hold for any bytes: every record can be read and is within its bounds, and the ledger
    /// accounts for each.
    fn judge(&self, packets: usize, step: &LedgerSnapshot, records: &[(Lane, Event)], messages: &[Message]) {
        assert_eq!(self.rig.reader.malformed(), 0, "records that can't be read");
        assert_eq!(step[LedgerStage::PacketsSeen], packets as u64);
        assert_balanced(step, records);
        let of = |kind| messages.iter().filter(|message| message.kind == kind).count() as u64;
        assert_eq!(
            step[LedgerStage::L7Emitted],
            messages.len() as u64 + step[LedgerStage::L7Lost],
            "{step:?}"
        );
        if step[LedgerStage::L7Lost] == 0 {
            assert_eq!(step[LedgerStage::L7Requests], of(l7_type::REQUEST), "{step:?}");
            assert_eq!(step[LedgerStage::L7Responses], of(l7_type::RESPONSE), "{step:?}");
        }
        for message in messages {
            assert!((1..=7).contains(&message.proto), "{message:?}");
            assert!(message.kind <= l7_type::SAMPLE && message.method <= 9, "{message:?}");
            for text in &message.texts {
                assert!((1..=15).contains(&text.kind) && text.bytes.len() <= L7_TEXT_MAX, "{message:?}");
            }
        }
    }
}

fn frame(dialogue: &Dialogue, packet: &Packet, ends: [SocketAddr; 2]) -> Frame {
    let [client, server] = ends;
    let (src, dst) = if packet.side == Side::Client { (client, server) } else { (server, client) };
    let frame = match dialogue.transport {
        Transport::Tcp => Frame::tcp(src, dst, packet.flags).seq(packet.seq).ack(packet.ack),
        Transport::Udp => Frame::udp(src, dst),
    };
    frame.payload(&packet.bytes)
}
