//! HTTP/2, HPACK and gRPC.

use fathom_bpf::abi::{LedgerStage, flag, l7_flag, l7_method, l7_protocol, l7_text, l7_type};
use fathom_bpf::load::L7Mode;

use crate::packet::Rig;
use crate::talk::{Side, Talk, Told};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

fn integer(prefix: u8, bits: u32, value: usize) -> Vec<u8> {
    let mask = (1 << bits) - 1;
    if value < mask {
        return vec![prefix | value as u8];
    }
    let (mut out, mut rest) = (vec![prefix | mask as u8], value - mask);
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

fn string(text: &str) -> Vec<u8> {
    [integer(0, 7, text.len()), text.as_bytes().to_vec()].concat()
}

/// A literal that becomes an entry of the dynamic table.
fn insert(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// A literal that does not.
fn plain(name: &str, value: &str) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

fn get(path: &str) -> Vec<u8> {
    [indexed(2), indexed(6), insert(":path", path), insert(":authority", "shop.example")].concat()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn shown(told: &Told) -> String {
    let head = &told.head;
    assert_eq!((head.proto, head.version), (l7_protocol::HTTP2, 20));
    match head.kind {
        l7_type::REQUEST => format!("?{} {} {} {}", head.exchange, head.method, told.host(), told.path()),
        l7_type::RESPONSE if told.has(l7_flag::GRPC) => {
            let code = told.has(l7_flag::CODE).then_some(head.code);
            format!("!{} {:?} grpc {code:?} {:?}", head.exchange, told.status(), head.messages)
        }
        l7_type::RESPONSE => format!("!{} {:?}", head.exchange, told.status()),
        _ => format!("~{} {:?}", head.exchange, head.messages),
    }
}

fn all(told: &[Told]) -> Vec<String> {
    told.iter().map(shown).collect()
}

fn opened(rig: &mut Rig) -> Talk<'_> {
    let mut talk = Talk::open(rig);
    talk.client([PREFACE, &frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0])].concat());
    talk.server(frame(SETTINGS, 0, 0, &[])).server(frame(SETTINGS, 1, 0, &[]));
    talk
}

#[test]
fn the_requests_of_the_rfc() {
    let mut rig = Rig::reading();
    let mut talk = opened(&mut rig);
    for (stream, block) in [
        (1, "828684418cf1e3c2e5f23a6ba0ab90f4ff"),
        (3, "828684be5886a8eb10649cbf"),
        (5, "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"),
    ] {
        talk.client(frame(HEADERS, END_HEADERS | END_STREAM, stream, &hex(block)));
    }
    assert_eq!(
        all(&talk.take()),
        ["?1 1 www.example.com /", "?3 1 www.example.com /", "?5 1 www.example.com /index.html"]
    );
}

