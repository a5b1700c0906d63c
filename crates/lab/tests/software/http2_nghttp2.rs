//! HTTP/2 without TLS: nghttp2's server and proxy, upgrades from HTTP/1 among it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use fathom_api::flow::L7FlowType;

use crate::books::{Books, Page};
use crate::http2::{CONNECTIONS, TABLES, h2load, run_client, upload};
use crate::log::http_words;
use crate::message::{Exchange, exchanges};
use crate::program::{find, times, word};
use crate::site::{PLACEMENTS, Server, Site, site};

const NGHTTPD: u16 = 8083;
const NGHTTPX: u16 = 8084;

/// Pads its frames and ends its responses with trailers.
fn nghttpd<'a>(site: &'a Site, more: &[&str]) -> Server<'a> {
    let files = site.directory("nghttpd");
    std::fs::write(files.join("small.txt"), [b'x'; 100]).unwrap();
    std::fs::write(files.join("medium.bin"), [b'x'; 40_000]).unwrap();
    let (files, port) = (files.display().to_string(), NGHTTPD.to_string());
    let line = [
        &[
            "--no-tls",
            "--htdocs",
            &files,
            "--header-table-size=65536",
            "--encoder-header-table-size=65536",
            "--padding=64",
            "--trailer=x-trailer: end",
        ],
        more,
        &[&port],
    ];
    site.serve("nghttpd", &find("nghttpd"), &line.concat(), NGHTTPD)
}

/// nghttpd keeps no log: what is due is what its client counts.
#[test]
fn nghttpd_and_h2load_agree_with_the_flows() {
    let site = site();
    let _server = nghttpd(&site, &[]);
    let base = format!("http://{}:{NGHTTPD}", site.server());
    let paths = [("/small.txt", 200), ("/medium.bin", 200), ("/missing", 404), ("/small.txt?q=1", 200)];
    let each = CONNECTIONS * 50;
    let due: BTreeMap<String, usize> = paths
        .iter()
        .map(|(path, status)| (format!("GET {base}{path} HTTP/2 {status}"), TABLES.len() * each))
        .collect();
    let all: usize = due.values().sum();
    for (place, nodes) in (0..times(1)).flat_map(|_| PLACEMENTS) {
        let books: Vec<Books> = nodes.iter().map(|node| Books::open(site.lab, node)).collect();
        let runs = TABLES.map(|table| {
            h2load(&site, place, &base, &paths.map(|(path, _)| path), table, paths.len() * each)
        });
        let slowest = runs.into_iter().max().unwrap();
        for book in books {
            let page = book.close(place, |counts| counts.get("responses") as usize >= all);
            page.is_complete();
            let mut told = BTreeMap::new();
            for exchange in exchanges(&page.messages).values() {
                *told.entry(http_words(exchange)).or_default() += 1;
                let latency = exchange.answered().latency_ns;
                assert!(latency > 0 && latency <= slowest, "{latency} ns; the slowest took {slowest}");
            }
            assert_eq!(told, due, "{}", page.node);
        }
    }
}

/// nghttpx before nghttpd, and its log.
struct Nghttpx<'a> {
    log: PathBuf,
    base: String,
    _server: Server<'a>,
    _upstream: Server<'a>,
}

/// What it logs of a connection: `GET /path HTTP/2 200`.
type Lines = BTreeMap<SocketAddr, Vec<String>>;

fn nghttpx<'a>(site: &'a Site, upstream: &[&str]) -> Nghttpx<'a> {
    let upstream = nghttpd(site, upstream);
    let log = site.directory("nghttpx").join("access.log");
    std::fs::write(&log, "").unwrap();
    let line = [
        format!("--frontend=0.0.0.0,{NGHTTPX};no-tls"),
        format!("--backend=127.0.0.1,{NGHTTPD};;proto=h2"),
        "--workers=1".to_owned(),
        "--conf=/dev/null".to_owned(),
        format!("--accesslog-file={}", log.display()),
        "--accesslog-format=$remote_addr $remote_port $request $status".to_owned(),
    ];
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let server = site.serve("nghttpx", &find("nghttpx"), &line, NGHTTPX);
    let base = format!("http://{}:{NGHTTPX}", site.server());
    Nghttpx { log, base, _server: server, _upstream: upstream }
}

