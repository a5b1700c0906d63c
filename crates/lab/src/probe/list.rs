//! Many attempts at once: a policy's verdicts on a whole cluster in the time of one time-out.

use std::io::BufRead;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{echo_tcp, echo_udp, icmp};

#[derive(Debug, Args)]
#[command(
    after_help = "A line is: tcp|udp HOST:PORT [SOURCE], or: icmp ADDRESS. The answer is: answered, or: failed WHY."
)]
pub struct List {
    /// milliseconds to wait for an answer
    #[arg(long, default_value_t = 1000)]
    timeout: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Tcp(SocketAddr, Option<IpAddr>),
    Udp(SocketAddr, Option<IpAddr>),
    Icmp(IpAddr),
}

impl List {
    /// Reads attempts from the standard input up to its end, makes them, and tells.
    pub(super) fn run(&self) -> Result<()> {
        let lines =
            std::io::stdin().lock().lines().collect::<Result<Vec<_>, _>>().context("read the list")?;
        let attempts = lines.iter().map(|line| read(line)).collect::<Result<Vec<_>>>()?;
        let timeout = Duration::from_millis(self.timeout);
        let answers: Vec<Result<()>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                attempts.iter().map(|attempt| scope.spawn(|| make(*attempt, timeout))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                thread.join().unwrap_or_else(|_| bail!("the attempt panicked"))
            };
            threads.into_iter().map(join).collect()
        });
        for answer in answers {
            match answer {
                Ok(()) => println!("answered"),
                Err(error) => println!("failed {}", format!("{error:#}").replace('\n', " ")),
            }
        }
        Ok(())
    }
}

fn read(line: &str) -> Result<Attempt> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let attempt = match words[..] {
        ["tcp", to, ref source @ ..] | ["udp", to, ref source @ ..] if source.len() < 2 => {
            let to = to.parse().with_context(|| format!("{to:?} is no address with a port"))?;
            let bind = source.first().map(|source| source.parse()).transpose().context("read the source")?;
            if words[0] == "tcp" { Attempt::Tcp(to, bind) } else { Attempt::Udp(to, bind) }
        }
        ["icmp", to] => Attempt::Icmp(to.parse().with_context(|| format!("{to:?} is no address"))?),
        _ => bail!("{line:?} is no attempt: tcp|udp HOST:PORT [SOURCE], or icmp ADDRESS"),
    };
    Ok(attempt)
}

fn make(attempt: Attempt, timeout: Duration) -> Result<()> {
    match attempt {
        Attempt::Tcp(to, bind) => echo_tcp(to, bind, timeout).map(drop),
        Attempt::Udp(to, bind) => echo_udp(to, bind, timeout),
        Attempt::Icmp(to) => icmp::ping(to, timeout).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_attempt_or_says_what_one_looks_like() {
        let to = "10.0.0.1:7".parse().unwrap();
        assert_eq!(read("tcp 10.0.0.1:7").unwrap(), Attempt::Tcp(to, None));
        assert_eq!(
            read("udp 10.0.0.1:7 10.0.0.2").unwrap(),
            Attempt::Udp(to, Some("10.0.0.2".parse().unwrap()))
        );
        assert_eq!(read("icmp fd00::1").unwrap(), Attempt::Icmp("fd00::1".parse().unwrap()));
        for wrong in
            ["", "tcp", "tcp 10.0.0.1", "tcp 10.0.0.1:7 a", "tcp 10.0.0.1:7 10.0.0.2 more", "sctp 10.0.0.1:7"]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
