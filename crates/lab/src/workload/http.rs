//! HTTP/1.1, as much as a service and its callers need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

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
}

#[derive(Debug, Args)]
pub struct ClientArgs {
    /// http://host[:port]/path
    #[arg(long)]
    url: String,
    #[command(flatten)]
    asking: Asking,
}

pub fn serve(args: ServerArgs) -> Result<()> {
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    println!("ready");
    for stream in listener.incoming().flatten() {
        let name = args.name.clone();
        // A client that goes away in the middle is its own business.
        std::thread::spawn(move || drop(answer(stream, &name)));
    }
    Ok(())
}

/// Answers every request of a connection.
fn answer(stream: TcpStream, name: &str) -> Result<()> {
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    let mut writer = stream.try_clone().context("duplicate the connection")?;
    let mut reader = BufReader::new(stream);
    while let Some((start, length, close)) = read_head(&mut reader)? {
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).context("read a body")?;
        let path = start.split(' ').nth(1).unwrap_or("/");
        let body = format!("{name} {path}\n");
        let connection = if close { "close" } else { "keep-alive" };
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        )
        .context("answer")?;
        if close {
            break;
        }
    }
    Ok(())
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
    repeat(args.asking.every(), |_| get(&args.url, &args.asking))
}

/// One request on a connection of its own: status, body and time.
pub fn get(url: &str, asking: &Asking) -> Result<String> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url}: only http:// is spoken here"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let target = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let address = asking.resolver().resolve(&target)?;
    let begun = Instant::now();
    let mut stream = connect::tcp(address, asking.bind, asking.timeout())?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: fathom-lab\r\nConnection: close\r\n\r\n"
    )
    .context("ask")?;
    let mut reader = BufReader::new(stream);
    let (start, length, _) = read_head(&mut reader)?.context("closed without an answer")?;
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body).context("read the answer")?;
    let status = start.split(' ').nth(1).unwrap_or("?");
    Ok(format!("{status} {} {} us", body.trim(), begun.elapsed().as_micros()))
}
