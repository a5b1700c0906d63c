//! Services at tc: there and back, checksums right, the same backend for as long as it lasts.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use fathom_bpf::abi::{LedgerStage, drop_reason as reason, flag, trigger};
use fathom_bpf::load::Program;
use fathom_bpf::maps::{Scope, ServiceSpec};

use crate::packet::frame::addresses;
use crate::packet::rig::dropped;
use crate::packet::table::{OUT, allow, enforced};
use crate::packet::{
    ACK, FIN, Fate, Frame, Outcome, PEER_IDENTITY, PSH, Rig, SCTP, SYN, TCP, UDP, at, checksum, families, ip,
};

const SERVICE: u32 = 3;

/// The service's address in the family of `pod`.
fn vip(pod: &str) -> &'static str {
    if ip(pod).is_ipv4() { "10.96.0.10" } else { "fd00:96::10" }
}

fn rewritten(outcome: &Outcome) -> (SocketAddr, SocketAddr) {
    assert_eq!(outcome.fate, Fate::Passed);
    checksum::verify(&outcome.packet);
    addresses(&outcome.packet)
}

#[test]
fn a_packet_to_a_frontend_reaches_its_backend_and_the_reply_comes_from_the_frontend() {
    for (pod, peer) in families() {
        let (client, frontend, backend) = (at(pod, 40000), at(vip(pod), 80), at(peer, 8080));
        for proto in [TCP, UDP] {
            let ask = |flags, payload: &[u8]| match proto {
                TCP => Frame::tcp(client, frontend, flags).payload(payload),
                _ => Frame::udp(client, frontend).payload(payload),
            };
            let answer = |flags, payload: &[u8]| match proto {
                TCP => Frame::tcp(backend, client, flags).payload(payload),
                _ => Frame::udp(backend, client).payload(payload),
            };
            let mut rig = Rig::new();
            rig.service(SERVICE, vip(pod), 80, proto, &[(peer, 8080)]);

            let first = rig.pod_sends(&ask(SYN, b""));
            assert_eq!(rewritten(&first), (client, backend));
            assert_eq!(first.ledger[LedgerStage::TcTranslated], 1);
            let event = first.record("the first");
            assert_eq!((event.trigger, event.destination(), event.dport()), (trigger::NEW, ip(peer), 8080));
            assert_eq!((event.dst_identity, event.service_id), (PEER_IDENTITY, SERVICE));
            assert_eq!(event.frontend_port_be, 80u16.to_be_bytes());
            assert_ne!(event.flags & flag::TRANSLATED, 0);

            let reply = rig.pod_receives(&answer(SYN | ACK, b""));
            assert_eq!(rewritten(&reply), (frontend, client));
            assert_eq!(reply.ledger[LedgerStage::TcReversed], 1);
            let event = reply.record("the reply");
            assert_eq!((event.trigger, event.source()), (trigger::FLAGS, ip(peer)));
            assert_eq!((event.service_id, event.frontend_port_be), (SERVICE, 80u16.to_be_bytes()));
            assert_ne!(event.flags & flag::TRANSLATED, 0);

            // Odd lengths, to move every byte of the sum.
            for payload in [b"a".as_slice(), b"odd", &[0xff; 101]] {
                let there = rig.pod_sends(&ask(ACK | PSH, payload));
                assert_eq!(rewritten(&there), (client, backend));
                assert!(there.packet.ends_with(payload));
                assert!(there.records.is_empty());
                let back = rig.pod_receives(&answer(ACK | PSH, payload));
                assert_eq!(rewritten(&back), (frontend, client));
            }
        }
    }
}

