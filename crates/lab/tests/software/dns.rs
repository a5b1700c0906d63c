//! DNS: dnsmasq and its log; dig and what it prints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fathom_api::flow::{Flow, L7FlowType};
use fathom_api::observer::GetFlowsRequest;
use fathom_lab::{Follow, Source, flow_of};

use crate::books::{Books, Page};
use crate::dig::{self, Said, TICK};
use crate::dnsmasq::{self, BOGUS, Dnsmasq, SILENT};
use crate::log::same_lines;
use crate::message::{Message, exchanges};
use crate::program::{times, word};
use crate::site::{self, NODES, PLACEMENTS, Site, site};
use crate::support::want::l4;
use crate::support::{answered, eventually_or_say};

/// Answers of one message that are told.
const ANSWERS: usize = 8;
/// Bytes of a message that are looked at.
const TCP_PART: usize = 1000;
const UDP_PART: usize = 2048;

#[test]
fn dnsmasq_and_dig_agree_with_the_flows() {
    let site = site();
    let dnsmasq = dnsmasq::start(&site);
    // 255 octets on the wire, which is as long as a name may be.
    let label = "n".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}.lab", "n".repeat(57));
    let escaped = r"a\.b\\c\000\255.lab";
    let bogus = format!("www.{BOGUS}");
    let lines: &[&[&str]] = &[
        &["one.lab"],
        &["one.lab", "AAAA"],
        &["both.lab", "A", "both.lab", "AAAA"],
        &["many.lab", "A", "many.lab", "AAAA"],
        &["n1.wild.lab"],
        &["nothing.lab"],
        &["alias-of-alias.lab"],
        &["alias.lab", "CNAME"],
        &["chain1.lab"],
        &["crowd.lab"],
        &["text.lab", "TXT"],
        &["lab", "MX"],
        &["lab", "CAA"],
        &["_kafka._tcp.lab", "SRV"],
        &["naptr.lab", "NAPTR"],
        &["service.lab", "HTTPS"],
        &["one.lab", "TYPE4711"],
        &["lab", "ANY", "+notcp"],
        &["lab", "ANY"],
        &["-c", "CH", "version.bind", "TXT"],
        &["-x", "192.0.2.1"],
        &["-x", "2001:db8::1"],
        &["OnE.LaB", "ALIAS.lab"],
        &[".", "NS"],
        &[&longest],
        &[escaped],
        // Options.
        &["one.lab", "+noedns"],
        &["one.lab", "+bufsize=4096"],
        &["one.lab", "+edns=1"],
        &["one.lab", "+nsid", "+cookie=0011223344556677", "+dnssec"],
        &["one.lab", "+subnet=192.0.2.0/24", "+padding=128", "+ednsopt=65001:abcd"],
        &["one.lab", "+norecurse", "+cdflag", "+noadflag"],
        // Over TCP.
        &["one.lab", "+tcp"],
        &["+tcp", "+keepopen", "one.lab", "nothing.lab", "chain1.lab", "both.lab", "AAAA", "n2.wild.lab"],
        &["+tcp", "crowd.lab"],
        &["+tcp", "longer.lab", "TXT"],
        &["+tcp", "+keepopen", "long.lab", "TXT", "one.lab", "longer.lab", "TXT", "both.lab"],
        // Too long for the datagrams that are wanted: again over TCP, or not.
        &["long.lab", "TXT", "+bufsize=512"],
        &["crowd.lab", "+noedns", "long.lab", "TXT", "+noedns"],
        &["long.lab", "TXT", "+bufsize=512", "+ignore"],
        // In a datagram of two fragments.
        &["medium.lab", "TXT", "+bufsize=4096"],
        // Refused, failed, never answered.
        &["elsewhere.test"],
        &[&bogus],
        &[&bogus, "+tcp"],
        &[SILENT, "+timeout=1", "+tries=2"],
        &[SILENT, "+tcp", "+tries=1"],
    ];
    against_dnsmasq(&site, &dnsmasq, |place| lines.iter().map(|line| dig(&site, place, line)).collect());
}

#[test]
fn dnsmasq_and_hundreds_of_questions_of_one_dig_agree_with_the_flows() {
    let site = site();
    let dnsmasq = dnsmasq::start(&site);
    let batch = site.directory("dig").join("batch");
    let kinds = ["A", "AAAA", "TXT", "A +tcp", "A +noedns", "ANY +notcp"];
    let names = ["one.lab", "wild.lab", "nothing.lab", "alias.lab", "crowd.lab", "text.lab", "chain3.lab"];
    let line = |n: usize| format!("n{n}.{} {}\n", names[n % names.len()], kinds[n % kinds.len()]);
    let whole = |n: usize| format!("{} {}\n", names[n % names.len()], kinds[n % kinds.len()]);
    let questions: String = (0..times(300)).map(|n| if n % 2 == 0 { whole(n) } else { line(n) }).collect();
    std::fs::write(&batch, questions).unwrap();
    let batch = batch.display().to_string();
    against_dnsmasq(&site, &dnsmasq, |place| vec![dig(&site, place, &["-f", &batch])]);
}

