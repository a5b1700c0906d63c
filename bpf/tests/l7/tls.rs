//! What a ClientHello tells before all is secret.

use fathom_bpf::abi::{LedgerStage, flag, l7_flag, l7_protocol, l7_text, l7_type};

use crate::packet::Rig;
use crate::talk::{Talk, Told};

/// Length of two bytes, then the bytes.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &counted(bytes)].concat()
}

fn server_name(name: &str) -> Vec<u8> {
    extension(0, &counted(&[&[0][..], &counted(name.as_bytes())].concat()))
}

fn alpn(names: &[&str]) -> Vec<u8> {
    let names: Vec<u8> =
        names.iter().flat_map(|name| [&[name.len() as u8][..], name.as_bytes()].concat()).collect();
    extension(16, &counted(&names))
}

/// A key share as large as those against quantum computers.
fn key_share() -> Vec<u8> {
    extension(51, &[0x51; 1220])
}

/// The handshake message, without the record around it.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = [&[3, 3][..], &[0x77; 32], &[32], &[0x88; 32]].concat();
    body.extend(counted(&[0x13, 1, 0x13, 2, 0xc0, 0x2f]));
    body.extend([1, 0]);
    if !extensions.is_empty() {
        body.extend(counted(&extensions.concat()));
    }
    [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat()
}

fn record(bytes: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &counted(bytes)].concat()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    record(&message(extensions))
}

fn usual() -> Vec<u8> {
    let first = extension(0x0a0a, &[]);
    hello(&[
        first,
        server_name("Shop.Example"),
        key_share(),
        alpn(&["h2", "http/1.1"]),
        extension(21, &[0; 99]),
    ])
}

/// "name [protocols]", with a plus if something is missing.
fn lines(told: &[Told]) -> Vec<String> {
    let line = |t: &Told| {
        assert_eq!((t.head.proto, t.head.kind), (l7_protocol::TLS, l7_type::UNKNOWN));
        let text = |kind| t.text(kind).unwrap_or_else(|| "-".into());
        let cut = if t.has(l7_flag::TRUNCATED) { "+" } else { "" };
        format!("{} [{}]{cut}", text(l7_text::SNI), text(l7_text::ALPN))
    };
    told.iter().map(line).collect()
}

#[test]
fn a_hello_is_told_once_and_nothing_after_it() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(usual());
    assert_eq!(lines(&talk.take()), ["Shop.Example [h2,http/1.1]"]);
    talk.server(record(&[2; 90])).client(usual()).client(b"GET / HTTP/1.1\r\n\r\n");
    assert!(talk.take().is_empty());
    let wrong = [LedgerStage::L7Malformed, LedgerStage::L7NotOurs, LedgerStage::L7Gaps];
    assert_eq!(wrong.map(|stage| talk.counted(stage)), [0; 3]);
}

#[test]
fn cut_at_every_byte_it_is_the_same() {
    let mut rig = Rig::reading();
    let all = usual();
    for cut in 1..all.len() {
        let mut talk = Talk::open(&mut rig);
        talk.client(&all[..cut]).client(&all[cut..]);
        assert_eq!(lines(&talk.take()), ["Shop.Example [h2,http/1.1]"], "cut at {cut}");
        talk.close();
    }
}

#[test]
fn byte_by_byte_it_is_the_same() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    for byte in usual() {
        talk.client([byte]);
    }
    assert_eq!(lines(&talk.take()), ["Shop.Example [h2,http/1.1]"]);
}

#[test]
fn what_is_not_offered_is_not_told() {
    let mut rig = Rig::reading();
    let long = "x".repeat(255);
    let many: Vec<String> = (0..20).map(|i| format!("p{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let sixteen = many[..16].join(",");
    let cases = [
        (hello(&[]), "- []".replace("[]", "[-]")),
        (hello(&[key_share()]), "- [-]".into()),
        (hello(&[server_name("a.example")]), "a.example [-]".into()),
        (hello(&[alpn(&["h3"])]), "- [h3]".into()),
        (hello(&[server_name(&long), alpn(&[&long, "h2"])]), format!("{long} [{long},]+")),
        (hello(&[alpn(&many)]), format!("- [{sixteen}]+")),
        // Names that are none: of no length, of a kind that isn't a host's, beyond their extension.
        (hello(&[extension(0, &[])]), "- [-]".into()),
        (hello(&[extension(0, &[0, 4, 1, 0, 1, b'x'])]), "- [-]".into()),
        (hello(&[extension(0, &[0, 40, 0, 0, 37, b'x'])]), "- [-]".into()),
        (hello(&[extension(16, &[0, 9, 2, b'h', b'2'])]), "- [-]".into()),
        (hello(&[extension(16, &[0, 0])]), "- [-]".into()),
    ];
    for (bytes, expected) in cases {
        let mut talk = Talk::open(&mut rig);
        talk.client(&bytes);
        assert_eq!(lines(&talk.take()), [expected]);
    }
}

#[test]
fn a_hello_in_two_records_is_told_as_far_as_the_first_has_it() {
    let mut rig = Rig::reading();
    let message = message(&[server_name("a.example"), key_share(), alpn(&["h2"])]);
    for (cut, expected) in [(300, "a.example [-]+"), (90, "- [-]+"), (20, "- [-]+"), (4, "- [-]+")] {
        let mut talk = Talk::open(&mut rig);
        talk.client([record(&message[..cut]), record(&message[cut..])].concat());
        assert_eq!(lines(&talk.take()), [expected], "{cut}");
    }
}

#[test]
fn lengths_that_contradict_each_other_end_the_hello() {
    let mut rig = Rig::reading();
    let good = hello(&[server_name("a.example"), alpn(&["h2"])]);
    // Of the session id, the cipher suites, the compression methods, all extensions.
    for (at, byte, expected) in
        [(43, 0xff, "- [-]+"), (76, 0xff, "- [-]+"), (84, 0xff, "- [-]+"), (86, 0xff, "a.example [h2]+")]
    {
        let mut bad = good.clone();
        bad[at] = byte;
        let mut talk = Talk::open(&mut rig);
        talk.client(&bad);
        assert_eq!(lines(&talk.take()), [expected], "{at}");
    }
    let mut talk = Talk::open(&mut rig);
    talk.client(hello(&vec![extension(0x0a0a, &[]); 70])).client(&good);
    assert_eq!(lines(&talk.take()), ["- [-]+"]);
}

#[test]
fn a_server_that_interrupts_ends_the_hello() {
    let mut rig = Rig::reading();
    let all = usual();
    for (cut, expected) in [(600, "Shop.Example [-]+"), (7, "- [-]+"), (60, "- [-]+")] {
        let mut talk = Talk::open(&mut rig);
        talk.client(&all[..cut]).server([21, 3, 3, 0, 2, 2, 40]).client(&all[cut..]);
        let told = talk.take();
        assert_eq!(lines(&told), [expected], "{cut}");
        assert_eq!((told[0].event.dport(), told[0].event.flags & flag::REPLY), (8080, 0));
    }
}

#[test]
fn joined_in_its_middle_nothing_is_told() {
    let mut rig = Rig::reading();
    let mut talk = Talk::joined(&mut rig);
    for _ in 0..20 {
        talk.client([&[23, 3, 3, 0, 90][..], &[0x99; 90]].concat());
    }
    assert!(talk.take().is_empty());
    assert_eq!(talk.counted(LedgerStage::L7NotOurs), 1);
}
