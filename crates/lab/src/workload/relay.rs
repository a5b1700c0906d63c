//! The ingest path: segments are pushed to a gateway, which passes them on to a store.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use clap::Args;

use super::{Asking, repeat};
use crate::connect;

#[derive(Debug, Args)]
pub struct StoreArgs {
    #[arg(long, default_value = "[::]:9000")]
    listen: SocketAddr,
}

#[derive(Debug, Args)]
pub struct ForwardArgs {
    #[arg(long, default_value = "[::]:1935")]
    listen: SocketAddr,
    /// host:port
    #[arg(long)]
    to: String,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
pub struct UploaderArgs {
    /// host:port
    #[arg(long)]
    to: String,
    /// bytes per segment
    #[arg(long, default_value_t = 65_536)]
    size: usize,
    #[command(flatten)]
    asking: Asking,
}

/// Wire: a line with the length, the segment, and back a line "stored <length>".
pub fn store(args: StoreArgs) -> Result<()> {
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    println!("ready");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || drop(store_one(stream)));
    }
    Ok(())
}

fn store_one(stream: TcpStream) -> Result<()> {
    let mut writer = stream.try_clone().context("duplicate the connection")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).context("read a length")? > 0 {
        let length: u64 = line.trim().parse().context("understand a length")?;
        let stored = std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())
            .context("read a segment")?;
        writeln!(writer, "stored {stored}").context("acknowledge")?;
        line.clear();
    }
    Ok(())
}

pub fn forward(args: ForwardArgs) -> Result<()> {
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    println!("ready");
    for client in listener.incoming().flatten() {
        let reached = args
            .asking
            .resolver()
            .resolve(&args.to)
            .and_then(|address| connect::tcp(address, args.asking.bind, args.asking.timeout()));
        match reached {
            Ok(server) => pass_on(client, server),
            Err(error) => println!("failed {error:#}"),
        }
    }
    Ok(())
}

fn pass_on(client: TcpStream, server: TcpStream) {
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    for (mut from, mut to) in [(client, server_too), (server, client_too)] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

pub fn upload(args: UploaderArgs) -> Result<()> {
    let segment = vec![0x5a; args.size];
    repeat(args.asking.every(), |_| {
        let address = args.asking.resolver().resolve(&args.to)?;
        let mut stream = connect::tcp(address, args.asking.bind, args.asking.timeout())?;
        writeln!(stream, "{}", segment.len()).context("announce a segment")?;
        stream.write_all(&segment).context("push a segment")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).context("wait for the store")?;
        Ok(answer.trim().to_owned())
    })
}