impl Nghttpx<'_> {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Of the clients in a pod, each connection's lines sorted.
    fn logged(&self, site: &Site, place: &str) -> Lines {
        let mut logged = Lines::new();
        for line in std::fs::read_to_string(&self.log).unwrap().split_inclusive('\n') {
            // A line still being written has no end yet.
            let Some(line) = line.strip_suffix('\n') else { continue };
            let &[address, port, method, path, protocol, status] = &line.split(' ').collect::<Vec<_>>()[..]
            else {
                panic!("nghttpx logged {line:?}")
            };
            let client = SocketAddr::new(address.parse().unwrap(), port.parse().unwrap());
            if client.ip() != site.address(place) {
                continue;
            }
            // A request for the whole server has no path.
            let path = if path == "*" { "/*" } else { path };
            logged
                .entry(client)
                .or_default()
                .push(format!("{method} {}{path} {protocol} {status}", self.base));
        }
        logged.values_mut().for_each(|lines| lines.sort());
        logged
    }
}

fn told(page: &Page) -> Lines {
    let mut told = Lines::new();
    for exchange in exchanges(&page.messages).values() {
        told.entry(exchange.asked().client).or_default().push(http_words(exchange));
    }
    told.values_mut().for_each(|lines| lines.sort());
    told
}

/// The request came as one of HTTP/1, its response on a stream.
#[track_caller]
fn is_upgraded(exchange: &Exchange) -> bool {
    let (asked, answered) = (exchange.asked(), exchange.answered());
    let upgraded = answered.facts.upgraded_to == "h2c";
    assert!(upgraded || answered.facts.upgraded_to.is_empty(), "{answered:?}");
    assert!(asked.facts.upgraded_to.is_empty(), "{asked:?}");
    let protocols = (asked.http().protocol.as_str(), answered.http().protocol.as_str());
    let due = match protocols.0 {
        "HTTP/1.1" if upgraded => ("HTTP/1.1", "HTTP/2"),
        "HTTP/1.1" => ("HTTP/1.1", "HTTP/1.1"),
        _ => ("HTTP/2", "HTTP/2"),
    };
    assert_eq!(protocols, due, "{exchange:?}");
    assert!(!upgraded || asked.facts.exchange == 0, "only a connection's first can: {asked:?}");
    assert_eq!((&asked.http().method, &asked.http().url), (&answered.http().method, &answered.http().url));
    upgraded
}

