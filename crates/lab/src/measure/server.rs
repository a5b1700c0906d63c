//! The answering side: one connection after the other, on one thread.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result};

use super::{CHUNK, Listen, ask, pin};

/// Serves until it is killed.
///
/// # Errors
/// When the address can't be had.
pub fn serve(args: &Listen) -> Result<()> {
    pin(args.cpu)?;
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    println!("ready");
    serve_on(&listener);
    Ok(())
}

pub(super) fn serve_on(listener: &TcpListener) {
    let mut buffer = vec![0; CHUNK];
    for mut stream in listener.incoming().flatten() {
        // A client that breaks off is done.
        let _ = answer(&mut stream, &mut buffer);
    }
}

fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    // What follows a question for bulk may come with it.
    let mut bytes = stream.read(buffer)?;
    match buffer.first() {
        _ if bytes == 0 => Ok(()),
        Some(&ask::SWALLOW) => {
            let mut swallowed = bytes as u64 - 1;
            while bytes > 0 {
                bytes = stream.read(buffer)?;
                swallowed += bytes as u64;
            }
            stream.write_all(&swallowed.to_be_bytes())
        }
        Some(&ask::ONCE) => stream.write_all(&buffer[..1]),
        _ => {
            stream.set_nodelay(true)?;
            while bytes > 0 {
                stream.write_all(&buffer[..bytes])?;
                bytes = stream.read(buffer)?;
            }
            Ok(())
        }
    }
}
