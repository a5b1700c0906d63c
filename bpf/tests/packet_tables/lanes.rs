//! Rings that are full: what is lost is counted, what it carried is not lost with it, and drops
//! outlive a flood of events.

use fathom_bpf::abi::{LedgerStage, drop_reason as reason, trigger};
use fathom_bpf::load::{EventPolicy, Program};
use fathom_bpf::ring::Lane;
use fathom_bpf::testing;

use crate::packet::rig::{LOOPBACK, assert_balanced};
use crate::packet::{Frame, PEER4, POD4, Rig, SYN, at};

/// Runs frames with nobody reading.
fn unread(rig: &Rig, frames: impl IntoIterator<Item = Frame>) {
    for frame in frames {
        testing::run(&rig.datapath, Program::FromPod, &frame.build(), LOOPBACK).expect("run");
    }
}

fn tiny() -> Rig {
    Rig::with(|config| config.sizes.events_bytes = 4096)
}

#[test]
fn a_full_ring_loses_events_that_are_counted_and_gives_their_counters_back() {
    let mut rig = tiny();
    let before = rig.datapath.maps().ledger.read().expect("ledger");
    let open = |port| Frame::udp(at(POD4, port), at(PEER4, 53));
    unread(&rig, (1000..1100).map(open));
    let step = rig.datapath.maps().ledger.read().expect("ledger").since(&before);
    let records = testing::drain(&mut rig.reader);
    assert_balanced(&step, &records);
    let lost = step[LedgerStage::EventsLost];
    assert_eq!(records.len() as u64 + lost, 100);
    assert!(lost > 50, "a ring of 4096 bytes holds 30 records, not {}", 100 - lost);

    let waiting = rig.connections(4).iter().filter(|(_, entry)| entry.packets[0] == 1).count();
    assert_eq!(waiting as u64, lost, "each lost event's packet waits for the next report");
    let reported: u64 = records.iter().map(|(_, event)| u64::from(event.packets)).sum();
    assert_eq!(reported + waiting as u64, 100);
}

#[test]
fn sequence_numbers_show_the_gap() {
    let mut rig = Rig::with(|config| {
        config.sizes.events_bytes = 4096;
        config.event_policy = EventPolicy::Packet;
    });
    let frame = Frame::udp(at(POD4, 1000), at(PEER4, 53));
    let mut last = std::collections::HashMap::<u16, u32>::new();
    let (mut delivered, mut missing) = (0, 0);
    let before = rig.datapath.maps().ledger.read().expect("ledger");
    for _ in 0..5 {
        unread(&rig, (0..60).map(|_| frame.clone()));
        for (_, event) in testing::drain(&mut rig.reader) {
            let last = last.entry(event.cpu).or_default();
            missing += u64::from(event.seq - *last - 1);
            delivered += 1;
            *last = event.seq;
        }
    }
    let step = rig.datapath.maps().ledger.read().expect("ledger").since(&before);
    assert_eq!((delivered + step[LedgerStage::EventsLost], 300), (300, step[LedgerStage::EventsEmitted]));
    // Losses behind the last record of a CPU show when its next one gets through.
    assert!(missing > 0 && missing <= step[LedgerStage::EventsLost], "{missing} of {step:?}");
}

#[test]
fn drops_are_delivered_while_events_are_lost() {
    let mut rig = tiny();
    let before = rig.datapath.maps().ledger.read().expect("ledger");
    let flood = (0..500u16).map(|n| Frame::udp(at(POD4, 2000 + n), at(PEER4, 53)));
    let spoofed = |n| Frame::tcp(at("10.9.9.9", n), at(PEER4, 80), SYN);
    unread(&rig, flood.flat_map(|frame| [frame, spoofed(7)]));
    let step = rig.datapath.maps().ledger.read().expect("ledger").since(&before);
    let records = testing::drain(&mut rig.reader);
    assert_balanced(&step, &records);
    assert!(step[LedgerStage::EventsLost] > 0);
    assert_eq!((step[LedgerStage::DropsEmitted], step[LedgerStage::DropsLost]), (500, 0));
    let drops = records.iter().filter(|(lane, _)| *lane == Lane::Drops);
    assert_eq!(drops.filter(|(_, event)| event.reason == reason::INVALID_SOURCE_IP).count(), 500);
}

#[test]
fn a_full_drop_lane_is_counted_too_and_drops_stay_drops() {
    let mut rig = Rig::with(|config| config.sizes.drops_bytes = 4096);
    let before = rig.datapath.maps().ledger.read().expect("ledger");
    for _ in 0..100 {
        let frame = Frame::tcp(at("10.9.9.9", 1), at(PEER4, 80), SYN).build();
        let outcome = testing::run(&rig.datapath, Program::FromPod, &frame, LOOPBACK).expect("run");
        assert_eq!(outcome.retval, 2, "dropped, reported or not");
    }
    let step = rig.datapath.maps().ledger.read().expect("ledger").since(&before);
    let records = testing::drain(&mut rig.reader);
    assert_balanced(&step, &records);
    assert!(step[LedgerStage::DropsLost] > 0);
    let counted = rig.datapath.maps().counters.traffic().expect("counters");
    assert_eq!(counted[0].packets, 100, "counters don't depend on the lane");
}

#[test]
fn what_a_lost_event_carried_comes_with_the_next() {
    let mut rig = tiny();
    let frame = Frame::udp(at(POD4, 1000), at(PEER4, 53));
    // Fill the ring, so that this connection's first event finds no room.
    unread(&rig, (0..60).map(|n| Frame::udp(at(POD4, 3000 + n), at(PEER4, 53))));
    unread(&rig, [frame.clone()]);
    testing::drain(&mut rig.reader);
    rig.age(4, |entry| entry.last_report[0] = entry.last_report[0].wrapping_sub(1 << 20));
    unread(&rig, [frame]);
    let records = testing::drain(&mut rig.reader);
    assert_eq!(records.len(), 1);
    let event = records[0].1;
    assert_eq!((event.trigger, event.packets, event.sport()), (trigger::INTERVAL, 2, 1000));
}
