//! A web server and its load generators, as distributions ship them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fathom_lab::{Lab, Where, machine};

use crate::cli::Effort;
use crate::stage::{self, CLIENT, SERVERS};

/// HTTP/1 is served here, HTTP/2 without TLS there, by nginx and by nghttpd; the policy allows them.
const HTTP1: u16 = 8081;
const HTTP2: u16 = 8082;
const NGHTTPD: u16 = 8083;

/// What is needed, and the Debian package it comes in.
const PROGRAMS: [(&str, &str); 4] =
    [("nginx", "nginx-light"), ("nghttpd", "nghttp2-server"), ("wrk", "wrk"), ("h2load", "nghttp2-client")];

/// Requests a load generator had answered, and how many a second that was.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    pub count: f64,
    pub per_second: f64,
}

/// The programs that are missing here, as packages.
pub fn missing() -> Vec<&'static str> {
    PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect()
}

/// Servers are not in everybody's PATH.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

fn word(name: &str) -> Result<String> {
    Ok(find(name).with_context(|| format!("{name} is missing"))?.display().to_string())
}

/// Starts nginx and nghttpd in the first server's pod, on the CPU of all that is measured; they go with the lab.
///
/// # Errors
/// When one does not answer.
pub fn serve(lab: &Lab) -> Result<()> {
    let home = lab.layout().dir.join("web");
    let files = home.join("files");
    std::fs::create_dir_all(&files).with_context(|| format!("make {}", files.display()))?;
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    };
    // As long as the page nginx itself comes with.
    write(&files.join("index.html"), &"x".repeat(612))?;
    let config = home.join("nginx.conf");
    write(&config, &configuration(&home.display().to_string()))?;
    let (config, files) = (config.display().to_string(), files.display().to_string());
    start(lab, &["nginx", "-c", &config], &[HTTP1, HTTP2])?;
    start(lab, &["nghttpd", "--no-tls", "-n1", "-d", &files, &NGHTTPD.to_string()], &[NGHTTPD])
}

fn start(lab: &Lab, line: &[&str], ports: &[u16]) -> Result<()> {
    let (name, program) = (line[0], word(line[0])?);
    let line = [&["-c", stage::CPU, &program], &line[1..]].concat();
    let process = lab.start_program(SERVERS[0], name, Path::new(&word("taskset")?), &line)?;
    for port in ports {
        let target = address(lab, *port)?;
        machine::wait::until(&format!("{name} to accept connections"), Duration::from_secs(10), || {
            ensure!(process.id.alive(), "{name} died: {}", process.tail(10));
            let probe = lab.probe(CLIENT, Where::Inside, &["connect", &target, "--timeout", "200"])?;
            Ok(if probe.success { Ok(()) } else { Err(probe.stderr) })
        })?;
    }
    Ok(())
}

/// One worker, no log, a small file; the rest as Debian has it.
fn configuration(home: &str) -> String {
    format!(
        "daemon off;
master_process off;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    server {{
        listen {HTTP1};
        listen {HTTP2} http2;
        root {home}/files;
    }}
}}
"
    )
}

fn address(lab: &Lab, port: u16) -> Result<String> {
    Ok(format!("{}:{port}", lab.pod(SERVERS[0])?.v4()))
}

/// HTTP/1.1: a request per connection at a time, on connections that stay. wrk counts in whole seconds.
///
/// # Errors
/// When wrk fails, or a request.
pub fn http1(lab: &Lab, _: Effort) -> Result<Answered> {
    let url = format!("http://{}/", address(lab, HTTP1)?);
    let said = run(lab, &[&word("wrk")?, "--threads=1", "--connections=16", "--duration=1s", &url])?;
    ensure!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "wrk: {said}");
    let count = before(&said, "requests in").with_context(|| format!("wrk counted nothing: {said}"))?;
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.and_then(|rate| rate.trim().parse().ok());
    let per_second = rate.with_context(|| format!("wrk told no rate: {said}"))?;
    Ok(Answered { count, per_second })
}

/// HTTP/2: a hundred requests per connection at a time. What nginx says of a page it says in full each time,
/// in Huffman's code.
///
/// # Errors
/// When h2load fails, or a request.
pub fn http2(lab: &Lab, effort: Effort) -> Result<Answered> {
    h2load(lab, HTTP2, effort)
}

/// The same of nghttpd, which says most of it by numbers of the connection's table.
///
/// # Errors
/// As [`http2`].
pub fn http2_nghttpd(lab: &Lab, effort: Effort) -> Result<Answered> {
    h2load(lab, NGHTTPD, effort)
}

fn h2load(lab: &Lab, port: u16, effort: Effort) -> Result<Answered> {
    let url = format!("http://{}/index.html", address(lab, port)?);
    let requests = effort.of("20000", "40000");
    let said = run(lab, &[&word("h2load")?, "-t1", "-c4", "-m100", "-n", requests, &url])?;
    let count = before(&said, "2xx,").with_context(|| format!("h2load counted nothing: {said}"))?;
    ensure!(requests.parse() == Ok(count), "of {requests} requests not all went well: {said}");
    let per_second = before(&said, "req/s,").with_context(|| format!("h2load told no rate: {said}"))?;
    Ok(Answered { count, per_second })
}

fn run(lab: &Lab, line: &[&str]) -> Result<String> {
    let line = [&["taskset", "-c", stage::CPU], line].concat();
    lab.exec(CLIENT, Where::Inside, &line).and_then(|output| output.ok())
}

/// The number in front of some words.
fn before(text: &str, words: &str) -> Option<f64> {
    let (front, _) = text.split_once(words)?;
    front.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_before_the_words_is_found() {
        let said = "finished in 1.00s, 83012.50 req/s, 9.1MB/s\nstatus codes: 40000 2xx, 0 3xx";
        assert_eq!(before(said, "req/s,"), Some(83012.5));
        assert_eq!(before(said, "2xx,"), Some(40000.0));
        assert_eq!(before(said, "4xx"), None);
    }
}