#[test]
fn a_connection_keeps_its_backend_and_new_ones_use_them_all() {
    for (pod, peer) in families() {
        let backends: Vec<String> = (20..24).map(|n| format!("{}{n}", &peer[..peer.len() - 1])).collect();
        let backends: Vec<(&str, u16)> = backends.iter().map(|b| (b.as_str(), 8080)).collect();
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 80, TCP, &backends);
        let mut used = HashSet::new();
        for port in 40000..40060 {
            let (client, frontend) = (at(pod, port), at(vip(pod), 80));
            let chosen = rewritten(&rig.pod_sends(&Frame::tcp(client, frontend, SYN))).1;
            // A retransmitted SYN stays; so does everything after the handshake.
            assert_eq!(rewritten(&rig.pod_sends(&Frame::tcp(client, frontend, SYN))).1, chosen);
            rig.pod_receives(&Frame::tcp(chosen, client, SYN | ACK));
            for flags in [ACK, ACK | PSH, FIN | ACK] {
                assert_eq!(rewritten(&rig.pod_sends(&Frame::tcp(client, frontend, flags))).1, chosen);
            }
            used.insert(chosen);
        }
        assert_eq!(used.len(), 4, "{used:?}");
        // A SYN after all that chooses anew, sooner or later another.
        let mut again = HashSet::new();
        for _ in 0..40 {
            let outcome = rig.pod_sends(&Frame::tcp(at(pod, 40000), at(vip(pod), 80), SYN));
            again.insert(rewritten(&outcome).1);
            rig.pod_sends(&Frame::tcp(at(pod, 40000), at(vip(pod), 80), ACK));
        }
        assert!(again.len() > 1, "{again:?}");
    }
}

#[test]
fn a_backend_that_is_gone_is_replaced() {
    for (pod, peer) in families() {
        let gone = format!("{}77", &peer[..peer.len() - 1]);
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 53, UDP, &[(&gone, 53)]);
        let ask = Frame::udp(at(pod, 5000), at(vip(pod), 53));
        assert_eq!(rewritten(&rig.pod_sends(&ask)).1, at(&gone, 53));
        rig.service(SERVICE, vip(pod), 53, UDP, &[(peer, 53)]);
        rig.datapath.maps().services.sweep().expect("sweep");
        assert_eq!(rewritten(&rig.pod_sends(&ask)).1, at(peer, 53));
    }
}

#[test]
fn a_client_with_affinity_meets_the_same_backend_again() {
    for (pod, peer) in families() {
        let backends = (20..28).map(|n| (ip(&format!("{}{n}", &peer[..peer.len() - 1])), 80)).collect();
        let mut rig = Rig::new();
        let spec = ServiceSpec {
            id: SERVICE,
            address: ip(vip(pod)),
            port: 80,
            proto: TCP,
            scope: Scope::Inside,
            local: false,
            backends,
            affinity: Some(Duration::from_secs(600)),
        };
        rig.datapath.maps().services.replace(&spec).expect("service");
        let mut used = HashSet::new();
        for port in 41000..41030 {
            let outcome = rig.pod_sends(&Frame::tcp(at(pod, port), at(vip(pod), 80), SYN));
            used.insert(rewritten(&outcome).1);
        }
        assert_eq!(used.len(), 1, "{used:?}");
    }
}

#[test]
fn a_service_without_backends_is_a_named_drop() {
    for (pod, _) in families() {
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 80, TCP, &[]);
        let outcome = rig.pod_sends(&Frame::tcp(at(pod, 40000), at(vip(pod), 80), SYN));
        assert_eq!(outcome.fate, dropped(reason::NO_BACKEND));
        let event = outcome.record("SYN");
        assert_eq!((event.service_id, event.destination()), (SERVICE, ip(vip(pod))));
        assert_eq!(event.frontend_port_be, 80u16.to_be_bytes());
        assert!(rig.connections(if ip(pod).is_ipv4() { 4 } else { 6 }).is_empty());
    }
}

#[test]
fn policy_judges_the_backend_and_a_denied_packet_leaves_no_trace() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 80, TCP, &[(peer, 8080)]);
        let syn = Frame::tcp(at(pod, 40000), at(vip(pod), 80), SYN);
        rig.policy(&[enforced(OUT, &[16], false), allow(OUT, PEER_IDENTITY, TCP, 80, 1)]);
        let outcome = rig.pod_sends(&syn);
        assert_eq!(outcome.fate, dropped(reason::POLICY_DENIED), "80 is the frontend's port");
        let event = outcome.record("SYN");
        assert_eq!((event.destination(), event.dport(), event.service_id), (ip(peer), 8080, SERVICE));
        assert!(rig.connections(if ip(pod).is_ipv4() { 4 } else { 6 }).is_empty());
        rig.policy(&[enforced(OUT, &[16], false), allow(OUT, PEER_IDENTITY, TCP, 8080, 1)]);
        assert_eq!(rewritten(&rig.pod_sends(&syn)).1, at(peer, 8080));
    }
}

