//! The packets that are measured: Ethernet, IP, TCP, 64 bytes of payload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fathom_bpf::load::Program;
use fathom_bpf::testing::Fields;

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const SERVER_PORT: u16 = 8080;
const CLIENT_PORT: u16 = 40_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    pub fn pod(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 244, 1, 5).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 5).into(),
        }
    }

    /// One of the 256 peers.
    pub fn peer(self, number: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 244, 2, number).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x244, 2, 0, 0, 0, number.into()).into(),
        }
    }

    /// Where the IP header says who sent it.
    fn source(self) -> u16 {
        14 + if self == Self::V4 { 12 } else { 8 }
    }

    fn address(self) -> u16 {
        if self == Self::V4 { 4 } else { 16 }
    }

    fn tcp(self) -> u16 {
        14 + if self == Self::V4 { 20 } else { 40 }
    }
}

/// Who opens the connections that a program's packets belong to: for `from_pod` the pod.
#[derive(Clone, Copy)]
pub struct Flow {
    pub family: Family,
    pub pod_opens: bool,
}

impl Flow {
    /// The connection whose opener's packets pass `program`.
    pub fn through(program: Program, family: Family) -> Self {
        Self { family, pod_opens: program == Program::FromPod }
    }

    /// The program the opener's packets meet, and the one the answers meet.
    pub fn programs(self) -> [Program; 2] {
        if self.pod_opens { [Program::FromPod, Program::ToPod] } else { [Program::ToPod, Program::FromPod] }
    }

    fn ends(self) -> [IpAddr; 2] {
        let (pod, peer) = (self.family.pod(), self.family.peer(0));
        if self.pod_opens { [pod, peer] } else { [peer, pod] }
    }

    pub fn opener_sends(self, flags: u8, payload: usize) -> Vec<u8> {
        let [opener, other] = self.ends();
        tcp([opener, other], [CLIENT_PORT, SERVER_PORT], flags, payload)
    }

    pub fn answer(self, flags: u8) -> Vec<u8> {
        let [opener, other] = self.ends();
        tcp([other, opener], [SERVER_PORT, CLIENT_PORT], flags, 0)
    }

    /// Numbers go into the opener's port, then into the peer's address.
    pub fn fields_opener_sends(self) -> Fields {
        let (source, length) = (self.family.source(), self.family.address());
        let peer = if self.pod_opens { source + length } else { source };
        Fields { low: self.family.tcp(), high: peer + length - 1 }
    }

    /// The same places in an answer.
    pub fn fields_of_answer(self) -> Fields {
        let (source, length) = (self.family.source(), self.family.address());
        let peer = if self.pod_opens { source } else { source + length };
        Fields { low: self.family.tcp() + 2, high: peer + length - 1 }
    }
}

fn tcp(ends: [IpAddr; 2], ports: [u16; 2], flags: u8, payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let length = (20 + payload) as u16;
    match ends {
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + length).to_be_bytes());
            // The programs leave the IP checksum to the stack.
            frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([6, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => unreachable!("both ends are of one family"),
    }
    frame.extend(ports[0].to_be_bytes());
    frame.extend(ports[1].to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    frame.resize(frame.len() + payload, b'x');
    frame
}
