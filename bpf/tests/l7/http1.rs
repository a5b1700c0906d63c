//! HTTP/1.0 and 1.1.

use fathom_bpf::abi::{LedgerStage, flag, l7_flag, l7_method, l7_protocol, l7_text, l7_type};

use libbpf_rs::MapCore as _;

use crate::packet::{ACK, FIN, Rig, SYN};
use crate::talk::{Side, Talk, Told};

const GET: &[u8] = b"GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// "GET /a → 200" of what was told.
fn lines(told: &[Told]) -> Vec<String> {
    let line = |t: &Told| match t.head.kind {
        l7_type::REQUEST => format!("{} {} {} {}", t.head.exchange, t.head.method, t.host(), t.path()),
        _ => format!("{} {:?}", t.head.exchange, t.status()),
    };
    told.iter().map(line).collect()
}

#[test]
fn a_request_and_its_response() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(GET).server(OK);
    let told = talk.take();
    assert_eq!(lines(&told), ["0 1 shop.example /a?b=c", "0 Some(200)"]);
    let [request, response] = &told[..] else { panic!("{told:#?}") };
    assert_eq!((request.head.proto, request.head.version), (l7_protocol::HTTP1, 11));
    assert_eq!((request.head.kind, response.head.kind), (l7_type::REQUEST, l7_type::RESPONSE));
    assert_eq!(request.head.method, l7_method::GET);
    assert_eq!(request.head.conn, response.head.conn);
    assert!(response.head.latency_ns > 0 && response.head.duration_ns >= response.head.latency_ns);
    assert!(response.has(l7_flag::FIRST) && response.event.handshake_us > 0);
    assert_eq!(request.event.flags & flag::REPLY, 0);
    assert_ne!(response.event.flags & flag::REPLY, 0);
    assert_eq!(request.event.dport(), 8080);
    assert_eq!(response.event.sport(), 8080);

    talk.client(GET).server(OK);
    assert_eq!(lines(&talk.take()), ["1 1 shop.example /a?b=c", "1 Some(200)"]);
    talk.close();
    assert!(talk.take().is_empty());
    assert_eq!(talk.counted(LedgerStage::L7Unmatched) + talk.counted(LedgerStage::L7Malformed), 0);
}

/// The pod got other labels while its connection went on.
#[test]
fn a_pod_has_the_identity_of_its_newest_tables() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(GET).server(OK);
    let identities = |told: &[Told]| -> Vec<[u32; 2]> {
        told.iter().map(|told| [told.event.src_identity, told.event.dst_identity]).collect()
    };
    let before = identities(&talk.take());
    let [[client, pod], _] = before[..] else { panic!("{before:?}") };
    assert_eq!(before, [[client, pod], [pod, client]]);
    talk.relabel(pod + 1);
    talk.client(GET).server(OK);
    assert_eq!(identities(&talk.take()), [[client, pod + 1], [pod + 1, client]]);
}

#[test]
fn cut_at_every_byte_it_is_the_same() {
    let mut rig = Rig::reading();
    for cut in 1..GET.len() {
        let mut talk = Talk::open(&mut rig);
        talk.client(&GET[..cut]).client(&GET[cut..]).server(OK);
        assert_eq!(lines(&talk.take()), ["0 1 shop.example /a?b=c", "0 Some(200)"], "cut at {cut}");
        talk.close();
    }
    for cut in 1..OK.len() {
        let mut talk = Talk::open(&mut rig);
        talk.client(GET).server(&OK[..cut]).server(&OK[cut..]).client(GET).server(OK);
        assert_eq!(
            lines(&talk.take())[1..],
            ["0 Some(200)", "1 1 shop.example /a?b=c", "1 Some(200)"],
            "cut at {cut}"
        );
        talk.close();
    }
}

#[test]
fn byte_by_byte_it_is_the_same() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    for _ in 0..2 {
        for byte in GET {
            talk.client([*byte]);
        }
        for byte in OK {
            talk.server([*byte]);
        }
    }
    let all = ["0 1 shop.example /a?b=c", "0 Some(200)", "1 1 shop.example /a?b=c", "1 Some(200)"];
    assert_eq!(lines(&talk.take()), all);
}