#[test]
fn the_responses_of_the_rfc() {
    let mut rig = Rig::reading();
    let mut talk = opened(&mut rig);
    for (stream, block) in [
        (
            1,
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        ),
        (3, "4883640effc1c0bf"),
        (
            5,
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ),
    ] {
        talk.client(frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/")));
        talk.server(frame(HEADERS, END_HEADERS, stream, &hex(block)))
            .server(frame(DATA, END_STREAM, stream, b"body"));
    }
    let told = talk.take();
    let want = ["!1 Some(302)", "!3 Some(307)", "!5 Some(200)"];
    assert_eq!(all(&told).into_iter().skip(1).step_by(2).collect::<Vec<_>>(), want);
    assert!(told.iter().skip(1).step_by(2).all(|t| t.head.latency_ns > 0 && !t.has(l7_flag::UNMATCHED)));
    assert!(told[1].has(l7_flag::FIRST) && !told[3].has(l7_flag::FIRST));
}

/// Two requests whose second refers to the first's entries, and their responses.
fn dialogue() -> (Vec<u8>, Vec<u8>) {
    let again =
        [indexed(2), indexed(6), indexed(63), indexed(62), plain("cookie", &"c".repeat(300))].concat();
    let long = "/".to_owned() + &"p".repeat(290);
    let padded = [vec![7, 0, 0, 0, 0, 9], get("/padded"), vec![0; 7]].concat();
    let client = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &get("/a")),
        frame(DATA, END_STREAM, 1, b"some data"),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, &again),
        frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 5, &padded),
        frame(HEADERS, END_STREAM | END_HEADERS, 7, &get(&long)),
    ]
    .concat();
    let server = [
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 3, &indexed(8)),
        frame(HEADERS, END_HEADERS, 1, &[plain(":status", "103"), insert("link", "x")].concat()),
        frame(HEADERS, END_HEADERS, 1, &insert(":status", "418")),
        frame(DATA, END_STREAM | PADDED, 3, &[3, b'x', 0, 0, 0]),
        frame(DATA, END_STREAM, 1, b""),
        frame(HEADERS, END_HEADERS | END_STREAM, 5, &indexed(62)),
        frame(RST_STREAM, 0, 7, &[0, 0, 0, 8]),
    ]
    .concat();
    (client, server)
}

fn told_of_the_dialogue() -> Vec<String> {
    let mut want = vec![
        "?1 1 shop.example /a".to_owned(),
        "?3 1 shop.example /a".to_owned(),
        "?5 1 shop.example /padded".to_owned(),
        format!("?7 1 shop.example /{}", "p".repeat(255)),
    ];
    want.extend(["!3 Some(200)", "!1 Some(418)", "!5 Some(418)", "!7 None"].map(str::to_owned));
    want
}

#[test]
fn frames_of_all_kinds() {
    let mut rig = Rig::reading();
    let (client, server) = dialogue();
    let mut talk = Talk::open(&mut rig);
    talk.client(&client).server(&server);
    let told = talk.take();
    assert_eq!(all(&told), told_of_the_dialogue());
    assert!(told[3].has(l7_flag::TRUNCATED) && told[7].has(l7_flag::RESET));
    assert_eq!(told[7].head.status, 8);
    assert_eq!(talk.counted(LedgerStage::L7Malformed), 0);
}

#[test]
fn cut_at_every_byte_it_is_the_same() {
    let mut rig = Rig::reading();
    let (client, server) = dialogue();
    for cut in 1..client.len().max(server.len()) {
        let mut talk = Talk::open(&mut rig);
        let (a, b) = client.split_at(cut.min(client.len()));
        talk.client(a).client(b);
        let (a, b) = server.split_at(cut.min(server.len()));
        talk.server(a).server(b);
        assert_eq!(all(&talk.take()), told_of_the_dialogue(), "cut at {cut}");
        talk.close();
    }
    let mut talk = Talk::open(&mut rig);
    for byte in &client {
        talk.client([*byte]);
    }
    for byte in &server {
        talk.server([*byte]);
    }
    assert_eq!(all(&talk.take()), told_of_the_dialogue());
}

#[test]
fn a_block_cut_anywhere_by_continuation_is_the_same() {
    let mut rig = Rig::reading();
    let block =
        [get("/cut"), plain("x-long", &"v".repeat(200)), insert("content-type", "text/plain")].concat();
    for cut in 0..=block.len() {
        for parts in [2, 3] {
            let (first, second) = block.split_at(cut);
            let (second, third) = second.split_at(if parts == 3 { second.len() / 2 } else { second.len() });
            let mut frames = frame(HEADERS, END_STREAM, 1, first);
            if parts == 3 {
                frames.extend(frame(CONTINUATION, 0, 1, second));
                frames.extend(frame(CONTINUATION, END_HEADERS, 1, third));
            } else {
                frames.extend(frame(CONTINUATION, END_HEADERS, 1, second));
            }
            frames.extend(frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                3,
                &[indexed(2), indexed(64), indexed(63)].concat(),
            ));
            let mut talk = opened(&mut rig);
            talk.client(&frames);
            let want = ["?1 1 shop.example /cut", "?3 1 shop.example /cut"];
            assert_eq!(all(&talk.take()), want, "cut at {cut}, {parts} parts");
            talk.close();
            let mut talk = opened(&mut rig);
            for byte in &frames {
                talk.client([*byte]);
            }
            assert_eq!(all(&talk.take()), want, "cut at {cut}, {parts} parts, byte by byte");
            talk.close();
        }
    }
}

