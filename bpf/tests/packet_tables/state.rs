//! Conntrack's corners: expiry, reuse of a tuple, packets from the middle, another device.

use std::time::Duration;

use fathom_bpf::abi::{LedgerStage, ct_state, direction, drop_reason as reason, flag, trigger};
use fathom_bpf::load::{EventPolicy, Timeouts};
use fathom_bpf::testing::{Veth, in_new_netns};

use crate::packet::rig::dropped;
use crate::packet::table::{IN, OUT, allow, enforced};
use crate::packet::{ACK, FIN, Fate, Frame, PEER_IDENTITY, PSH, RST, Rig, SYN, TCP, at, families, ip};

/// More ticks than any lifetime has.
const LONG_AGO: u32 = 1 << 24;

fn family(address: &str) -> u8 {
    if ip(address).is_ipv4() { 4 } else { 6 }
}

#[test]
fn an_expired_connection_is_new_again_and_what_it_still_held_is_reported() {
    for (pod, peer) in families() {
        let (a, b) = (at(pod, 5000), at(peer, 53));
        let mut rig = Rig::new();
        rig.pod_sends(&Frame::udp(a, b));
        rig.pod_receives(&Frame::udp(b, a));
        for _ in 0..3 {
            rig.pod_sends(&Frame::udp(a, b).payload(&[0; 10]));
        }
        rig.pod_receives(&Frame::udp(b, a));
        rig.age(family(pod), |entry| entry.last_seen = entry.last_seen.wrapping_sub(LONG_AGO));

        let outcome = rig.pod_sends(&Frame::udp(a, b));
        assert_eq!(outcome.triggers(), [trigger::TIMEOUT, trigger::TIMEOUT, trigger::NEW]);
        assert_eq!(outcome.ledger[LedgerStage::CtExpired], 1);
        assert_eq!(outcome.ledger[LedgerStage::EventsTimeout], 2);
        let (asked, answered) = (outcome.records[0], outcome.records[1]);
        let headers = if a.is_ipv4() { 28 } else { 48 };
        assert_eq!((asked.packets, asked.bytes), (3, 3 * (headers + 10)));
        assert_eq!((asked.source(), asked.dport()), (ip(pod), 53));
        assert_eq!((asked.direction, asked.flags & flag::REPLY), (direction::EGRESS, 0));
        assert_eq!((answered.packets, answered.bytes), (1, headers));
        assert_eq!((answered.source(), answered.sport()), (ip(peer), 53));
        assert_eq!(answered.flags & flag::REPLY, flag::REPLY);
        assert_eq!(outcome.records[2].ct_state, ct_state::NEW);
    }
}

type Prepare<'a> = &'a dyn Fn(&mut Rig);

