//! HTTP/2 without TLS: nginx, nghttpd and nghttpx; h2load, nghttp and curl.

use std::collections::BTreeMap;

use crate::books::{Books, Page};
use crate::log::http_words;
use crate::message::exchanges;
use crate::nginx::{self, HTTP2, against_nginx};
use crate::program::{find, times, word};
use crate::site::{PLACEMENTS, Server, Site, site};

/// Sizes of the tables that HPACK keeps of earlier header fields.
const TABLES: [&str; 4] = ["0", "256", "4096", "65536"];
const CONNECTIONS: usize = 4;
const NGHTTPD: u16 = 8083;
const NGHTTPX: u16 = 8084;

/// A run of h2load: what its own count says was answered.
#[track_caller]
fn h2load(site: &Site, place: &str, base: &str, paths: &[&str], table: &str, count: usize) {
    let list = site.directory("h2load").join("urls");
    let urls: Vec<String> = paths.iter().map(|path| format!("{base}{path}\n")).collect();
    std::fs::write(&list, urls.concat()).unwrap();
    let (connections, count) = (CONNECTIONS.to_string(), count.to_string());
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
        "-i",
        &list.display().to_string(),
    ];
    let said = site.run(place, &line);
    let all = format!("requests: {count} total, {count} started, {count} done");
    assert!(said.contains(&all), "{said}");
}

#[test]
fn nginx_and_h2load_agree_with_the_flows() {
    let site = site();
    let nginx = nginx::start(site.lab, "nginx2", HTTP2);
    let base = format!("http://{}:{HTTP2}", site.server());
    let paths = ["/", "/small.txt?n=1", "/medium.bin", "/missing", "/nothing", "/moved", "/teapot"];
    against_nginx(&site, &nginx, 0, |place| {
        for table in TABLES {
            h2load(&site, place, &base, &paths, table, CONNECTIONS * paths.len() * times(15));
        }
    });
}

#[test]
fn nginx_and_curl_and_nghttp_agree_with_the_flows() {
    let site = site();
    let nginx = nginx::start(site.lab, "nginx2", HTTP2);
    let base = format!("http://{}:{HTTP2}", site.server());
    let url = |path: &str| format!("{base}{path}");
    let upload = site.directory("curl").join("upload.bin");
    std::fs::write(&upload, vec![b'u'; 200_000]).unwrap();
    let upload = upload.display().to_string();
    let (curl, nghttp, from) = (word("curl"), word("nghttp"), format!("@{upload}"));
    let curl =
        [curl.as_str(), "--silent", "--show-error", "--output", "/dev/null", "--http2-prior-knowledge"];
    let curls: &[&[&str]] = &[
        &[&url("/small.txt"), &url("/medium.bin"), &url("/large.bin"), &url("/missing")],
        &["--head", &url("/small.txt"), &url("/moved")],
        &["--data-binary", &from, &url("/upstream/large"), &url("/small.txt")],
        &["--request", "PROPFIND", &url("/small.txt")],
        &["--parallel", &url("/small.txt?n=[1-40]")],
    ];
    let nghttps: &[&[&str]] = &[
        &["--padding=200", "--multiply=20", &url("/small.txt")],
        &["--continuation", &url("/small.txt"), &url("/nothing")],
        &["--no-dep", "--multiply=30", &url("/medium.bin"), &url("/missing")],
        &["--header-table-size=128", "--header-table-size=4096", "--multiply=5", &url("/small.txt")],
        &["--padding=255", "--data", &upload, &url("/upstream/padded")],
        &["--expect-continue", "--data", &upload, &url("/upstream/expected")],
    ];
    against_nginx(&site, &nginx, 0, |place| {
        for line in curls {
            site.run(place, &[&curl, *line].concat());
        }
        for line in nghttps {
            site.run(place, &[&[nghttp.as_str(), "--null-out"], *line].concat());
        }
    });
}

/// nghttpd keeps no log: what is due is what its clients count.
fn nghttpd(site: &Site) -> Server<'_> {
    let files = site.directory("nghttpd");
    std::fs::write(files.join("small.txt"), [b'x'; 100]).unwrap();
    std::fs::write(files.join("medium.bin"), [b'x'; 40_000]).unwrap();
    let (files, port) = (files.display().to_string(), NGHTTPD.to_string());
    let line = [
        "--no-tls",
        "--htdocs",
        &files,
        "--header-table-size=65536",
        "--encoder-header-table-size=65536",
        "--padding=64",
        "--trailer=x-trailer: end",
        &port,
    ];
    site.serve("nghttpd", &find("nghttpd"), &line, NGHTTPD)
}

fn told(page: &Page) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for exchange in exchanges(&page.messages).values() {
        *told.entry(http_words(exchange)).or_default() += 1;
    }
    told
}

#[test]
fn nghttpd_and_h2load_agree_with_the_flows() {
    let site = site();
    let _server = nghttpd(&site);
    let base = format!("http://{}:{NGHTTPD}", site.server());
    let paths = [("/small.txt", 200), ("/medium.bin", 200), ("/missing", 404), ("/small.txt?q=1", 200)];
    let each = CONNECTIONS * times(25);
    let due: BTreeMap<String, usize> = paths
        .iter()
        .map(|(path, status)| (format!("GET {base}{path} HTTP/2 {status}"), TABLES.len() * each))
        .collect();
    let all: usize = due.values().sum();
    for (place, nodes) in PLACEMENTS {
        let books: Vec<Books> = nodes.iter().map(|node| Books::open(site.lab, node)).collect();
        for table in TABLES {
            h2load(&site, place, &base, &paths.map(|(path, _)| path), table, paths.len() * each);
        }
        for book in books {
            let page = book.close(place, |counts| counts.get("responses") as usize >= all);
            page.is_complete();
            assert_eq!(told(&page), due, "{}", page.node);
        }
    }
}

#[test]
fn an_upgrade_from_http_1_is_told_once() {
    let site = site();
    let _upstream = nghttpd(&site);
    let line = [
        format!("--frontend=0.0.0.0,{NGHTTPX};no-tls"),
        format!("--backend=127.0.0.1,{NGHTTPD};;proto=h2"),
        "--workers=1".to_owned(),
        "--conf=/dev/null".to_owned(),
    ];
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let _proxy = site.serve("nghttpx", &find("nghttpx"), &line, NGHTTPX);
    let base = format!("http://{}:{NGHTTPX}", site.server());
    let book = Books::open(site.lab, "node-a");
    let url = |path: &str| format!("{base}{path}");
    site.run("near", &[&word("nghttp"), "--null-out", "--upgrade", &url("/small.txt"), &url("/medium.bin")]);
    let page = book.close("an upgrade", |counts| counts.get("responses") >= 2);
    page.is_complete();
    for message in &page.messages {
        println!("{:?} {:?} {:?}", message.kind, message.http(), message.facts);
    }
    panic!();
}
