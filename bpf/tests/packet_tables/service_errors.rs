//! ICMP errors about translated packets: each side is shown the packet that it knows.

use fathom_bpf::abi::{LedgerStage, ct_state, flag};

use crate::packet::frame::addresses;
use crate::packet::{ACK, Fate, Frame, Rig, SYN, TCP, UDP, WORLD4, WORLD6, at, checksum, families, ip};

const SERVICE: u32 = 3;

fn vip(pod: &str) -> &'static str {
    if ip(pod).is_ipv4() { "10.96.0.10" } else { "fd00:96::10" }
}

/// The packet inside an ICMP error, behind an Ethernet header of its own.
fn inside(packet: &[u8]) -> Vec<u8> {
    let l4 = if packet[14] >> 4 == 4 { 34 } else { 54 };
    [&packet[..14], &packet[l4 + 8..]].concat()
}

fn question(proto: u8, from: std::net::SocketAddr, to: std::net::SocketAddr) -> Frame {
    if proto == TCP { Frame::tcp(from, to, SYN) } else { Frame::udp(from, to).payload(b"question") }
}

#[test]
fn an_error_about_a_backend_tells_the_client_of_its_frontend() {
    for (pod, peer) in families() {
        let router = if ip(pod).is_ipv4() { WORLD4 } else { WORLD6 };
        for proto in [TCP, UDP] {
            for from in [peer, router] {
                let (client, frontend) = (at(pod, 5000), at(vip(pod), 53));
                let mut rig = Rig::new();
                rig.service(SERVICE, vip(pod), 53, proto, &[(peer, 5353)]);
                let sent = rig.pod_sends(&question(proto, client, frontend)).packet;
                assert_eq!(addresses(&sent).1, at(peer, 5353));

                let outcome = rig.pod_receives(&Frame::unreachable(ip(from), &sent));
                assert_eq!(outcome.fate, Fate::Passed);
                checksum::verify(&outcome.packet);
                let shown = inside(&outcome.packet);
                checksum::verify(&shown);
                assert_eq!(addresses(&shown), (client, frontend), "inside, {proto} from {from}");
                // The backend speaks as the frontend; a router stays what it is.
                let speaker = if from == peer { vip(pod) } else { router };
                assert_eq!(addresses(&outcome.packet).0.ip(), ip(speaker));
                let event = outcome.record("error");
                assert_eq!((event.ct_state, event.service_id), (ct_state::RELATED, SERVICE));
                assert_ne!(event.flags & flag::TRANSLATED, 0);
                assert_eq!(outcome.ledger[LedgerStage::TcReversed], 1);
            }
        }
    }
}

#[test]
fn an_error_of_the_client_tells_the_backend_of_the_backend() {
    for (pod, peer) in families() {
        for proto in [TCP, UDP] {
            let (client, frontend, backend) = (at(pod, 5000), at(vip(pod), 53), at(peer, 5353));
            let mut rig = Rig::new();
            rig.service(SERVICE, vip(pod), 53, proto, &[(peer, 5353)]);
            rig.pod_sends(&question(proto, client, frontend));
            let answer = match proto {
                TCP => Frame::tcp(backend, client, SYN | ACK),
                _ => Frame::udp(backend, client).payload(b"answer"),
            };
            let received = rig.pod_receives(&answer).packet;
            assert_eq!(addresses(&received), (frontend, client));

            let outcome = rig.pod_sends(&Frame::unreachable(ip(pod), &received));
            assert_eq!(outcome.fate, Fate::Passed);
            checksum::verify(&outcome.packet);
            let shown = inside(&outcome.packet);
            checksum::verify(&shown);
            assert_eq!(addresses(&shown), (backend, client), "inside, {proto}");
            assert_eq!(addresses(&outcome.packet).1.ip(), ip(peer));
            assert_eq!(outcome.record("error").ct_state, ct_state::RELATED);
        }
    }
}

#[test]
fn eight_bytes_of_tcp_are_enough() {
    for (pod, peer) in families() {
        let (client, frontend) = (at(pod, 5000), at(vip(pod), 53));
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 53, TCP, &[(peer, 5353)]);
        let sent = rig.pod_sends(&Frame::tcp(client, frontend, SYN)).packet;
        let l4 = if client.is_ipv4() { 34 } else { 54 };
        let outcome = rig.pod_receives(&Frame::unreachable(ip(peer), &sent[..l4 + 8]));
        assert_eq!(outcome.fate, Fate::Passed);
        checksum::verify(&outcome.packet);
        assert_eq!(addresses(&inside(&outcome.packet)), (client, frontend));
    }
}
