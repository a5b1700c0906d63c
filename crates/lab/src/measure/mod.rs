//! Traffic that is measured: request and response, connections that come and go, bulk.
//!
//! One thread on each side, blocking calls and nothing between them and the kernel: what is timed
//! is the path. Pinned to one CPU when told, because results on several are bimodal: they depend on
//! where the scheduler happens to put the two ends.

mod client;
mod server;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

pub use server::serve;

/// What to measure; each prints one line of numbers.
#[derive(Debug, Subcommand)]
pub enum Measure {
    /// one byte there and back on an open connection: prints "p50_ns p99_ns count"
    Rr(To),
    /// connect, one byte there and back, close: prints "p50_ns p99_ns count"
    Crr(To),
    /// how long connecting takes: prints "p50_ns p99_ns count"; of several targets each in its turn
    Connect(To),
    /// as many bytes as arrive: prints "bytes_per_second 0 bytes"
    Bulk(To),
}

#[derive(Debug, Args)]
pub struct To {
    #[arg(required = true)]
    to: Vec<SocketAddr>,
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
    /// pin to this CPU
    #[arg(long)]
    cpu: Option<usize>,
}

/// A client's first byte says what it wants of its connection.
mod ask {
    /// Every byte back, until the client closes.
    pub const ECHO: u8 = b'e';
    /// One byte back; the server closes, so that the client's port is free at once.
    pub const ONCE: u8 = b'o';
    /// Swallow everything until the client stops, then say how much it was: eight bytes.
    pub const SWALLOW: u8 = b's';
}

/// Bytes per call of the bulk measurement.
const CHUNK: usize = 128 << 10;

/// Measures, and prints one line.
///
/// # Errors
/// When the other end does not answer.
pub fn run(measure: Measure) -> Result<()> {
    let (Measure::Rr(to) | Measure::Crr(to) | Measure::Connect(to) | Measure::Bulk(to)) = &measure;
    pin(to.cpu)?;
    let result = match &measure {
        Measure::Rr(to) => client::round_trips(to),
        Measure::Crr(to) => client::connections(to),
        Measure::Connect(to) => client::connects(to),
        Measure::Bulk(to) => client::bulk(to),
    };
    println!("{}", result?);
    Ok(())
}

fn pin(cpu: Option<usize>) -> Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("name CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pin to CPU {cpu}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measurement_gets_its_three_numbers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        std::thread::spawn(move || server::serve_on(&listener));
        let to = To { to: vec![to, to], milliseconds: 50, cpu: None };
        for measure in [client::round_trips, client::connections, client::connects, client::bulk] {
            let line = measure(&to).unwrap();
            let numbers: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
            assert!(numbers.len() == 3 && numbers[0] > 0 && numbers[2] > 0, "{line}");
        }
    }
}
