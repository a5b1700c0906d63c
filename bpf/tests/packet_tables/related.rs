//! ICMP errors: allowed as far as the connection is that they are about.

use fathom_bpf::abi::{LedgerStage, ct_state, drop_reason as reason, flag, trigger};
use fathom_bpf::load::Program;

use crate::packet::rig::dropped;
use crate::packet::table::{IN, OUT, allow, enforced};
use crate::packet::{Fate, Frame, PEER_IDENTITY, Rig, SYN, TCP, UDP, WORLD4, WORLD6, at, families, ip};

/// A router between pod and peer.
fn router(pod: &str) -> &'static str {
    if ip(pod).is_ipv4() { WORLD4 } else { WORLD6 }
}

/// Only TCP 80 and UDP 53 out, nothing in.
fn closed_rig() -> Rig {
    let rig = Rig::new();
    rig.policy(&[
        enforced(OUT, &[16], false),
        allow(OUT, PEER_IDENTITY, TCP, 80, 1),
        allow(OUT, PEER_IDENTITY, UDP, 53, 2),
        enforced(IN, &[], false),
    ]);
    rig
}

#[test]
fn an_error_about_a_live_connection_reaches_its_sender_through_any_policy() {
    for (pod, peer) in families() {
        let mut rig = closed_rig();
        for (what, sent) in [
            ("TCP", Frame::tcp(at(pod, 40000), at(peer, 80), SYN)),
            ("UDP", Frame::udp(at(pod, 5000), at(peer, 53))),
        ] {
            assert_eq!(rig.pod_sends(&sent).fate, Fate::Passed);
            for from in [peer, router(pod)] {
                let outcome = rig.pod_receives(&Frame::unreachable(ip(from), &sent.build()));
                assert_eq!(outcome.fate, Fate::Passed, "about {what}, from {from}");
                let event = outcome.record(what);
                assert_eq!((event.ct_state, event.trigger), (ct_state::RELATED, trigger::PACKET));
                assert_eq!(event.flags & (flag::REPLY | flag::REPLY_KNOWN), flag::REPLY | flag::REPLY_KNOWN);
                assert_eq!(event.source(), ip(from));
                assert_eq!(event.icmp_type, if ip(pod).is_ipv4() { 3 } else { 1 });
            }
        }
    }
}

#[test]
fn an_error_about_an_echo_is_matched_by_its_identifier() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        let ping = Frame::echo(ip(pod), ip(peer), false, 5);
        rig.pod_sends(&ping);
        let state = |rig: &mut Rig, about: &Frame| {
            rig.pod_receives(&Frame::unreachable(ip(router(pod)), &about.build())).record("error").ct_state
        };
        assert_eq!(state(&mut rig, &ping), ct_state::RELATED);
        let other = Frame::echo(ip(pod), ip(peer), false, 6);
        assert_eq!(state(&mut rig, &other), ct_state::UNKNOWN);
    }
}

#[test]
fn a_pod_may_complain_about_what_it_was_sent() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&[enforced(OUT, &[], false)]);
        let received = Frame::udp(at(peer, 5000), at(pod, 9));
        rig.pod_receives(&received);
        let outcome = rig.pod_sends(&Frame::unreachable(ip(pod), &received.build()));
        assert_eq!(outcome.fate, Fate::Passed);
        assert_eq!(outcome.record("error").ct_state, ct_state::RELATED);
        // But not in the name of another.
        let forged = rig.pod_sends(&Frame::unreachable(ip(router(pod)), &received.build()));
        assert_eq!(forged.fate, dropped(reason::INVALID_SOURCE_IP));
    }
}