#[test]
fn each_kind_of_connection_has_its_own_lifetime() {
    // A second is 6 to 63 ticks, by the kernel's HZ: lifetimes so far apart that it doesn't matter.
    let timeouts = Timeouts {
        tcp_closing: Duration::from_secs(10),
        tcp_opening: Duration::from_secs(2_000),
        tcp: Duration::from_secs(400_000),
        ..Timeouts::default()
    };
    const BEYOND_CLOSING: u32 = 3_000;
    const BEYOND_OPENING: u32 = 500_000;
    const BEYOND_ALL: u32 = 50_000_000;
    let (a, b) = (at("10.1.0.5", 5000), at("10.1.0.9", 80));
    let syn = |rig: &mut Rig| drop(rig.pod_sends(&Frame::tcp(a, b, SYN)));
    let open = |rig: &mut Rig| {
        rig.pod_sends(&Frame::tcp(a, b, SYN));
        rig.pod_receives(&Frame::tcp(b, a, SYN | ACK));
        rig.pod_sends(&Frame::tcp(a, b, ACK));
    };
    let closed = |rig: &mut Rig| {
        open(rig);
        rig.pod_sends(&Frame::tcp(a, b, RST | ACK));
    };
    let half_closed = |rig: &mut Rig| {
        open(rig);
        rig.pod_sends(&Frame::tcp(a, b, FIN | ACK));
    };
    let ack = Frame::tcp(a, b, ACK);
    let table: [(&str, Prepare<'_>, u32, bool); 8] = [
        ("opening", &syn, BEYOND_CLOSING, false),
        ("opening", &syn, BEYOND_OPENING, true),
        ("established", &open, BEYOND_OPENING, false),
        ("established", &open, BEYOND_ALL, true),
        ("half closed", &half_closed, BEYOND_OPENING, false),
        ("half closed", &half_closed, BEYOND_ALL, true),
        ("closed", &closed, 10, false),
        ("closed", &closed, BEYOND_CLOSING, true),
    ];
    for (what, prepare, ticks, expired) in table {
        let mut rig = Rig::with(|config| config.timeouts = timeouts);
        prepare(&mut rig);
        rig.age(4, |entry| entry.last_seen = entry.last_seen.wrapping_sub(ticks));
        let outcome = rig.pod_sends(&ack);
        assert_eq!(outcome.ledger[LedgerStage::CtExpired] == 1, expired, "{what}, {ticks} ticks ago");
    }
}

#[test]
fn a_syn_after_the_close_reopens_and_before_it_repeats() {
    for (pod, peer) in families() {
        let (a, b) = (at(pod, 40000), at(peer, 80));
        let mut rig = Rig::new();
        let syn = Frame::tcp(a, b, SYN);
        assert_eq!(rig.pod_sends(&syn).triggers(), [trigger::NEW]);
        assert!(rig.pod_sends(&syn).records.is_empty(), "a retransmitted SYN");
        rig.pod_receives(&Frame::tcp(b, a, SYN | ACK));
        assert!(rig.pod_sends(&syn).records.is_empty(), "its SYN-ACK was lost");
        rig.pod_sends(&Frame::tcp(a, b, ACK));
        let close = rig.pod_sends(&Frame::tcp(a, b, FIN | ACK)).record("FIN");
        assert_eq!(close.packets, 4, "two SYNs again, an ACK and the FIN");
        rig.pod_receives(&Frame::tcp(b, a, FIN | ACK));
        rig.pod_sends(&Frame::tcp(a, b, ACK));

        let outcome = rig.pod_sends(&syn);
        let again = outcome.records.last().expect("a record");
        assert_eq!((again.trigger, again.ct_state), (trigger::NEW, ct_state::REOPENED));
        assert_eq!(outcome.ledger[LedgerStage::EventsTimeout], 0, "the last ACK is worth no record");
        let answer = rig.pod_receives(&Frame::tcp(b, a, SYN | ACK)).record("SYN-ACK");
        assert_eq!(answer.trigger, trigger::FLAGS);
    }
}

#[test]
fn a_server_cannot_call_its_client_back_through_the_entry() {
    for (pod, peer) in families() {
        let (client, server) = (at(peer, 40000), at(pod, 80));
        let mut rig = Rig::new();
        rig.policy(&[
            enforced(OUT, &[], false),
            enforced(IN, &[16], false),
            allow(IN, PEER_IDENTITY, TCP, 80, 1),
        ]);
        let back = Frame::tcp(server, client, SYN);
        for step in [SYN, ACK] {
            rig.pod_receives(&Frame::tcp(client, server, step));
            assert_eq!(rig.pod_sends(&back).fate, dropped(reason::POLICY_DENIED), "after {step:#x}");
            rig.pod_sends(&Frame::tcp(server, client, SYN | ACK));
            assert_eq!(rig.pod_sends(&back).fate, dropped(reason::POLICY_DENIED), "after {step:#x}");
        }
        let data = rig.pod_sends(&Frame::tcp(server, client, ACK | PSH));
        assert_eq!(data.fate, Fate::Passed, "the connection itself goes on");
    }
}

#[test]
fn a_connection_picked_up_in_its_middle_is_judged_in_the_direction_of_the_packet() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&[enforced(OUT, &[16], false), allow(OUT, PEER_IDENTITY, TCP, 80, 1)]);
        let known = rig.pod_sends(&Frame::tcp(at(pod, 40000), at(peer, 80), ACK)).record("ACK");
        assert_eq!((known.trigger, known.ct_state), (trigger::NEW, ct_state::NEW));
        let reply = rig.pod_receives(&Frame::tcp(at(peer, 80), at(pod, 40000), ACK)).record("reply");
        assert_eq!((reply.trigger, reply.handshake_us), (trigger::FLAGS, 0), "when it began isn't known");
        for flags in [ACK, SYN | ACK, RST, FIN | ACK] {
            let outcome = rig.pod_sends(&Frame::tcp(at(pod, 80), at(peer, 40000), flags));
            assert_eq!(outcome.fate, dropped(reason::POLICY_DENIED), "flags {flags:#x}");
        }
    }
}

