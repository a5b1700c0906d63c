//! HTTP/2 without TLS: nginx; h2load, curl and nghttp.

use crate::books::Books;
use crate::message::exchanges;
use crate::nghttp;
use crate::nginx::{self, HTTP2, HTTP2_SHORT, SHORT, against_nginx};
use crate::program::{times, word};
use crate::site::{PLACEMENTS, Site, site};

/// Sizes of the tables that HPACK keeps of earlier header fields.
pub const TABLES: [&str; 4] = ["0", "256", "4096", "65536"];
pub const CONNECTIONS: usize = 4;

/// A run of h2load with a hundred streams at once on each connection. Says how long its slowest request
/// took, in nanoseconds.
#[track_caller]
pub fn h2load(site: &Site, place: &str, base: &str, paths: &[&str], table: &str, count: usize) -> u64 {
    let home = site.directory("h2load");
    let (list, log) = (home.join("urls"), home.join("log"));
    let urls: Vec<String> = paths.iter().map(|path| format!("{base}{path}\n")).collect();
    std::fs::write(&list, urls.concat()).unwrap();
    // Of one run: it is written on behind what is there.
    std::fs::write(&log, "").unwrap();
    let (connections, count) = (CONNECTIONS.to_string(), count.to_string());
    let (list, log_file) = (list.display().to_string(), format!("--log-file={}", log.display()));
    let line = [
        &word("h2load"),
        "-n",
        &count,
        "-c",
        &connections,
        "-m",
        "100",
        "-H",
        "x-request-source: the software tests",
        "-H",
        "cookie: a=b; c=d",
        "--header-table-size",
        table,
        "--encoder-header-table-size",
        table,
        &log_file,
        "-i",
        &list,
    ];
    let said = site.run(place, &line);
    let all = format!("requests: {count} total, {count} started, {count} done");
    assert!(said.contains(&all), "{said}");
    // Its start, its status, and the time to its end in microseconds.
    let log = std::fs::read_to_string(&log).unwrap();
    let times = log.lines().filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok());
    times.max().expect("h2load logged its requests") * 1000
}

#[test]
fn nginx_and_h2load_agree_with_the_flows() {
    let site = site();
    let base = format!("http://{}:{HTTP2}", site.server());
    let paths = ["/", "/small.txt?n=1", "/medium.bin", "/missing", "/nothing", "/moved", "/teapot"];
    for _ in 0..times(1) {
        let nginx = nginx::start(site.lab, "nginx2", HTTP2);
        against_nginx(&site, &nginx, 0, |place| {
            for table in TABLES {
                h2load(&site, place, &base, &paths, table, CONNECTIONS * paths.len() * 50);
            }
        });
    }
}

#[test]
fn nginx_and_curl_agree_with_the_flows_over_http_2() {
    let site = site();
    let nginx = nginx::start(site.lab, "nginx2", HTTP2);
    let base = format!("http://{}:{HTTP2}", site.server());
    let url = |path: &str| format!("{base}{path}");
    let upload = upload(&site);
    let (curl, upload) = (word("curl"), format!("@{upload}"));
    let curl = [&curl, "--silent", "--show-error", "--output", "/dev/null", "--http2-prior-knowledge"];
    // One URL each: curl 7.88 with nginx 1.22 fails at a connection's second request, without Fathom too.
    let lines: &[&[&str]] = &[
        &[&url("/")],
        &[&url("/small.txt?a=b&c=%20d")],
        &[&url("/large.bin")],
        &[&url("/missing")],
        &["--head", &url("/small.txt")],
        &["--data", "a=b", &url("/upstream/form")],
        &["--data-binary", &upload, &url("/upstream/large")],
        &["--data-binary", &upload, "--header", "Expect: 100-continue", &url("/upstream/expect")],
        &["--request", "PROPFIND", &url("/small.txt")],
        &["--request", "DELETE", &url("/nothing")],
        &["--range", "10-20", &url("/large.bin")],
        &["--header", "If-Modified-Since: Wed, 01 Jan 2098 00:00:00 GMT", &url("/small.txt")],
    ];
    against_nginx(&site, &nginx, 0, |place| {
        for line in lines {
            run_client(&site, place, &[&curl, *line].concat());
        }
        // Answered, and then of no use to the client: it hangs up within the body.
        let output =
            site.try_run(place, &[&curl, &["--max-filesize", "1000", &url("/large.bin")][..]].concat());
        assert!(!output.success);
        // Refused before it is all sent: the response comes, then the stream is reset.
        site.try_run(place, &[&curl, &["--data-binary", &upload, &url("/strict")][..]].concat());
    });
}

