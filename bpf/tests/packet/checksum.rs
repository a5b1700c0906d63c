//! The Internet checksum (RFC 1071), to make packets and to check what programs made of them.

use std::net::IpAddr;

/// Ones' complement sum, folded; not inverted.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What TCP, UDP and ICMPv6 sum besides themselves.
pub fn pseudo_header(src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
        }
        _ => panic!("{src} and {dst} are of two families"),
    }
    bytes.extend((len as u32).to_be_bytes());
    bytes.extend([0, 0, 0, proto]);
    bytes
}

/// The checksum of an L4 segment whose checksum field is zero.
pub fn of_segment(src: IpAddr, dst: IpAddr, proto: u8, segment: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    if proto != super::ICMP4 {
        bytes = pseudo_header(src, dst, proto, segment.len());
    }
    bytes.extend(segment);
    !sum(&bytes)
}

/// Checks every checksum of a packet without options, from the Ethernet header on: the IPv4
/// header's and that of TCP, UDP, ICMP and ICMPv6. A later fragment has none at L4.
///
/// # Errors
/// Which one is wrong.
pub fn check(packet: &[u8]) -> Result<(), String> {
    let l3 = &packet[14..];
    let (src, dst, proto, segment): (IpAddr, IpAddr, u8, &[u8]);
    if l3[0] >> 4 == 4 {
        if sum(&l3[..20]) != 0xffff {
            return Err(format!("IPv4 header checksum of {l3:02x?}"));
        }
        if u16::from_be_bytes([l3[6], l3[7]]) & 0x3fff != 0 {
            return Ok(());
        }
        src = <[u8; 4]>::try_from(&l3[12..16]).expect("4 bytes").into();
        dst = <[u8; 4]>::try_from(&l3[16..20]).expect("4 bytes").into();
        (proto, segment) = (l3[9], &l3[20..]);
    } else {
        src = <[u8; 16]>::try_from(&l3[8..24]).expect("16 bytes").into();
        dst = <[u8; 16]>::try_from(&l3[24..40]).expect("16 bytes").into();
        (proto, segment) = (l3[6], &l3[40..]);
    }
    match proto {
        super::UDP if segment[6..8] == [0, 0] => {
            if src.is_ipv4() {
                Ok(())
            } else {
                Err("UDP over IPv6 needs a checksum".into())
            }
        }
        super::TCP | super::UDP | super::ICMP4 | super::ICMP6 => {
            let right = of_segment(src, dst, proto, segment) == 0;
            right.then_some(()).ok_or_else(|| format!("checksum of protocol {proto}, {src} to {dst}"))
        }
        _ => Ok(()),
    }
}

/// [`check`], for tests.
pub fn verify(packet: &[u8]) {
    check(packet).unwrap_or_else(|wrong| panic!("{wrong}: {packet:02x?}"));
}
