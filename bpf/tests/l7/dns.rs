//! DNS over UDP and TCP; QUIC, which is told from it.

use fathom_bpf::abi::{LedgerStage, l7_dns_fault, l7_flag, l7_protocol, l7_text, l7_type};

use crate::packet::Rig;
use crate::talk::{Side, Talk, Told};

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const AAAA: u16 = 28;
const OPT: u16 = 41;

/// Labels, then the root.
fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect()
}

fn question(id: u16, of: &str, kind: u16) -> Vec<u8> {
    let mut out = header(id, 0x0100, [1, 0, 0, 0]);
    out.extend(name(of));
    out.extend([kind, 1].into_iter().flat_map(u16::to_be_bytes));
    out
}

/// Owner: a pointer to the question's name.
fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend([kind, 1].into_iter().flat_map(u16::to_be_bytes));
    out.extend(ttl.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
    out
}

const TO_QUESTION: &[u8] = &[0xc0, 12];

fn answer(id: u16, of: &str, kind: u16, rcode: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = header(id, 0x8180 | rcode, [1, records.len() as u16, 0, 0]);
    out.extend(name(of));
    out.extend([kind, 1].into_iter().flat_map(u16::to_be_bytes));
    out.extend(records.concat());
    out
}

/// As TCP carries it.
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

fn shown(told: &Told) -> String {
    let mut out = format!(
        "{} {:04x} {}",
        if told.head.kind == l7_type::REQUEST { "?" } else { "!" },
        told.head.exchange,
        told.head.code
    );
    for (kind, _, ttl, bytes) in &told.texts {
        out += &match *kind {
            l7_text::DNS_A | l7_text::DNS_AAAA | l7_text::DNS_OTHER => format!(" {bytes:?}/{ttl}"),
            l7_text::DNS_CNAME => format!(" ={}/{ttl}", String::from_utf8_lossy(bytes)),
            _ => format!(" {}", String::from_utf8_lossy(bytes)),
        };
    }
    if let Some(status) = told.status() {
        out += &format!(" rcode {status}");
    }
    out
}

fn all(told: &[Told]) -> Vec<String> {
    assert!(told.iter().all(|t| t.head.proto == l7_protocol::DNS));
    told.iter().map(shown).collect()
}

#[test]
fn a_question_and_its_answer() {
    let mut rig = Rig::reading();
    let mut talk = Talk::silent(&mut rig, true);
    talk.datagram(Side::Client, &question(0x1234, "Api.Shop.Example", A));
    let records = [
        record(TO_QUESTION, CNAME, 60, &name("web.shop.example")),
        record(TO_QUESTION, A, 30, &[10, 0, 0, 7]),
        record(TO_QUESTION, AAAA, 31, &[0xfd; 16]),
        record(TO_QUESTION, 99, 5, b"other"),
    ];
    talk.datagram(Side::Server, &answer(0x1234, "api.shop.example", A, 0, &records));
    let told = talk.take();
    let v6 = format!("{:?}", [0xfd_u8; 16]);
    assert_eq!(
        all(&told),
        [
            "? 1234 1 api.shop.example".to_owned(),
            format!(
                "! 1234 1 api.shop.example =web.shop.example/60 [10, 0, 0, 7]/30 {v6}/31 [0, 99]/5 rcode 0"
            ),
        ]
    );
    assert_eq!(told[0].head.conn, told[1].head.conn);
    assert!(told[1].head.latency_ns > 0 && !told[1].has(l7_flag::UNMATCHED | l7_flag::TRUNCATED));
    assert_eq!(told[1].head.detail, 4);
}

/// Names are learned from answers: a pod must not be able to give itself one.
#[test]
fn who_asks_does_not_answer() {
    for pod_is_server in [false, true] {
        let mut rig = Rig::reading();
        let mut talk = Talk::silent(&mut rig, pod_is_server);
        let forged = [record(TO_QUESTION, A, 30, &[10, 0, 0, 66])];
        let true_one = [record(TO_QUESTION, A, 30, &[10, 0, 0, 7])];
        talk.datagram(Side::Client, &question(5, "api", A));
        talk.datagram(Side::Client, &answer(5, "api", A, 0, &forged));
        talk.datagram(Side::Server, &answer(5, "api", A, 0, &true_one));
        let told = talk.take();
        assert_eq!(
            all(&told),
            [
                "? 0005 1 api",
                "! 0005 1 api [10, 0, 0, 66]/30 rcode 0",
                "! 0005 1 api [10, 0, 0, 7]/30 rcode 0"
            ]
        );
        assert!(told[1].has(l7_flag::UNMATCHED) && told[1].head.latency_ns == 0);
        assert!(!told[2].has(l7_flag::UNMATCHED) && told[2].head.latency_ns > 0);
    }
}