#[test]
fn bodies_of_all_kinds_are_passed_over() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nGET /\r\n0\r\nTrailer: 1\r\n\r\n");
    talk.client(b"HEAD /h HTTP/1.1\r\nHost: h\r\n\r\nPUT /q HTTP/1.1\r\nContent-Length: 14\r\nHost: h\r\n\r\nGET / HTTP/1.1");
    talk.client(b"DELETE /d HTTP/1.0\r\n\r\n");
    talk.server(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n1F\r\n0123456789012345678901234567890\r\n0\r\n\r\n");
    talk.server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n");
    talk.server(b"HTTP/1.1 404 Not Found\r\n\r\nHTTP/1.1 500 this is body to the end");
    assert_eq!(
        lines(&talk.take()),
        [
            "0 3 h /p",
            "1 2 h /h",
            "2 4 h /q",
            "3 5  /d",
            "0 Some(201)",
            "1 Some(200)",
            "2 Some(304)",
            "3 Some(404)"
        ]
    );
}

#[test]
fn what_comes_twice_or_early_counts_once_and_in_its_turn() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(&GET[..20]).out_of_turn(Side::Client, -20, &GET[..20]);
    talk.out_of_turn(Side::Client, -7, &GET[13..30]).moved(Side::Client, 10);
    // The end before the middle.
    talk.out_of_turn(Side::Client, 10, &GET[40..]);
    assert!(talk.take().is_empty());
    talk.client(&GET[30..40]).moved(Side::Client, GET.len() - 40);
    assert_eq!(lines(&talk.take()), ["0 1 shop.example /a?b=c"]);
    assert_eq!(talk.counted(LedgerStage::L7Held), 1);
    assert_eq!(talk.counted(LedgerStage::L7Repeated), 2);
    talk.server(OK).client(GET).server(OK);
    assert_eq!(lines(&talk.take()), ["0 Some(200)", "1 1 shop.example /a?b=c", "1 Some(200)"]);
}

#[test]
fn a_missed_segment_in_a_body_costs_nothing() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(GET).server(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n");
    talk.out_of_turn(Side::Server, 1000, &[b'x'; 1000]);
    talk.out_of_turn(Side::Server, 0, &[b'x'; 1000]);
    talk.moved(Side::Server, 2000).server([b'x'; 1000]).client(GET).server(OK);
    let all = ["0 1 shop.example /a?b=c", "0 Some(200)", "1 1 shop.example /a?b=c", "1 Some(200)"];
    assert_eq!(lines(&talk.take()), all);
    assert_eq!(talk.counted(LedgerStage::L7Gaps), 0);
}

#[test]
fn pipelined_requests_are_all_told() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let many: Vec<u8> =
        (0..300).flat_map(|i| format!("GET /{i} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()).collect();
    talk.client(&many);
    let told = talk.take();
    assert_eq!(told.len(), 300, "{:?}", lines(&told));
    assert_eq!(told[299].path(), "/299");
    let answers = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(300);
    talk.server(&answers);
    let told = talk.take();
    assert_eq!(told.len(), 300);
    assert!(told.iter().all(|t| t.head.latency_ns > 0 || t.has(l7_flag::UNMATCHED)));
}

#[test]
fn long_lines_are_cut_and_said() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let path = "x".repeat(5000);
    talk.client(format!("GET /{path} HTTP/1.1\r\nHost: h\r\nCookie: {path}\r\nX: y\r\n\r\n"));
    talk.server(OK).client(GET).server(OK);
    let told = talk.take();
    assert_eq!(told.len(), 4, "{:?}", lines(&told));
    assert_eq!(told[0].path().len(), 256);
    assert!(told[0].has(l7_flag::TRUNCATED));
    assert_eq!(told[0].host(), "h");
}

#[test]
fn an_upgrade_is_told_and_ends_the_messages() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n");
    talk.server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\nGET /no HTTP/1.1\r\n\r\n");
    talk.client(GET);
    let told = talk.take();
    assert_eq!(lines(&told), ["0 1 h /ws", "0 Some(101)"]);
    assert!(told[1].has(l7_flag::UPGRADED));
    assert_eq!(told[1].text(l7_text::UPGRADE).as_deref(), Some("other"));
}

