//! What reading a message costs, in nanoseconds net of an empty tc program behind the same harness;
//! the packet's own way through `from_pod` or `to_pod` is in it, and so is its record.
//!
//! `cargo bench --profile release -p fathom-bpf --bench messages [-- --quick] [-- FILTER]`, as root.
//! Requests and responses take turns in batches; each figure is the median over rounds. One
//! `name value unit` line per figure; FILTER is a part of the names wanted.

use std::time::Duration;

use fathom_bpf::abi::LedgerStage;
use fathom_bpf::load::Program;
use fathom_bpf::testing::{self, Target, in_new_netns};

#[path = "messages/dialogue.rs"]
mod dialogue;
#[path = "messages/hello.rs"]
mod hello;
#[path = "messages/kafka.rs"]
mod kafka;
#[path = "datapath/packets.rs"]
#[allow(dead_code)] // this bench makes its own packets
mod packets;
#[path = "datapath/stage.rs"]
#[allow(dead_code)]
mod stage;

use dialogue::{Dialogue, Side};
use stage::{DEVICE, Stage};

/// Messages per batch: the table of exchanges holds more, and their records fit the ring.
const BATCH: u32 = 10_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let rounds = if args.iter().any(|arg| arg == "--quick") { 5 } else { 15 };
    let filter = args.iter().find(|arg| !arg.starts_with("--")).cloned().unwrap_or_default();
    in_new_netns(|| {
        let mut stage = Stage::new();
        for dialogue in dialogue::all() {
            if !format!("messages.{}", dialogue.name).contains(&filter) {
                continue;
            }
            let nets = measure(&mut stage, &dialogue, rounds);
            for (what, net) in ["request", "response"].iter().zip(nets) {
                println!("messages.{}.{what} {net:.0} ns", dialogue.name);
            }
        }
        if "messages.tls.hello".contains(&filter) {
            println!("messages.tls.hello {:.0} ns", hello::measure(&mut stage, rounds));
        }
    });
}

/// Medians of a request's and a response's time.
fn measure(stage: &mut Stage, dialogue: &Dialogue, rounds: usize) -> [f64; 2] {
    for (side, frame) in dialogue.opening() {
        testing::run(&stage.datapath, program(side), &frame, DEVICE).expect("run");
    }
    let steppers = dialogue.repeated.each_ref().map(|repeated| {
        let stepper = repeated.stepper().expect("stepper");
        stepper.seek(repeated.first).expect("stepper");
        stepper
    });
    let mut nets = [Vec::new(), Vec::new()];
    stage.drain();
    for _ in 0..rounds {
        let before = stage.ledger();
        for (side, nets) in [Side::Client, Side::Server].into_iter().zip(&mut nets) {
            let (stepper, repeated) = (&steppers[side as usize], &dialogue.repeated[side as usize]);
            let target = Target::Program(&stage.datapath, program(side));
            let with = stepper.time(target, &repeated.frame, DEVICE, BATCH).expect("run");
            let empty = repeated.stepper().expect("stepper");
            let without = empty.time(Target::Nothing, &repeated.frame, DEVICE, BATCH * 5).expect("run");
            nets.push(net(with, without));
        }
        stage.drain();
        let step = stage.ledger().since(&before);
        let told = [LedgerStage::L7Requests, LedgerStage::L7Responses, LedgerStage::L7Lost].map(|s| step[s]);
        let each = if dialogue.told { BATCH.into() } else { 0 };
        assert_eq!(told, [each, each, 0], "{}: each told once, {step:?}", dialogue.name);
    }
    nets.map(median)
}

fn program(side: Side) -> Program {
    match side {
        Side::Client => Program::ToPod,
        Side::Server => Program::FromPod,
    }
}

fn net(with: Duration, without: Duration) -> f64 {
    with.as_nanos() as f64 - without.as_nanos() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