/// A call with the given messages and how it ends.
fn call(path: &str) -> Vec<u8> {
    [
        indexed(3),
        indexed(6),
        insert(":path", path),
        insert("content-type", "application/grpc+proto"),
        insert(":authority", "svc"),
    ]
    .concat()
}

fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

#[test]
fn a_call_is_told_at_its_end_with_its_messages() {
    let mut rig = Rig::reading();
    let asked = [message(b"one"), message(b""), message(&[7; 500])].concat();
    let answered = [message(b"yes"), message(b"no")].concat();
    for cut in 0..asked.len() {
        let mut talk = opened(&mut rig);
        talk.client(frame(HEADERS, END_HEADERS, 1, &call("/pkg.Svc/Do")));
        talk.client(frame(DATA, 0, 1, &asked[..cut])).client(frame(DATA, END_STREAM, 1, &asked[cut..]));
        talk.server(frame(
            HEADERS,
            END_HEADERS,
            1,
            &[indexed(8), insert("content-type", "application/grpc")].concat(),
        ));
        assert_eq!(all(&talk.take()), ["?1 3 svc /pkg.Svc/Do"]);
        let cut = cut % answered.len();
        talk.server(frame(DATA, 0, 1, &answered[..cut])).server(frame(DATA, 0, 1, &answered[cut..]));
        talk.server(frame(HEADERS, END_HEADERS | END_STREAM, 1, &plain("grpc-status", "13")));
        let told = talk.take();
        assert_eq!(all(&told), ["!1 Some(200) grpc Some(13) [3, 2]"], "cut at {cut}");
        assert_eq!(told[0].head.bytes, [asked.len() as u64, answered.len() as u64]);
        assert!(told[0].has(l7_flag::STREAMED) && told[0].head.latency_ns > 0);
        talk.close();
    }
}

#[test]
fn streams_whose_connection_ends_are_told_of() {
    let mut rig = Rig::reading();
    let mut talk = opened(&mut rig);
    talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/answered")));
    talk.server(frame(HEADERS, END_HEADERS | END_STREAM, 1, &indexed(8)));
    talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 3, &get("/waits")));
    talk.client(frame(HEADERS, END_HEADERS, 301, &call("/pkg.Svc/Watch")));
    talk.client(frame(DATA, 0, 301, &message(b"one")));
    let accepted = [indexed(8), insert("content-type", "application/grpc")].concat();
    talk.server(frame(HEADERS, END_HEADERS, 301, &accepted));
    talk.server(frame(DATA, 0, 301, &[message(b"a"), message(b"b")].concat()));
    talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 401, &get("/waits/too")));
    talk.take();
    talk.reset();
    let told = talk.take();
    // Of the newest 128 streams: the third is too old.
    assert_eq!(all(&told), ["!301 Some(200) grpc None [1, 2]", "!401 None"]);
    assert!(told.iter().all(|t| t.has(l7_flag::ENDED) && !t.has(l7_flag::FIRST) && t.head.duration_ns > 0));
    assert!(told.iter().all(|t| t.event.sport() == 8080 && t.event.flags & flag::REPLY != 0));
}