#[test]
fn an_error_about_nothing_known_is_judged_like_any_packet_and_opens_nothing() {
    for (pod, peer) in families() {
        let unknown = Frame::udp(at(pod, 5000), at(peer, 54)).build();
        let error = Frame::unreachable(ip(peer), &unknown);
        let mut closed = closed_rig();
        assert_eq!(closed.pod_receives(&error).fate, dropped(reason::POLICY_DENIED));
        let mut open = Rig::new();
        let outcome = open.pod_receives(&error);
        assert_eq!(outcome.fate, Fate::Passed);
        assert_eq!(outcome.record("error").ct_state, ct_state::UNKNOWN);
        assert_eq!(outcome.ledger[LedgerStage::CtCreated], 0);
        // An error may not claim to be about an error.
        let nested = Frame::unreachable(ip(peer), &Frame::unreachable(ip(pod), &unknown).build());
        assert_eq!(closed.pod_receives(&nested).fate, dropped(reason::POLICY_DENIED));
    }
}

#[test]
fn an_error_about_a_connection_that_has_expired_is_about_nothing_known() {
    for (pod, peer) in families() {
        let mut rig = closed_rig();
        let sent = Frame::udp(at(pod, 5000), at(peer, 53));
        rig.pod_sends(&sent);
        let family = if ip(pod).is_ipv4() { 4 } else { 6 };
        rig.age(family, |entry| entry.last_seen = entry.last_seen.wrapping_sub(1 << 24));
        let outcome = rig.pod_receives(&Frame::unreachable(ip(peer), &sent.build()));
        assert_eq!(outcome.fate, dropped(reason::POLICY_DENIED));
    }
}

#[test]
fn an_error_about_a_connection_that_policy_has_cut_is_cut_too() {
    for (pod, peer) in families() {
        let mut rig = closed_rig();
        let sent = Frame::udp(at(pod, 5000), at(peer, 53));
        rig.pod_sends(&sent);
        rig.policy(&[enforced(OUT, &[], false), enforced(IN, &[], false)]);
        let error = Frame::unreachable(ip(peer), &sent.build());
        let first = rig.pod_receives(&error);
        assert_eq!((first.fate, first.triggers()), (dropped(reason::POLICY_DENIED), vec![trigger::REJUDGED]));
        assert_eq!(rig.pod_receives(&error).triggers(), [trigger::DROP]);
    }
}

#[test]
fn an_error_whose_inside_is_broken_is_dropped_by_name() {
    for (pod, peer) in families() {
        let sent = Frame::udp(at(pod, 5000), at(peer, 53)).build();
        let error = |inside: &[u8]| {
            let mut about = sent[..14].to_vec();
            about.extend(inside);
            let (kind, code) = if ip(pod).is_ipv4() { (3, 3) } else { (1, 4) };
            Frame::icmp(ip(peer), ip(pod), kind, code, [0; 4]).payload(inside)
        };
        let inside = &sent[14..];
        let header = if ip(pod).is_ipv4() { 20 } else { 40 };
        let mut wrong_version = inside.to_vec();
        wrong_version[0] = 0x15;
        let mut rig = Rig::new();
        for (what, frame, reason) in [
            ("nothing", error(&[]), reason::CT_TRUNCATED),
            ("half a header", error(&inside[..header / 2]), reason::CT_TRUNCATED),
            ("no ports", error(&inside[..header + 4]), reason::CT_TRUNCATED),
            ("another version", error(&wrong_version), reason::INVALID_PACKET),
        ] {
            assert_eq!(rig.pod_receives(&frame).fate, dropped(reason), "{what} inside, {pod}");
        }
    }
}

#[test]
fn an_error_from_a_pod_goes_only_to_whom_it_is_about() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&[enforced(OUT, &[], false)]);
        let received = Frame::udp(at(peer, 5000), at(pod, 9));
        rig.pod_receives(&received);
        let mut error = Frame::unreachable(ip(pod), &received.build()).build();
        // To somebody else, with whatever the pod wants to tell them behind the headers.
        match ip(router(pod)) {
            std::net::IpAddr::V4(to) => error[30..34].copy_from_slice(&to.octets()),
            std::net::IpAddr::V6(to) => error[38..54].copy_from_slice(&to.octets()),
        }
        let outcome = rig.run(Program::FromPod, &error);
        assert_eq!(outcome.fate, dropped(reason::POLICY_DENIED));
        assert_eq!(outcome.record("the error").destination(), ip(router(pod)));
    }
}
