//! Packets to begin with, what is done to them, and what is done to the tables meanwhile.

use fathom_bpf::abi::{ENDPOINT_READY, policy_verdict as pv};

use crate::packet::random::Random;
use crate::packet::table::{IN, OUT, enforced, entry};
use crate::packet::{
    ACK, FIN, Frame, PEER_IDENTITY, PSH, RST, Rig, SCTP, SYN, TCP, UDP, WORLD4, WORLD6, at, families, ip,
};

const VIP4: &str = "10.96.0.10";
const VIP6: &str = "fd00:96::10";

/// One service per protocol and family, on port 80; backends on 8080 (SCTP: 80).
pub fn services(rig: &Rig) {
    let [(_, peer4), (_, peer6)] = families();
    for (id, (vip, peer, proto)) in (1..).zip([
        (VIP4, peer4, TCP),
        (VIP4, peer4, UDP),
        (VIP4, peer4, SCTP),
        (VIP6, peer6, TCP),
        (VIP6, peer6, UDP),
        (VIP6, peer6, SCTP),
    ]) {
        rig.service(id, vip, 80, proto, &[(peer, if proto == SCTP { 80 } else { 8080 })]);
    }
    rig.service(9, VIP4, 81, TCP, &[]);
    rig.service(10, VIP4, 82, SCTP, &[(peer4, 8080)]);
}

/// Frames of every kind, in both families and directions, to pods, services and the world.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (pod, peer) in families() {
        let v4 = ip(pod).is_ipv4();
        let (vip, world) = if v4 { (VIP4, WORLD4) } else { (VIP6, WORLD6) };
        for remote in [peer, vip, world] {
            let (here, there) = (at(pod, 40000), at(remote, if remote == peer { 8080 } else { 80 }));
            for (a, b) in [(here, there), (there, here)] {
                for flags in [SYN, SYN | ACK, ACK, ACK | PSH, FIN | ACK, RST] {
                    frames.push(Frame::tcp(a, b, flags).payload(b"GET / HTTP/1.1\r\n\r\n"));
                }
                frames.push(Frame::udp(a, b).payload(&[7; 40]));
                frames.push(Frame::udp(a, b).payload(&[1; 592]).fragment(9, 0, true));
                frames.push(Frame::raw(a.ip(), b.ip(), UDP, &[2; 100]).fragment(9, 600, false));
                for chunk in [0, 1, 2, 6, 14] {
                    frames.push(Frame::sctp(a, b, chunk));
                }
                for reply in [false, true] {
                    frames.push(Frame::echo(a.ip(), b.ip(), reply, 5));
                }
                for about in [Frame::tcp(b, a, SYN), Frame::udp(b, a), Frame::echo(b.ip(), a.ip(), false, 5)]
                {
                    frames.push(Frame::unreachable(a.ip(), &about.build()));
                }
            }
        }
        if !v4 {
            let frame = || Frame::udp(at(pod, 40000), at(peer, 8080)).payload(&[3; 24]);
            frames.push(frame().extension(0, &[0, 0, 5, 2, 0, 0, 1, 0]));
            frames.push(
                frame().extension(60, &[0, 0, 1, 4, 0, 0, 0, 0]).extension(43, &[0, 0, 4, 0, 0, 0, 0, 0]),
            );
            frames.push(frame().fragment(3, 0, false));
            for kind in 130..=143 {
                let hops = if kind < 133 || kind == 143 { 1 } else { 255 };
                frames.push(Frame::icmp(ip("fe80::5"), ip("ff02::1"), kind, 0, [0; 4]).hop_limit(hops));
            }
        }
    }
    let [(pod4, _), _] = families();
    frames.push(Frame::tcp(at(pod4, 40000), at(VIP4, 81), SYN));
    frames.push(Frame::sctp(at(pod4, 40000), at(VIP4, 82), 1));
    let mut bytes: Vec<Vec<u8>> = frames.iter().map(Frame::build).collect();
    let mut arp = bytes[0].clone();
    arp[12..14].copy_from_slice(&[8, 6]);
    bytes.push(arp);
    bytes
}

/// A frame of the corpus, most often changed in a few places; now and then nothing but noise.
pub fn mutant(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(seeds).clone();
    if random.one_in(50) {
        let len = 14 + random.below(120);
        bytes.resize(len, 0);
        bytes[14..].fill_with(|| random.byte());
    }
    let changes = *random.pick(&[0, 0, 1, 1, 1, 2, 3, 8]);
    for _ in 0..changes {
        change(random, seeds, &mut bytes);
    }
    bytes.resize(bytes.len().max(14), 0);
    bytes
}

fn change(random: &mut Random, seeds: &[Vec<u8>], bytes: &mut Vec<u8>) {
    // Most of what matters is in the first hundred bytes.
    let at = random.below(bytes.len().min(100));
    match random.below(9) {
        0 => bytes[at] = random.byte(),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = *random.pick(&[0, 1, 4, 5, 6, 17, 43, 44, 51, 58, 59, 60, 132, 0x7f, 0x80, 0xff]),
        3 => bytes.truncate(at.max(14)),
        4 => bytes.extend((0..random.below(64)).map(|_| random.byte())),
        5 => {
            // The tail of another frame.
            let other = random.pick(seeds);
            bytes.truncate(at.max(14));
            bytes.extend(&other[at.min(other.len())..]);
        }
        6 => {
            // A 16-bit field near its limits.
            let value = random.pick(&[0u16, 1, 7, 8, 19, 20, 40, 0x2000, 0x1fff, 0xffff]).to_be_bytes();
            let at = at.min(bytes.len() - 2);
            bytes[at..at + 2].copy_from_slice(&value);
        }
        7 => {
            // Bytes in: headers move.
            let len = *random.pick(&[1, 4, 8, 20, 40]);
            bytes.splice(at..at, (0..len).map(|_| random.byte()));
        }
        _ => {
            let end = (at + random.below(24)).min(bytes.len());
            bytes.drain(at.max(14).min(end)..end);
        }
    }
}

/// Something else is true for the next packets: most often nothing stands in their way.
pub fn change_tables(random: &mut Random, rig: &Rig) {
    rig.endpoint(1, ENDPOINT_READY);
    match random.below(16) {
        0 => rig.policy(&[enforced(IN, &[], false), enforced(OUT, &[], false)]),
        1 => rig.policy(&[
            enforced(OUT, &[16, 4], true),
            entry(OUT, PEER_IDENTITY, 0, 0, 0, pv::ALLOW, 1),
            entry(OUT, 0, TCP, 80, 16, pv::ALLOW, 2),
            entry(OUT, 0, UDP, 0, 4, pv::DENY, 3),
        ]),
        2 => rig.policy(&[enforced(IN, &[16], false), entry(IN, 0, TCP, 40000, 16, pv::ALLOW, 4)]),
        3 => rig.endpoint(1, 0),
        4 => drop(rig.datapath.maps().endpoints.remove(&1).expect("endpoint")),
        5 | 6 => rig.age(*random.pick(&[4, 6]), |entry| {
            entry.last_seen = entry.last_seen.wrapping_sub(1 << 24);
        }),
        7 | 8 => rig.age(*random.pick(&[4, 6]), |entry| entry.last_report = [0, 0]),
        9..12 => rig.policy(&[]),
        _ => {}
    }
}
