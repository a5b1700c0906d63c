//! Clients that measure: request/response time, connections per second, bytes per second.
//!
//! Pinned to one CPU when told, because results on several are bimodal: they depend on where the
//! scheduler happens to put the two ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::connect;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Measure {
    /// one byte there and back on an open connection: prints "p50_ns p99_ns count"
    Rr(To),
    /// connect, one byte there and back, close: prints "p50_ns p99_ns count"
    Crr(To),
    /// connect only, then close: prints "p50_ns p99_ns count"
    Connect(To),
    /// as many bytes as fit: prints "bytes_per_second 0 bytes"
    Bulk(To),
}

#[derive(Debug, Args)]
pub struct To {
    to: SocketAddr,
    #[arg(long, default_value_t = 1000)]
    milliseconds: u64,
    /// pin to this CPU
    #[arg(long)]
    cpu: Option<usize>,
}

#[derive(Debug, Args)]
pub struct Listen {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    cpu: Option<usize>,
}

const TIMEOUT: Duration = Duration::from_secs(5);
const CHUNK: usize = 128 << 10;

/// Measures, and prints one line.
///
/// # Errors
/// When the other end does not answer.
pub fn run(measure: Measure) -> Result<()> {
    match measure {
        Measure::Rr(to) => {
            let mut stream = begin(&to)?;
            timed(&to, || one_byte(&mut stream))
        }
        Measure::Crr(to) => {
            pin(to.cpu)?;
            timed(&to, || one_byte(&mut connect::tcp(to.to, None, TIMEOUT)?))
        }
        Measure::Connect(to) => {
            pin(to.cpu)?;
            timed(&to, || connect::tcp(to.to, None, TIMEOUT).map(drop))
        }
        Measure::Bulk(to) => bulk(&to),
    }
}

fn begin(to: &To) -> Result<TcpStream> {
    pin(to.cpu)?;
    connect::tcp(to.to, None, TIMEOUT)
}

fn pin(cpu: Option<usize>) -> Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("name CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pin to CPU {cpu}"))
}

fn one_byte(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"x").context("ask")?;
    stream.read_exact(&mut [0]).context("wait for the answer")
}

fn timed(to: &To, mut once: impl FnMut() -> Result<()>) -> Result<()> {
    let length = Duration::from_millis(to.milliseconds);
    let mut times = Vec::with_capacity(1 << 20);
    let begun = Instant::now();
    while begun.elapsed() < length {
        let from = Instant::now();
        once()?;
        times.push(from.elapsed().as_nanos() as u64);
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{} {} {}", at(50), at(99), times.len());
    Ok(())
}

fn bulk(to: &To) -> Result<()> {
    let mut stream = begin(to)?;
    let chunk = vec![0; CHUNK];
    let length = Duration::from_millis(to.milliseconds);
    let begun = Instant::now();
    let mut bytes = 0u64;
    while begun.elapsed() < length {
        stream.write_all(&chunk).context("push")?;
        bytes += CHUNK as u64;
    }
    println!("{} 0 {bytes}", (bytes as f64 / begun.elapsed().as_secs_f64()) as u64);
    Ok(())
}

/// The other end of all measurements: echoes what is one byte, swallows what is more.
pub fn serve(args: &Listen) -> Result<()> {
    pin(args.cpu)?;
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    println!("ready");
    for stream in listener.incoming().flatten() {
        // Threads inherit the CPU.
        std::thread::spawn(move || answer(stream));
    }
    Ok(())
}

fn answer(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer) {
            Ok(1) if stream.write_all(&buffer[..1]).is_ok() => {}
            Ok(n) if n > 1 => {}
            _ => return,
        }
    }
}