/// What a run of dig says. It fails when it is not answered, which some questions here mean to be.
fn dig(site: &Site, place: &str, line: &[&str]) -> Vec<Said> {
    let at = format!("@{}", site.server());
    let output = site.try_run(place, &[&[&word("dig"), &at, "+qr", "+yaml"], line].concat());
    let said = dig::read(&output.stdout);
    assert!(!said.is_empty(), "dig {}: {}{}", line.join(" "), output.stdout, output.stderr);
    said
}

/// Runs dig in a pod beside the server and in one on another node, and has what every node told compared
/// with what dig said, and with the server's log.
fn against_dnsmasq(site: &Site, dnsmasq: &Dnsmasq<'_>, ask: impl Fn(&str) -> Vec<Vec<Said>>) {
    for (place, nodes) in PLACEMENTS {
        let books: Vec<Books> = NODES.map(|node| Books::open(site.lab, node)).into();
        let before = dnsmasq.logged().len();
        let said = ask(place).concat();
        let logged = &dnsmasq.logged()[before..];
        assert!(logged.iter().all(|(client, _)| client.ip() == site.address(place)), "{logged:?}");
        for book in books {
            let told_here = nodes.contains(&book.node());
            let page =
                book.close(place, |counts| !told_here || counts.get("requests") >= logged.len() as u64);
            page.is_complete();
            if !told_here {
                assert!(page.messages.is_empty(), "{}: {:?}", page.node, page.messages);
                continue;
            }
            let questions = page.messages.iter().filter(|message| message.kind == L7FlowType::Request);
            same_lines(
                &format!("{place} at {}: the server's log", page.node),
                questions.clone().map(|asked| format!("{} {}", asked.client, printable(&question(asked)))),
                logged.iter().map(|(client, question)| format!("{client} {question}")),
            );
            same_lines(
                &format!("{place} at {}: dig's questions", page.node),
                questions.map(key),
                said.iter().filter(|said| !said.answer).map(Said::key),
            );
            same_answers(&format!("{place} at {}", page.node), &page, &said);
        }
    }
}

/// Every answer that dig got was told as it was, and none that it did not get, but those that sent it to TCP.
#[track_caller]
fn same_answers(what: &str, page: &Page, said: &[Said]) {
    let got: BTreeMap<String, &Said> =
        said.iter().filter(|said| said.answer).map(|said| (said.key(), said)).collect();
    let mut connections = BTreeMap::new();
    let mut told = Vec::new();
    for exchange in exchanges(&page.messages).values() {
        let asked = exchange.asked();
        let silent = asked.dns().query.trim_end_matches('.') == SILENT;
        let Some(answer) = &exchange.response else {
            assert!(silent, "{what}: not answered: {asked:?}");
            continue;
        };
        assert_eq!(key(asked), key(answer), "{what}: {answer:?}");
        assert!(asked.server == answer.server && asked.server.port() == 53, "{what}: {answer:?}");
        assert!(answer.latency_ns > 0 && answer.latency_ns == answer.facts.duration_ns, "{what}: {answer:?}");
        let handshakes = connections.entry(answer.facts.connection).or_insert((answer.transport, 0));
        handshakes.1 += usize::from(answer.facts.handshake_ns > 0);
        match got.get(&key(asked)) {
            Some(said) => {
                same_records(what, answer, said);
                let latency = Duration::from_nanos(answer.latency_ns);
                assert!(latency <= said.took + TICK, "{what}: dig says {:?}: {answer:?}", said.took);
                told.push(key(asked));
            }
            None => {
                let again = |said: &&Said| said.transport == "TCP" && said.question == question(asked);
                assert!(
                    asked.transport == "UDP" && answer.facts.truncated && got.values().any(again),
                    "{what}: dig says nothing of {answer:?}"
                );
            }
        }
    }
    same_lines(what, told, got.into_keys());
    for (connection, (transport, handshakes)) in connections {
        let due = usize::from(transport == "TCP");
        assert_eq!(handshakes, due, "{what}: times a handshake of connection {connection} was told");
    }
}

