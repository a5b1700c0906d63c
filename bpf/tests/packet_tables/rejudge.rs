//! Policy that changes under a live connection.

use fathom_bpf::abi::{
    LedgerStage, PolicyEntry, PolicyKey, drop_reason as reason, flag, policy_verdict as pv, trigger, verdict,
};

use crate::packet::rig::dropped;
use crate::packet::table::{DEFAULT_DENY, IN, OUT, allow, enforced, entry};
use crate::packet::{ACK, Fate, Frame, PEER_IDENTITY, PSH, Rig, SYN, TCP, at, families, ip};

fn allowed() -> Vec<(PolicyKey, PolicyEntry)> {
    vec![enforced(OUT, &[16], false), allow(OUT, PEER_IDENTITY, TCP, 80, 1), enforced(IN, &[], false)]
}

fn denied() -> Vec<(PolicyKey, PolicyEntry)> {
    vec![enforced(OUT, &[], false), enforced(IN, &[], false)]
}

/// A connection that the pod opened, and a data packet of each side.
fn established(rig: &mut Rig, pod: &str, peer: &str) -> (Frame, Frame) {
    let (a, b) = (at(pod, 40000), at(peer, 80));
    rig.pod_sends(&Frame::tcp(a, b, SYN));
    rig.pod_receives(&Frame::tcp(b, a, SYN | ACK));
    rig.pod_sends(&Frame::tcp(a, b, ACK));
    (Frame::tcp(a, b, ACK | PSH).payload(b"ask"), Frame::tcp(b, a, ACK | PSH).payload(b"answer"))
}

#[test]
fn a_live_connection_is_cut_both_ways_and_comes_back_when_the_edit_is_undone() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&allowed());
        let (ask, answer) = established(&mut rig, pod, peer);
        assert!(rig.pod_sends(&ask).records.is_empty());

        rig.policy(&denied());
        let first = rig.pod_sends(&ask);
        assert_eq!(first.fate, dropped(reason::POLICY_DENIED));
        assert_eq!(first.triggers(), [trigger::REJUDGED]);
        assert_eq!(first.ledger[LedgerStage::CtRejudged], 1);
        let event = first.record("the first");
        assert_eq!(event.rule_id, DEFAULT_DENY);
        assert_eq!(event.flags & (flag::REPLY | flag::REPLY_KNOWN), flag::REPLY_KNOWN);
        let second = rig.pod_sends(&ask);
        assert_eq!((second.fate, second.triggers()), (dropped(reason::POLICY_DENIED), vec![trigger::DROP]));
        assert_eq!(second.ledger[LedgerStage::CtRejudged], 0, "once per revision");
        let back = rig.pod_receives(&answer);
        assert_eq!(back.fate, dropped(reason::POLICY_DENIED));
        let event = back.record("the answer");
        assert_ne!(event.flags & flag::REPLY, 0, "a drop knows that it is a reply");
        assert_eq!(event.rule_id, DEFAULT_DENY);

        rig.policy(&allowed());
        let again = rig.pod_receives(&answer);
        assert_eq!((again.fate, again.triggers()), (Fate::Passed, vec![trigger::REJUDGED]));
        assert_eq!(again.record("the answer").verdict, verdict::FORWARDED);
        assert_eq!(again.record("the answer").rule_id, 1);
        let quiet = rig.pod_sends(&ask);
        assert_eq!((quiet.fate, quiet.records.len()), (Fate::Passed, 0));
    }
}

#[test]
fn a_reply_is_judged_by_the_direction_its_connection_was_opened_in() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&allowed());
        let (_, answer) = established(&mut rig, pod, peer);
        // Ingress stays closed, egress stays open: the reply rides on the latter.
        rig.policy(&allowed());
        let outcome = rig.pod_receives(&answer);
        assert_eq!((outcome.fate, outcome.records.len()), (Fate::Passed, 0));
        assert_eq!(outcome.ledger[LedgerStage::CtRejudged], 1);
    }
}

#[test]
fn an_edit_that_changes_nothing_for_a_connection_is_silent() {
    let mut rig = Rig::new();
    rig.policy(&allowed());
    let (pod, peer) = families()[0];
    let (ask, _) = established(&mut rig, pod, peer);
    for _ in 0..3 {
        rig.policy(&allowed());
        assert!(rig.pod_sends(&ask).records.is_empty());
    }
}

#[test]
fn a_changed_label_of_the_peer_counts_from_the_next_packet_on() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&allowed());
        let (ask, _) = established(&mut rig, pod, peer);
        rig.identity(peer, PEER_IDENTITY + 1);
        rig.datapath.maps().runtime.bump_revision().expect("revision");
        let event = rig.pod_sends(&ask).record("after the change");
        assert_eq!((event.reason, event.dst_identity), (reason::POLICY_DENIED, PEER_IDENTITY + 1));
    }
}

#[test]
fn a_rule_that_denies_is_told_from_a_default_deny_for_as_long_as_it_lasts() {
    let mut rig = Rig::new();
    rig.policy(&allowed());
    let (pod, peer) = families()[0];
    let (ask, _) = established(&mut rig, pod, peer);
    rig.policy(&[enforced(OUT, &[], true), entry(OUT, PEER_IDENTITY, 0, 0, 0, pv::DENY, 66)]);
    for _ in 0..2 {
        let outcome = rig.pod_sends(&ask);
        assert_eq!(outcome.fate, dropped(reason::POLICY_DENY));
        assert_eq!(outcome.record("denied").rule_id, 66);
    }
}

#[test]
fn a_missing_table_closes_live_connections_and_is_not_remembered() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&allowed());
        let (ask, _) = established(&mut rig, pod, peer);
        let maps = rig.datapath.maps().clone();
        maps.policy.remove(crate::packet::POD_IDENTITY).expect("remove");
        maps.runtime.bump_revision().expect("revision");
        assert_eq!(rig.pod_sends(&ask).fate, dropped(reason::NO_POLICY_CONFIG));
        maps.policy.swap(crate::packet::POD_IDENTITY, &allowed()).expect("swap");
        assert_eq!(rig.pod_sends(&ask).fate, Fate::Passed, "with no further revision");
    }
}

#[test]
fn udp_and_echo_are_judged_again_too() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        let frames = [
            Frame::udp(at(pod, 5000), at(peer, 53)),
            Frame::echo(ip(pod), ip(peer), false, 4),
            Frame::sctp(at(pod, 5000), at(peer, 80), 1),
        ];
        for frame in &frames {
            assert_eq!(rig.pod_sends(frame).fate, Fate::Passed);
        }
        rig.policy(&denied());
        for frame in &frames {
            assert_eq!(rig.pod_sends(frame).triggers(), [trigger::REJUDGED]);
            assert_eq!(rig.pod_sends(frame).triggers(), [trigger::DROP]);
        }
    }
}