#[test]
fn every_one_of_many_messages_counts_in_one_frame_and_in_frames_of_their_own() {
    let mut rig = Rig::reading();
    // Sizes of all kinds, and more than one step counts.
    let messages: Vec<Vec<u8>> = (0..100).map(|n| message(&vec![7; n % 4 * (n % 7)])).collect();
    let (all_of_them, count) = (messages.concat(), messages.len() as u32);
    let ok = [indexed(8), plain("content-type", "application/grpc")].concat();
    for cut in [1, 5, 17, 100, all_of_them.len() - 1] {
        let mut talk = opened(&mut rig);
        talk.client(frame(HEADERS, END_HEADERS, 1, &call("/pkg.Svc/Many")));
        let asked = frame(DATA, END_STREAM, 1, &all_of_them);
        talk.client(&asked[..cut]).client(&asked[cut..]);
        let each: Vec<Vec<u8>> = messages.iter().map(|message| frame(DATA, 0, 1, message)).collect();
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &plain("grpc-status", "0"));
        talk.server([frame(HEADERS, END_HEADERS, 1, &ok), each.concat(), trailers].concat());
        let told = talk.take();
        assert_eq!(
            all(&told)[1..],
            [format!("!1 Some(200) grpc Some(0) [{count}, {count}]")],
            "cut at {cut}"
        );
        assert_eq!(told[1].head.bytes, [all_of_them.len() as u64; 2]);
        talk.close();
    }
}

#[test]
fn a_refused_call_is_told_by_its_trailers_alone() {
    let mut rig = Rig::reading();
    let mut talk = opened(&mut rig);
    talk.client(frame(HEADERS, END_HEADERS, 1, &call("/pkg.Svc/No")));
    let trailers =
        [indexed(8), plain("content-type", "application/grpc"), plain("grpc-status", "5")].concat();
    talk.server(frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers));
    talk.client(frame(HEADERS, END_HEADERS, 3, &call("/pkg.Svc/Cancelled"))).client(frame(
        RST_STREAM,
        0,
        3,
        &[0, 0, 0, 8],
    ));
    let told = talk.take();
    assert_eq!(
        all(&told)[1..],
        ["!1 Some(200) grpc Some(5) [0, 0]", "?3 3 svc /pkg.Svc/Cancelled", "!3 None grpc None [0, 0]"]
    );
    // Though it is the client that said so, it is the response that is told of.
    assert_eq!((told[3].event.sport(), told[3].event.source()), (8080, told[1].event.source()));
}

#[test]
fn what_a_server_says_of_a_stream_that_its_client_gave_up_is_not_told() {
    let mut rig = Rig::reading();
    let mut talk = opened(&mut rig);
    let give_up = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    let begun = [indexed(8), plain("content-type", "application/grpc")].concat();
    let trailers = [begun.clone(), plain("grpc-status", "4")].concat();
    // Each way a server may be answering; the client's word came first.
    let late: [&[Vec<u8>]; 4] = [
        &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)],
        &[
            frame(HEADERS, END_HEADERS, 3, &begun),
            frame(DATA, 0, 3, &message(b"late")),
            frame(HEADERS, END_HEADERS | END_STREAM, 3, &plain("grpc-status", "0")),
        ],
        &[frame(RST_STREAM, 0, 5, &[0, 0, 0, 8])],
        &[frame(HEADERS, END_HEADERS, 7, &indexed(13))],
    ];
    for (stream, late) in (1..).step_by(2).zip(late) {
        let request = if stream == 7 { get("/page") } else { call("/pkg.Svc/Slow") };
        talk.client(frame(HEADERS, END_HEADERS, stream, &request)).client(give_up(stream));
        for late in late {
            talk.server(late.clone());
        }
        // A frame of the client's that follows its own word.
        talk.client(frame(DATA, 0, stream, &message(b"later")));
        let told = all(&talk.take());
        assert_eq!(told.len(), 2, "stream {stream}: {told:?}");
        assert!(told[1].starts_with(&format!("!{stream} None")), "{told:?}");
    }
    // The next one on the connection is read as ever.
    talk.client(frame(HEADERS, END_HEADERS, 9, &call("/pkg.Svc/Do")));
    talk.server(frame(HEADERS, END_HEADERS | END_STREAM, 9, &trailers));
    assert_eq!(all(&talk.take())[1..], ["!9 Some(200) grpc Some(4) [0, 0]"]);
    let counted = |stage| talk.counted(stage);
    assert_eq!((counted(LedgerStage::L7Unmatched), counted(LedgerStage::L7Untracked)), (0, 0));
}

