//! What dig itself tells of the questions it sends and the answers it gets: `+qr +yaml`.

use std::net::IpAddr;
use std::time::Duration;

/// A question, or an answer.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub answer: bool,
    /// "TCP" or "UDP".
    pub transport: String,
    pub id: u32,
    /// "name. TYPE", in lower case but for the type.
    pub question: String,
    pub status: String,
    /// From question to answer, by a clock that may stand still for [`TICK`].
    pub took: Duration,
    /// Bytes.
    pub size: usize,
    /// The server says that there is more.
    pub truncated: bool,
    pub records: Vec<Record>,
}

/// One of the answer section.
#[derive(Debug, Clone)]
pub struct Record {
    pub ttl: u32,
    pub kind: String,
    pub data: String,
}

/// dig reads a clock that goes with the kernel's slowest tick.
pub const TICK: Duration = Duration::from_millis(11);

impl Said {
    /// The number of the status.
    #[track_caller]
    pub fn rcode(&self) -> u32 {
        let codes = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
        let code = codes.iter().position(|code| *code == self.status);
        code.unwrap_or_else(|| panic!("dig says {}", self.status)) as u32
    }

    /// By what a flow can be told from another.
    pub fn key(&self) -> String {
        format!("{} {} {}", self.transport, self.id, self.question)
    }
}

impl Record {
    pub fn ip(&self) -> Option<IpAddr> {
        matches!(&*self.kind, "A" | "AAAA").then(|| self.data.parse().unwrap())
    }
}

/// Reads what it printed.
#[track_caller]
pub fn read(text: &str) -> Vec<Said> {
    let mut all = Vec::<Said>::new();
    let (mut section, mut asked_at) = ("", 0);
    for line in text.lines() {
        let line = line.trim();
        if line == "- type: MESSAGE" {
            all.push(Said::default());
            section = "";
            continue;
        }
        let Some(said) = all.last_mut() else { continue };
        if let Some(entry) = line.strip_prefix("- '").and_then(|line| line.strip_suffix('\'')) {
            let entry = entry.replace("''", "'");
            match section {
                "QUESTION_SECTION" => said.question = question(&entry),
                "ANSWER_SECTION" => said.records.push(record(&entry)),
                _ => {}
            }
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key {
            "type" => said.answer = value.ends_with("_RESPONSE"),
            "socket_protocol" => said.transport = value.to_owned(),
            "status" => said.status = value.to_owned(),
            "id" => said.id = value.parse().unwrap(),
            "message_size" => said.size = value.trim_end_matches('b').parse().unwrap(),
            // Those of EDNS have the same name.
            "flags" if section.is_empty() => said.truncated = value.split(' ').any(|flag| flag == "tc"),
            "query_time" => asked_at = millisecond(value),
            "response_time" => {
                said.took = Duration::from_millis((millisecond(value) + DAY - asked_at) % DAY);
            }
            _ if key.ends_with("SECTION") => section = key,
            _ => {}
        }
    }
    all
}

/// `one.lab. IN A`
#[track_caller]
fn question(text: &str) -> String {
    match text.split(' ').collect::<Vec<_>>()[..] {
        [name, _class, kind] => format!("{} {kind}", name.to_lowercase()),
        _ => panic!("dig asks {text:?}"),
    }
}

/// `one.lab. 60 IN A 192.0.2.1`
#[track_caller]
fn record(text: &str) -> Record {
    match text.splitn(5, ' ').collect::<Vec<_>>()[..] {
        [_, ttl, _, kind, data] => {
            Record { ttl: ttl.parse().unwrap(), kind: kind.to_owned(), data: data.to_owned() }
        }
        _ => panic!("dig was answered {text:?}"),
    }
}

/// Milliseconds.
const DAY: u64 = 24 * 3_600_000;

/// Of the day: `!!timestamp 2026-11-25T17:47:26.409Z`.
#[track_caller]
fn millisecond(text: &str) -> u64 {
    let (_, time) = text.split_once('T').unwrap();
    let parts = time.trim_end_matches('Z').split([':', '.']).map(|part| part.parse::<u64>().unwrap());
    parts.zip([3_600_000, 60_000, 1000, 1]).map(|(part, each)| part * each).sum()
}
