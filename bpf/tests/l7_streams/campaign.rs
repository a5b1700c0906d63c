//! Many dialogues one after the other, and what is left of one that went wrong.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fathom_bpf::abi::{LedgerStage, l7_protocol, l7_text, l7_type};

use crate::dialogue::{Dialogue, Side, Transport};
use crate::message::Message;
use crate::packet::random::Random;
use crate::plan::{Cuts, MOST_LONG, Packet, Plan};
use crate::shrink::shrink;
use crate::stage::{Played, Stage};
use crate::verdict;

/// Reads a dialogue as its protocol has it.
pub type Reference = fn(&Dialogue) -> Vec<Message>;
pub type Generator = fn(&mut Random) -> Dialogue;

/// A protocol under test.
#[derive(Clone, Copy)]
pub struct Protocol {
    pub name: &'static str,
    pub corpus: fn() -> Vec<Dialogue>,
    pub generator: Generator,
    pub reference: Reference,
    /// Whether a connection whose beginning was missed is found anywhere, or only where segments begin with
    /// a message and end with one.
    pub anywhere: bool,
}

/// What a campaign met, to tell whether it reaches the code.
#[derive(Debug, Default)]
pub struct Tally {
    pub dialogues: u64,
    pub packets: u64,
    pub messages: u64,
    pub held: u64,
    pub repeated: u64,
    pub gaps: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dialogues, packets, messages, held, repeated, gaps } = self;
        write!(
            f,
            "{dialogues} dialogues, {packets} packets, {messages} messages, {held} held, {repeated} repeated, {gaps} gaps"
        )
    }
}

pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Time of a protocol's longest campaign; the others take a quarter of it each.
pub fn time() -> Duration {
    Duration::from_secs(setting("FATHOM_FUZZ_SECONDS", 1))
}

pub fn seed() -> u64 {
    setting("FATHOM_FUZZ_SEED", 1)
}

/// How the messages told are held against those expected.
type Rule = fn(&[Message], &[Message]) -> Result<(), String>;

pub struct Campaign {
    stage: Stage,
    protocol: Protocol,
    tally: Tally,
}

impl Campaign {
    pub fn new(protocol: Protocol) -> Self {
        Self { stage: Stage::new(), protocol, tally: Tally::default() }
    }

    /// On a device instead of in test_run.
    pub fn on_cable(protocol: Protocol) -> Self {
        Self { stage: Stage::on_cable(), protocol, tally: Tally::default() }
    }

    /// One dialogue on one way; an error has all of it when the tellings differ.
    fn try_one(
        &mut self,
        dialogue: &Dialogue,
        plan: &Plan,
        expected: &[Message],
        rule: Rule,
    ) -> Result<(), String> {
        let packets = plan.packets(dialogue);
        let Played { messages: told, ledger } = self.play(dialogue, plan, &packets, expected);
        let Err(difference) = rule(expected, &told) else { return Ok(()) };
        // The same fault, not one of packets that come earlier than they did.
        let least = shrink(dialogue, plan, packets, |packets| {
            let played = self.play(dialogue, plan, packets, expected);
            let worse = |stage| played.ledger[stage] > ledger[stage];
            rule(expected, &played.messages).is_err()
                && !worse(LedgerStage::L7Held)
                && !worse(LedgerStage::L7Gaps)
        });
        let text = format!("{difference}\n{}{ledger:?}", verdict::side_by_side(expected, &told));
        Err(keep(self.protocol.name, dialogue, plan, &least, &text))
    }

