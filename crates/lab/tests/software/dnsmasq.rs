//! dnsmasq in the server's pod, with names of its own, and its log.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::program;
use crate::site::{self, Server, Site};

const PORT: u16 = 53;
/// Another one behind it, which only it talks to.
const BEHIND: u16 = 5398;
/// Its names lead to a server that never answers.
pub const SILENT: &str = "silent.lab";
/// Without a zone above it that is signed, as the server is told to want: SERVFAIL.
pub const BOGUS: &str = "bogus.test";

pub struct Dnsmasq<'a> {
    server: Server<'a>,
    _behind: Server<'a>,
}

/// Starts it. `web.lab` and its alias `www.web.lab` are the server's pod itself.
#[track_caller]
pub fn start<'a>(site: &'a Site) -> Dnsmasq<'a> {
    let home = site.directory("dnsmasq");
    let dnsmasq = program::find("dnsmasq");
    let serve = |name: &str, port: u16, configuration: String| {
        let file = home.join(format!("{name}.conf"));
        std::fs::write(&file, format!("{COMMON}port={port}\n{configuration}")).unwrap();
        site.serve(name, &dnsmasq, &[&format!("--conf-file={}", file.display())], port)
    };
    let behind = serve("dnsmasq-behind", BEHIND, format!("address=/{BOGUS}/192.0.2.7\n"));
    Dnsmasq { server: serve("dnsmasq", PORT, configuration(site)), _behind: behind }
}

const COMMON: &str = "keep-in-foreground
log-facility=-
no-resolv
no-hosts
user=root
pid-file=
";

fn configuration(site: &Site) -> String {
    let pod = site.lab.pod(site::SERVER).unwrap();
    let mut text = format!(
        "log-queries=extra
local-ttl=300
edns-packet-max=4096
local=/lab/
server=/{SILENT}/127.0.0.1#1
server=127.0.0.1#{BEHIND}
dnssec
trust-anchor=.,20326,8,2,E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
address=/wild.lab/192.0.2.7
host-record=one.lab,192.0.2.1,60
host-record=both.lab,192.0.2.2,2001:db8::2,120
host-record=many.lab,192.0.2.11
host-record=many.lab,192.0.2.12
host-record=many.lab,2001:db8::13
cname=alias.lab,one.lab,30
cname=alias-of-alias.lab,alias.lab,20
txt-record=text.lab,v=spf1 -all,second string
mx-host=lab,mail.lab,10
mx-host=lab,other-mail.lab,20
srv-host=_kafka._tcp.lab,one.lab,9092,1,2
ptr-record=1.2.0.192.in-addr.arpa,one.lab
caa-record=lab,0,issue,ca.lab
naptr-record=naptr.lab,10,20,u,sip,!^.*$!sip:x@lab!
dns-rr=service.lab,65,000100
host-record=web.lab,{},{}
cname=www.web.lab,web.lab,45
",
        pod.v4(),
        pod.v6()
    );
    for n in 1..=30 {
        writeln!(text, "host-record=crowd.lab,192.0.2.{}", 100 + n).unwrap();
    }
    // Seven aliases in a row before an address.
    for n in 1..=7 {
        let next = if n == 7 { "one.lab".to_owned() } else { format!("chain{}.lab", n + 1) };
        writeln!(text, "cname=chain{n}.lab,{next},{}", 100 + n).unwrap();
    }
    for (name, count) in [("medium.lab", 12), ("long.lab", 20), ("longer.lab", 100)] {
        for n in 0..count {
            writeln!(text, "txt-record={name},{}{n}", "x".repeat(200)).unwrap();
        }
    }
    text
}

impl Dnsmasq<'_> {
    /// The questions it logged so far: who asked, and "name. TYPE".
    pub fn logged(&self) -> Vec<(SocketAddr, String)> {
        let text = self.server.process.output();
        // A line still being written has no end yet.
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        lines.filter_map(question).collect()
    }
}

/// A line such as `dnsmasq[12]: 3 10.0.0.1/40000 query[A] one.lab from 10.0.0.1`.
fn question(line: &str) -> Option<(SocketAddr, String)> {
    let words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| word.starts_with("query["))?;
    let (address, port) = words.get(at.checked_sub(1)?)?.split_once('/')?;
    let kind = words[at].strip_prefix("query[")?.strip_suffix(']')?;
    let kind = kind.strip_prefix("type=").map_or(kind.to_owned(), |number| format!("TYPE{number}"));
    // What it can't print has several words.
    let name = words[at + 1..].split(|word| *word == "from").next()?.join(" ").to_lowercase();
    let dot = if name == "." || name.starts_with('<') { "" } else { "." };
    Some((SocketAddr::new(address.parse().ok()?, port.parse().ok()?), format!("{name}{dot} {kind}")))
}
