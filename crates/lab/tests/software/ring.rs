//! A ring too small for what comes: what is lost is counted and said to the last message, and what
//! arrives is right.

use std::thread;

use fathom_api::flow::{L7FlowType, LostEventSource};
use fathom_lab::Source;

use crate::books::{Books, Page, TROUBLES};
use crate::http1::{PATHS, wrk};
use crate::http2::{CONNECTIONS, h2load};
use crate::log::{self, Log};
use crate::message::{Exchange, Exchanges, exchanges};
use crate::nginx::{self, HTTP1, HTTP2, Nginx};
use crate::program::times;
use crate::site::{PLACEMENTS, Site, small_ring};
use crate::stopped::Stopped;
use crate::support::eventually;

#[test]
fn what_a_small_ring_loses_of_wrk_and_nginx_is_counted_and_said_and_the_rest_is_right() {
    let site = small_ring();
    for _ in 0..times(1) {
        let nginx = nginx::start(site.lab, "nginx", HTTP1);
        with_losses(&site, &nginx, 1, |number| number as usize, |place| wrk(&site, place, 8, 1, PATHS));
    }
}

#[test]
fn what_a_small_ring_loses_of_h2load_and_nginx_is_counted_and_said_and_the_rest_is_right() {
    let site = small_ring();
    let base = format!("http://{}:{HTTP2}", site.server());
    let paths = ["/", "/small.txt?n=1", "/missing", "/nothing", "/moved", "/teapot"];
    let client = |place: &str| {
        h2load(&site, place, &base, &paths, "4096", CONNECTIONS * paths.len() * 1000);
    };
    for _ in 0..times(1) {
        let nginx = nginx::start(site.lab, "nginx2", HTTP2);
        // A client's streams have odd numbers.
        with_losses(&site, &nginx, 0, |number| number as usize / 2, client);
    }
}

/// Runs a client at full speed, for a moment with agents that aren't scheduled.
#[track_caller]
fn with_losses(
    site: &Site,
    nginx: &Nginx<'_>,
    under_way: usize,
    nth: impl Fn(u32) -> usize,
    client: impl Fn(&str) + Sync,
) {
    for (place, nodes) in PLACEMENTS {
        let books: Vec<Books> = nodes.iter().map(|node| Books::open(site.lab, node)).collect();
        let before = nginx.count();
        thread::scope(|scope| {
            let running = scope.spawn(|| client(place));
            let served = |count| {
                eventually("requests to be served", || {
                    nginx.count() >= before + count || running.is_finished()
                });
            };
            served(1000);
            let _stopped: Vec<Stopped> =
                nodes.iter().map(|node| Stopped::of(site.lab.agent_pid(node).unwrap())).collect();
            served(5000);
        });
        let address = site.address(place);
        let logged =
            || -> Log { nginx.logged().into_iter().filter(|(client, _)| client.ip() == address).collect() };
        for book in books {
            let due = |requests| {
                let logged = logged();
                let (count, tails) = (log::count(&logged) as u64, (under_way * logged.len()) as u64);
                count > 0 && (count..=count + tails).contains(&requests)
            };
            let page =
                book.close(place, |counts| due(counts.get("requests")) && due(counts.get("responses")));
            is_balanced(site, &page);
            let told = exchanges(&page.messages);
            rest_is_right(&page.node, &told, &logged(), under_way, &nth, Known::ByRequest);
            // There was something of every kind to look at.
            let kept = |request, response| {
                let is = |exchange: &&Exchange| {
                    (exchange.request.is_some(), exchange.response.is_some()) == (request, response)
                };
                told.values().filter(is).count()
            };
            let kept = [kept(true, true), kept(true, false), kept(false, true)];
            assert!(kept.iter().all(|kept| *kept > 0), "{}: {kept:?}", page.node);
        }
    }
}

