//! DNS as far as a lab needs it: questions for addresses, answers with addresses.

mod message;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use message::{Answer, Kind, Question, Rcode};

/// Where names are looked up.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// Asked over UDP; `None` = addresses only.
    pub server: Option<IpAddr>,
    pub timeout: Duration,
}

impl Resolver {
    /// The address behind `host:port`, where the host is an address or a name. IPv4 before IPv6.
    ///
    /// # Errors
    /// When the name has no address, or the server does not answer.
    pub fn resolve(&self, target: &str) -> Result<SocketAddr> {
        if let Ok(address) = target.parse() {
            return Ok(address);
        }
        let (host, port) = target.rsplit_once(':').with_context(|| format!("{target}: no port"))?;
        if host.parse::<IpAddr>().is_ok() || self.server.is_none() {
            let mut found = target.to_socket_addrs().with_context(|| format!("look up {host}"))?;
            return found.next().with_context(|| format!("{host} has no address"));
        }
        let port = port.parse().with_context(|| format!("{target}: not a port"))?;
        for kind in [Kind::A, Kind::Aaaa] {
            if let Some(address) = self.ask(host, kind)?.addresses.first() {
                return Ok(SocketAddr::new(*address, port));
            }
        }
        bail!("{host} has no address")
    }

    /// One question over UDP.
    ///
    /// # Errors
    /// When no server answers in time, or answers nonsense, or says the name does not exist.
    pub fn ask(&self, name: &str, kind: Kind) -> Result<Answer> {
        let server = SocketAddr::new(self.server.context("no DNS server to ask")?, 53);
        let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).context("open a UDP socket")?;
        socket.set_read_timeout(Some(self.timeout)).context("set a timeout")?;
        socket.connect(server).with_context(|| format!("reach {server}"))?;
        // The port makes it unlikely enough that an old answer is taken for this one's.
        let id = socket.local_addr().context("learn the local port")?.port();
        let question = Question { id, name: name.to_owned(), kind };
        socket.send(&question.encode()).with_context(|| format!("ask {server}"))?;
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).with_context(|| format!("wait for {server} about {name}"))?;
        let answer =
            Answer::decode(&buffer[..length]).with_context(|| format!("no DNS answer from {server}"))?;
        match answer.rcode {
            Rcode::NoError => Ok(answer),
            other => bail!("{server} says of {name}: {other:?}"),
        }
    }
}
