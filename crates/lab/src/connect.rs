//! TCP connections as clients of the lab make them: from a chosen address, within a time.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, socket, sockopt,
};

/// Connects, from `source` when one is given; reads and writes time out likewise.
///
/// # Errors
/// What the kernel said: refused, unreachable; or that nobody answered in time.
pub fn tcp(target: SocketAddr, source: Option<IpAddr>, timeout: Duration) -> Result<TcpStream> {
    let stream = match source {
        None => {
            TcpStream::connect_timeout(&target, timeout).with_context(|| format!("connect to {target}"))?
        }
        Some(source) => {
            from(source, target, timeout).with_context(|| format!("connect from {source} to {target}"))?
        }
    };
    stream.set_read_timeout(Some(timeout)).context("set a timeout")?;
    stream.set_write_timeout(Some(timeout)).context("set a timeout")?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    Ok(stream)
}

/// The standard library can't bind before it connects.
fn from(source: IpAddr, target: SocketAddr, timeout: Duration) -> Result<TcpStream> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(family, SockType::Stream, flags, None).context("open a socket")?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0))).context("bind")?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) => {}
        Err(nix::Error::EINPROGRESS) => await_connected(&fd, timeout)?,
        Err(e) => return Err(e.into()),
    }
    let stream = TcpStream::from(fd);
    stream.set_nonblocking(false).context("make the socket blocking")?;
    Ok(stream)
}

fn await_connected(fd: &OwnedFd, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut wanted = [PollFd::new(std::os::fd::AsFd::as_fd(fd), PollFlags::POLLOUT)];
        match poll(&mut wanted, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => bail!("connection timed out"),
            Ok(_) => break,
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    match getsockopt(fd, sockopt::SocketError).context("ask how it went")? {
        0 => Ok(()),
        errno => Err(nix::Error::from_raw(errno).into()),
    }
}

/// A connected UDP socket.
///
/// # Errors
/// What the kernel said.
pub fn udp(target: SocketAddr, source: Option<IpAddr>, timeout: Duration) -> Result<UdpSocket> {
    let any: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((source.unwrap_or(any), 0)).context("open a UDP socket")?;
    socket.connect(target).with_context(|| format!("connect to {target}"))?;
    socket.set_read_timeout(Some(timeout)).context("set a timeout")?;
    Ok(socket)
}