#[test]
fn sctp_is_translated_where_only_the_address_changes() {
    for (pod, peer) in families() {
        let (client, frontend) = (at(pod, 40000), at(vip(pod), 80));
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 80, SCTP, &[(peer, 80)]);
        let init = Frame::sctp(client, frontend, 1);
        assert_eq!(rewritten(&rig.pod_sends(&init)), (client, at(peer, 80)));
        let back = rig.pod_receives(&Frame::sctp(at(peer, 80), client, 2));
        assert_eq!(rewritten(&back), (frontend, client));
        rig.service(SERVICE, vip(pod), 80, SCTP, &[(peer, 8080)]);
        rig.datapath.maps().services.sweep().expect("sweep");
        let other = Frame::sctp(at(pod, 40001), frontend, 1);
        assert_eq!(rig.pod_sends(&other).fate, dropped(reason::NAT_UNSUPPORTED_PROTO));
    }
}

#[test]
fn a_backend_of_the_other_family_is_out_of_reach() {
    let [(pod4, _), (_, peer6)] = families();
    let mut rig = Rig::new();
    rig.service(SERVICE, vip(pod4), 80, TCP, &[(peer6, 80)]);
    let outcome = rig.pod_sends(&Frame::tcp(at(pod4, 40000), at(vip(pod4), 80), SYN));
    assert_eq!(outcome.fate, dropped(reason::NAT_UNSUPPORTED_PROTO));
}

#[test]
fn udp_without_a_checksum_stays_without_one() {
    let (pod, peer) = families()[0];
    let mut rig = Rig::new();
    rig.service(SERVICE, vip(pod), 53, UDP, &[(peer, 5353)]);
    let mut frame = Frame::udp(at(pod, 5000), at(vip(pod), 53)).payload(b"question").build();
    frame[40..42].copy_from_slice(&[0, 0]);
    let outcome = rig.run(Program::FromPod, &frame);
    assert_eq!(rewritten(&outcome).1, at(peer, 5353));
    assert_eq!(outcome.packet[40..42], [0, 0]);
}

#[test]
fn the_pieces_of_a_datagram_reach_the_same_backend() {
    for (pod, peer) in families() {
        let (client, frontend) = (at(pod, 5000), at(vip(pod), 53));
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 53, UDP, &[(peer, 5353)]);
        let first = Frame::udp(client, frontend).payload(&[1; 592]).fragment(9, 0, true);
        let rest = Frame::raw(ip(pod), ip(vip(pod)), UDP, &[2; 400]).fragment(9, 600, false);
        for frame in [first, rest] {
            let outcome = rig.pod_sends(&frame);
            assert_eq!(outcome.fate, Fate::Passed);
            let family = if client.is_ipv4() { 4 } else { 6 };
            if family == 4 {
                checksum::verify(&outcome.packet);
            }
            assert_eq!(addresses(&outcome.packet).1.ip(), ip(peer));
        }
        let entries = rig.connections(if client.is_ipv4() { 4 } else { 6 });
        assert_eq!(entries.len(), 2, "the connection and its choice of backend");
    }
}

#[test]
fn a_reply_after_the_service_was_deleted_is_dropped() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 53, UDP, &[(peer, 53)]);
        rig.pod_sends(&Frame::udp(at(pod, 5000), at(vip(pod), 53)));
        let services = &rig.datapath.maps().services;
        services.remove(SERVICE).expect("remove");
        services.sweep().expect("sweep");
        let outcome = rig.pod_receives(&Frame::udp(at(peer, 53), at(pod, 5000)));
        assert_eq!(outcome.fate, dropped(reason::NO_BACKEND));
    }
}