#[test]
fn what_is_no_http_is_left_alone_at_once() {
    let mut rig = Rig::reading();
    for bytes in [
        &b"SSH-2.0-x\r\n"[..],
        b"EHLO there\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"GET nothing here\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let mut talk = Talk::open(&mut rig);
        talk.client(bytes).client(GET).client(GET);
        assert!(talk.take().is_empty(), "{bytes:?}");
        let given_up = talk.counted(LedgerStage::L7NotOurs) + talk.counted(LedgerStage::L7Malformed);
        assert_eq!(given_up, 1, "{bytes:?}");
    }
}

#[test]
fn joined_in_its_middle_it_is_found_at_the_next_message() {
    let mut rig = Rig::reading();
    let mut talk = Talk::joined(&mut rig);
    talk.client(b"the end of a body").server(OK).client(GET).server(OK);
    let told = talk.take();
    assert!(told.len() >= 2, "{:?}", lines(&told));
    assert!(told.iter().all(|t| t.has(l7_flag::JOINED)));

    // A body that ends like a method, and the request behind it.
    let mut talk = Talk::joined(&mut rig);
    talk.client(b"GET HEAD /y HTTP/1.1\r\nHost: x\r\n\r\n").server(b"").client(GET).server(OK);
    let told = lines(&talk.take());
    assert!(!told.is_empty() && told.iter().all(|line| !line.contains("HEAD")), "{told:?}");
    let mut talk = Talk::joined(&mut rig);
    talk.client(b"GET Http://x/y HTTP/1.1\r\n\r\n").server(OK);
    assert_eq!(talk.take().len(), 2);
}

/// Whose response it is that comes behind missed bytes can't be known when several may be waiting.
#[test]
fn behind_a_gap_no_response_is_paired_by_guess_and_none_is_missed_at_the_end() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(GET).server(OK).client(GET).moved(Side::Server, OK.len());
    // Four segments wait for what is missing; with the fifth it is given up.
    for _ in 0..5 {
        talk.client(GET).server(OK);
    }
    let told = talk.take();
    let (last, asked) = told.split_last().expect("messages");
    assert_eq!(asked.len(), 8);
    assert!(last.has(l7_flag::UNMATCHED) && last.status() == Some(200) && last.head.latency_ns == 0);
    assert_eq!(talk.counted(LedgerStage::L7Gaps), 1);
    talk.client(GET).server(OK);
    let told = talk.take();
    assert_eq!(lines(&told), ["7 1 shop.example /a?b=c", "7 Some(200)"]);
    assert!(!told[1].has(l7_flag::UNMATCHED) && told[1].head.latency_ns > 0);
    talk.client(GET).reset();
    assert_eq!(lines(&talk.take()), ["8 1 shop.example /a?b=c"]);
}

/// What comes early is held as it is; that it is body is known only when its turn would come.
#[test]
fn a_body_that_the_close_ends_has_no_messages_in_it_also_where_it_came_early() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let (head, decoy) = (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 500 part of it\r\n\r\n");
    talk.client(GET).server(&head[..14]).out_of_turn(Side::Server, 5, decoy).server(&head[14..]);
    talk.moved(Side::Server, decoy.len()).server(decoy).close();
    assert_eq!(lines(&talk.take()), ["0 1 shop.example /a?b=c", "0 Some(200)"]);
    assert_eq!((talk.counted(LedgerStage::L7Held), talk.counted(LedgerStage::L7Gaps)), (1, 0));
}

/// RFC 3168: CWR and ECE ask for congestion notification, and say nothing of how far a connection is.
#[test]
fn connections_with_congestion_notification_are_read_from_their_beginning() {
    const ECE: u8 = 0x40;
    const CWR: u8 = 0x80;
    let mut rig = Rig::reading();
    let mut talk = Talk::silent(&mut rig, true);
    talk.handshake_with([SYN | ECE | CWR, SYN | ACK | ECE]);
    talk.client(&GET[..20]).bare(Side::Client, ACK | CWR, 0).client(&GET[20..]).server(OK);
    let told = talk.take();
    assert_eq!(lines(&told), ["0 1 shop.example /a?b=c", "0 Some(200)"]);
    assert!(told.iter().all(|t| !t.has(l7_flag::JOINED)));
    assert!(told[1].has(l7_flag::FIRST) && told[1].event.handshake_us > 0);
}