    fn play(&mut self, dialogue: &Dialogue, plan: &Plan, packets: &[Packet], expected: &[Message]) -> Played {
        let played = catch_unwind(AssertUnwindSafe(|| self.stage.play(dialogue, plan, packets)));
        let played = played.unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<String>().cloned();
            let text = format!("{}\n{}", what.unwrap_or_default(), verdict::side_by_side(expected, &[]));
            panic!("{}", keep(self.protocol.name, dialogue, plan, packets, &text));
        });
        self.tally.dialogues += 1;
        self.tally.packets += played.ledger[LedgerStage::PacketsSeen];
        self.tally.messages += played.messages.len() as u64;
        self.tally.held += played.ledger[LedgerStage::L7Held];
        self.tally.repeated += played.ledger[LedgerStage::L7Repeated];
        self.tally.gaps += played.ledger[LedgerStage::L7Gaps];
        played
    }

    /// Each dialogue of the corpus whole, in both directions and families; then cut once at every byte (a
    /// long one at `most_cuts` of them), and into equal parts.
    ///
    /// # Panics
    /// With the first difference of each dialogue that has one.
    pub fn corpus(&mut self, most_cuts: usize) {
        let mut differences = Vec::new();
        for dialogue in (self.protocol.corpus)() {
            let expected = (self.protocol.reference)(&dialogue);
            let mut plans = whole();
            if dialogue.transport == Transport::Tcp {
                plans.extend(cuts(&dialogue, most_cuts));
            }
            let mut tries = plans.iter().map(|plan| self.try_one(&dialogue, plan, &expected, verdict::same));
            differences.extend(tries.find_map(Result::err));
        }
        let count = differences.len();
        assert!(count == 0, "{count} dialogues of the corpus:\n{}", differences.join("\n\n"));
    }

    /// Dialogues of the corpus and of the generator on any way, until the time is over.
    pub fn random_ways(&mut self, random: &mut Random, time: Duration) {
        let corpus = (self.protocol.corpus)();
        until(time, || {
            let dialogue = if random.one_in(4) {
                random.pick(&corpus).clone()
            } else {
                (self.protocol.generator)(random)
            };
            let expected = (self.protocol.reference)(&dialogue);
            let tried = self.try_one(&dialogue, &Plan::random(random), &expected, verdict::same);
            tried.unwrap_or_else(|difference| panic!("{difference}"));
        });
    }

    /// The same with segments as long as offloads make them.
    pub fn long_ways(&mut self, random: &mut Random, time: Duration) {
        let corpus = (self.protocol.corpus)();
        until(time, || {
            let dialogue = if random.one_in(2) {
                random.pick(&corpus).clone()
            } else {
                stretched(self.protocol.generator, random)
            };
            let expected = (self.protocol.reference)(&dialogue);
            let cuts = if random.one_in(2) { Cuts::Whole } else { Cuts::Random(MOST_LONG) };
            let plan = Plan { most: MOST_LONG, disorder: 0, cuts, ..Plan::random(random) };
            let tried = self.try_one(&dialogue, &plan, &expected, verdict::same);
            tried.unwrap_or_else(|difference| panic!("{difference}"));
        });
    }

    /// One dialogue as it is, against what somebody wrote down.
    ///
    /// # Errors
    /// When the tellings differ.
    pub fn one(&mut self, dialogue: &Dialogue, expected: &[Message]) -> Result<(), String> {
        self.try_one(dialogue, &Plan::whole(), expected, verdict::same)
    }

    /// One dialogue as it is, in segments as long as they may be.
    ///
    /// # Errors
    /// When the tellings differ.
    pub fn one_long(&mut self, dialogue: &Dialogue) -> Result<(), String> {
        let expected = (self.protocol.reference)(dialogue);
        let plan = Plan { most: MOST_LONG, ..Plan::whole() };
        self.try_one(dialogue, &plan, &expected, verdict::same)
    }

    /// The same with bytes missing: what is told must have been said.
    pub fn broken_ways(&mut self, random: &mut Random, time: Duration) {
        let corpus = (self.protocol.corpus)();
        until(time, || {
            let dialogue = if random.one_in(4) {
                random.pick(&corpus).clone()
            } else {
                (self.protocol.generator)(random)
            };
            if dialogue.decoys {
                return;
            }
            let expected = (self.protocol.reference)(&dialogue);
            let mut plan = Plan::random(random);
            if random.one_in(2) {
                plan.joined = Some(Side::BOTH.map(|side| random.below(dialogue.len(side) + 1)));
                plan.server_first = random.one_in(2);
            } else {
                plan.losses = *random.pick(&[3, 10, 30]);
            }
            let tried = self.try_one(&dialogue, &plan, &expected, verdict::part);
            tried.unwrap_or_else(|difference| panic!("{difference}"));
        });
    }

    /// Dialogues whose handshake was missed, and nothing else: all of it is told.
    pub fn joined_ways(&mut self, random: &mut Random, time: Duration, server_first: bool) {
        until(time, || {
            let dialogue = (self.protocol.generator)(random);
            if dialogue.transport == Transport::Udp {
                return;
            }
            let expected = (self.protocol.reference)(&dialogue);
            // What comes first is taken for the beginning.
            let mut plan = Plan { joined: Some([0, 0]), server_first, disorder: 0, ..Plan::random(random) };
            if !self.protocol.anywhere {
                plan = Plan { cuts: Cuts::Whole, repeats: 0, probes: 0, ..plan };
                if dialogue.writes.iter().any(|write| write.bytes.len() > plan.most) || nameless(&expected) {
                    return;
                }
            }
            let tried = self.try_one(&dialogue, &plan, &expected, verdict::same);
            tried.unwrap_or_else(|difference| panic!("{difference}"));
        });
    }

    /// Dialogues with their bytes changed: no rule but those that hold for any bytes.
    pub fn mutants(&mut self, random: &mut Random, time: Duration) {
        let corpus = (self.protocol.corpus)();
        until(time, || {
            let mut dialogue = if random.one_in(2) {
                random.pick(&corpus).clone()
            } else {
                (self.protocol.generator)(random)
            };
            mutate(random, &mut dialogue);
            let mut plan = Plan::random(random);
            plan.losses = *random.pick(&[0, 0, 10]);
            self.play(&dialogue, &plan, &plan.packets(&dialogue), &[]);
        });
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// A dialogue whose neighbouring writes of one side are one write.
fn stretched(generator: Generator, random: &mut Random) -> Dialogue {
    let mut dialogue = generator(random);
    if dialogue.transport == Transport::Tcp {
        let writes = std::mem::take(&mut dialogue.writes);
        dialogue = writes.into_iter().fold(dialogue, |mut dialogue, write| {
            match dialogue.writes.last_mut() {
                Some(last) if last.side == write.side => last.bytes.extend(write.bytes),
                _ => dialogue.writes.push(write),
            }
            dialogue
        });
    }
    dialogue
}

fn whole() -> Vec<Plan> {
    let ways = [(false, true), (false, false), (true, true), (true, false)];
    ways.map(|(ipv6, server_in_pod)| Plan { ipv6, server_in_pod, ..Plan::whole() }).to_vec()
}

fn cuts(dialogue: &Dialogue, most: usize) -> Vec<Plan> {
    let mut cuts = Vec::new();
    for side in Side::BOTH {
        let len = dialogue.len(side);
        cuts.extend((1..len).step_by(len.div_ceil(most).max(1)).map(|at| Cuts::At(side, at)));
    }
    let total: usize = Side::BOTH.map(|side| dialogue.len(side)).iter().sum();
    cuts.extend([1, 2, 3, 7, 100].map(Cuts::Each).into_iter().skip(if total > 4000 { 4 } else { 0 }));
    cuts.into_iter().map(|cuts| Plan { cuts, ..Plan::whole() }).collect()
}

/// Kafka without a client's name is too little to be sure of.
fn nameless(expected: &[Message]) -> bool {
    let named = |message: &Message| message.texts.iter().any(|text| text.kind == l7_text::KAFKA_CLIENT);
    let mut requests = expected.iter().filter(|message| message.kind == l7_type::REQUEST);
    requests.any(|message| message.proto == l7_protocol::KAFKA && !named(message))
}

/// Runs something at least a few times, however slow the machine is.
fn until(time: Duration, mut work: impl FnMut()) {
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < 20 || start.elapsed() < time {
        work();
        rounds += 1;
    }
}

/// Changes a few bytes in a few writes.
fn mutate(random: &mut Random, dialogue: &mut Dialogue) {
    if dialogue.writes.is_empty() {
        return;
    }
    for _ in 0..1 + random.below(6) {
        let number = random.below(dialogue.writes.len());
        let other = random.pick(&dialogue.writes).bytes.clone();
        let bytes = &mut dialogue.writes[number].bytes;
        if bytes.is_empty() {
            continue;
        }
        // Most of what matters is near the beginning.
        let at = if random.one_in(2) { random.below(bytes.len().min(40)) } else { random.below(bytes.len()) };
        match random.below(7) {
            0 => bytes[at] = random.byte(),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => {
                bytes[at] =
                    *random.pick(&[0, 1, 0x7f, 0x80, 0xc0, 0xff, b'\r', b'\n', b' ', b':', b'0', b'9'])
            }
            3 => bytes.truncate(at.max(1)),
            4 => {
                let value = random.pick(&[0u16, 1, 0x7fff, 0x8000, 0xffff]).to_be_bytes();
                let at = at.min(bytes.len().saturating_sub(2));
                let end = bytes.len().min(at + 2);
                bytes[at..end].copy_from_slice(&value[..end - at]);
            }
            5 => {
                let len = random.below(16);
                bytes.splice(at..at, (0..len).map(|_| random.byte()));
            }
            _ => {
                let from = random.below(other.len());
                let to = other.len().min(from + 1 + random.below(64));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}

/// Writes down what went wrong and where, and says it.
fn keep(protocol: &str, dialogue: &Dialogue, plan: &Plan, packets: &[Packet], what: &str) -> String {
    let seed = seed();
    let packets = lines(plan, packets);
    let text = format!("seed {seed}, {protocol}\n{what}\n{dialogue:?}\n{plan:#?}\nleast packets:\n{packets}");
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
    let path = dir.join(format!("l7_{protocol}_{seed}.txt"));
    let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, &text));
    let head: String = text.chars().take(6000).collect();
    match written {
        Ok(()) => format!("{head}\nall of it is in {}", path.display()),
        Err(error) => format!("{head}\nnot kept: {error}"),
    }
}

fn lines(plan: &Plan, packets: &[Packet]) -> String {
    let line = |packet: &Packet| {
        let Packet { side, flags, bytes, .. } = packet;
        let offset = packet.seq.wrapping_sub(plan.first[*side as usize]).wrapping_sub(1) as i32;
        format!("  {side:?} {flags:#04x} at {offset} + {}: \"{}\"\n", bytes.len(), bytes.escape_ascii())
    };
    packets.iter().map(line).collect()
}
