//! HTTP/1.0: Python's http.server and its log.

use crate::books::Books;
use crate::log::http_words;
use crate::message::exchanges;
use crate::program::{find_python, times, word};
use crate::site::{PLACEMENTS, site};

const PORT: u16 = 8090;

#[test]
fn pythons_http_server_and_curl_agree_with_the_flows() {
    let site = site();
    let files = site.directory("python");
    std::fs::write(files.join("page.html"), "<html></html>").unwrap();
    let files = files.display().to_string();
    let line = ["-u", "-m", "http.server", &PORT.to_string(), "--bind", "0.0.0.0", "--directory", &files];
    let server = site.serve("python", &find_python(), &line, PORT);
    let base = format!("http://{}:{PORT}", site.server());
    let url = |path: &str| format!("{base}{path}");
    let curl = word("curl");
    for (place, nodes) in PLACEMENTS {
        let books: Vec<Books> = nodes.iter().map(|node| Books::open(site.lab, node)).collect();
        let before = server.process.output().len();
        for n in 0..times(10) {
            let line: &[&[&str]] = &[
                &[&url("/"), &url("/page.html"), &url(&format!("/missing/{n}"))],
                &["--head", &url("/page.html")],
                &["--data", "a=b", &url("/page.html")],
                &["--http1.0", &url("/page.html?x=y")],
            ];
            for line in line {
                site.run(place, &[&[curl.as_str(), "--silent", "--output", "/dev/null"], *line].concat());
            }
        }
        let address = site.address(place).to_string();
        let mut logged = logged(&server.process.output()[before..], &address, &base);
        logged.sort();
        assert_eq!(logged.len(), 6 * times(10), "{logged:?}");
        for book in books {
            let page = book.close(place, |counts| counts.get("responses") as usize >= logged.len());
            page.is_complete();
            let mut told: Vec<String> = exchanges(&page.messages).values().map(http_words).collect();
            told.sort();
            assert_eq!(told, logged, "{}", page.node);
        }
    }
}

/// Lines such as `10.0.0.1 - - [25/Nov/2026 15:00:00] "GET / HTTP/1.1" 200 -`.
fn logged(text: &str, address: &str, base: &str) -> Vec<String> {
    let line = |line: &str| {
        let rest = line.strip_prefix(address)?.split_once('"')?.1;
        let (request, status) = rest.split_once("\" ")?;
        let words: Vec<&str> = request.split(' ').collect();
        let &[method, path, protocol] = &words[..] else { return None };
        let status = status.split(' ').next().filter(|status| status.parse::<u16>().is_ok())?;
        Some(format!("{method} {base}{path} {protocol} {status}"))
    };
    text.lines().filter_map(line).collect()
}
