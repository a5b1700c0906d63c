//! Echo request and reply over a raw socket: `ping` need not be installed, nor its group range set.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

static ECHOES: AtomicU16 = AtomicU16::new(0);

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Asks once; returns the time it took.
///
/// # Errors
/// When nobody answers in time, or the kernel refuses to send.
pub fn ping(target: IpAddr, timeout: Duration) -> Result<Duration> {
    let v4 = target.is_ipv4();
    let (family, protocol) = if v4 {
        (AddressFamily::Inet, SockProtocol::Icmp)
    } else {
        (AddressFamily::Inet6, SockProtocol::IcmpV6)
    };
    let fd: OwnedFd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .context("open a raw socket (needs root)")?;
    let limit = TimeVal::new(timeout.as_secs() as i64, i64::from(timeout.subsec_micros()));
    setsockopt(&fd, sockopt::ReceiveTimeout, &limit).context("set a timeout")?;

    // Echoes of one process at the same time have an identifier each.
    let id = (std::process::id() as u16).wrapping_add(ECHOES.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    let begun = Instant::now();
    let request = request(v4, id);
    let to = SockaddrStorage::from(SocketAddr::new(target, 0));
    sendto(fd.as_raw_fd(), &request, &to, MsgFlags::empty()).with_context(|| format!("send to {target}"))?;
    let mut buffer = [0; 1500];
    // Others' messages arrive as well on a raw socket.
    while begun.elapsed() < timeout {
        let length = match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(nix::Error::EAGAIN) => break,
            Err(e) => return Err(e).with_context(|| format!("wait for {target}")),
        };
        if is_reply(&buffer[..length], v4, id) {
            return Ok(begun.elapsed());
        }
    }
    bail!("{target} did not answer: timed out")
}

fn request(v4: bool, [a, b]: [u8; 2]) -> Vec<u8> {
    let kind = if v4 { ECHO_REQUEST_V4 } else { ECHO_REQUEST_V6 };
    let mut message = vec![kind, 0, 0, 0, a, b, 0, 1];
    message.extend(b"fathom-lab probe");
    if v4 {
        // For ICMPv6 the kernel does it: the sum includes the addresses.
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

fn is_reply(bytes: &[u8], v4: bool, id: [u8; 2]) -> bool {
    // IPv4 raw sockets deliver the IP header as well.
    let skip = if v4 { bytes.first().map_or(0, |b| usize::from(b & 0x0f) * 4) } else { 0 };
    let wanted = if v4 { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
    bytes.get(skip..).is_some_and(|m| m.len() >= 8 && m[0] == wanted && m[4..6] == id)
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_its_checksum_sums_to_zero() {
        assert_eq!(checksum(&request(true, [1, 2])), 0);
    }

    #[test]
    fn only_the_reply_to_this_request_counts() {
        let mut reply = vec![0x45; 20];
        reply.extend(request(true, [1, 2]));
        assert!(!is_reply(&reply, true, [1, 2]), "the request itself");
        reply[20] = ECHO_REPLY_V4;
        assert!(is_reply(&reply, true, [1, 2]));
        assert!(!is_reply(&reply, true, [1, 3]));
    }
}
