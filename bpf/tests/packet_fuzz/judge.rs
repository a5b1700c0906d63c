//! What must hold, whatever the packet was.

use std::collections::BTreeMap;
use std::fmt;

use fathom_bpf::abi::{Event, LedgerStage, TRIGGER_LANE_DROPS, direction, flag, kind, trigger, verdict};
use fathom_bpf::load::Program;
use fathom_bpf::maps::LedgerSnapshot;
use fathom_bpf::ring::Lane;
use fathom_bpf::testing::Outcome;

use crate::packet::checksum;
use crate::packet::rig::assert_balanced;

/// What was seen, to tell whether the corpus reaches the code.
#[derive(Debug, Default)]
pub struct Tally {
    pub packets: u64,
    pub passed: u64,
    pub translated: u64,
    pub reasons: BTreeMap<String, u64>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, passed, translated, reasons } = self;
        write!(f, "{packets} packets, {passed} passed, {translated} translated, dropped: {reasons:?}")
    }
}

/// One packet and the records it left.
pub fn packet(
    program: Program,
    bytes: &[u8],
    outcome: &Outcome,
    records: &[(Lane, Event)],
    tally: &mut Tally,
) {
    // Beside what old entries still held, and the messages it carries.
    let own: Vec<&Event> = records
        .iter()
        .map(|(_, event)| event)
        .filter(|event| event.trigger != trigger::TIMEOUT && event.kind != kind::L7)
        .collect();
    for (lane, event) in records {
        record(program, *lane, event);
    }
    tally.packets += 1;
    let translated = own.iter().any(|event| event.flags & flag::TRANSLATED != 0);
    match outcome.retval {
        -1 => {
            tally.passed += 1;
            assert!(own.len() <= 1, "{own:?}");
            assert!(own.iter().all(|event| event.verdict == verdict::FORWARDED), "{own:?} of {bytes:02x?}");
        }
        2 => {
            assert_eq!(own.len(), 1, "records of a drop: {bytes:02x?}");
            assert_eq!(own[0].verdict, verdict::DROPPED);
            *tally.reasons.entry(format!("{:?}", own[0].named_reason())).or_default() += 1;
            return;
        }
        other => panic!("return value {other} of {bytes:02x?}"),
    }
    assert_eq!(outcome.packet.len(), bytes.len(), "length of {bytes:02x?}");
    if outcome.packet == bytes {
        return;
    }
    // Rewritten: by a service, or without a record of its own when aggregated.
    tally.translated += 1;
    assert!(translated || own.is_empty(), "{:02x?} became {:02x?}", bytes, outcome.packet);
    assert_eq!(outcome.packet[..14], bytes[..14], "hardware addresses");
    if whole(bytes) && checksum::check(bytes).is_ok() {
        checksum::verify(&outcome.packet);
    }
}

/// A record by itself.
fn record(program: Program, lane: Lane, event: &Event) {
    let dropped = event.verdict == verdict::DROPPED;
    assert_eq!(dropped, lane == Lane::Drops, "{event:?}");
    assert_eq!(dropped, event.trigger & TRIGGER_LANE_DROPS != 0, "{event:?}");
    assert_eq!(dropped, event.reason != 0, "{event:?}");
    assert!(event.verdict == verdict::DROPPED || event.verdict == verdict::FORWARDED, "{event:?}");
    // A message's record may be of the other direction: an answer that its asker gave up.
    if event.trigger != trigger::TIMEOUT && event.kind != kind::L7 {
        let expected = if program == Program::FromPod { direction::EGRESS } else { direction::INGRESS };
        assert_eq!(event.direction, expected, "{event:?}");
    }
    for name in [
        format!("{:?}", event.named_kind()),
        format!("{:?}", event.named_ct_state()),
        format!("{:?}", event.named_trigger()),
        format!("{:?}", event.named_reason()),
    ] {
        assert!(!name.starts_with("Other("), "{name} in {event:?}");
    }
    match event.family {
        4 => assert!(event.source().is_ipv4() && event.destination().is_ipv4(), "{event:?}"),
        6 => assert!(event.source().is_ipv6() && event.destination().is_ipv6(), "{event:?}"),
        family => assert!(family == 0 && event.flags & flag::NO_IP != 0, "{event:?}"),
    }
    if ![6, 17, 132].contains(&event.proto) {
        assert_eq!((event.sport(), event.dport()), (0, 0), "{event:?}");
    }
    assert!(event.packets < 1 << 20, "{event:?}");
}

/// No options, extension headers, fragments or padding: what the checksum test understands.
fn whole(bytes: &[u8]) -> bool {
    let l3 = &bytes[14..];
    match bytes[12..14] {
        [8, 0] => {
            l3[0] == 0x45
                && u16::from_be_bytes([l3[6], l3[7]]) & 0x3fff == 0
                && usize::from(u16::from_be_bytes([l3[2], l3[3]])) == l3.len()
        }
        _ => [6, 17, 58].contains(&l3[6]) && usize::from(u16::from_be_bytes([l3[4], l3[5]])) + 40 == l3.len(),
    }
}

/// All packets of a batch.
pub fn batch(step: &LedgerSnapshot, records: &[(Lane, Event)], ran: u64) {
    assert_eq!(step[LedgerStage::PacketsSeen], ran);
    assert_balanced(step, records);
}
