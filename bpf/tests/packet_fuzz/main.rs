//! The packet parser against packets nobody planned: known ones mutated, over tables that change
//! under them. Deterministic by its seed, two seconds long unless told otherwise:
//!
//! ```text
//! FATHOM_FUZZ_SECONDS=600 FATHOM_FUZZ_SEED=7 cargo test -p fathom-bpf --test packet_fuzz -- --nocapture
//! ```
//!
//! For each packet: one return value of two, records that agree with it and with themselves, a
//! packet that wasn't rewritten unless its record says so, and then with right checksums. For each
//! batch: a ledger that balances.

#[path = "../packet/mod.rs"]
mod packet;

mod corpus;
mod judge;

use std::time::{Duration, Instant};

use fathom_bpf::load::{EventPolicy, L7Mode, Program};
use fathom_bpf::testing;

use packet::Rig;
use packet::random::Random;
use packet::rig::LOOPBACK;

/// Packets between two changes of the tables and two looks at the ledger.
const BATCH: usize = 256;

/// Batches run however slow the machine is.
const LEAST_BATCHES: usize = 8;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_packets_meet_no_surprise() {
    let seconds = setting("FATHOM_FUZZ_SECONDS", 2);
    let seed = setting("FATHOM_FUZZ_SEED", 1);
    let mut tally = judge::Tally::default();
    for (turn, policy) in [EventPolicy::Connection, EventPolicy::Packet].into_iter().enumerate() {
        // Half of the time each.
        let time = Duration::from_millis(500 * seconds);
        fuzz(&mut Random::new(seed + turn as u64), policy, time, &mut tally);
    }
    println!("seed {seed}: {tally}");
    assert!(tally.passed > 0 && tally.reasons.len() > 5, "the corpus reaches the code: {tally}");
}

fn fuzz(random: &mut Random, policy: EventPolicy, time: Duration, tally: &mut judge::Tally) {
    let mut rig = Rig::with(|config| {
        config.l7 = L7Mode::All;
        config.event_policy = policy;
        config.sizes.events_bytes = 1 << 20;
    });
    let seeds = corpus::seeds();
    corpus::services(&rig);
    let mut before = rig.datapath.maps().ledger.read().expect("ledger");
    let start = Instant::now();
    let mut batches = 0;
    while batches < LEAST_BATCHES || start.elapsed() < time {
        batches += 1;
        corpus::change_tables(random, &rig);
        let mut records = Vec::new();
        let mut ran = 0;
        for _ in 0..BATCH {
            let program = *random.pick(&[Program::FromPod, Program::ToPod]);
            let bytes = corpus::mutant(random, &seeds);
            let Ok(outcome) = testing::run(&rig.datapath, program, &bytes, LOOPBACK) else {
                // test_run itself refuses what is too short for its own look at the headers.
                assert!(bytes.len() < 14 + 40, "refused: {bytes:02x?}");
                continue;
            };
            ran += 1;
            let fresh = testing::drain(&mut rig.reader);
            judge::packet(program, &bytes, &outcome, &fresh, tally);
            records.extend(fresh);
        }
        let now = rig.datapath.maps().ledger.read().expect("ledger");
        judge::batch(&now.since(&before), &records, ran);
        before = now;
    }
}
