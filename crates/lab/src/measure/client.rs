//! The asking side.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{CHUNK, To, ask};

/// An end that does not answer: the measurement fails instead of hanging.
const PATIENCE_S: i64 = 5;
/// How much of the beginning is not measured: caches and queues fill.
const WARM_UP: u32 = 10;

pub fn round_trips(to: &To) -> Result<String> {
    let mut stream = open(to.to[0])?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    timed(to, |_| {
        let from = Instant::now();
        one_byte(&mut stream, ask::ECHO)?;
        Ok(from.elapsed())
    })
}

pub fn connections(to: &To) -> Result<String> {
    timed(to, |_| {
        let from = Instant::now();
        let mut stream = open(to.to[0])?;
        finish(&mut stream)?;
        drop(stream);
        Ok(from.elapsed())
    })
}

pub fn connects(to: &To) -> Result<String> {
    // A stride that has no factor in common with the count visits all targets, neighbours apart.
    let targets = &to.to;
    let stride = (targets.len() * 5 / 8..).find(|n| gcd(*n, targets.len()) == 1).unwrap_or(1);
    timed(to, |n| {
        let from = Instant::now();
        let mut stream = open(targets[n * stride % targets.len()])?;
        let took = from.elapsed();
        // The server takes each from its queue before the next.
        finish(&mut stream)?;
        Ok(took)
    })
}

pub fn bulk(to: &To) -> Result<String> {
    let mut stream = open(to.to[0])?;
    stream.write_all(&[ask::SWALLOW]).context("ask")?;
    let chunk = vec![0; CHUNK];
    let length = Duration::from_millis(to.milliseconds);
    let begun = Instant::now();
    while begun.elapsed() < length {
        stream.write_all(&chunk).context("push")?;
    }
    stream.shutdown(Shutdown::Write).context("stop pushing")?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived).context("hear how much arrived")?;
    let (arrived, took) = (u64::from_be_bytes(arrived), begun.elapsed());
    Ok(format!("{} 0 {arrived}", (arrived as f64 / took.as_secs_f64()) as u64))
}

/// Repeats `once`, which says how long it took, for as long as told.
fn timed(to: &To, mut once: impl FnMut(usize) -> Result<Duration>) -> Result<String> {
    let length = Duration::from_millis(to.milliseconds);
    let mut times: Vec<u64> = Vec::with_capacity(1 << 20);
    let begun = Instant::now();
    for n in 0.. {
        let took = once(n)?;
        let elapsed = begun.elapsed();
        if elapsed >= length / WARM_UP {
            times.push(u64::try_from(took.as_nanos())?);
        }
        if elapsed >= length {
            break;
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Ok(format!("{} {} {}", at(50), at(99), times.len()))
}

/// A blocking connect with a limit: the standard library's own takes four more system calls.
fn open(target: SocketAddr) -> Result<TcpStream> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd: OwnedFd =
        socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("open a socket")?;
    let patience = TimeVal::seconds(PATIENCE_S);
    setsockopt(&fd, sockopt::SendTimeout, &patience).context("set a timeout")?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &patience).context("set a timeout")?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(target))
        .with_context(|| format!("connect to {target}"))?;
    Ok(TcpStream::from(fd))
}

fn one_byte(stream: &mut TcpStream, byte: u8) -> Result<()> {
    stream.write_all(&[byte]).context("ask")?;
    stream.read_exact(&mut [0]).context("wait for the answer")
}

/// One question and answer, then the server's close.
fn finish(stream: &mut TcpStream) -> Result<()> {
    one_byte(stream, ask::ONCE)?;
    let more = stream.read(&mut [0]).context("wait for the close")?;
    ensure!(more == 0, "the server said more than was asked");
    Ok(())
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