/// Code and records of an answer, up to where no more are told: then it says so.
#[track_caller]
fn same_records(what: &str, answer: &Message, said: &Said) {
    let dns = answer.dns();
    let part = if said.transport == "TCP" { TCP_PART } else { UDP_PART };
    let read_whole = said.size <= part;
    let count = if read_whole { said.records.len().min(ANSWERS) } else { dns.rrtypes.len() };
    assert!((1..=ANSWERS).contains(&count) || said.records.is_empty(), "{what}: {answer:?}");
    let records = &said.records[..count];
    let kinds: Vec<&str> = records.iter().map(|record| &*record.kind).collect();
    let ips: Vec<String> = records.iter().filter_map(dig::Record::ip).map(|ip| ip.to_string()).collect();
    let aliases = records.iter().filter(|record| record.kind == "CNAME");
    let cnames: Vec<String> = aliases.map(|record| record.data.to_lowercase()).collect();
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    assert_eq!(dns.rcode, said.rcode(), "{what}: {answer:?}");
    assert_eq!(dns.rrtypes, kinds, "{what}: {answer:?}\n{said:?}");
    assert_eq!((&dns.ips, &dns.cnames, dns.ttl), (&ips, &cnames, ttl), "{what}: {answer:?}\n{said:?}");
    let more = said.truncated || !read_whole || said.records.len() > ANSWERS;
    assert_eq!(answer.facts.truncated, more, "{what}: {answer:?}\n{said:?}");
}

/// "name. TYPE"
fn question(message: &Message) -> String {
    let dns = message.dns();
    assert_eq!(dns.qtypes.len(), 1, "{message:?}");
    format!("{} {}", dns.query, dns.qtypes[0])
}

fn key(message: &Message) -> String {
    format!("{} {} {}", message.transport, message.facts.exchange, question(message))
}

/// A question as dnsmasq prints it.
fn printable(question: &str) -> String {
    match question.rsplit_once(' ') {
        Some((name, kind)) if name.contains('\\') => format!("<name unprintable> {kind}"),
        _ => question.to_owned(),
    }
}

#[test]
fn flows_to_what_dig_was_told_carry_its_names() {
    const PORT: u16 = 8077;
    let site = site();
    let _dnsmasq = dnsmasq::start(&site);
    let server = site.lab.pod(site::SERVER).unwrap();
    let this = site.lab.tools().lab.clone();
    let _echo =
        site.serve("echo", &this, &["workload", "tcp-echo", "--listen", &format!("[::]:{PORT}")], PORT);
    for (place, nodes) in PLACEMENTS {
        let follows: Vec<Follow> = nodes
            .iter()
            .map(|node| {
                site.lab.follow(&Source::Node((*node).to_owned()), GetFlowsRequest::default()).unwrap()
            })
            .collect();
        for kind in ["A", "AAAA"] {
            dig(&site, place, &["www.web.lab", kind]);
        }
        let client = site.lab.pod(place).unwrap();
        for (target, client) in [(server.v4(), client.v4()), (server.v6(), client.v6())] {
            answered(site.lab, place, &["connect", &SocketAddr::new(target, PORT).to_string()]);
            for (node, follow) in nodes.iter().zip(&follows) {
                // dig asks over IPv4: which IPv6 address is the same pod's, only its own node looks up.
                if target.is_ipv4() || *node == client_node(place) {
                    names_are_on(&format!("{place} at {node}"), follow, client, target);
                }
            }
        }
    }
}

fn client_node(place: &str) -> &'static str {
    if place == site::NEAR { NODES[0] } else { NODES[1] }
}

/// The flows of both directions of a TCP connection have the server's names, and none of the client.
#[track_caller]
fn names_are_on(what: &str, follow: &Follow, client: IpAddr, server: IpAddr) {
    let flow = |from: IpAddr, to: IpAddr| {
        eventually_or_say(&format!("{what}: a flow from {from} to {to}"), || {
            let mut flows = follow.responses().into_iter().filter_map(flow_of);
            let between = |flow: &Flow| {
                let ip = flow.ip.clone().unwrap_or_default();
                l4(flow).0 == "TCP" && ip.source == from.to_string() && ip.destination == to.to_string()
            };
            flows.find(between).ok_or_else(|| "none".to_owned())
        })
    };
    let (to, back) = (flow(client, server), flow(server, client));
    for (mut named, other) in [
        (to.destination_names.clone(), &to.source_names),
        (back.source_names.clone(), &back.destination_names),
    ] {
        named.sort();
        assert_eq!(named, ["web.lab", "www.web.lab"], "{what}: {to:?}\n{back:?}");
        assert!(other.is_empty(), "{what}: {to:?}\n{back:?}");
    }
}
