//! From a policy's edit to its enforcement, by real packets.
//!
//! A pod sends a datagram every half millisecond to another one, with the time in it; a policy that opens and
//! closes the port is saved again and again. Enforced is the first datagram that meets what was saved: the first
//! that arrives, or the first after the last that did. The connection is an old one: it is judged anew.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fathom_lab::Lab;
use fathom_lab::layout::Place;
use fathom_lab::machine::netns;
use fathom_lab::objects::Directory;

use super::cluster;
use crate::cli::Effort;
use crate::figure::figure;
use crate::process;
use crate::stage::NODE;

const PORT: u16 = 7000;
const BETWEEN: Duration = Duration::from_micros(500);
/// Nothing arrives for so long: what was on its way is there.
const SILENCE: Duration = Duration::from_millis(300);
const NEVER: Duration = Duration::from_secs(60);

/// Edits and tells.
///
/// # Errors
/// When an edit is not enforced within a minute.
pub fn run(effort: Effort, lab: &Lab, objects: &Directory) -> Result<()> {
    let edits = effort.of(20, 120);
    let (client, server) = (socket(lab, "client", 0)?, socket(lab, "server", PORT)?);
    client.connect(SocketAddr::new(lab.pod("server")?.v4(), PORT)).context("connect the client's socket")?;
    server.set_read_timeout(Some(SILENCE)).context("set the server's time-out")?;
    let (begun, stop) = (Instant::now(), AtomicBool::new(false));
    let pid = lab.agent_pid(NODE)?;
    let (arrived, stamps) = mpsc::channel();
    let going = || !stop.load(Ordering::Relaxed);
    let mut took = std::thread::scope(|scope| {
        scope.spawn(|| {
            while going() {
                // Refused or full: then this one is lost, as packets are.
                let _ = client.send(&stamp(begun).to_le_bytes());
                std::thread::sleep(BETWEEN);
            }
        });
        scope.spawn(|| {
            let arrived = arrived;
            let mut buffer = [0; 8];
            while going() {
                if server.recv(&mut buffer).is_ok_and(|length| length == buffer.len()) {
                    let _ = arrived.send(Duration::from_nanos(u64::from_le_bytes(buffer)));
                }
            }
        });
        let took = edit(edits, begun, objects, &stamps, pid);
        stop.store(true, Ordering::Relaxed);
        took
    })?;
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    figure("scale.enforced.edits", took.len() as f64, "");
    figure("scale.enforced.p50", at(50), "ms");
    figure("scale.enforced.p99", at(99), "ms");
    figure("scale.enforced.most", at(100), "ms");
    figure("scale.rss", process::resident(pid)? as f64 / super::MIB, "MiB");
    Ok(())
}

fn edit(
    edits: u32,
    begun: Instant,
    objects: &Directory,
    stamps: &Receiver<Duration>,
    pid: i32,
) -> Result<Vec<Duration>> {
    objects.put(&cluster::edited(PORT + 1))?;
    closed(stamps, Duration::ZERO)?;
    let before = process::cpu(pid)?;
    let mut took = Vec::new();
    for number in 0..edits {
        // Not in step with whatever the agent does every second.
        std::thread::sleep(Duration::from_millis(u64::from(number * 37 % 200)));
        let open = number % 2 == 0;
        let saved = begun.elapsed();
        objects.put(&cluster::edited(if open { PORT } else { PORT + 1 }))?;
        let enforced = if open { opened(stamps, saved)? } else { closed(stamps, saved)? };
        took.push(enforced.saturating_sub(saved));
    }
    let spent = process::cpu(pid)? - before;
    figure("scale.cpu_per_edit", spent.as_secs_f64() * 1e3 / f64::from(edits), "ms");
    Ok(took)
}

/// When the first datagram left that arrived.
fn opened(stamps: &Receiver<Duration>, saved: Duration) -> Result<Duration> {
    loop {
        match stamps.recv_timeout(NEVER) {
            Ok(stamp) if stamp >= saved => return Ok(stamp),
            Ok(_) => {}
            Err(_) => bail!("a policy that opens a port was not enforced within {} s", NEVER.as_secs()),
        }
    }
}

/// When the last datagram left that arrived, and the one after it.
fn closed(stamps: &Receiver<Duration>, saved: Duration) -> Result<Duration> {
    let mut last = saved;
    loop {
        match stamps.recv_timeout(SILENCE) {
            Ok(stamp) if stamp > saved + NEVER => {
                bail!("a policy that closes a port was not enforced within {} s", NEVER.as_secs())
            }
            Ok(stamp) => last = stamp.max(last),
            Err(RecvTimeoutError::Timeout) => return Ok(last + BETWEEN),
            Err(RecvTimeoutError::Disconnected) => bail!("the server's socket is gone"),
        }
    }
}

fn stamp(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A socket in a pod's network namespace.
fn socket(lab: &Lab, pod: &str, port: u16) -> Result<UdpSocket> {
    let key = lab.pod(pod)?.spec.key();
    netns::inside(&lab.layout().netns(&Place::Pod(key)), || {
        UdpSocket::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
            .with_context(|| format!("bind a socket in pod {pod}"))
    })
}
