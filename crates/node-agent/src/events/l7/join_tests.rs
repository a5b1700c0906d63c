use fathom_bpf::abi::{L7Head, l7_text_flag, trigger};

use super::super::testing::*;
use super::*;
use crate::events::testing::{FRONTEND, LOCAL, LOCAL6, OUTSIDE, REMOTE, address, enricher, event, snapshot};

struct Rig {
    join: Join,
    enricher: crate::events::enrich::Enricher,
}

impl Rig {
    fn new() -> Self {
        Self { join: Join::new(Redaction::default()), enricher: enricher(snapshot()) }
    }

    fn take(&mut self, written: &Written) -> Flow {
        let record = written.record();
        let mut flow = self.enricher.enrich(record.event);
        self.join.complete(&mut flow, record.message, self.enricher.local_addresses());
        flow
    }

    fn packet(&mut self, event: Event) -> Flow {
        let mut flow = self.enricher.enrich(&event);
        self.join.complete(&mut flow, None, self.enricher.local_addresses());
        flow
    }
}

fn ok(exchange: u32) -> Written {
    let flags = l7_flag::STATUS;
    response(
        L7Head { conn: 7, exchange, proto: 1, version: 11, status: 200, flags, ..Default::default() },
        &[],
    )
}

fn url(flow: &Flow) -> &str {
    flow.message().and_then(Message::http_request).map_or("", |request| &request.url)
}

fn names(names: &Option<flow::Names>) -> Vec<&str> {
    names.iter().flat_map(|names| names.iter()).map(|name| &**name).collect()
}

#[test]
fn a_response_repeats_what_its_request_said() {
    let mut rig = Rig::new();
    let asked = rig.take(&get(1));
    assert_eq!((url(&asked), asked.reply()), ("http://chat/rooms", Some(false)));
    let answer = rig.take(&ok(1));
    assert_eq!((url(&answer), answer.reply()), ("http://chat/rooms", Some(true)));
    let (Some(asked), Some(answer)) = (asked.message(), answer.message()) else { panic!("messages") };
    let (Content::Http { request: one, .. }, Content::Http { request: other, .. }) =
        (&asked.content, &answer.content)
    else {
        panic!("HTTP")
    };
    assert!(Arc::ptr_eq(one, other), "shared, not copied");
    assert!(!answer.has(l7_flag::UNMATCHED));
    let stray = rig.take(&ok(1));
    assert_eq!(url(&stray), "", "one request has one response");
    assert!(stray.message().is_some_and(|message| message.has(l7_flag::UNMATCHED)));
    assert_eq!(rig.join.sizes().pairs, 0);
}

#[test]
fn samples_and_interim_responses_leave_the_request_waiting() {
    let mut rig = Rig::new();
    rig.take(&get(3));
    let head = L7Head { conn: 7, exchange: 3, proto: 2, ..Default::default() };
    let sample = response(L7Head { kind: l7_type::SAMPLE, ..head }, &[]);
    let interim = response(L7Head { status: 103, flags: l7_flag::STATUS, ..head }, &[]);
    for written in [&sample, &interim, &sample, &ok(3)] {
        assert_eq!(url(&rig.take(written)), "http://chat/rooms");
    }
    assert_eq!(rig.join.sizes().pairs, 0);
}

#[test]
fn requests_without_a_response_are_bounded_and_counted() {
    let mut rig = Rig::new();
    for exchange in 0..PAIRS as u32 + 5 {
        rig.take(&get(exchange));
    }
    let sizes = rig.join.sizes();
    assert_eq!((sizes.pairs, sizes.pairs_evicted), (PAIRS as u64, 5));
    assert_eq!(url(&rig.take(&ok(4))), "");
    assert_eq!(url(&rig.take(&ok(5))), "http://chat/rooms");
}