/// Told and lost are what was counted, the stream says what is missing, and only the ring lost anything.
#[track_caller]
fn is_balanced(site: &Site, page: &Page) {
    let count = |name| page.counts.get(name);
    let told = |kind| page.messages.iter().filter(|message| message.kind == kind).count() as u64;
    let (requests, responses) = (told(L7FlowType::Request), told(L7FlowType::Response));
    assert!(count("records_lost") > 1000, "{}: {:?}", page.node, page.counts);
    assert_eq!(count("records"), count("requests") + count("responses"), "{}: {:?}", page.node, page.counts);
    assert_eq!(
        requests + responses + count("records_lost"),
        count("records"),
        "{}: {:?}",
        page.node,
        page.counts
    );
    assert!(
        requests <= count("requests") && responses <= count("responses"),
        "{}: {:?}",
        page.node,
        page.counts
    );
    for trouble in TROUBLES {
        assert_eq!(count(trouble), 0, "{trouble} on {}: {:?}", page.node, page.counts);
    }
    // Records of packets are among them.
    assert!(page.records_lost >= count("records_lost"), "{}: {}", page.node, page.records_lost);
    assert_eq!(
        page.lost.iter().map(|lost| lost.num_events_lost).sum::<u64>(),
        page.records_lost,
        "{}",
        page.node
    );
    for lost in &page.lost {
        assert_eq!(lost.source(), LostEventSource::PerfEventRingBuffer, "{lost:?}");
        let (first, last) = (lost.first.expect("when"), lost.last.expect("when"));
        assert!((first.seconds, first.nanos) <= (last.seconds, last.nanos), "{lost:?}");
    }
    let sheet = site.lab.ledgers(&Source::Node(page.node.clone())).unwrap().remove(0);
    assert!(sheet.balanced, "{}: {}", page.node, sheet.problem);
}

/// Whether a response says what was asked.
#[derive(Clone, Copy, PartialEq)]
pub enum Known {
    Always,
    /// Only beside its request.
    ByRequest,
}

/// What arrived of exchanges is what the server logged, whatever else was lost.
///
/// `nth` is which of its connection's requests an exchange is, by its number.
#[track_caller]
pub fn rest_is_right(
    node: &str,
    told: &Exchanges,
    logged: &Log,
    under_way: usize,
    nth: impl Fn(u32) -> usize,
    known: Known,
) {
    for ((_, number), exchange) in told {
        let (message, nth) = (exchange.either(), nth(*number));
        let lines = logged.get(&message.client).unwrap_or_else(|| panic!("{node}: not logged: {message:?}"));
        match lines.get(nth) {
            Some(line) => is_right(exchange, line, nth + under_way < lines.len(), known),
            None => assert!(nth < lines.len() + under_way, "{node}: {nth} of {}: {message:?}", lines.len()),
        }
    }
}

/// What arrived of an exchange is what the server logged, whatever else of it was lost.
#[track_caller]
fn is_right(exchange: &Exchange, line: &str, answered: bool, known: Known) {
    let &[method, url, protocol, status] = &line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line:?}")
    };
    let due = (method, url, protocol);
    if let Some(request) = &exchange.request {
        let http = request.http();
        assert_eq!((http.method.as_str(), http.url.as_str(), http.protocol.as_str()), due, "{request:?}");
        assert_eq!((http.code, request.latency_ns, request.facts.unmatched), (0, 0, false), "{request:?}");
    }
    if let Some(response) = &exchange.response {
        let (http, facts) = (response.http(), &response.facts);
        let known = known == Known::Always || exchange.request.is_some();
        let due = if known { due } else { ("", "", protocol) };
        assert_eq!((http.method.as_str(), http.url.as_str(), http.protocol.as_str()), due, "{response:?}");
        assert_eq!(facts.unmatched, !known, "{response:?}");
        if answered {
            assert_eq!(http.code.to_string(), status, "{response:?}");
            assert!(response.latency_ns > 0 && response.latency_ns <= facts.duration_ns, "{response:?}");
            assert!(!facts.ended && facts.reset_code.is_none(), "{response:?}");
        }
    }
    for message in [&exchange.request, &exchange.response].into_iter().flatten() {
        let facts = &message.facts;
        assert!(
            !facts.unknown && !facts.joined && !facts.truncated && facts.upgraded_to.is_empty(),
            "{message:?}"
        );
    }
}
