//! HTTP/1.1, as much as a service and its callers need.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{Asking, repeat};
use crate::connect;

#[derive(Debug, Args)]
pub struct ServerArgs {
    #[arg(long, default_value = "[::]:80")]
    listen: SocketAddr,
    /// what every answer says
    #[arg(long, default_value = "lab")]
    name: String,
    /// "PREFIX [status=CODE] [every=N] [delay=MS]": what is different about every Nth request for a path
    /// that begins so; the first that applies counts
    #[arg(long)]
    rule: Vec<Rule>,
}

#[derive(Debug, Args)]
pub struct ClientArgs {
    /// "[METHOD ]http://host[:port]/path", {n} stands for the attempt's number; several take turns
    #[arg(long, required = true)]
    url: Vec<Asked>,
    #[command(flatten)]
    asking: Asking,
}

/// A method and a URL.
#[derive(Debug, Clone)]
pub struct Asked {
    method: String,
    url: String,
}

impl FromStr for Asked {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (method, url) = text.split_once(' ').unwrap_or(("GET", text));
        Ok(Self { method: method.to_owned(), url: url.to_owned() })
    }
}

/// What a server does about some paths.
#[derive(Debug, Clone)]
struct Rule {
    prefix: String,
    status: u16,
    every: u64,
    delay: Duration,
    /// Requests for such a path so far.
    seen: Arc<AtomicU64>,
}

impl FromStr for Rule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let prefix = words.next().context("no path to begin with")?.to_owned();
        let mut rule =
            Self { prefix, status: 200, every: 1, delay: Duration::ZERO, seen: Arc::new(AtomicU64::new(0)) };
        for word in words {
            let (key, value) = word.split_once('=').with_context(|| format!("{word}: no value"))?;
            let number: u64 = value.parse().with_context(|| format!("{word}: not a number"))?;
            match key {
                "status" if (200..600).contains(&number) => rule.status = number as u16,
                "every" if number > 0 => rule.every = number,
                "delay" => rule.delay = Duration::from_millis(number),
                _ => bail!("{word}: neither status (200 to 599) nor every (1 or more) nor delay"),
            }
        }
        Ok(rule)
    }
}

impl Rule {
    fn applies(&self, path: &str) -> bool {
        path.starts_with(&self.prefix)
            && (self.seen.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.every)
    }
}

pub fn serve(args: ServerArgs) -> Result<()> {
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    let args = Arc::new(args);
    println!("ready");
    for stream in listener.incoming().flatten() {
        let args = args.clone();
        // A client that goes away in the middle is its own business.
        std::thread::spawn(move || drop(answer(stream, &args)));
    }
    Ok(())
}

/// Answers every request of a connection.
fn answer(stream: TcpStream, args: &ServerArgs) -> Result<()> {
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    let mut writer = stream.try_clone().context("duplicate the connection")?;
    let mut reader = BufReader::new(stream);
    while let Some((start, length, close)) = read_head(&mut reader)? {
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).context("read a body")?;
        let path = start.split(' ').nth(1).unwrap_or("/");
        let rule = args.rule.iter().find(|rule| rule.applies(path));
        std::thread::sleep(rule.map_or(Duration::ZERO, |rule| rule.delay));
        let status = status(rule.map_or(200, |rule| rule.status));
        let body = format!("{} {path}\n", args.name);
        let connection = if close { "close" } else { "keep-alive" };
        write!(
            writer,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        )
        .context("answer")?;
        if close {
            break;
        }
    }
    Ok(())
}

fn status(code: u16) -> String {
    let reason = match code {
        200 => "OK",
        201 => "Created",
        404 => "Not Found",
        503 => "Service Unavailable",
        _ => "",
    };
    format!("{code} {reason}")
}

/// First line, length of the body, and whether the connection closes after it. `None` at the end.
fn read_head(reader: &mut impl BufRead) -> Result<Option<(String, u64, bool)>> {
    let mut start = String::new();
    if reader.read_line(&mut start).context("read a first line")? == 0 {
        return Ok(None);
    }
    let (mut length, mut close) = (0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).context("read a header")? == 0 {
            bail!("the connection ended inside a head");
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((start.trim_end().to_owned(), length, close)));
        }
        let Some((key, value)) = line.split_once(':') else { bail!("no header: {line:?}") };
        match key.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().context("read a content length")?,
            "connection" => close = value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

pub fn ask(args: ClientArgs) -> Result<()> {
    repeat(args.asking.every(), |number| {
        let asked = &args.url[(number % args.url.len() as u64) as usize];
        exchange(&asked.method, &asked.url.replace("{n}", &number.to_string()), &args.asking)
    })
}

/// One request on a connection of its own: status, body and time.
fn exchange(method: &str, url: &str, asking: &Asking) -> Result<String> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url}: only http:// is spoken here"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let target = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let address = asking.resolver().resolve(&target)?;
    let begun = Instant::now();
    let mut stream = connect::tcp(address, asking.bind, asking.timeout())?;
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: fathom-lab\r\nConnection: close\r\n{}\r\n",
        if method == "POST" { "Content-Length: 0\r\n" } else { "" }
    )
    .context("ask")?;
    let mut reader = BufReader::new(stream);
    let (start, length, _) = read_head(&mut reader)?.context("closed without an answer")?;
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body).context("read the answer")?;
    let status = start.split(' ').nth(1).unwrap_or("?");
    Ok(format!("{status} {} {} us", body.trim(), begun.elapsed().as_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_applies_to_every_nth_request_for_its_paths() {
        let rule: Rule = "/rooms/ status=404 every=3".parse().unwrap();
        let applied: Vec<bool> =
            ["/rooms/1", "/publish", "/rooms/2", "/rooms/3"].iter().map(|path| rule.applies(path)).collect();
        assert_eq!(applied, [false, false, false, true]);
        for wrong in ["", "/ status=99", "/ every=0", "/ delay", "/ delay=soon", "/ colour=3"] {
            assert!(wrong.parse::<Rule>().is_err(), "{wrong:?} is no rule");
        }
    }
}