#[test]
fn nghttpx_and_its_clients_agree_with_the_flows_over_http_1_and_2_and_from_one_to_the_other() {
    let site = site();
    let nghttpx = nghttpx(&site, &[]);
    let url = |path: &str| nghttpx.url(path);
    let (small, medium, missing) = (url("/small.txt"), url("/medium.bin"), url("/missing"));
    let upload = upload(&site);
    let (nghttp, curl, from) = (word("nghttp"), word("curl"), format!("@{upload}"));
    let nghttp = [nghttp.as_str(), "--null-out"];
    let curl = [curl.as_str(), "--silent", "--show-error", "--output", "/dev/null"];
    // Each client's exchanges, and how many of them change the protocol.
    let lines: &[(usize, usize, &[&[&str]])] = &[
        (1, 1, &[&nghttp, &["--upgrade", &small]]),
        (3, 1, &[&nghttp, &["--upgrade", &small, &medium, &missing]]),
        (40, 1, &[&nghttp, &["--upgrade", "--multiply=20", &missing, &small]]),
        // Its request for the upgrade is "OPTIONS *".
        (2, 1, &[&nghttp, &["--upgrade", "--data", &upload, &small]]),
        (3, 0, &[&nghttp, &["--trailer=x-end: yes", "--data", &upload, "--multiply=3", &small]]),
        (20, 0, &[&nghttp, &["--padding=100", "--continuation", "--multiply=10", &small, &missing]]),
        (1, 1, &[&curl, &["--http2", &small]]),
        (1, 1, &[&curl, &["--http2", "--head", &medium]]),
        (1, 1, &[&curl, &["--http2", "--data", "a=b", &small]]),
        (1, 0, &[&curl, &["--http2-prior-knowledge", &small]]),
        (1, 0, &[&curl, &["--http2-prior-knowledge", "--data-binary", &from, &medium]]),
        (3, 0, &[&curl, &["--http1.1", &small, &missing, &medium]]),
    ];
    let all: usize = lines.iter().map(|(exchanges, _, _)| exchanges).sum();
    let upgrades: usize = lines.iter().map(|(_, upgrades, _)| upgrades).sum();
    for (place, nodes) in PLACEMENTS {
        let books: Vec<Books> = nodes.iter().map(|node| Books::open(site.lab, node)).collect();
        for (_, _, line) in lines {
            run_client(&site, place, &line.concat());
        }
        for book in books {
            let logged = || nghttpx.logged(&site, place);
            // It logs what it has answered.
            let page = book.close(place, |counts| {
                let logged: usize = logged().values().map(Vec::len).sum();
                logged >= all && counts.get("responses") as usize >= all
            });
            page.is_complete();
            assert_eq!(told(&page), logged(), "{}", page.node);
            let told = exchanges(&page.messages);
            assert_eq!(told.values().filter(|exchange| is_upgraded(exchange)).count(), upgrades);
        }
    }
}

/// An upgrade that the server declines is an exchange as any other.
#[test]
fn an_upgrade_that_nobody_takes_is_told_as_http_1() {
    let site = site();
    let nginx = crate::nginx::start(site.lab, "nginx", crate::nginx::HTTP1);
    let base = format!("http://{}:{}", site.server(), crate::nginx::HTTP1);
    let (curl, small, missing) = (word("curl"), format!("{base}/small.txt"), format!("{base}/missing"));
    crate::nginx::against_nginx(&site, &nginx, 0, |place| {
        site.run(place, &[&curl, "--silent", "--output", "/dev/null", "--http2", &small, &missing]);
    });
}

/// A promise announces a request that nobody made: the response to it is told, and to nothing asked.
#[test]
fn what_a_server_pushes_is_told_as_a_response_and_shifts_nothing() {
    let site = site();
    let _server = nghttpd(&site, &["--push=/small.txt=/medium.bin,/missing"]);
    let url = |path: &str| format!("http://{}:{NGHTTPD}{path}", site.server());
    let nghttp = word("nghttp");
    let line = [&nghttp, "--null-out", "--multiply=5", &url("/small.txt"), &url("/medium.bin?asked")];
    for (place, nodes) in PLACEMENTS {
        let books: Vec<Books> = nodes.iter().map(|node| Books::open(site.lab, node)).collect();
        site.run(place, &line);
        for book in books {
            let page = book.close(place, |counts| counts.get("responses") >= 20);
            page.is_complete_but("responses_unmatched", 10);
            let (pushed, answers): (Vec<_>, Vec<_>) =
                page.messages.iter().cloned().partition(|message| message.facts.unmatched);
            let mut told: Vec<String> = exchanges(&answers).values().map(http_words).collect();
            told.sort();
            let words = |path: &str| vec![format!("GET {} HTTP/2 200", url(path)); 5];
            assert_eq!(told, [words("/medium.bin?asked"), words("/small.txt")].concat(), "{}", page.node);
            let mut codes = Vec::new();
            for pushed in pushed {
                assert_eq!(pushed.kind, L7FlowType::Response, "{pushed:?}");
                // A server's streams have even numbers.
                assert_eq!(pushed.facts.exchange % 2, 0, "{pushed:?}");
                let http = pushed.http();
                assert_eq!(
                    (http.method.as_str(), http.url.as_str(), http.protocol.as_str()),
                    ("", "", "HTTP/2")
                );
                codes.push(http.code);
            }
            codes.sort();
            assert_eq!(codes, [[200; 5], [404; 5]].concat());
        }
    }
}
