//! The kernel's half of the ledger balances under a flood, and denials outlive it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fathom_bpf::abi::{self, Event, LedgerStage as Stage, PolicyEntry, PolicyKey};
use fathom_bpf::abi::{direction, drop_reason, policy_verdict};
use fathom_bpf::decode::Record;
use fathom_bpf::load::{Datapath, EventPolicy, L7Mode, LoadConfig, Program, Sizes};
use fathom_bpf::ring::Lane;
use fathom_bpf::testing::{run, time};

const POD: u32 = 300;
const PEER: u32 = 301;
const LOOPBACK: u32 = 1;
const ALLOWED: u16 = 80;
const DENIED: u16 = 81;
const DEFAULT_DENY_RULE: u32 = 99;

const DENIALS: usize = 1000;
const FORWARDED_PER_DENIAL: u32 = 50;
/// Packets before anybody reads; the ring holds 30 records.
const UNREAD: u32 = 1000;

/// 10.0.0.2:40000 → 10.0.0.3:`port`, TCP SYN.
fn syn(port: u16) -> Vec<u8> {
    let mut frame = vec![0u8; 14 + 20 + 20];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip = &mut frame[14..34];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&40u16.to_be_bytes());
    ip[8] = 64;
    ip[9] = 6;
    ip[12..16].copy_from_slice(&[10, 0, 0, 2]);
    ip[16..20].copy_from_slice(&[10, 0, 0, 3]);
    let sum: u32 = ip.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let tcp = &mut frame[34..];
    tcp[0..2].copy_from_slice(&40_000u16.to_be_bytes());
    tcp[2..4].copy_from_slice(&port.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = 2;
    frame
}

/// A pod that may reach its peer at one port; every packet is an event.
fn flood_stage() -> Datapath {
    let config = LoadConfig {
        sizes: Sizes { events_bytes: 4096, ..Sizes::small() },
        event_policy: EventPolicy::Packet,
        l7: L7Mode::Off,
        ..LoadConfig::default()
    };
    let datapath = Datapath::load(&config).expect("load (needs root)");
    let maps = datapath.maps();
    maps.ipcache.upsert([10, 0, 0, 2].into(), POD).expect("ipcache");
    maps.ipcache.upsert([10, 0, 0, 3].into(), PEER).expect("ipcache");
    let allow = PolicyKey {
        identity: PEER,
        direction: direction::EGRESS,
        proto: 6,
        port_plen: 16,
        port_be: ALLOWED.to_be_bytes(),
        ..PolicyKey::default()
    };
    let enforced = PolicyKey {
        identity: abi::POLICY_META_IDENTITY,
        direction: direction::EGRESS,
        ..PolicyKey::default()
    };
    let table = [
        (
            enforced,
            PolicyEntry {
                rule_id: DEFAULT_DENY_RULE,
                plen_mask: 1 << 16,
                verdict: policy_verdict::ENFORCED,
                ..PolicyEntry::default()
            },
        ),
        (allow, PolicyEntry { rule_id: 1, verdict: policy_verdict::ALLOW, ..PolicyEntry::default() }),
    ];
    maps.policy.swap(POD, &table).expect("policy");
    let endpoint = abi::Endpoint {
        identity: POD,
        id: 1,
        flags: abi::ENDPOINT_READY,
        ipv4_be: [10, 0, 0, 2],
        ipv6: [0; 16],
    };
    maps.endpoints.upsert(&LOOPBACK, &endpoint).expect("endpoint");
    maps.runtime.bump_revision().expect("revision");
    datapath
}

/// Numbers missing between records, over all CPUs; numbers start at 1.
fn gaps(records: &[Event]) -> u64 {
    let mut last = HashMap::<u16, u32>::new();
    let mut missing = 0;
    for event in records {
        let last = last.entry(event.cpu).or_default();
        missing += u64::from(event.seq - *last - 1);
        *last = event.seq;
    }
    missing
}

#[test]
fn a_flood_through_a_tiny_ring_loses_events_by_count_and_denials_never() {
    let datapath = flood_stage();
    let (allowed, denied) = (syn(ALLOWED), syn(DENIED));
    let mut reader = datapath.reader().expect("reader");
    let mut delivered: Vec<(Lane, Event)> = Vec::new();

    time(&datapath, Program::FromPod, &allowed, LOOPBACK, UNREAD).expect("run");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..DENIALS {
                time(&datapath, Program::FromPod, &allowed, LOOPBACK, FORWARDED_PER_DENIAL).expect("run");
                run(&datapath, Program::FromPod, &denied, LOOPBACK).expect("run");
            }
            done.store(true, Ordering::Release);
        });
        loop {
            let last_round = done.load(Ordering::Acquire);
            let take = |record: Record<'_>, lane| delivered.push((lane, *record.event));
            let polled = reader.poll(Duration::from_millis(50), take).expect("poll");
            if last_round && polled.events + polled.drops == 0 {
                break;
            }
        }
    });

    let of = |wanted| -> Vec<Event> {
        delivered.iter().filter(|(lane, _)| *lane == wanted).map(|(_, event)| *event).collect()
    };
    let (events, drops) = (of(Lane::Events), of(Lane::Drops));
    let ledger = datapath.maps().ledger.read().expect("ledger");
    let forwarded = u64::from(UNREAD) + DENIALS as u64 * u64::from(FORWARDED_PER_DENIAL);

    assert_eq!(ledger[Stage::EventsEmitted], forwarded);
    assert_eq!(events.len() as u64 + ledger[Stage::EventsLost], forwarded, "delivered + lost = emitted");
    assert!(ledger[Stage::EventsLost] >= u64::from(UNREAD) - 30, "no flood");
    assert!(gaps(&events) <= ledger[Stage::EventsLost], "numbers missing were counted as lost");

    assert_eq!(drops.len(), DENIALS, "every denial");
    assert_eq!((ledger[Stage::DropsEmitted], ledger[Stage::DropsLost]), (DENIALS as u64, 0));
    assert_eq!(gaps(&drops), 0);
    assert!(drops.iter().all(|event| {
        event.reason == drop_reason::POLICY_DENIED
            && event.rule_id == DEFAULT_DENY_RULE
            && event.dport() == DENIED
    }));

    let seen = ledger[Stage::PacketsSeen];
    assert_eq!(seen, forwarded + DENIALS as u64);
    assert_eq!(
        seen,
        ledger[Stage::PacketsAggregated]
            + ledger[Stage::PacketsPassedUntracked]
            + ledger[Stage::PacketsReported]
    );
    let denials = datapath.maps().counters.rule_denials().expect("denials");
    assert_eq!(denials.len(), 1);
    assert_eq!((denials[0].0, denials[0].1.packets), (DEFAULT_DENY_RULE, DENIALS as u64));
    let traffic = datapath.maps().counters.traffic().expect("counters");
    let packets = |reason| {
        let row = traffic.iter().find(|t| (t.direction, t.reason) == (direction::EGRESS, reason));
        row.map_or(0, |row| row.packets)
    };
    assert_eq!((packets(0), packets(drop_reason::POLICY_DENIED)), (forwarded, DENIALS as u64));
    assert_eq!(reader.malformed(), 0);
}
