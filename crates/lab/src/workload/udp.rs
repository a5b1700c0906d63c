//! UDP: an echo, and a client that counts what does not come back.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{Asking, repeat};
use crate::connect;

#[derive(Debug, Args)]
pub struct EchoArgs {
    #[arg(long, default_value = "[::]:7")]
    listen: SocketAddr,
}

#[derive(Debug, Args)]
pub struct ClientArgs {
    /// host:port
    #[arg(long)]
    to: String,
    #[command(flatten)]
    asking: Asking,
}

pub fn echo(args: EchoArgs) -> Result<()> {
    let socket = UdpSocket::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    println!("ready");
    let mut buffer = [0; 65_536];
    loop {
        // An answer nobody wanted comes back as an error on a later call: not ours to fix.
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let _ = socket.send_to(&buffer[..length], client);
    }
}

pub fn ask(args: ClientArgs) -> Result<()> {
    let mut socket: Option<UdpSocket> = None;
    repeat(args.asking.every(), |number| {
        let open = match socket.take() {
            Some(open) => open,
            None => {
                let address = args.asking.resolver().resolve(&args.to)?;
                connect::udp(address, args.asking.bind, args.asking.timeout())?
            }
        };
        let open = socket.insert(open);
        let said = format!("datagram {number}");
        open.send(said.as_bytes()).context("send")?;
        let mut buffer = [0; 1500];
        let length = open.recv(&mut buffer).context("wait for it to come back")?;
        if &buffer[..length] == said.as_bytes() { Ok(said) } else { bail!("something else came back") }
    })
}