#[test]
fn errors_edns_and_the_root() {
    let mut rig = Rig::reading();
    let mut talk = Talk::silent(&mut rig, true);
    let mut asked = question(1, "", 2);
    asked[11] = 1;
    asked.extend(record(&[0], OPT, 0, b""));
    talk.datagram(Side::Client, &asked);
    talk.datagram(Side::Server, &answer(1, "", 2, 3, &[]));
    let mut bad_version = answer(2, "x", A, 0, &[]);
    bad_version[11] = 1;
    bad_version.extend(record(&[0], OPT, 0x0100_0000, b""));
    talk.datagram(Side::Server, &bad_version);
    let told = talk.take();
    assert_eq!(all(&told), ["? 0001 2 .", "! 0001 2 . rcode 3", "! 0002 1 x rcode 16"]);
    assert!(told[0].has(l7_flag::EDNS) && !told[1].has(l7_flag::EDNS) && told[2].has(l7_flag::EDNS));
    assert!(told[2].has(l7_flag::UNMATCHED));
}

#[test]
fn answers_past_the_eighth_are_said_to_be_there() {
    let mut rig = Rig::reading();
    let mut talk = Talk::silent(&mut rig, true);
    let records: Vec<_> = (0..20).map(|i| record(TO_QUESTION, A, 1, &[10, 0, 0, i])).collect();
    talk.datagram(Side::Server, &answer(7, "many.example", A, 0, &records));
    let told = talk.take();
    assert_eq!((told[0].texts.len(), told[0].head.detail), (9, 20));
    assert!(told[0].has(l7_flag::TRUNCATED));
    assert!(!told[0].has(l7_flag::MALFORMED));
}

#[test]
fn an_answer_in_fragments_is_told_as_far_as_the_first_has_it() {
    let mut rig = Rig::reading();
    let mut talk = Talk::silent(&mut rig, true);
    let records: Vec<_> = (0..6).map(|i| record(TO_QUESTION, A, 1, &[10, 0, 0, i])).collect();
    let bytes = answer(7, "a.example", A, 0, &records);
    let first = (12 + 15 + 3 * 16 + 7) & !7; // into the fourth record
    talk.datagram(Side::Client, &question(7, "a.example", A));
    talk.fragments(Side::Server, &bytes, first);
    let told = talk.take();
    let addresses = "[10, 0, 0, 0]/1 [10, 0, 0, 1]/1 [10, 0, 0, 2]/1";
    assert_eq!(
        all(&told),
        ["? 0007 1 a.example".to_owned(), format!("! 0007 1 a.example {addresses} rcode 0")]
    );
    assert!(told[1].has(l7_flag::TRUNCATED) && !told[1].has(l7_flag::MALFORMED | l7_flag::UNMATCHED));
    // The next datagram is read as any other.
    talk.datagram(Side::Server, &answer(7, "a.example", A, 0, &records));
    assert_eq!(talk.take().len(), 1);
}

#[test]
fn what_no_name_or_number_makes_sense_of_is_refused_by_name() {
    let mut rig = Rig::reading();
    let refused = |bytes: &[u8], rig: &mut Rig| {
        let mut talk = Talk::silent(rig, true);
        talk.datagram(Side::Client, bytes);
        let told = talk.take();
        assert_eq!(told.len(), 1, "{bytes:?}");
        assert!(told[0].has(l7_flag::MALFORMED), "{bytes:?}");
        (told[0].head.detail, told[0].head.code)
    };
    let mut two = question(1, "a.example", A);
    two[5] = 2;
    two.extend(name("b.example"));
    two.extend([0, 1, 0, 1]);
    assert_eq!(refused(&two, &mut rig), (l7_dns_fault::QUESTIONS, 2));
    let mut to_itself = question(1, "", A);
    to_itself.splice(12..13, [0xc0, 12]);
    assert_eq!(refused(&to_itself, &mut rig).0, l7_dns_fault::NAME);
    let mut label = question(1, "abc", A);
    label[12] = 0x43;
    assert_eq!(refused(&label, &mut rig).0, l7_dns_fault::NAME);
    let long = ["x".repeat(63).as_str(); 4].join(".");
    assert_eq!(refused(&question(1, &long, A), &mut rig).0, l7_dns_fault::NAME);
    let whole = question(1, "abc.example", A);
    assert_eq!(refused(&whole[..20], &mut rig).0, l7_dns_fault::SHORT);
}

