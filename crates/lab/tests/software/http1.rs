//! HTTP/1: nginx and Python's http.server; curl and wrk.

use crate::nginx::{self, HTTP1, against_nginx};
use crate::program::{times, word};
use crate::site::{Site, site};

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
    against_nginx(&site, &nginx, 0, |place| {
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
    let script = format!("{PATHS}delay = function() return 1 end");
    against_nginx(&site, &nginx, 1, |place| wrk(&site, place, 8, times(1), &script));
}

#[test]
fn nginx_and_a_pipelining_wrk_agree_with_the_flows() {
    let site = site();
    let nginx = nginx::start(site.lab, "nginx", HTTP1);
    let script = format!("{PIPELINE}delay = function() return 5 end").replace("DEPTH", &DEPTH.to_string());
    against_nginx(&site, &nginx, DEPTH, |place| wrk(&site, place, 4, times(1), &script));
}

#[test]
fn nginx_and_a_wrk_at_full_speed_agree_with_the_flows() {
    let site = site();
    let script = format!("{PATHS}{STOP}");
    for _ in 0..times(1) {
        let nginx = nginx::start(site.lab, "nginx", HTTP1);
        against_nginx(&site, &nginx, 1, |place| wrk(&site, place, 8, 1, &script));
    }
}

#[test]
fn nginx_and_a_wrk_that_pipelines_at_full_speed_agree_with_the_flows() {
    let site = site();
    let script = format!("{PIPELINE}{STOP}").replace("DEPTH", &DEPTH.to_string());
    for _ in 0..times(1) {
        let nginx = nginx::start(site.lab, "nginx", HTTP1);
        against_nginx(&site, &nginx, DEPTH, |place| wrk(&site, place, 4, 1, &script));
    }
}

pub fn wrk(site: &Site, place: &str, connections: usize, seconds: usize, script: &str) {
    let file = site.directory("wrk").join("script.lua");
    std::fs::write(&file, script).unwrap();
    let (connections, seconds) = (format!("-c{connections}"), format!("-d{seconds}s"));
    let (file, base) = (file.display().to_string(), format!("http://{}:{HTTP1}", site.server()));
    site.run(place, &[&word("wrk"), "-t1", &connections, &seconds, "-s", &file, &base]);
}

/// Ends wrk after so many responses: at full speed, what the ring and the follower have room for.
const STOP: &str = r#"
local responses = 0
response = function()
  responses = responses + 1
  if responses == 15000 then wrk.thread:stop() end
end
"#;

/// Another path each time.
pub const PATHS: &str = r#"
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/small.txt?n=" .. n)
end
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
"#;
