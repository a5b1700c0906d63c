//! A DNS server over a hosts file that is read again when it changes. UDP and TCP.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;

use crate::names::{Answer, Question, Rcode};

#[derive(Debug, Args)]
pub struct ServerArgs {
    #[arg(long, default_value = "[::]:53")]
    listen: SocketAddr,
    /// lines of an address and a name
    #[arg(long)]
    hosts: PathBuf,
}

pub fn serve(args: ServerArgs) -> Result<()> {
    let udp = UdpSocket::bind(args.listen).with_context(|| format!("listen on {} (UDP)", args.listen))?;
    let tcp = TcpListener::bind(args.listen).with_context(|| format!("listen on {} (TCP)", args.listen))?;
    let hosts = Arc::new(args.hosts);
    println!("ready");
    let for_tcp = hosts.clone();
    std::thread::spawn(move || serve_tcp(&tcp, &for_tcp));
    let mut buffer = [0; 1500];
    loop {
        // A client whose answer bounced shows up as an error on the next call: not ours to fix.
        let Ok((length, client)) = udp.recv_from(&mut buffer) else { continue };
        if let Some(answer) = Question::decode(&buffer[..length]).map(|q| answer(&hosts, q)) {
            let _ = udp.send_to(&answer.encode(), client);
        }
    }
}

fn serve_tcp(listener: &TcpListener, hosts: &Arc<PathBuf>) {
    for stream in listener.incoming().flatten() {
        let hosts = hosts.clone();
        std::thread::spawn(move || {
            let mut stream = stream;
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                if stream.read_exact(&mut message).is_err() {
                    return;
                }
                let Some(question) = Question::decode(&message) else { return };
                let bytes = answer(&hosts, question).encode();
                let framed = [&(bytes.len() as u16).to_be_bytes(), bytes.as_slice()].concat();
                if stream.write_all(&framed).is_err() {
                    return;
                }
            }
        });
    }
}

fn answer(hosts: &PathBuf, question: Question) -> Answer {
    let text = std::fs::read_to_string(hosts).unwrap_or_default();
    let known: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, name)| name.eq_ignore_ascii_case(&question.name))
        .filter_map(|(address, _)| address.parse().ok())
        .collect();
    let rcode = if known.is_empty() { Rcode::NxDomain } else { Rcode::NoError };
    let addresses = known.into_iter().filter(|a| question.kind.fits(a)).collect();
    Answer { question, rcode, addresses }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Kind;

    #[test]
    fn a_name_without_an_address_of_the_kind_exists_all_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "10.96.0.11 Web.default.svc.cluster.local\n").unwrap();
        let ask = |name: &str, kind| {
            let answer = answer(&file.path().to_owned(), Question { id: 1, name: name.into(), kind });
            (answer.rcode, answer.addresses.len())
        };
        assert_eq!(ask("web.default.svc.cluster.local", Kind::A), (Rcode::NoError, 1));
        assert_eq!(ask("web.default.svc.cluster.local", Kind::Aaaa), (Rcode::NoError, 0));
        assert_eq!(ask("web", Kind::A), (Rcode::NxDomain, 0));
    }
}
