//! One-shot questions to a network, for tests and for people: exit 0 when answered, 1 when not.

mod icmp;
mod list;

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::connect;
use crate::names::{Kind, Resolver};

/// A probe and its arguments.
#[derive(Debug, Subcommand)]
pub enum Probe {
    /// connects, sends a line, expects it back
    Tcp(To),
    /// connects and closes, nothing more
    Connect(To),
    /// sends a datagram, expects it back
    Udp(To),
    /// sends datagrams and waits for nothing
    Send(To),
    /// echo request and reply
    Icmp(Icmp),
    /// asks a DNS server for a name
    Dns(Dns),
    /// reads one attempt per line, makes all at once, says in the same order how each went
    List(list::List),
}

#[derive(Debug, Args)]
pub struct To {
    /// host:port
    to: String,
    /// source address
    #[arg(long)]
    bind: Option<IpAddr>,
    /// how often, one after the other
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// milliseconds to wait for an answer
    #[arg(long, default_value_t = 1000)]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct Icmp {
    to: IpAddr,
    #[arg(long, default_value_t = 1000)]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct Dns {
    name: String,
    #[arg(long)]
    server: IpAddr,
    /// ask for IPv6 addresses
    #[arg(long)]
    v6: bool,
    #[arg(long, default_value_t = 1000)]
    timeout: u64,
}

/// Runs a probe; prints what came back.
///
/// # Errors
/// When it is not answered; the text says "refused", "timed out" and so on, as the kernel does.
pub fn run(probe: &Probe) -> Result<()> {
    match probe {
        Probe::Tcp(to) => many(to, |target| {
            let peer = echo_tcp(target, to.bind, to.timeout())?;
            println!("connected to {peer}");
            Ok(())
        }),
        Probe::Connect(to) => many(to, |target| connect::tcp(target, to.bind, to.timeout()).map(drop)),
        Probe::Udp(to) => many(to, |target| echo_udp(target, to.bind, to.timeout())),
        Probe::Send(to) => send(to),
        Probe::Icmp(args) => {
            let took = icmp::ping(args.to, Duration::from_millis(args.timeout))?;
            println!("{} answered in {} us", args.to, took.as_micros());
            Ok(())
        }
        Probe::List(list) => list.run(),
        Probe::Dns(args) => {
            let resolver =
                Resolver { server: Some(args.server), timeout: Duration::from_millis(args.timeout) };
            let answer = resolver.ask(&args.name, if args.v6 { Kind::Aaaa } else { Kind::A })?;
            for address in answer.addresses {
                println!("{address}");
            }
            Ok(())
        }
    }
}

impl To {
    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout)
    }
}

fn many(to: &To, once: impl Fn(SocketAddr) -> Result<()>) -> Result<()> {
    let target = Resolver { server: None, timeout: to.timeout() }.resolve(&to.to)?;
    let begun = Instant::now();
    for number in 1..=to.count {
        once(target).with_context(|| format!("attempt {number} of {}", to.count))?;
    }
    println!("{} of {} in {} us", to.count, to.count, begun.elapsed().as_micros());
    Ok(())
}

fn send(to: &To) -> Result<()> {
    let target = Resolver { server: None, timeout: to.timeout() }.resolve(&to.to)?;
    let socket = connect::udp(target, to.bind, to.timeout())?;
    for _ in 0..to.count {
        socket.send(b"never mind").context("send")?;
    }
    println!("{} sent", to.count);
    Ok(())
}

fn echo_tcp(target: SocketAddr, bind: Option<IpAddr>, timeout: Duration) -> Result<SocketAddr> {
    let mut stream = connect::tcp(target, bind, timeout)?;
    let peer = stream.peer_addr().context("learn the peer")?;
    stream.write_all(b"are you there\n").context("write")?;
    let mut heard = String::new();
    BufReader::new(stream).read_line(&mut heard).context("read")?;
    if heard == "are you there\n" { Ok(peer) } else { bail!("heard {heard:?}") }
}

fn echo_udp(target: SocketAddr, bind: Option<IpAddr>, timeout: Duration) -> Result<()> {
    let socket = connect::udp(target, bind, timeout)?;
    socket.send(b"are you there").context("send")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).context("wait for it to come back")?;
    if &buffer[..length] == b"are you there" { Ok(()) } else { bail!("something else came back") }
}