#[test]
fn nginx_and_nghttp_agree_with_the_flows() {
    let site = site();
    let nginx = nginx::start(site.lab, "nginx2", HTTP2);
    let base = format!("http://{}:{HTTP2}", site.server());
    let url = |path: &str| format!("{base}{path}");
    let upload = upload(&site);
    let nghttp = word("nghttp");
    let lines: &[&[&str]] = &[
        &["--padding=200", "--multiply=20", &url("/small.txt")],
        &["--continuation", &url("/small.txt"), &url("/nothing")],
        &["--continuation", "--padding=100", "--multiply=10", &url("/small.txt?continued"), &url("/moved")],
        &["--no-dep", "--multiply=30", &url("/medium.bin"), &url("/missing")],
        &["--header-table-size=128", "--header-table-size=4096", "--multiply=5", &url("/small.txt")],
        &["--encoder-header-table-size=0", "--multiply=5", &url("/small.txt?unindexed")],
        &["--window-bits=10", "--connection-window-bits=16", &url("/medium.bin"), &url("/teapot")],
        &["--padding=255", "--data", &upload, &url("/upstream/padded")],
        &["--expect-continue", "--data", &upload, &url("/upstream/expected")],
        &["--multiply=3", "--data", &upload, &url("/strict")],
        &["--no-dep", "--multiply=10", &url("/reset"), &url("/small.txt")],
    ];
    against_nginx(&site, &nginx, 0, |place| {
        for line in lines {
            site.run(place, &[&[nghttp.as_str(), "--null-out"], *line].concat());
        }
    });
}

#[test]
fn streams_that_nginx_resets_are_told_with_their_codes_and_numbers() {
    let site = site();
    let _nginx = nginx::start(site.lab, "nginx2", HTTP2);
    let base = format!("http://{}:{HTTP2}", site.server());
    let urls = ["/small.txt", "/reset", "/missing", "/reset?again"].map(|path| format!("{base}{path}"));
    let said = told_as_nghttp_says(&site, "--multiply=5", &urls);
    for said in said {
        assert_eq!(said.values().filter(|stream| stream.reset.is_some_and(|code| code > 0)).count(), 10);
    }
}

#[test]
fn requests_that_nginx_leaves_behind_a_goaway_are_told_and_that_nobody_answered_them() {
    let site = site();
    let _nginx = nginx::start(site.lab, "nginx2", HTTP2_SHORT);
    let urls = [format!("http://{}:{HTTP2_SHORT}/small.txt", site.server())];
    let said = told_as_nghttp_says(&site, "--multiply=30", &urls);
    for said in said {
        assert_eq!(said.len(), 30);
        assert_eq!(said.values().filter(|stream| stream.status == 200).count(), SHORT);
    }
}

/// Has every node's flows of one connection compared with what its client says of its streams.
#[track_caller]
fn told_as_nghttp_says(site: &Site, option: &str, urls: &[String]) -> Vec<nghttp::Streams> {
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let nghttp = word("nghttp");
    let line = [&[nghttp.as_str(), "--null-out", "--verbose", "--no-dep", option], &urls[..]].concat();
    let run = |(place, nodes): (&str, &[&str])| {
        let books: Vec<Books> = nodes.iter().map(|node| Books::open(site.lab, node)).collect();
        let said = nghttp::streams(&site.run(place, &line));
        for book in books {
            let page = book.close(place, |counts| {
                // Those without an answer are told when the connection ends.
                ["requests", "responses"].iter().all(|kind| counts.get(kind) as usize >= said.len())
            });
            page.is_complete();
            let exchanges = exchanges(&page.messages);
            let told: nghttp::Streams =
                exchanges.iter().map(|((_, id), exchange)| (*id, nghttp::stream(exchange))).collect();
            assert_eq!(told.len(), exchanges.len(), "more than one connection on {}", page.node);
            assert_eq!(told, said, "{}", page.node);
            for ((_, id), exchange) in &exchanges {
                let unanswered = said[id].status == 0 && said[id].reset.is_none();
                assert_eq!(exchange.answered().facts.ended, unanswered, "{}: {exchange:?}", page.node);
            }
        }
        said
    };
    PLACEMENTS.map(run).into()
}

/// Runs a client, curl or another. What is compared is the server's log, and it has the request in any case.
#[track_caller]
pub fn run_client(site: &Site, place: &str, line: &[&str]) {
    let output = site.try_run(place, line);
    // So says curl 7.88 of one upload in a thousand, without Fathom too: when the response is there
    // before curl has noticed that all is sent.
    let early = output.stderr.contains("curl: (92) Stream error in the HTTP/2 framing layer");
    let uploads = line.iter().any(|word| word.starts_with("--data"));
    assert!(output.success || (uploads && early), "{place}: {}: {}", line.join(" "), output.stderr);
}

/// A file of 200,000 bytes.
pub fn upload(site: &Site) -> String {
    let upload = site.directory("upload").join("upload.bin");
    std::fs::write(&upload, vec![b'u'; 200_000]).unwrap();
    upload.display().to_string()
}
