//! Frames after an upgrade to WebSocket: counted, never read.

use std::time::Duration;

use fathom_bpf::abi::{LedgerStage, l7_flag, l7_protocol, l7_text, l7_type};

use crate::packet::Rig;
use crate::talk::{Side, Talk, Told};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const ASK: &[u8] = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const YES: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n";

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A frame; those of clients are masked.
fn frame(side: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = if side == Side::Client { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(mask | len as u8),
        len @ 126..=0xffff => {
            bytes.push(mask | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(mask | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    if mask == 0 {
        bytes.extend(payload);
    } else {
        bytes.extend(KEY);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ KEY[at % 4]));
    }
    bytes
}

fn client(first: u8, len: usize) -> Vec<u8> {
    frame(Side::Client, first, &vec![0xee; len])
}

fn server(first: u8, len: usize) -> Vec<u8> {
    frame(Side::Server, first, &vec![0xee; len])
}

fn close(side: Side, code: u16) -> Vec<u8> {
    frame(side, CLOSE, &[&code.to_be_bytes()[..], b"bye"].concat())
}

fn upgraded(rig: &mut Rig) -> Talk<'_> {
    let mut talk = Talk::open(rig);
    talk.client(ASK).server(YES);
    let told = talk.take();
    assert_eq!(told.len(), 2);
    assert!(told[1].has(l7_flag::UPGRADED));
    assert_eq!(told[1].text(l7_text::UPGRADE).as_deref(), Some("WebSocket"));
    talk
}

/// Exchange, frames and bytes of both sides, and the close code.
fn lines(told: &[Told]) -> Vec<String> {
    let line = |t: &Told| {
        assert_eq!((t.head.proto, t.head.kind), (l7_protocol::WEBSOCKET, l7_type::SAMPLE));
        assert!(t.head.duration_ns > 0);
        let head = t.head;
        let (messages, bytes) = (head.messages, head.bytes);
        let ended = if t.has(l7_flag::ENDED) { " ended" } else { "" };
        format!("{} {messages:?} {bytes:?} {:?}{ended}", head.exchange, t.status())
    };
    told.iter().map(line).collect()
}

/// Frames of all lengths, fragmented ones and control frames between them.
fn dialogue() -> (Vec<u8>, Vec<u8>) {
    let ours = [
        client(TEXT, 5),
        client(PING, 4),
        client(0x01, 126),
        client(PONG, 0),
        client(0x80, 0),
        client(BINARY | 0x40, 300),
        close(Side::Client, 1001),
    ];
    let theirs = [
        server(TEXT, 0),
        server(PONG, 4),
        server(BINARY, 125),
        server(BINARY, 200),
        close(Side::Server, 1000),
    ];
    (ours.concat(), theirs.concat())
}

const DIALOGUE: &str = "0 [4, 3] [431, 325] Some(1001)";

#[test]
fn frames_are_counted_to_the_close() {
    let mut rig = Rig::reading();
    let mut talk = upgraded(&mut rig);
    let (ours, theirs) = dialogue();
    talk.client(ours);
    assert!(talk.take().is_empty(), "the server hasn't said close");
    talk.server(theirs);
    assert_eq!(lines(&talk.take()), [DIALOGUE]);
    talk.client(client(TEXT, 9)).server(server(TEXT, 9)).close();
    assert!(talk.take().is_empty());
    assert_eq!(talk.counted(LedgerStage::L7Malformed), 0);
}

#[test]
fn cut_at_every_byte_it_is_the_same() {
    let mut rig = Rig::reading();
    let (ours, theirs) = dialogue();
    for cut in 1..ours.len() {
        let mut talk = upgraded(&mut rig);
        talk.client(&ours[..cut]).client(&ours[cut..]).server(&theirs);
        assert_eq!(lines(&talk.take()), [DIALOGUE], "cut at {cut}");
    }
    for cut in 1..theirs.len() {
        let mut talk = upgraded(&mut rig);
        talk.client(&ours).server(&theirs[..cut]).server(&theirs[cut..]);
        assert_eq!(lines(&talk.take()), [DIALOGUE], "cut at {cut}");
    }
}

#[test]
fn byte_by_byte_it_is_the_same() {
    let mut rig = Rig::reading();
    let mut talk = upgraded(&mut rig);
    let (ours, theirs) = dialogue();
    for byte in ours {
        talk.client([byte]);
    }
    for byte in theirs {
        talk.server([byte]);
    }
    assert_eq!(lines(&talk.take()), [DIALOGUE]);
}

#[test]
fn frames_in_the_segment_of_the_upgrade_count() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(GET).server(OK).client(ASK);
    talk.server([YES, &server(TEXT, 7), &server(TEXT, 2000), &server(BINARY, 1)].concat()).take();
    talk.client(close(Side::Client, 1000)).server(server(CLOSE, 0));
    assert_eq!(lines(&talk.take()), ["1 [0, 3] [0, 2008] Some(1000)"]);
}