#[test]
fn a_kafka_response_knows_the_topics_and_one_that_never_comes_is_not_waited_for() {
    let mut rig = Rig::new();
    let head = L7Head { conn: 9, exchange: 77, proto: 4, version: 7, ..Default::default() };
    let topics = [
        text(l7_text::KAFKA_CLIENT, "consumer-1"),
        text(l7_text::KAFKA_TOPIC, "orders"),
        (l7_text::KAFKA_TOPIC, l7_text_flag::ID, 0, &[0; 16][..]),
    ];
    rig.take(&request(L7Head { detail: 2, ..head }, &topics));
    let answer = rig.take(&response(head, &[]));
    let Some(Message { content: Content::Kafka(asked), .. }) = answer.message() else { panic!("Kafka") };
    assert_eq!(
        (&*asked.client_id, &*asked.topics[0], &*asked.topics[1]),
        ("consumer-1", "orders", "id:AAAAAAAAAAAAAAAAAAAAAA")
    );
    assert_eq!((asked.topic_count, asked.api_version), (2, 7));
    rig.take(&request(L7Head { flags: l7_flag::NO_REPLY, ..head }, &topics));
    assert_eq!(rig.join.sizes().pairs, 0);
}

/// An answer to the local pod: `www.example.org` is `edge.net` is OUTSIDE.
fn answer(flags: u16, names: [&str; 2]) -> Written {
    let std::net::IpAddr::V4(ip) = OUTSIDE.parse().unwrap() else { panic!("IPv4") };
    let head = L7Head {
        proto: 3,
        flags: l7_flag::STATUS | l7_flag::CODE | flags,
        code: 1,
        exchange: 4242,
        ..Default::default()
    };
    let ip = ip.octets();
    let texts = [
        text(l7_text::DNS_NAME, names[0]),
        (l7_text::DNS_CNAME, 0, 300, names[1].as_bytes()),
        (l7_text::DNS_A, 0, 90, &ip[..]),
        (l7_text::DNS_OTHER, 0, 100, &[0, 46][..]),
    ];
    response(head, &texts)
}

fn to_outside(seconds: u64) -> Event {
    Event { daddr: address(OUTSIDE), time_ns: seconds * 1_000_000_000, ..event() }
}

#[test]
fn answers_name_the_addresses_of_later_flows_of_who_asked() {
    let mut rig = Rig::new();
    let told = rig.take(&answer(0, ["www.example.org", "edge.net"]));
    let Some(Message { content: Content::Dns(dns), .. }) = told.message() else { panic!("DNS") };
    assert_eq!((&*dns.query, &*dns.cnames[0], dns.ttl), ("www.example.org.", "edge.net.", 90));
    assert_eq!((dns.qtype, &*dns.rrtypes), (Some(1), &[5, 1, 46][..]));
    assert_eq!(dns.ips[0].to_string(), OUTSIDE);
    let flow = rig.packet(to_outside(89));
    assert_eq!(names(&flow.destination_names), ["www.example.org", "edge.net"]);
    let back = Event { saddr: address(OUTSIDE), daddr: address(LOCAL), ..to_outside(89) };
    assert_eq!(names(&rig.packet(back).source_names).len(), 2);
    let other = Event { saddr: address(REMOTE), ..to_outside(89) };
    assert_eq!(rig.packet(other).destination_names, None, "another pod did not ask");
    assert_eq!(rig.packet(to_outside(90)).destination_names, None);
}

#[test]
fn a_pod_that_asked_over_one_family_has_names_for_addresses_of_the_other() {
    const OUTSIDE6: &str = "2001:db8::7";
    let mut rig = Rig::new();
    let std::net::IpAddr::V6(ip) = OUTSIDE6.parse().unwrap() else { panic!("IPv6") };
    let head = L7Head { proto: 3, flags: l7_flag::STATUS | l7_flag::CODE, code: 28, ..Default::default() };
    let ip = ip.octets();
    let texts = [text(l7_text::DNS_NAME, "www.example.org"), (l7_text::DNS_AAAA, 0, 90, &ip[..])];
    rig.take(&response(head, &texts));
    let to = Event { saddr: address(LOCAL6), daddr: ip, family: 6, time_ns: 0, ..event() };
    assert_eq!(names(&rig.packet(to).destination_names), ["www.example.org"]);
    let other = Event { saddr: address("fd00:10:244:1::8"), ..to };
    assert_eq!(rig.packet(other).destination_names, None, "another pod did not ask");
}

