//! The lab's own Kafka broker in the server's pod, and its log; what Kafka's clients log themselves.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::site::{Server, Site};

pub const PORT: u16 = 9092;
pub const TOPICS: [&str; 5] = ["orders", "payments", "shipments", "returns", "users"];
/// Bytes a batch may have.
pub const LARGEST: usize = 100_000;
/// APIs whose requests have topics that are told: the first ones, and how many there are.
const WITH_TOPICS: [&str; 3] = ["produce", "fetch", "metadata"];
const TOPICS_TOLD: usize = 3;

pub struct Broker<'a> {
    server: Server<'a>,
}

/// Starts one with [`TOPICS`] of three partitions; `limits` make it an older one ("Fetch=4").
#[track_caller]
pub fn start<'a>(site: &'a Site, limits: &[&str]) -> Broker<'a> {
    let mut line = ["workload", "kafka-broker", "--partitions", "3"].map(str::to_owned).to_vec();
    line.extend(["--largest".to_owned(), LARGEST.to_string()]);
    line.extend(TOPICS.iter().flat_map(|topic| ["--topic".to_owned(), (*topic).to_owned()]));
    line.extend(limits.iter().flat_map(|limit| ["--newest".to_owned(), (*limit).to_owned()]));
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    Broker { server: site.serve("kafka", &site.lab.tools().lab, &line, PORT) }
}

/// A request as a log has it.
#[derive(Debug, Clone)]
pub struct Logged {
    pub client: SocketAddr,
    /// In lower case.
    pub api: String,
    pub version: i32,
    pub client_id: String,
    pub correlation: i32,
    pub topics: Vec<String>,
    pub answer: Answer,
}

/// What the broker made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// With the first of its codes, 0 if it has none.
    Sent(i32),
    /// The client had gone.
    Unsent,
    Unwanted,
}

impl Logged {
    /// As [`crate::kafka`] tells the same of flows.
    pub fn words(&self) -> String {
        let topics: &[String] = if WITH_TOPICS.contains(&&*self.api) { &self.topics } else { &[] };
        let told = topics.iter().take(TOPICS_TOLD).cloned().collect::<Vec<_>>().join(",");
        let answer = match self.answer {
            Answer::Sent(error) => format!("error {error}"),
            Answer::Unsent => "ended".to_owned(),
            Answer::Unwanted => "none".to_owned(),
        };
        let Self { api, version, client_id, correlation, .. } = self;
        format!("{api} v{version} {correlation} by {client_id} of {} topics {told}: {answer}", topics.len())
    }
}

impl Broker<'_> {
    /// What it logged of a client so far, in the order of each connection.
    #[track_caller]
    pub fn logged(&self, client: IpAddr) -> Vec<Logged> {
        let text = self.server.process.output();
        // A line still being written has no end yet.
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let logged = lines.filter_map(|line| {
            // A client that hangs up in the middle of things may do so by a reset.
            let gone = line.starts_with("failed read a length: ") && line.contains("reset");
            assert!(gone || !line.starts_with("failed") && !line.starts_with("refused"), "{line}");
            request(line)
        });
        logged.filter(|logged| logged.client.ip() == client).collect()
    }
}

/// A line such as `10.0.0.1:40000 Produce v9 client=app correlation=4 topics=orders errors=0`.
fn request(line: &str) -> Option<Logged> {
    let words: Vec<&str> = line.split(' ').collect();
    let [client, api, version, client_id, correlation, topics, errors, end @ ..] = &words[..] else {
        return None;
    };
    let list =
        |text: &str| text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let errors = list(errors.strip_prefix("errors=")?);
    let answer = match end {
        [] => Answer::Sent(errors.first().map_or(0, |code| code.parse().unwrap())),
        ["unsent"] => Answer::Unsent,
        ["unanswered"] => Answer::Unwanted,
        _ => return None,
    };
    Some(Logged {
        client: client.parse().ok()?,
        api: api.to_lowercase(),
        version: version.strip_prefix('v')?.parse().ok()?,
        client_id: client_id.strip_prefix("client=")?.to_owned(),
        correlation: correlation.strip_prefix("correlation=")?.parse().ok()?,
        topics: list(topics.strip_prefix("topics=")?),
        answer,
    })
}

/// A request or response of a client's own log.
#[derive(Debug, Clone)]
pub struct Spoken {
    /// "produce v7 4": API, version, correlation id.
    pub key: String,
    /// Bytes, where the client tells.
    pub size: usize,
    /// A response: from the request's last byte to it, where the client tells.
    pub took: Option<Duration>,
}

/// What clients log themselves.
#[derive(Debug, Default)]
pub struct Account {
    pub sent: Vec<Spoken>,
    pub received: Vec<Spoken>,
}

impl Account {
    /// librdkafka's, with `debug=protocol`: `… Sent FetchRequest (v11, 95 bytes @ 0, CorrId 7)`,
    /// `… Received FetchResponse (v11, 95 bytes, CorrId 7, rtt 1.31ms)`.
    #[track_caller]
    pub fn librdkafka(&mut self, text: &str) {
        for line in text.lines() {
            let Some((_, rest)) = line.split_once("|SEND|").or_else(|| line.split_once("|RECV|")) else {
                continue;
            };
            let parts = rest.split_once(": Sent ").or_else(|| rest.split_once(": Received "));
            let (_, told) = parts.unwrap_or_else(|| panic!("{line}"));
            // More of it follows, and then its line.
            if told.starts_with("partial ") {
                continue;
            }
            let (name, told) = told.split_once(" (v").unwrap_or_else(|| panic!("{line}"));
            let told: Vec<&str> = told.trim_end_matches(')').split(", ").collect();
            let part = |start: &str| told.iter().find_map(|part| part.strip_prefix(start));
            let correlation = part("CorrId ").unwrap_or_else(|| panic!("{line}"));
            let size =
                told.iter().find_map(|part| part.split_once(" bytes")).map_or(0, |(n, _)| n.parse().unwrap());
            let rtt = part("rtt ").map(|rtt| rtt.trim_end_matches("ms").parse::<f64>().unwrap());
            let took = rtt.map(|rtt| Duration::from_secs_f64(rtt / 1000.0));
            self.add(name, told[0], correlation, size, took);
        }
    }

    /// aiokafka's, at level DEBUG: `Request to 10.0.0.1:9092 3: ProduceRequest_v7(…)`, `Response from …`.
    #[track_caller]
    pub fn aiokafka(&mut self, text: &str) {
        for line in text.lines() {
            let Some((_, told)) =
                line.split_once("Request to ").or_else(|| line.split_once("Response from "))
            else {
                continue;
            };
            let (place, told) = told.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            let correlation = place.rsplit_once(' ').unwrap_or_else(|| panic!("{line}")).1;
            let (name, _) = told.split_once('(').unwrap_or_else(|| panic!("{line}"));
            let (name, version) = name.rsplit_once("_v").unwrap_or_else(|| panic!("{line}"));
            self.add(name, version, correlation, 0, None);
        }
    }

    fn add(&mut self, name: &str, version: &str, correlation: &str, size: usize, took: Option<Duration>) {
        let (to, api) = match name.strip_suffix("Response") {
            Some(api) => (&mut self.received, api),
            None => (&mut self.sent, name.trim_end_matches("Request")),
        };
        let api = match &*api.to_lowercase() {
            "apiversion" => "apiversions".to_owned(),
            "offset" => "listoffsets".to_owned(),
            other => other.to_owned(),
        };
        to.push(Spoken { key: format!("{api} v{version} {correlation}"), size, took });
    }
}