#[test]
fn many_and_large_frames() {
    let mut rig = Rig::reading();
    let mut talk = upgraded(&mut rig);
    for _ in 0..3 {
        talk.client(client(BINARY, 2).repeat(350)).server(server(BINARY, 70_000));
    }
    // A missed part of a frame's payload costs nothing.
    let large = server(BINARY, 9000);
    talk.server(&large[..1000]).moved(Side::Server, 3000).server(&large[4000..]);
    talk.server(server(CLOSE, 0)).client(close(Side::Client, 1000));
    assert_eq!(lines(&talk.take()), ["0 [1050, 4] [2100, 219000] Some(1005)"]);
    assert_eq!(talk.counted(LedgerStage::L7Gaps), 0);
}

#[test]
fn a_connection_that_ends_without_close_is_told() {
    let mut rig = Rig::reading();
    let mut talk = upgraded(&mut rig);
    talk.client(client(TEXT, 5)).reset();
    assert_eq!(lines(&talk.take()), ["0 [1, 0] [5, 0] None ended"]);
    let mut talk = upgraded(&mut rig);
    talk.client(client(TEXT, 5)).server(close(Side::Server, 1011)).close();
    assert_eq!(lines(&talk.take()), ["0 [1, 0] [5, 0] Some(1011) ended"]);
}

#[test]
fn counts_of_a_long_connection_are_told_now_and_then() {
    let mut rig = Rig::reading();
    let mut talk = upgraded(&mut rig);
    talk.client(client(TEXT, 5)).server(server(TEXT, 6));
    assert!(talk.take().is_empty());
    std::thread::sleep(Duration::from_millis(5100));
    talk.client(client(TEXT, 5)).server(server(TEXT, 6)).client(client(TEXT, 5));
    assert_eq!(lines(&talk.take()), ["0 [2, 1] [10, 6] None"]);
    std::thread::sleep(Duration::from_millis(5100));
    talk.server(server(PING, 6)).server(server(TEXT, 6)).client(client(TEXT, 5));
    assert_eq!(lines(&talk.take()), ["0 [3, 3] [15, 18] None"]);
    std::thread::sleep(Duration::from_millis(5100));
    // A frame that goes on in the next segments.
    talk.server(server(BINARY, 7000)).server(server(TEXT, 6));
    assert_eq!(lines(&talk.take()), ["0 [4, 4] [20, 7018] None"]);
    talk.reset();
    assert_eq!(lines(&talk.take()), ["0 [4, 5] [20, 7024] None ended"]);
}

#[test]
fn what_is_no_frame_ends_the_counting() {
    let mut rig = Rig::reading();
    let broken = [
        server(TEXT, 3), // not masked
        client(0x83, 3), // reserved opcodes
        client(0x8b, 3),
        client(0x09, 3),                                     // a control frame in fragments
        client(PING, 126),                                   // and one too long
        [&[BINARY, 0xff][..], &[0xff; 8], &[0; 4]].concat(), // a length that is none
    ];
    for bytes in broken {
        let mut talk = upgraded(&mut rig);
        talk.client(client(TEXT, 5)).client(&bytes).client(client(TEXT, 5));
        let told = talk.take();
        assert_eq!(lines(&told), ["0 [1, 0] [5, 0] None"], "{bytes:02x?}");
        assert!(told[0].has(l7_flag::MALFORMED));
        assert_eq!(talk.counted(LedgerStage::L7Malformed), 1);
    }
}

#[test]
fn after_a_gap_counting_goes_on() {
    let mut rig = Rig::reading();
    let mut talk = upgraded(&mut rig);
    talk.client(client(TEXT, 5)).moved(Side::Client, 500);
    // As many early segments as are kept, and one more.
    for _ in 0..5 {
        talk.client(client(TEXT, 5));
    }
    talk.client(client(TEXT, 50)).client(close(Side::Client, 1000)).server(close(Side::Server, 1000));
    let told = talk.take();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].status(), Some(1000));
    assert!(told[0].head.messages[0] >= 2, "{}", lines(&told)[0]);
    assert_eq!(talk.counted(LedgerStage::L7Gaps), 1);
}