#[test]
fn a_service_s_name_shows_on_flows_to_its_backends() {
    let mut rig = Rig::new();
    let (frontend, names_of_it) = (address(FRONTEND), ["database.shop.svc".into()]);
    rig.join.names().learn(address(LOCAL), frontend, &names_of_it, Duration::from_secs(60), 0);
    let through = Event { service_id: 5, frontend_port_be: [0, 80], ..event() };
    assert_eq!(names(&rig.packet(through).destination_names), ["database.shop.svc"]);
    let back = Event {
        saddr: through.daddr,
        daddr: through.saddr,
        flags: abi::flag::REPLY | abi::flag::REPLY_KNOWN,
        ..through
    };
    assert_eq!(names(&rig.packet(back).source_names), ["database.shop.svc"]);
    assert_eq!(rig.packet(event()).destination_names, None, "the backend itself was not asked for");
}

#[test]
fn answers_nobody_asked_for_and_names_that_are_none_name_nothing() {
    let mut rig = Rig::new();
    rig.take(&answer(l7_flag::UNMATCHED, ["www.example.org", "edge.net"]));
    rig.take(&answer(l7_flag::MALFORMED, ["www.example.org", "edge.net"]));
    assert_eq!(rig.join.sizes().names, 0);
    rig.take(&answer(0, ["a\x1b[2Jb", "edge.net"]));
    assert_eq!(names(&rig.packet(to_outside(1)).destination_names), ["edge.net"]);
}

#[test]
fn a_question_too_many_is_refused_by_name_and_has_no_type() {
    let head = L7Head {
        proto: 3,
        flags: l7_flag::MALFORMED | l7_flag::CODE,
        detail: fathom_bpf::abi::l7_dns_fault::QUESTIONS,
        code: 3,
        ..Default::default()
    };
    let flow = Rig::new().take(&request(head, &[]));
    let Some(Message { content: Content::Dns(dns), .. }) = flow.message() else { panic!("DNS") };
    assert_eq!((&*dns.problem, dns.qtype), ("3 questions where there must be one", None));
}

#[test]
fn packets_of_an_encrypted_connection_say_so_and_name_its_server() {
    let mut rig = Rig::new();
    let head = L7Head { proto: l7_protocol::TLS, ..Default::default() };
    let hello = request(head, &[text(l7_text::SNI, "Chat.example.org"), text(l7_text::ALPN, "h2,http/1.1")]);
    let flow = rig.take(&hello);
    assert!(flow.message().is_none(), "no message is pretended");
    let encrypted = flow.encrypted().expect("encrypted");
    assert_eq!((encrypted.protocol, &*encrypted.server_name), ("TLS", "Chat.example.org"));
    assert_eq!(encrypted.alpn.iter().map(|name| &**name).collect::<Vec<_>>(), ["h2", "http/1.1"]);
    assert_eq!(names(&flow.destination_names), ["chat.example.org"]);
    let back = Event {
        saddr: event().daddr,
        daddr: event().saddr,
        sport_be: event().dport_be,
        dport_be: event().sport_be,
        trigger: trigger::INTERVAL,
        ..event()
    };
    let back = rig.packet(back);
    assert_eq!(
        (names(&back.source_names), names(&back.destination_names)),
        (vec!["chat.example.org"], vec![])
    );
    assert!(back.encrypted().is_some());
    assert!(rig.packet(Event { sport_be: [9, 9], ..event() }).payload.is_none());
}

#[test]
fn a_record_of_a_protocol_this_version_does_not_know_is_a_packet() {
    let flow = Rig::new().take(&request(L7Head { proto: 99, ..Default::default() }, &[]));
    assert!(flow.payload.is_none());
}
