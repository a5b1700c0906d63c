//! The three situations of a packet, each measured in turns with an empty program.

use std::time::Duration;

use fathom_bpf::abi::LedgerStage;
use fathom_bpf::load::{L7Mode, Program};
use fathom_bpf::testing::{self, Stepper, Target};

use crate::packets::{ACK, Family, Flow, SYN};
use crate::stage::{BATCH, DEVICE, Stage};

/// How often, and how long each time.
#[derive(Clone, Copy)]
pub struct Rounds {
    count: usize,
    repeat: u32,
}

impl Rounds {
    pub const FULL: Self = Self { count: 9, repeat: 500_000 };
    pub const QUICK: Self = Self { count: 7, repeat: 200_000 };

    /// How often programs are loaded where two loads are compared.
    fn loads(self) -> u32 {
        if self.count == Self::FULL.count { 5 } else { 2 }
    }

    /// As many new flows as fit: the table holds half a million, and two programs are measured.
    pub fn while_there_is_room(self) -> Self {
        Self { count: 5, repeat: 50_000 }
    }
}

/// Packets of one established connection.
pub fn established(stage: &Stage, program: Program, family: Family, rounds: Rounds) -> f64 {
    let flow = Flow::through(program, family);
    establish(stage, flow);
    let packet = flow.opener_sends(ACK, 64);
    compare(stage, rounds, |with| {
        if with {
            testing::time(&stage.datapath, program, &packet, DEVICE, rounds.repeat)
        } else {
            testing::time_empty(&packet, DEVICE, rounds.repeat)
        }
    })
}

/// What such a packet costs more where messages are read, and its connection is known to carry none.
pub fn added_by_reading(program: Program, family: Family, rounds: Rounds) -> f64 {
    let flow = Flow::through(program, family);
    let packet = flow.opener_sends(ACK, 64);
    let mut added = Vec::new();
    // Loaded anew each time: where the kernel puts two programs makes a difference as well.
    for _ in 0..rounds.loads() {
        let stages = [L7Mode::Off, L7Mode::All].map(Stage::reading);
        for stage in &stages {
            establish(stage, flow);
            testing::run(&stage.datapath, program, &packet, DEVICE).expect("run");
        }
        let not_ours = stages.each_ref().map(|stage| stage.ledger()[LedgerStage::L7NotOurs]);
        assert_eq!(not_ours, [0, 1], "its first bytes tell that it is of no protocol that is read");
        for round in 0..rounds.count {
            let time = |stage: &Stage| {
                let time = testing::time(&stage.datapath, program, &packet, DEVICE, rounds.repeat);
                time.expect("run").as_nanos() as f64
            };
            let [off, all] = if round % 2 == 0 {
                stages.each_ref().map(time)
            } else {
                let all = time(&stages[1]);
                [time(&stages[0]), all]
            };
            added.push(all - off);
        }
    }
    median(added)
}

/// The three packets a connection begins with.
fn establish(stage: &Stage, flow: Flow) {
    let [opener, other] = flow.programs();
    let run = |program, packet: &[u8]| {
        testing::run(&stage.datapath, program, packet, DEVICE).expect("run");
    };
    run(opener, &flow.opener_sends(SYN, 0));
    run(other, &flow.answer(SYN | ACK));
    run(opener, &flow.opener_sends(ACK, 0));
}

/// Packets of 4,096 established connections in turn: no entry is in the nearest cache.
pub fn many_flows(stage: &Stage, program: Program, family: Family, rounds: Rounds) -> f64 {
    const FLOWS: u32 = 4096;
    let flow = Flow::through(program, family);
    let [opener, other] = flow.programs();
    let opener_sends = Stepper::new(flow.fields_opener_sends(), FLOWS).expect("stepper");
    let answers = Stepper::new(flow.fields_of_answer(), FLOWS).expect("stepper");
    let run = |stepper: &Stepper, program, packet: &[u8], repeat| {
        stepper.time(Target::Program(&stage.datapath, program), packet, DEVICE, repeat)
    };
    run(&opener_sends, opener, &flow.opener_sends(SYN, 0), FLOWS).expect("run");
    run(&answers, other, &flow.answer(SYN | ACK), FLOWS).expect("run");
    run(&opener_sends, opener, &flow.opener_sends(ACK, 0), FLOWS).expect("run");
    let packet = flow.opener_sends(ACK, 64);
    compare(stage, rounds, |with| {
        if with {
            run(&opener_sends, program, &packet, rounds.repeat)
        } else {
            opener_sends.time(Target::Nothing, &packet, DEVICE, rounds.repeat)
        }
    })
}

/// First packets, numbered from `first` on: each opens a connection of its own, through ipcache and policy, with its event.
pub fn new_flow(stage: &mut Stage, program: Program, family: Family, first: u32, rounds: Rounds) -> f64 {
    let flow = Flow::through(program, family);
    let stepper = Stepper::new(flow.fields_opener_sends(), 1 << 24).expect("stepper");
    stepper.seek(first).expect("stepper");
    let packet = flow.opener_sends(SYN, 0);
    let mut nets = Vec::new();
    stage.drain();
    for _ in 0..rounds.count {
        let before = stage.ledger();
        let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
        let batches = rounds.repeat / BATCH;
        for _ in 0..batches {
            let target = Target::Program(&stage.datapath, program);
            without += stepper.time(Target::Nothing, &packet, DEVICE, BATCH).expect("run");
            with += stepper.time(target, &packet, DEVICE, BATCH).expect("run");
            stage.drain();
        }
        let step = stage.ledger().since(&before);
        let flows = u64::from(batches * BATCH);
        let seen = [LedgerStage::CtCreated, LedgerStage::EventsEmitted, LedgerStage::EventsLost];
        assert_eq!(seen.map(|stage| step[stage]), [flows, flows, 0], "each a flow, each an event");
        nets.push((with.as_nanos() as f64 - without.as_nanos() as f64) / f64::from(batches));
    }
    median(nets)
}

/// Takes turns, and proves that the fast way was taken all along.
fn compare(stage: &Stage, rounds: Rounds, time: impl Fn(bool) -> fathom_bpf::Result<Duration>) -> f64 {
    let before = stage.ledger();
    let mut nets = Vec::new();
    for _ in 0..rounds.count {
        let without = time(false).expect("run").as_nanos() as f64;
        let with = time(true).expect("run").as_nanos() as f64;
        nets.push(with - without);
    }
    let step = stage.ledger().since(&before);
    let all = u64::from(rounds.repeat) * rounds.count as u64;
    assert_eq!(step[LedgerStage::PacketsSeen], all, "every packet met the program");
    // All but the reports of long-lived connections.
    let reported = step[LedgerStage::PacketsReported];
    assert!(reported * 50 < all, "{reported} of {all} packets were not on the fast path");
    median(nets)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