#[test]
fn a_dot_in_a_label_is_no_dot_between_labels() {
    let mut rig = Rig::reading();
    let mut talk = Talk::silent(&mut rig, true);
    let mut odd = question(1, "aXbcd.example", A);
    odd[14] = b'.';
    odd[16] = b'\\';
    talk.datagram(Side::Client, &odd);
    assert_eq!(all(&talk.take()), [r"? 0001 1 a\.b\\d.example"]);
}

#[test]
fn the_longest_name_is_told_whole() {
    let mut rig = Rig::reading();
    let mut talk = Talk::silent(&mut rig, true);
    let long = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
    talk.datagram(Side::Client, &question(1, &long, A));
    assert_eq!(talk.take()[0].text(l7_text::DNS_NAME), Some(long));
}

#[test]
fn over_tcp_in_any_pieces() {
    let mut rig = Rig::reading();
    let asked = [framed(&question(1, "a.example", A)), framed(&question(2, "b.example", AAAA))].concat();
    let soa = record(TO_QUESTION, SOA, 9, &[0; 22]);
    let answered = [
        framed(&answer(2, "b.example", AAAA, 0, &[soa])),
        framed(&answer(1, "a.example", A, 0, &[record(TO_QUESTION, A, 3, &[1, 2, 3, 4])])),
    ]
    .concat();
    let want = [
        "? 0001 1 a.example",
        "? 0002 28 b.example",
        "! 0002 28 b.example [0, 6]/9 rcode 0",
        "! 0001 1 a.example [1, 2, 3, 4]/3 rcode 0",
    ];
    for cut in 0..asked.len() {
        let mut talk = Talk::open(&mut rig);
        talk.client(&asked[..cut]).client(&asked[cut..]).server(&answered);
        assert_eq!(all(&talk.take()), want, "cut at {cut}");
        talk.close();
    }
    let mut talk = Talk::open(&mut rig);
    for byte in &asked {
        talk.client([*byte]);
    }
    for byte in &answered {
        talk.server([*byte]);
    }
    assert_eq!(all(&talk.take()), want);
}

#[test]
fn joined_in_its_middle_an_answer_is_what_somebody_waits_for() {
    let mut rig = Rig::reading();
    let mut talk = Talk::joined(&mut rig);
    talk.client(framed(&question(1, "a.example", A)));
    // The tail of a longer one, which has the look of one itself.
    talk.server(framed(&answer(9, "evil.example", A, 0, &[])));
    talk.server(framed(&answer(1, "a.example", A, 3, &[])));
    assert_eq!(all(&talk.take()), ["? 0001 1 a.example", "! 0001 1 a.example rcode 3"]);
}

#[test]
fn joined_in_its_middle_a_question_looks_like_one() {
    let mut rig = Rig::reading();
    let long = [question(1, "a.example", A), vec![0; 600]].concat();
    let mut compressed = question(1, "a.example", A);
    compressed[12] = 0xc0;
    let root = [question(1, "", A), vec![1]].concat();
    for bytes in [long, compressed, root] {
        let mut talk = Talk::joined(&mut rig);
        talk.client(framed(&bytes)).client(framed(&question(2, "b.example", A)));
        assert_eq!(all(&talk.take()), ["? 0002 1 b.example"]);
    }
}

#[test]
fn a_long_message_over_tcp_is_told_by_its_beginning() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let records: Vec<_> = (0..200).map(|i| record(TO_QUESTION, A, 1, &[10, 0, 0, i])).collect();
    talk.client(framed(&question(1, "a.example", A)));
    talk.server(framed(&answer(1, "a.example", A, 0, &records)));
    talk.client(framed(&question(2, "b.example", A))).server(framed(&answer(2, "b.example", A, 3, &[])));
    let told = talk.take();
    assert_eq!(told.len(), 4);
    assert!(told[1].has(l7_flag::TRUNCATED) && !told[1].has(l7_flag::MALFORMED));
    assert_eq!(shown(&told[3]), "! 0002 1 b.example rcode 3");
}

#[test]
fn quic_is_recognised_and_other_datagrams_are_left_alone() {
    let mut rig = Rig::reading();
    let mut initial = vec![0; 1200];
    initial[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
    let mut talk = Talk::silent(&mut rig, true);
    talk.datagram(Side::Client, &initial).datagram(Side::Client, &initial);
    let told = talk.take();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].head.proto, l7_protocol::QUIC);

    let mut talk = Talk::silent(&mut rig, true);
    talk.datagram(Side::Client, b"statsd.counter:1|c").datagram(Side::Client, &question(1, "a", A));
    assert!(talk.take().is_empty());
    assert_eq!(talk.counted(LedgerStage::L7NotOurs), 1);
}