/// A server whose queue is full drops what the client sent behind the handshake, and answers its SYN again.
#[test]
fn an_answer_to_a_syn_that_is_repeated_begins_nothing() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(GET).bare(Side::Server, SYN | ACK, -1).bare(Side::Client, ACK, 0);
    talk.out_of_turn(Side::Client, -(GET.len() as i32), GET).server(OK);
    let told = talk.take();
    assert_eq!(lines(&told), ["0 1 shop.example /a?b=c", "0 Some(200)"]);
    assert!(told[1].has(l7_flag::FIRST) && told[1].head.latency_ns > 0);
}

/// Its table is shared with all flows; that of what is read is another.
#[test]
fn whoever_speaks_when_conntrack_has_forgotten_the_connection_is_who_it_was() {
    let mut rig = Rig::reading();
    let table = rig.pinned("ct4");
    let forget = || {
        let keys: Vec<_> = table.keys().collect();
        keys.iter().for_each(|key| table.delete(key).expect("forgotten"));
        keys.len()
    };
    let mut talk = Talk::open(&mut rig);
    talk.client(GET);
    assert_eq!(forget(), 1);
    talk.server(OK).client(GET);
    assert_eq!(forget(), 1);
    talk.client(GET).server(OK).server(OK);
    let told = talk.take();
    assert_eq!(
        lines(&told),
        [
            "0 1 shop.example /a?b=c",
            "0 Some(200)",
            "1 1 shop.example /a?b=c",
            "2 1 shop.example /a?b=c",
            "1 Some(200)",
            "2 Some(200)"
        ]
    );
    assert!(told.iter().all(|t| t.event.flags & flag::REPLY != 0 || t.event.dport() == 8080));
}

/// Half-closed by the client; the server's last bytes come in any order.
#[test]
fn a_connection_ends_when_the_bytes_before_its_end_were_there() {
    let mut rig = Rig::reading();
    let part = OK.len() as i32 - 10;
    let mut talk = Talk::open(&mut rig);
    // The end overtakes all of it.
    talk.client(GET).bare(Side::Client, ACK | FIN, 0).bare(Side::Server, ACK | FIN, OK.len() as i32);
    talk.server(OK);
    assert_eq!(lines(&talk.take()), ["0 1 shop.example /a?b=c", "0 Some(200)"]);

    let mut talk = Talk::open(&mut rig);
    // The first bytes are late.
    talk.client(GET).bare(Side::Client, ACK | FIN, 0).out_of_turn(Side::Server, part, &OK[part as usize..]);
    talk.bare(Side::Server, ACK | FIN, OK.len() as i32).server(&OK[..part as usize]);
    assert_eq!(lines(&talk.take()), ["0 1 shop.example /a?b=c", "0 Some(200)"]);

    // A reset is an end.
    let mut talk = Talk::open(&mut rig);
    talk.client(GET).out_of_turn(Side::Server, part, &OK[part as usize..]).reset();
    let told = talk.take();
    assert_eq!(lines(&told), ["0 1 shop.example /a?b=c", "0 None"]);
    assert!(told[1].has(l7_flag::ENDED));
}

#[test]
fn a_port_used_again_begins_anew() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(GET).server(&OK[..30]).reset();
    talk.take();
    talk.next = [5000, 9000];
    talk.handshake();
    talk.client(GET).server(OK);
    assert_eq!(lines(&talk.take()), ["0 1 shop.example /a?b=c", "0 Some(200)"]);
}

#[test]
fn a_request_whose_connection_ends_is_told_of() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(GET).server(OK).client(GET).client(GET).server(&OK[..20]);
    talk.take();
    talk.reset();
    let told = talk.take();
    assert_eq!(lines(&told), ["1 None", "2 None"]);
    assert!(told.iter().all(|t| t.has(l7_flag::ENDED) && t.head.latency_ns == 0 && t.head.duration_ns > 0));
    // From the server, though it is the client that reset it.
    assert!(told.iter().all(|t| t.event.sport() == 8080 && t.event.flags & flag::REPLY != 0));

    let mut talk = Talk::open(&mut rig);
    talk.client(GET).server(OK).client(GET).close();
    assert_eq!(lines(&talk.take())[2..], ["1 1 shop.example /a?b=c", "1 None"]);
}