#[test]
fn a_tuple_that_moved_to_another_device_is_another_connection() {
    in_new_netns(|| {
        let veth = Veth::new("move").expect("a veth pair");
        let mut rig = Rig::new();
        let (pod, peer) = families()[0];
        let (a, b) = (at(pod, 40000), at(peer, 80));
        rig.pod_sends(&Frame::udp(a, b));
        rig.pod_sends(&Frame::udp(a, b));
        rig.on_device(veth.ifindex());
        let unknown = rig.pod_sends(&Frame::udp(a, b));
        assert_eq!(unknown.fate, dropped(reason::EP_NOT_READY));
        rig.endpoint(veth.ifindex(), fathom_bpf::abi::ENDPOINT_READY);
        let moved = rig.pod_sends(&Frame::udp(a, b));
        assert_eq!(moved.triggers(), [trigger::TIMEOUT, trigger::NEW]);
        assert_eq!((moved.records[0].ifindex, moved.records[1].ifindex), (1, veth.ifindex()));
    });
}

#[test]
fn the_packet_policy_reports_every_packet_and_the_sums_stay_right() {
    for (pod, peer) in families() {
        let (a, b) = (at(pod, 40000), at(peer, 80));
        let mut rig = Rig::with(|config| config.event_policy = EventPolicy::Packet);
        rig.pod_sends(&Frame::tcp(a, b, SYN));
        rig.pod_receives(&Frame::tcp(b, a, SYN | ACK));
        for _ in 0..3 {
            let event = rig.pod_sends(&Frame::tcp(a, b, ACK)).record("ACK");
            assert_eq!((event.trigger, event.packets), (trigger::PACKET, 1));
        }
    }
}

#[test]
fn two_cpus_that_take_the_same_counters_are_made_up_for() {
    let (pod, peer) = families()[0];
    let (a, b) = (at(pod, 5000), at(peer, 53));
    let mut rig = Rig::new();
    rig.pod_sends(&Frame::udp(a, b));
    // As if another CPU had taken 2 packets (and 56 bytes) that this one had taken, too.
    rig.age(4, |entry| {
        entry.packets[0] = entry.packets[0].wrapping_sub(2);
        entry.bytes[0] = entry.bytes[0].wrapping_sub(56);
        entry.last_report[0] = entry.last_report[0].wrapping_sub(LONG_AGO);
    });
    let first = rig.pod_sends(&Frame::udp(a, b)).record("first");
    assert_eq!((first.trigger, first.packets, first.bytes), (trigger::INTERVAL, 0, 0));
    for _ in 0..4 {
        rig.pod_sends(&Frame::udp(a, b));
    }
    rig.age(4, |entry| entry.last_report[0] = entry.last_report[0].wrapping_sub(LONG_AGO));
    let last = rig.pod_sends(&Frame::udp(a, b)).record("last");
    assert_eq!((last.packets, last.bytes), (4, 4 * 28), "six more, less the two reported twice");
}

#[test]
fn a_packet_that_another_cpu_overtook_does_not_find_its_connection_expired() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.policy(&[enforced(IN, &[], false)]);
        let family = if ip(pod).is_ipv4() { 4 } else { 6 };
        rig.pod_sends(&Frame::tcp(at(pod, 40000), at(peer, 80), SYN));
        // That CPU wrote the tick after the one this packet was met at.
        rig.age(family, |entry| entry.last_seen = entry.last_seen.wrapping_add(1000));
        let reply = rig.pod_receives(&Frame::tcp(at(peer, 80), at(pod, 40000), SYN | ACK));
        assert_eq!(reply.fate, Fate::Passed);
        assert_eq!(reply.record("the reply").ct_state, ct_state::REPLY);
    }
}

#[test]
fn a_denied_packet_leaves_the_connection_it_would_have_replaced_alone() {
    for (pod, peer) in families() {
        let mut rig = Rig::new();
        rig.pod_receives(&Frame::tcp(at(peer, 40000), at(pod, 80), SYN));
        rig.pod_sends(&Frame::tcp(at(pod, 80), at(peer, 40000), SYN | ACK));
        for _ in 0..3 {
            rig.pod_receives(&Frame::tcp(at(peer, 40000), at(pod, 80), ACK));
        }
        rig.policy(&[enforced(OUT, &[], false)]);
        // The server may not call its client back.
        let outcome = rig.pod_sends(&Frame::tcp(at(pod, 80), at(peer, 40000), SYN));
        assert_eq!(outcome.fate, dropped(reason::POLICY_DENIED));
        assert_eq!(outcome.record("only the denial").reason, reason::POLICY_DENIED);
        assert_eq!((outcome.ledger[LedgerStage::CtReplaced], outcome.ledger[LedgerStage::CtExpired]), (0, 0));
        let next = rig.pod_receives(&Frame::tcp(at(peer, 40000), at(pod, 80), ACK | FIN));
        assert_eq!(next.record("the close").packets, 4, "with what was counted before");
    }
}
