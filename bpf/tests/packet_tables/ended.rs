//! What connections that ended in silence still had to say.

use fathom_bpf::abi::{ct_state, direction, flag, kind, trigger};

use crate::packet::{ACK, FIN, Frame, PEER_IDENTITY, POD_IDENTITY, Rig, SYN, UDP, at, families, ip};

const LONG_AGO: u32 = 1 << 24;

#[test]
fn both_directions_tell_what_no_event_had_and_only_once() {
    for (pod, peer) in families() {
        let family = if ip(pod).is_ipv4() { 4 } else { 6 };
        let mut rig = Rig::new();
        let (ask, answer) =
            (Frame::udp(at(pod, 5000), at(peer, 53)), Frame::udp(at(peer, 53), at(pod, 5000)));
        for _ in 0..4 {
            rig.pod_sends(&ask);
            rig.pod_receives(&answer);
        }
        assert_eq!(rig.told(), [], "it lives");
        rig.age(family, |entry| entry.last_seen = entry.last_seen.wrapping_sub(LONG_AGO));
        let records = rig.told();
        let [there, back] = records[..] else { panic!("{records:#?}") };
        let bytes = ask.build().len() as u64 - 14;
        for event in [there, back] {
            assert_eq!((event.kind, event.trigger), (kind::ENDED, trigger::TIMEOUT));
            assert_eq!((event.proto, event.family, event.packets, event.bytes), (UDP, family, 3, 3 * bytes));
            assert_ne!(event.flags & flag::REPLY_KNOWN, 0);
        }
        assert_eq!((there.source(), there.destination(), there.dport()), (ip(pod), ip(peer), 53));
        assert_eq!((there.src_identity, there.dst_identity), (POD_IDENTITY, PEER_IDENTITY));
        assert_eq!((there.direction, there.ct_state), (direction::EGRESS, ct_state::ESTABLISHED));
        assert_eq!((back.source(), back.sport(), back.ct_state), (ip(peer), 53, ct_state::REPLY));
        assert_ne!(back.flags & flag::REPLY, 0);
        assert_eq!(rig.told(), [], "all is said");
    }
}

#[test]
fn numbering_of_these_records_is_their_own() {
    let (pod, peer) = families()[0];
    let mut rig = Rig::new();
    let mut seqs = Vec::new();
    for port in 5000..5003 {
        for _ in 0..3 {
            rig.pod_sends(&Frame::udp(at(pod, port), at(peer, 53)));
        }
        rig.age(4, |entry| entry.last_seen = entry.last_seen.wrapping_sub(LONG_AGO));
        seqs.extend(rig.told().into_iter().map(|event| (event.cpu, event.seq)));
    }
    assert_eq!(seqs.len(), 3);
    let mut next = std::collections::HashMap::new();
    for (cpu, seq) in seqs {
        let last = next.insert(cpu, seq).unwrap_or(0);
        assert_eq!(seq, last + 1);
    }
}

#[test]
fn what_lives_or_has_said_it_all_or_is_a_choice_of_backend_is_left_alone() {
    for (pod, peer) in families() {
        let family = if ip(pod).is_ipv4() { 4 } else { 6 };
        let mut rig = Rig::new();
        rig.service(3, if family == 4 { "10.96.0.10" } else { "fd00:96::10" }, 53, UDP, &[(peer, 53)]);
        rig.pod_sends(&Frame::udp(
            at(pod, 5000),
            at(if family == 4 { "10.96.0.10" } else { "fd00:96::10" }, 53),
        ));
        for flags in [SYN, ACK, FIN | ACK] {
            rig.pod_sends(&Frame::tcp(at(pod, 40000), at(peer, 80), flags));
        }
        rig.age(family, |entry| {
            if entry.tcp_flags[0] & SYN == 0 {
                entry.last_seen = entry.last_seen.wrapping_sub(LONG_AGO);
            }
        });
        let entries = rig.connections(family).len() as u64;
        let looked = rig.datapath.tell_ended().expect("a look");
        assert_eq!((looked.entries, looked.records), (entries, 0), "{:?}", rig.connections(family));
    }
}
