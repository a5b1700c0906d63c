//! A pod that reaches itself through its own service.

use std::net::SocketAddr;

use fathom_bpf::abi::{direction, drop_reason as reason, flag};
use fathom_bpf::load::Program;

use crate::packet::frame::addresses;
use crate::packet::rig::dropped;
use crate::packet::table::{IN, OUT, enforced};
use crate::packet::{ACK, FIN, Fate, Frame, Outcome, PSH, Rig, SYN, TCP, UDP, at, checksum, families, ip};

const SERVICE: u32 = 3;

fn vip(pod: &str) -> &'static str {
    if ip(pod).is_ipv4() { "10.96.0.10" } else { "fd00:96::10" }
}

/// Who the pod's own packets come from, as it sees them.
fn nobody(pod: &str, port: u16) -> SocketAddr {
    at(if ip(pod).is_ipv4() { "192.0.0.8" } else { "100::1" }, port)
}

fn seen(outcome: &Outcome) -> (SocketAddr, SocketAddr) {
    assert_eq!(outcome.fate, Fate::Passed);
    checksum::verify(&outcome.packet);
    addresses(&outcome.packet)
}

/// The packet as the node sends it back through the same device.
fn turned(rig: &mut Rig, outcome: &Outcome) -> Outcome {
    rig.run(Program::ToPod, &outcome.packet)
}

#[test]
fn both_ends_meet_and_neither_sees_its_own_address_at_the_other() {
    for (pod, _) in families() {
        for proto in [TCP, UDP] {
            let frame = |from, to, flags, payload: &[u8]| match proto {
                TCP => Frame::tcp(from, to, flags).payload(payload),
                _ => Frame::udp(from, to).payload(payload),
            };
            let (client, frontend, server) = (at(pod, 40000), at(vip(pod), 80), at(pod, 8080));
            let mut rig = Rig::new();
            // Nothing in, nothing out: a pod can't be kept from itself.
            rig.policy(&[enforced(IN, &[], false), enforced(OUT, &[], false)]);
            rig.service(SERVICE, vip(pod), 80, proto, &[(pod, 8080)]);

            for (there, back, payload) in [
                (SYN, SYN | ACK, b"".as_slice()),
                (ACK, ACK | PSH, b"odd"),
                (ACK | PSH, ACK, &[0xff; 101]),
                (FIN | ACK, FIN | ACK, b""),
            ] {
                let out = rig.pod_sends(&frame(client, frontend, there, payload));
                assert_eq!(seen(&out), (client, server));
                let arrived = turned(&mut rig, &out);
                assert_eq!(seen(&arrived), (nobody(pod, 40000), server));
                assert!(arrived.packet.ends_with(payload));

                let answer = rig.pod_sends(&frame(server, nobody(pod, 40000), back, payload));
                assert_eq!(seen(&answer), (server, client));
                let answered = turned(&mut rig, &answer);
                assert_eq!(seen(&answered), (frontend, client));
                assert!(answered.packet.ends_with(payload));
            }
        }
    }
}

#[test]
fn records_say_what_really_happens() {
    let (pod, _) = families()[0];
    let mut rig = Rig::new();
    rig.service(SERVICE, vip(pod), 80, TCP, &[(pod, 8080)]);
    let out = rig.pod_sends(&Frame::tcp(at(pod, 40000), at(vip(pod), 80), SYN));
    let event = out.record("there");
    assert_eq!((event.source(), event.destination(), event.service_id), (ip(pod), ip(pod), SERVICE));
    let arrived = turned(&mut rig, &out).record("and in");
    assert_eq!((arrived.source(), arrived.dport(), arrived.direction), (ip(pod), 8080, direction::INGRESS));
    assert_ne!(arrived.flags & flag::TRANSLATED, 0);
}

#[test]
fn a_changed_policy_does_not_come_between() {
    for (pod, _) in families() {
        let (client, frontend, server) = (at(pod, 40000), at(vip(pod), 80), at(pod, 8080));
        let mut rig = Rig::new();
        rig.service(SERVICE, vip(pod), 80, TCP, &[(pod, 8080)]);
        let out = rig.pod_sends(&Frame::tcp(client, frontend, SYN));
        turned(&mut rig, &out);
        rig.policy(&[enforced(IN, &[], false), enforced(OUT, &[], false)]);
        let answer = rig.pod_sends(&Frame::tcp(server, nobody(pod, 40000), SYN | ACK));
        assert_eq!(seen(&answer), (server, client));
        assert_eq!(seen(&turned(&mut rig, &answer)), (frontend, client));
        let out = rig.pod_sends(&Frame::tcp(client, frontend, ACK));
        assert_eq!(seen(&turned(&mut rig, &out)), (nobody(pod, 40000), server));
    }
}

#[test]
fn a_packet_in_the_pods_name_that_it_never_sent_is_judged_and_stays_what_it_is() {
    for (pod, _) in families() {
        let forged = Frame::tcp(at(pod, 40000), at(pod, 8080), SYN);
        let mut rig = Rig::new();
        assert_eq!(seen(&rig.pod_receives(&forged)), (at(pod, 40000), at(pod, 8080)));
        let mut closed = Rig::new();
        closed.policy(&[enforced(IN, &[], false)]);
        assert_eq!(closed.pod_receives(&forged).fate, dropped(reason::POLICY_DENIED));
    }
}

#[test]
fn the_address_nobody_has_leads_nowhere_else() {
    for (pod, _) in families() {
        let mut rig = Rig::new();
        let stray = Frame::tcp(at(pod, 8080), nobody(pod, 40000), SYN | ACK);
        assert_eq!(seen(&rig.pod_sends(&stray)).1, nobody(pod, 40000), "no such connection: no translation");
        let about = Frame::udp(nobody(pod, 5000), at(pod, 9));
        let error = rig.pod_sends(&Frame::unreachable(ip(pod), &about.build()));
        assert_eq!(error.fate, dropped(reason::NAT_UNSUPPORTED_PROTO));
    }
}