#[test]
fn a_service_that_appears_under_a_direct_flow_takes_it_over_with_the_next_revision() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        let ask = Frame::udp(at(pod, 5000), at(vip(pod), 53));
        assert_eq!(addresses(&rig.pod_sends(&ask).packet).1, at(vip(pod), 53));
        rig.service(SERVICE, vip(pod), 53, UDP, &[(peer, 53)]);
        rig.datapath.maps().runtime.bump_revision().expect("revision");
        assert_eq!(rewritten(&rig.pod_sends(&ask)).1, at(peer, 53));
    }
}

#[test]
fn an_opened_connection_outlives_its_backends_readiness_and_datagrams_do_not() {
    for (pod, peer) in families() {
        let gone = format!("{}77", &peer[..peer.len() - 1]);
        let (client, frontend) = (at(pod, 40000), at(vip(pod), 80));
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 80, TCP, &[(&gone, 8080)]);
        assert_eq!(rewritten(&rig.pod_sends(&Frame::tcp(client, frontend, SYN))).1, at(&gone, 8080));
        rig.pod_receives(&Frame::tcp(at(&gone, 8080), client, SYN | ACK));
        rig.pod_sends(&Frame::tcp(client, frontend, ACK));
        rig.service(SERVICE, vip(pod), 80, TCP, &[(peer, 8080)]);
        rig.datapath.maps().services.sweep().expect("sweep");
        for flags in [ACK | PSH, FIN | ACK] {
            assert_eq!(rewritten(&rig.pod_sends(&Frame::tcp(client, frontend, flags))).1, at(&gone, 8080));
        }
        let back = rig.pod_receives(&Frame::tcp(at(&gone, 8080), client, ACK | PSH));
        assert_eq!(rewritten(&back), (frontend, client));
        // The next connection from the same port goes where connections go now.
        assert_eq!(rewritten(&rig.pod_sends(&Frame::tcp(client, frontend, SYN))).1, at(peer, 8080));
    }
}

#[test]
fn a_flow_that_its_backend_picked_up_again_still_comes_from_the_frontend() {
    for (pod, peer) in families() {
        let (client, frontend, backend) = (at(pod, 5000), at(vip(pod), 53), at(peer, 53));
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 53, UDP, &[(peer, 53)]);
        rig.pod_sends(&Frame::udp(client, frontend));
        let family = if client.is_ipv4() { 4 } else { 6 };
        // The connection expires, the backend speaks first.
        rig.age(family, |entry| entry.last_seen = entry.last_seen.wrapping_sub(1 << 20));
        assert_eq!(addresses(&rig.pod_receives(&Frame::udp(backend, client)).packet).0, backend);
        assert_eq!(rewritten(&rig.pod_sends(&Frame::udp(client, frontend))).1, backend);
        assert_eq!(rewritten(&rig.pod_receives(&Frame::udp(backend, client))), (frontend, client));
    }
}

#[test]
fn a_flow_that_only_the_backend_keeps_alive_keeps_it() {
    for (pod, peer) in families() {
        let backends: Vec<String> = (20..28).map(|n| format!("{}{n}", &peer[..peer.len() - 1])).collect();
        let backends: Vec<(&str, u16)> = backends.iter().map(|b| (b.as_str(), 53)).collect();
        let (client, frontend) = (at(pod, 5000), at(vip(pod), 53));
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 53, UDP, &backends);
        let chosen = rewritten(&rig.pod_sends(&Frame::udp(client, frontend))).1;
        let family = if client.is_ipv4() { 4 } else { 6 };
        for _ in 0..12 {
            rig.age(family, |entry| {
                // The pod has been silent for longer than a flow lives; the backend has not.
                let silent = entry.bytes != [0, 0] && entry.packets[0] != 0 && entry.remote_identity == 0;
                if silent {
                    entry.last_seen = entry.last_seen.wrapping_sub(1 << 20);
                }
            });
            rig.pod_receives(&Frame::udp(chosen, client));
            assert_eq!(rewritten(&rig.pod_sends(&Frame::udp(client, frontend))).1, chosen);
        }
    }
}
