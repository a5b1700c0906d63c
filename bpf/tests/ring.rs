//! The lanes: nothing is lost without a trace, and what is left can be read later.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use fathom_bpf::abi::{Event, LedgerStage};
use fathom_bpf::ring::Lane;
use support::{Stage, UDP, addr, on_stage, with};

/// A record takes its 128 bytes and the ring's header of 8.
const RECORD: u64 = 136;

fn service() -> SocketAddr {
    addr("10.96.0.53:53")
}

/// One event per call: each connect(2) to a service is one.
fn events(times: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    for _ in 0..times {
        socket.connect(service()).expect("connect");
    }
}

/// One drop per call: a service without backends.
fn drops(times: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    for _ in 0..times {
        socket.connect(addr("10.96.0.99:9")).expect_err("refused");
    }
}

fn install(stage: &Stage) {
    stage.service(1, service(), UDP, &[addr("127.0.0.1:5353")]);
    stage.service(2, addr("10.96.0.99:9"), UDP, &[]);
}

/// Missing sequence numbers of one lane, over all CPUs. Hooks count from 1.
fn gaps(records: &[Event]) -> u32 {
    let mut last = std::collections::HashMap::<u16, u32>::new();
    let mut missing = 0;
    for event in records {
        let last = last.entry(event.cpu).or_default();
        missing += event.seq - *last - 1;
        *last = event.seq;
    }
    missing
}

#[test]
fn delivered_and_lost_are_exactly_what_was_emitted() {
    with(
        |config, _| config.sizes.events_bytes = 4096,
        |stage| {
            install(stage);
            // Rounds, so that losses lie between records and show as gaps; drops in between.
            let mut delivered = Vec::new();
            for _ in 0..20 {
                events(100);
                drops(5);
                delivered.extend(stage.events());
            }
            let lane = |wanted| -> Vec<Event> {
                delivered.iter().filter(|(lane, _)| *lane == wanted).map(|(_, e)| *e).collect()
            };
            let ledger = stage.datapath.maps().ledger.read().expect("ledger");
            let (events, drops) = (lane(Lane::Events), lane(Lane::Drops));
            assert_eq!(ledger[LedgerStage::EventsEmitted], 2000);
            assert!(ledger[LedgerStage::EventsLost] > 1000, "the ring holds 30");
            assert_eq!(events.len() as u64 + ledger[LedgerStage::EventsLost], 2000);
            assert_eq!(drops.len(), 100, "every drop");
            assert_eq!(ledger[LedgerStage::DropsLost], 0);
            assert_eq!(gaps(&drops), 0, "no gap among drops");
            // The last round's losses have no record behind them, so no gap.
            let (gaps, lost) = (u64::from(gaps(&events)), ledger[LedgerStage::EventsLost]);
            assert!(gaps > 1000 && gaps <= lost, "{gaps} missing by number, {lost} by count");
        },
    );
}

#[test]
fn what_was_not_read_can_be_counted_and_read_later() {
    on_stage(|stage| {
        install(stage);
        let gauge = stage.reader.gauge();
        assert_eq!(gauge.pending(Lane::Events).records, 0);
        events(7);
        drops(2);
        let pending = gauge.pending(Lane::Events);
        assert_eq!((pending.records, pending.bytes, pending.capacity), (7, 7 * RECORD, 1 << 20));
        assert_eq!(gauge.pending(Lane::Drops).records, 2);

        stage.reader.set_batch(3);
        let polled = stage.reader.consume(|_, _| {});
        assert_eq!((polled.events, polled.drops, polled.more), (3, 2, true));
        assert_eq!(gauge.pending(Lane::Events).records, 4);

        // As after a kill: another reader goes on where this one stopped.
        stage.reader = stage.datapath.reader().expect("reader");
        let left: Vec<u32> = stage.events().iter().map(|(_, event)| event.seq).collect();
        assert_eq!(left.len(), 4);
        assert_eq!(gauge.pending(Lane::Events).records, 0);
    });
}

#[test]
fn a_panic_while_reading_gives_back_what_was_taken() {
    on_stage(|stage| {
        install(stage);
        events(5);
        let reader = &mut stage.reader;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut count = 0;
            reader.consume(|_, _| {
                count += 1;
                assert!(count < 3, "on purpose");
            });
        }));
        assert!(caught.is_err());
        // The record at hand when it happened is not lost: it comes again.
        assert_eq!(stage.events().len(), 3);
    });
}

#[test]
fn a_drop_wakes_the_reader_before_its_timer() {
    on_stage(|stage| {
        install(stage);
        while stage.reader.poll(Duration::from_millis(20), |_, _| {}).expect("poll").events > 0 {}
        // Idle now: the timer is at 10 ms. A busy machine may be late now and then, not each time.
        let fastest = (0..20)
            .map(|_| {
                stage.reader.poll(Duration::from_millis(20), |_, _| {}).expect("poll");
                std::thread::scope(|scope| {
                    let start = Instant::now();
                    scope.spawn(|| drops(1));
                    let mut woken = None;
                    while woken.is_none() {
                        let polled = stage.reader.poll(Duration::from_secs(1), |_, _| {}).expect("poll");
                        woken = (polled.drops > 0).then(|| start.elapsed());
                    }
                    woken.unwrap_or_default()
                })
            })
            .min();
        assert!(fastest < Some(Duration::from_millis(5)), "{fastest:?}");
    });
}

#[test]
fn events_are_read_by_the_clock() {
    on_stage(|stage| {
        install(stage);
        events(3);
        let start = Instant::now();
        let mut count = 0;
        while count < 3 && start.elapsed() < Duration::from_secs(5) {
            count += stage.reader.poll(Duration::from_secs(1), |_, _| {}).expect("poll").events;
        }
        assert_eq!(count, 3);
        assert_eq!(stage.reader.malformed(), 0);
    });
}
