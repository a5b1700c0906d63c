//! HTTP/1: nginx and Python's http.server; curl and wrk.

use crate::books::{Books, Page};
use crate::log::{self, Log};
use crate::nginx::{self, HTTP1, Nginx};
use crate::program::{times, word};
use crate::site::{FAR, NEAR, Site, site};

/// Runs a client in a pod beside the server and in one on another node, and has the books of every node
/// that tells of it compared with the server's log.
fn both_placements(site: &Site, nginx: &Nginx<'_>, under_way: usize, client: impl Fn(&str)) {
    for (place, nodes) in [(NEAR, &["node-a"][..]), (FAR, &["node-a", "node-b"][..])] {
        let books: Vec<Books> = ["node-a", "node-b"].map(|node| Books::open(site.lab, node)).into();
        client(place);
        let address = site.address(place);
        let logged =
            || -> Log { nginx.logged().into_iter().filter(|(client, _)| client.ip() == address).collect() };
        for book in books {
            let told_here = nodes.contains(&book.node());
            let due = |requests| {
                // The server writes its log after it has answered.
                let logged = logged();
                let (count, tails) = (log::count(&logged) as u64, (under_way * logged.len()) as u64);
                count > 0 && (count..=count + tails).contains(&requests)
            };
            let page = book.close(place, |counts| !told_here || due(counts.get("requests")));
            page.is_complete();
            if told_here {
                log::same(&page.node, &logged(), &log::told(&page, HTTP1), under_way);
            } else {
                assert!(page.messages.is_empty(), "{}: {:?}", page.node, page.messages);
            }
        }
    }
}

#[test]
fn nginx_and_curl_agree_with_the_flows() {
    let site = site();
    let nginx = nginx::start(site.lab, "nginx", HTTP1);
    let (curl, base) = (word("curl"), format!("http://{}:{HTTP1}", site.server()));
    let upload = site.directory("curl").join("upload.bin");
    std::fs::write(&upload, vec![b'u'; 200_000]).unwrap();
    let upload = format!("@{}", upload.display());
    let url = |path: &str| format!("{base}{path}");
    let lines: &[&[&str]] = &[
        // One connection, several requests.
        &[
            &url("/"),
            &url("/small.txt"),
            &url("/small.txt?a=b&c=%20d"),
            &url("/medium.bin"),
            &url("/large.bin"),
        ],
        &["--head", &url("/small.txt"), &url("/large.bin"), &url("/missing")],
        &["--data", "a=b", &url("/small.txt")],
        &["--data", "a=b", &url("/upstream/form"), "--next", "--silent", &url("/upstream/next")],
        &["--data-binary", &upload, &url("/upstream/large"), "--next", "--silent", &url("/small.txt")],
        &[
            "--header",
            "Transfer-Encoding: chunked",
            "--data-binary",
            &upload,
            &url("/upstream/chunked"),
            &url("/upstream/again"),
        ],
        &[
            "--header",
            "Expect: 100-continue",
            "--data-binary",
            &upload,
            &url("/upstream/expect"),
            &url("/upstream/again"),
        ],
        &["--http1.0", &url("/small.txt")],
        &["--http1.0", "--header", "Host:", &url("/small.txt")],
        &["--request", "DELETE", &url("/small.txt"), &url("/moved"), &url("/nothing"), &url("/teapot")],
        &["--request", "PROPFIND", &url("/small.txt")],
        &["--location", &url("/moved")],
        &["--range", "10-20", &url("/large.bin"), &url("/medium.bin")],
        &[
            "--header",
            "If-Modified-Since: Wed, 01 Jan 2098 00:00:00 GMT",
            &url("/small.txt"),
            &url("/medium.bin"),
        ],
        &["--request", "OPTIONS", "--request-target", "*", &url("/")],
    ];
    both_placements(&site, &nginx, 0, |place| {
        for line in lines {
            let output = site.try_run(
                place,
                &[&[curl.as_str(), "--silent", "--show-error", "--output", "/dev/null"], *line].concat(),
            );
            assert!(output.success, "{}: {}", line.join(" "), output.stderr);
        }
    });
}

#[test]
fn nginx_and_wrk_agree_with_the_flows() {
    let site = site();
    let nginx = nginx::start(site.lab, "nginx", HTTP1);
    let (wrk, base) = (word("wrk"), format!("http://{}:{HTTP1}", site.server()));
    let seconds = format!("{}s", times(1));
    let script = site.directory("wrk").join("paths.lua");
    std::fs::write(&script, PATHS).unwrap();
    both_placements(&site, &nginx, 1, |place| {
        site.run(place, &[&wrk, "-t1", "-c8", "-d", &seconds, "-s", &script.display().to_string(), &base]);
    });
}

#[test]
fn nginx_and_a_pipelining_wrk_agree_with_the_flows() {
    let site = site();
    let nginx = nginx::start(site.lab, "nginx", HTTP1);
    let (wrk, base) = (word("wrk"), format!("http://{}:{HTTP1}", site.server()));
    let seconds = format!("{}s", times(1));
    let script = site.directory("wrk").join("pipeline.lua");
    std::fs::write(&script, PIPELINE.replace("DEPTH", &DEPTH.to_string())).unwrap();
    both_placements(&site, &nginx, DEPTH, |place| {
        site.run(place, &[&wrk, "-t1", "-c4", "-d", &seconds, "-s", &script.display().to_string(), &base]);
    });
}

/// Another path each time, at most a thousand requests a second on each connection.
const PATHS: &str = r#"
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/small.txt?n=" .. n)
end
delay = function() return 1 end
"#;

/// Requests sent at once.
const DEPTH: usize = 8;
const PIPELINE: &str = r#"
local n = 0
local paths = { [0] = "/small.txt", "/missing", "/nothing", "/moved" }
request = function()
  local all = {}
  for i = 1, DEPTH do
    n = n + 1
    all[i] = wrk.format("GET", paths[i % 4] .. "?n=" .. n)
  end
  return table.concat(all)
end
delay = function() return 5 end
"#;
