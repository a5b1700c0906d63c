//! nginx in the server's pod, and its log.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use fathom_lab::Lab;

use crate::books::Books;
use crate::log::{self, Log};
use crate::program;
use crate::site::{self, NODES, PLACEMENTS, Server, Site};

/// HTTP/1 is served here, HTTP/2 without TLS there.
pub const HTTP1: u16 = 8080;
pub const HTTP2: u16 = 8082;
/// HTTP/2 as well, but a connection is told to go away after so many requests.
pub const HTTP2_SHORT: u16 = 8085;
pub const SHORT: usize = 10;

pub struct Nginx<'a> {
    log: PathBuf,
    port: u16,
    address: IpAddr,
    _server: Server<'a>,
}

/// Starts it with an empty log.
#[track_caller]
pub fn start<'a>(lab: &'a Lab, name: &str, port: u16) -> Nginx<'a> {
    let home = site::directory(lab, name);
    let (files, log, config) = (home.join("files"), home.join("access.log"), home.join("nginx.conf"));
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(&log, "").unwrap();
    for (file, bytes) in
        [("index.html", 64), ("small.txt", 100), ("medium.bin", 40_000), ("large.bin", 3_000_000)]
    {
        std::fs::write(files.join(file), vec![b'x'; bytes]).unwrap();
    }
    std::fs::write(&config, configuration(&home.display().to_string(), port)).unwrap();
    let line = ["-c", &config.display().to_string(), "-p", &home.display().to_string()];
    let server = site::serve(lab, name, &program::find("nginx"), &line, port);
    Nginx { log, port, address: lab.pod(site::SERVER).unwrap().v4(), _server: server }
}

fn configuration(home: &str, port: u16) -> String {
    let http2 = if port == HTTP1 { "" } else { " http2" };
    let requests = if port == HTTP2_SHORT { SHORT } else { 1_000_000 };
    format!(
        r#"
daemon off;
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
    client_max_body_size 64m;
    keepalive_requests {requests};
    http2_max_concurrent_streams 256;
    log_format told "$remote_addr $remote_port $connection $connection_requests $http_host $request $status";
    access_log {home}/access.log told;
    server {{
        listen 0.0.0.0:{port}{http2};
        root {home}/files;
        location /upstream {{ proxy_pass http://127.0.0.1:8099/; }}
        location /moved {{ return 302 /small.txt; }}
        location /nothing {{ return 204; }}
        location /teapot {{ return 418 "short and stout\n"; }}
        location /strict {{ client_max_body_size 1k; proxy_pass http://127.0.0.1:8099/; }}
        location /reset {{ return 444; }}
    }}
    server {{
        listen 127.0.0.1:8099;
        access_log off;
        location / {{ return 200 "upstream\n"; }}
    }}
}}
"#
    )
}

/// Runs a client in a pod beside the server and in one on another node, and has what every node told
/// compared with the server's log.
///
/// `under_way` is how many requests of each connection the client leaves unanswered when it hangs up.
#[track_caller]
pub fn against_nginx(site: &Site, nginx: &Nginx<'_>, under_way: usize, client: impl Fn(&str)) {
    for (place, nodes) in PLACEMENTS {
        let books: Vec<Books> = NODES.map(|node| Books::open(site.lab, node)).into();
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
            if !told_here {
                assert!(page.messages.is_empty(), "{}: {:?}", page.node, page.messages);
            } else if nginx.port == HTTP2 {
                // Streams are answered, and logged, as they become ready.
                log::same(&page.node, &sorted(logged()), &sorted(log::told(&page, nginx.port)), under_way);
            } else {
                log::same(&page.node, &logged(), &log::told(&page, nginx.port), under_way);
            }
        }
    }
}

fn sorted(mut log: Log) -> Log {
    log.values_mut().for_each(|lines| lines.sort());
    log
}

impl Nginx<'_> {
    /// How many requests it logged so far.
    pub fn count(&self) -> usize {
        std::fs::read(&self.log).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
    }

    /// What it logged of some clients so far, each connection's requests in order.
    pub fn logged(&self) -> Log {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let mut connections = BTreeMap::<SocketAddr, Vec<((usize, usize), String)>>::new();
        // A line still being written has no end yet.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            let &[address, port, connection, nth, host, method, path, protocol, status] = &words[..] else {
                panic!("nginx logged {line:?}")
            };
            let client = SocketAddr::new(address.parse().unwrap(), port.parse().unwrap());
            // The URL of a request that names no host has the server's address.
            let host = if host == "-" { format!("{}:{}", self.address, self.port) } else { host.to_owned() };
            let protocol = if protocol == "HTTP/2.0" { "HTTP/2" } else { protocol };
            // A URL's path begins with a slash, where a request for the whole server has none.
            let path = if path == "*" { "/*" } else { path };
            // It gives up the stream and sends no response.
            let status = if status == "444" { "reset" } else { status };
            let told = format!("{method} http://{host}{path} {protocol} {status}");
            connections
                .entry(client)
                .or_default()
                .push(((connection.parse().unwrap(), nth.parse().unwrap()), told));
        }
        let ordered = |mut lines: Vec<((usize, usize), String)>| {
            lines.sort();
            lines.into_iter().map(|(_, told)| told).collect()
        };
        connections.into_iter().map(|(client, lines)| (client, ordered(lines))).collect()
    }
}
