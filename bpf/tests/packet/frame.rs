//! Frames by description: what isn't said is as a good stack would do it.

use std::net::{IpAddr, SocketAddr};

use super::checksum;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;

const POD_MAC: [u8; 6] = [2, 0, 0, 0, 0, 5];
const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A frame to be made.
#[derive(Clone, Debug)]
pub struct Frame {
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    /// Header and payload; its checksum is filled in where `checksum_at` says.
    segment: Vec<u8>,
    checksum_at: Option<usize>,
    hop_limit: u8,
    /// IPv6 extension headers: number and bytes, the first two of which are set when built.
    extensions: Vec<(u8, Vec<u8>)>,
    /// (identification, offset in bytes, more): cuts nothing, only says so.
    fragment: Option<(u16, u16, bool)>,
}

impl Frame {
    fn new(src: IpAddr, dst: IpAddr, proto: u8, segment: Vec<u8>, checksum_at: Option<usize>) -> Self {
        let (extensions, fragment) = (Vec::new(), None);
        Self { src, dst, proto, segment, checksum_at, hop_limit: 64, extensions, fragment }
    }

    pub fn tcp(src: SocketAddr, dst: SocketAddr, flags: u8) -> Self {
        let mut segment = ports(src, dst);
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        Self::new(src.ip(), dst.ip(), super::TCP, segment, Some(16))
    }

    pub fn udp(src: SocketAddr, dst: SocketAddr) -> Self {
        let mut segment = ports(src, dst);
        segment.extend([0, 0, 0, 0]);
        Self::new(src.ip(), dst.ip(), super::UDP, segment, Some(6))
    }

    /// One chunk of this type.
    pub fn sctp(src: SocketAddr, dst: SocketAddr, chunk: u8) -> Self {
        let mut segment = ports(src, dst);
        segment.extend([0, 0, 0, 9, 0xc, 0xc, 0xc, 0xc, chunk, 0, 0, 4]);
        Self::new(src.ip(), dst.ip(), super::SCTP, segment, None)
    }

    /// ICMP or ICMPv6, by the addresses' family.
    pub fn icmp(src: IpAddr, dst: IpAddr, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        let mut segment = vec![kind, code, 0, 0];
        segment.extend(rest);
        let proto = if src.is_ipv4() { super::ICMP4 } else { super::ICMP6 };
        Self::new(src, dst, proto, segment, Some(2))
    }

    /// An echo request or reply.
    pub fn echo(src: IpAddr, dst: IpAddr, reply: bool, id: u16) -> Self {
        let kind = match (src.is_ipv4(), reply) {
            (true, false) => 8,
            (true, true) => 0,
            (false, false) => 128,
            (false, true) => 129,
        };
        let [high, low] = id.to_be_bytes();
        Self::icmp(src, dst, kind, 0, [high, low, 0, 1])
    }

    /// "Port unreachable" about a packet, sent by `src` to that packet's sender.
    pub fn unreachable(src: IpAddr, about: &[u8]) -> Self {
        let l3 = &about[14..];
        let dst: IpAddr = if l3[0] >> 4 == 4 {
            <[u8; 4]>::try_from(&l3[12..16]).expect("4 bytes").into()
        } else {
            <[u8; 16]>::try_from(&l3[8..24]).expect("16 bytes").into()
        };
        let (kind, code) = if src.is_ipv4() { (3, 3) } else { (1, 4) };
        Self::icmp(src, dst, kind, code, [0; 4]).payload(l3)
    }

    /// Any protocol, its bytes taken as they are.
    pub fn raw(src: IpAddr, dst: IpAddr, proto: u8, segment: &[u8]) -> Self {
        Self::new(src, dst, proto, segment.to_vec(), None)
    }

    /// The sequence number of a TCP segment; 1 without it.
    pub fn seq(self, number: u32) -> Self {
        self.tcp_number(4, number)
    }

    /// The acknowledgement number of a TCP segment; 0 without it.
    pub fn ack(self, number: u32) -> Self {
        self.tcp_number(8, number)
    }

