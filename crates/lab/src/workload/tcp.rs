//! TCP: an echo, and a client that keeps one connection busy.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

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
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    println!("ready");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let _ = std::io::copy(&mut &stream, &mut &stream);
        });
    }
    Ok(())
}

/// One connection for as long as it lives; each broken one is told with the number of lines it had.
pub fn ask(args: ClientArgs) -> Result<()> {
    let mut connection: Option<(BufReader<TcpStream>, u64)> = None;
    repeat(args.asking.every(), |number| {
        let (mut reader, lines) = match connection.take() {
            Some(open) => open,
            None => {
                let address = args.asking.resolver().resolve(&args.to)?;
                (BufReader::new(connect::tcp(address, args.asking.bind, args.asking.timeout())?), 0)
            }
        };
        exchange(&mut reader, number).with_context(|| format!("the connection broke after {lines} lines"))?;
        connection = Some((reader, lines + 1));
        Ok(format!("line {} of this connection", lines + 1))
    })
}

fn exchange(reader: &mut BufReader<TcpStream>, number: u64) -> Result<()> {
    let said = format!("line {number}\n");
    reader.get_mut().write_all(said.as_bytes()).context("write")?;
    let mut heard = String::new();
    reader.read_line(&mut heard).context("read")?;
    if heard == said { Ok(()) } else { bail!("said {said:?}, heard {heard:?}") }
}