#[test]
fn promises_leave_the_table_right() {
    let mut rig = Rig::reading();
    let mut talk = opened(&mut rig);
    talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/")));
    let promise = [vec![0, 0, 0, 2], get("/pushed")].concat();
    talk.server(frame(PUSH_PROMISE, END_HEADERS, 1, &promise));
    talk.server(frame(HEADERS, END_HEADERS, 1, &insert(":status", "299")));
    talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 3, &get("/")));
    talk.server(frame(HEADERS, END_HEADERS, 3, &indexed(62)));
    assert_eq!(all(&talk.take())[1..], ["!1 Some(299)", "?3 1 shop.example /", "!3 Some(299)"]);
}

#[test]
fn joined_in_its_middle_what_is_unknown_is_said() {
    let mut rig = Rig::reading();
    let mut talk = Talk::joined(&mut rig);
    let block = [indexed(2), indexed(70), insert(":authority", "seen")].concat();
    let frames = [frame(HEADERS, END_HEADERS | END_STREAM, 41, &block), frame(SETTINGS, 1, 0, &[])].concat();
    talk.client(frames);
    talk.client(frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        43,
        &[indexed(2), indexed(4), indexed(62)].concat(),
    ));
    let told = talk.take();
    assert_eq!(all(&told), ["?41 1 seen ", "?43 1 seen /"]);
    assert!(told[0].has(l7_flag::UNKNOWN) && !told[1].has(l7_flag::UNKNOWN));
    assert!(told[0].has(l7_flag::JOINED));
    assert_eq!(talk.counted(LedgerStage::L7Unknown), 1);
}

#[test]
fn a_hundred_streams_at_once() {
    let mut rig = Rig::reading();
    let mut talk = opened(&mut rig);
    for round in 0..3 {
        let requests: Vec<u8> = (0..100)
            .flat_map(|i| {
                frame(HEADERS, END_HEADERS | END_STREAM, round * 200 + i * 2 + 1, &get(&format!("/{i}")))
            })
            .collect();
        let responses: Vec<u8> = (0..100)
            .rev()
            .flat_map(|i| {
                let stream = round * 200 + i * 2 + 1;
                [frame(HEADERS, END_HEADERS, stream, &indexed(8)), frame(DATA, END_STREAM, stream, b"x")]
                    .concat()
            })
            .collect();
        talk.client(&requests).server(&responses);
        let told = talk.take();
        assert_eq!(told.len(), 200);
        assert_eq!(told.iter().filter(|t| t.has(l7_flag::UNMATCHED)).count(), 0);
    }
    assert_eq!(talk.counted(LedgerStage::L7Untracked), 0);
}

#[test]
fn what_breaks_the_protocol_ends_the_reading() {
    let mut rig = Rig::reading();
    for frames in [
        frame(CONTINUATION, 0, 1, b""),
        frame(HEADERS, END_HEADERS, 1, &indexed(62)),
        frame(HEADERS, END_HEADERS, 1, &indexed(0)),
        frame(HEADERS, END_HEADERS, 0, &indexed(2)),
        frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0x82]),
        frame(HEADERS, END_HEADERS, 1, &[0x40, 1]),
        frame(HEADERS, END_HEADERS, 1, &[0x44, 0x81, 0x00]),
        [frame(HEADERS, 0, 1, &indexed(2)), frame(DATA, 0, 1, b"")].concat(),
    ] {
        let mut talk = opened(&mut rig);
        talk.client(&frames).client(frame(HEADERS, END_HEADERS | END_STREAM, 3, &get("/")));
        assert!(talk.take().is_empty(), "{frames:02x?}");
        assert_eq!(talk.counted(LedgerStage::L7Malformed), 1, "{frames:02x?}");
    }
}