    fn tcp_number(mut self, at: usize, number: u32) -> Self {
        assert_eq!(self.proto, super::TCP, "what has sequence numbers");
        self.segment[at..at + 4].copy_from_slice(&number.to_be_bytes());
        self
    }

    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.segment.extend(bytes);
        self
    }

    pub fn hop_limit(mut self, hops: u8) -> Self {
        self.hop_limit = hops;
        self
    }

    /// Appends an IPv6 extension header; `bytes` from its first byte on, a multiple of 8.
    pub fn extension(mut self, number: u8, bytes: &[u8]) -> Self {
        self.extensions.push((number, bytes.to_vec()));
        self
    }

    pub fn fragment(mut self, id: u16, offset: u16, more: bool) -> Self {
        self.fragment = Some((id, offset, more));
        self
    }

    /// The bytes, from the Ethernet header on.
    pub fn build(&self) -> Vec<u8> {
        let mut segment = self.segment.clone();
        let first = self.fragment.is_none_or(|(_, offset, _)| offset == 0);
        let len = (segment.len() as u16).to_be_bytes();
        if let Some(field) = segment.get_mut(4..6).filter(|_| self.proto == super::UDP && first) {
            field.copy_from_slice(&len);
        }
        if let Some(at) = self.checksum_at.filter(|_| first) {
            let sum = checksum::of_segment(self.src, self.dst, self.proto, &segment);
            segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let mut frame = [NODE_MAC, POD_MAC].concat();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                frame.extend([8, 0]);
                frame.extend(self.ip4_header(src.octets(), dst.octets(), segment.len()));
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                frame.extend([0x86, 0xdd]);
                frame.extend(self.ip6_headers(src.octets(), dst.octets(), segment.len()));
            }
            (src, dst) => panic!("{src} and {dst} are of two families"),
        }
        frame.extend(segment);
        frame
    }

    fn ip4_header(&self, src: [u8; 4], dst: [u8; 4], len: usize) -> Vec<u8> {
        let (id, offset, more) = self.fragment.unwrap_or_default();
        let mut ip = vec![0x45, 0];
        ip.extend((20 + len as u16).to_be_bytes());
        ip.extend(id.to_be_bytes());
        ip.extend(((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
        ip.extend([self.hop_limit, self.proto, 0, 0]);
        ip.extend(src);
        ip.extend(dst);
        let sum = !checksum::sum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip
    }

    fn ip6_headers(&self, src: [u8; 16], dst: [u8; 16], len: usize) -> Vec<u8> {
        let mut headers = self.extensions.clone();
        if let Some((id, offset, more)) = self.fragment {
            let mut bytes = vec![0, 0];
            bytes.extend((offset | u16::from(more)).to_be_bytes());
            bytes.extend(u32::from(id).to_be_bytes());
            headers.push((44, bytes));
        }
        let mut rest = Vec::new();
        let mut next = self.proto;
        for (number, mut bytes) in headers.into_iter().rev() {
            bytes[0] = next;
            next = number;
            rest.splice(0..0, bytes);
        }
        let mut ip = vec![0x60, 0, 0, 0];
        ip.extend(((rest.len() + len) as u16).to_be_bytes());
        ip.extend([next, self.hop_limit]);
        ip.extend(src);
        ip.extend(dst);
        ip.extend(rest);
        ip
    }
}

fn ports(src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
    [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat()
}

/// Addresses and ports of a built TCP, UDP or SCTP packet: (source, destination).
pub fn addresses(packet: &[u8]) -> (SocketAddr, SocketAddr) {
    let l3 = &packet[14..];
    let (src, dst, l4): (IpAddr, IpAddr, &[u8]) = if l3[0] >> 4 == 4 {
        (
            <[u8; 4]>::try_from(&l3[12..16]).expect("4 bytes").into(),
            <[u8; 4]>::try_from(&l3[16..20]).expect("4 bytes").into(),
            &l3[20..],
        )
    } else {
        (
            <[u8; 16]>::try_from(&l3[8..24]).expect("16 bytes").into(),
            <[u8; 16]>::try_from(&l3[24..40]).expect("16 bytes").into(),
            &l3[40..],
        )
    };
    let port = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
    (SocketAddr::new(src, port(0)), SocketAddr::new(dst, port(2)))
}
