//! A ClientHello: one per connection, so each is the first of one of its own.

use fathom_bpf::abi::LedgerStage;
use fathom_bpf::load::Program;
use fathom_bpf::testing::{Fields, Stepper, Target};

use crate::dialogue::{Side, segment};
use crate::packets::{ACK, SYN};
use crate::stage::{DEVICE, Stage};
use crate::{BATCH, median, net};

/// Apart from the connections of the dialogues.
const FIRST: u32 = 1 << 17;
/// The number goes into the client's port, then into its address.
const FROM_CLIENT: Fields = Fields { low: 14 + 20, high: 14 + 12 + 3 };
const TO_CLIENT: Fields = Fields { low: 14 + 20 + 2, high: 14 + 16 + 3 };

/// Median time of one.
pub fn measure(stage: &mut Stage, rounds: usize) -> f64 {
    let stepper = |fields| Stepper::new(fields, 1 << 24).expect("stepper");
    let [client, server, empty] = [stepper(FROM_CLIENT), stepper(TO_CLIENT), stepper(FROM_CLIENT)];
    let packet = |side, flags, numbers, bytes: &[u8]| segment(side, 0, flags, numbers, bytes);
    let hello = packet(Side::Client, ACK, [1, 1], &hello());
    let mut nets = Vec::new();
    for round in 0..rounds as u32 {
        let run = |stepper: &Stepper, program, packet: &[u8]| {
            stepper.seek(FIRST + round * BATCH).expect("stepper");
            stepper.time(Target::Program(&stage.datapath, program), packet, DEVICE, BATCH).expect("run")
        };
        run(&client, Program::ToPod, &packet(Side::Client, SYN, [0, 0], b""));
        run(&server, Program::FromPod, &packet(Side::Server, SYN | ACK, [0, 1], b""));
        run(&client, Program::ToPod, &packet(Side::Client, ACK, [1, 1], b""));
        let before = stage.ledger();
        let with = run(&client, Program::ToPod, &hello);
        let step = stage.ledger().since(&before);
        let told = [LedgerStage::L7Emitted, LedgerStage::L7Lost].map(|stage| step[stage]);
        assert_eq!(told, [BATCH.into(), 0], "each told once, {step:?}");
        let without = empty.time(Target::Nothing, &hello, DEVICE, BATCH * 5).expect("run");
        nets.push(net(with, without));
        stage.drain();
    }
    median(nets)
}

/// As long as browsers make it, with a name and two protocols. RFC 8446 section 4.1.2.
fn hello() -> Vec<u8> {
    const LENGTH: usize = 512;
    let name = counted(&[&[0][..], &counted(b"shop.example")].concat());
    let extensions = [extension(0, &name), extension(16, &counted(b"\x02h2\x08http/1.1"))].concat();
    let body = [&[3, 3][..], &[0x77; 32], &[32], &[0x88; 32], &counted(&[0x13; 34]), &[1, 0]].concat();
    let padding = LENGTH - body.len() - 2 - extensions.len() - 4;
    let extensions = [extensions, extension(21, &vec![0; padding])].concat();
    let body = [body, counted(&extensions)].concat();
    let message = [&[1, 0][..], &counted(&body)].concat();
    [&[22, 3, 1][..], &counted(&message)].concat()
}

fn extension(kind: u16, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &counted(bytes)].concat()
}

/// Length of two bytes, then the bytes.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}