#[test]
fn an_upgrade_from_http_1_goes_on_as_stream_1() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(b"GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    talk.server([&switched[..], &frame(SETTINGS, 0, 0, &[])].concat());
    talk.client([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    talk.server(frame(HEADERS, END_HEADERS, 1, &indexed(8))).server(frame(DATA, END_STREAM, 1, b"x"));
    talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 3, &get("/b"))).server(frame(
        HEADERS,
        END_HEADERS,
        3,
        &indexed(13),
    ));
    let told = talk.take();
    assert_eq!((told[0].head.proto, told[0].path().as_str()), (l7_protocol::HTTP1, "/up"));
    assert_eq!(all(&told[1..]), ["!0 Some(200)", "?3 1 shop.example /b", "!3 Some(404)"]);
    assert!(told[1].has(l7_flag::UPGRADED));
    assert_eq!(told[1].text(l7_text::UPGRADE).as_deref(), Some("h2c"));
}

#[test]
fn captured_texts() {
    let mut rig = Rig::reading();
    let mut talk = opened(&mut rig);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let block = [
        plain(":method", "QUERY"),
        plain(":path", "/q"),
        plain("host", "by-host"),
        plain("traceparent", trace),
    ];
    talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block.concat()));
    let told = talk.take();
    assert_eq!(told[0].head.method, l7_method::OTHER);
    assert_eq!(told[0].text(l7_text::METHOD).as_deref(), Some("QUERY"));
    assert_eq!(told[0].text(l7_text::TRACEPARENT).as_deref(), Some(trace));
    assert_eq!(told[0].host(), "by-host");
    let _ = Side::Client;
}

#[test]
fn headers_of_the_list_are_captured() {
    let mut rig = Rig::with(|config| {
        config.l7 = L7Mode::All;
        config.l7_headers = vec!["X-Request-Id".into(), "user-agent".into(), "content-type".into()]
    });
    let mut talk = opened(&mut rig);
    // user-agent by its index in the static table, the others by name; then all from the dynamic one.
    let block = [
        get("/"),
        insert("x-request-id", "7"),
        vec![0x40 | 58, 3, b'c', b'l', b'i'],
        insert("content-type", "application/grpc"),
    ];
    talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block.concat()));
    let again =
        [indexed(2), indexed(66), indexed(64), indexed(63), indexed(62), plain("x-request-idx", "no")];
    talk.client(frame(HEADERS, END_HEADERS | END_STREAM, 3, &again.concat()));
    let captured = |told: &Told| {
        let headers = told.texts.iter().filter(|text| text.0 == l7_text::HEADER);
        headers.map(|text| String::from_utf8_lossy(&text.3).into_owned()).collect::<Vec<_>>()
    };
    let told = talk.take();
    let want = ["x-request-id: 7", "user-agent: cli", "content-type: application/grpc"];
    assert_eq!(captured(&told[0]), want);
    assert_eq!(captured(&told[1]), want);
    assert!(told[1].has(l7_flag::GRPC));
    talk.close();

    let mut talk = Talk::open(&mut rig);
    talk.client(
        b"GET / HTTP/1.1\r\nHost: h\r\nX-REQUEST-ID:  abc \r\nX-Request-Idx: no\r\nuser-agent:x\r\n\r\n",
    );
    talk.server(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n");
    let told = talk.take();
    assert_eq!(captured(&told[0]), ["X-REQUEST-ID:  abc", "user-agent:x"]);
    assert_eq!(captured(&told[1]), ["Content-Type: text/html"]);
}
