//! One exchange off the stream: what was asked for, and how it went.

use std::borrow::Cow;

use fathom_api::facts;
use fathom_api::fathom_v1::L7Facts;
use fathom_api::flow::layer7::Record;
use fathom_api::flow::{Flow, Http, L7FlowType, TrafficDirection};

/// What routes are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Http,
    Grpc,
    Dns,
    Kafka,
}

impl Protocol {
    pub const ALL: [Self; 4] = [Self::Http, Self::Grpc, Self::Dns, Self::Kafka];

    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Dns => "dns",
            Self::Kafka => "kafka",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Good,
    /// HTTP 4xx.
    ClientError,
    Error,
    /// Its connection or stream ended first.
    Unanswered,
}

/// Where an exchange was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// At the server's pod, or where servers don't tell.
    AtServer,
    AtClient,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Exchange<'a> {
    pub protocol: Protocol,
    /// HTTP's method, DNS' query types, Kafka's API.
    pub method: Cow<'a, str>,
    /// HTTP's target, gRPC's `/service/method`, DNS' name, Kafka's topics.
    pub target: Cow<'a, str>,
    pub outcome: Outcome,
    /// `None` where the request was not seen.
    pub latency_ns: Option<u64>,
    pub seen: Seen,
}

impl<'a> Exchange<'a> {
    /// `None` of a flow that ends no exchange.
    pub fn of(flow: &'a Flow) -> Option<Self> {
        let l7 = flow.l7.as_ref()?;
        let record = l7.record.as_ref()?;
        let facts = facts::of(flow).and_then(|facts| facts.l7).unwrap_or_default();
        let silent = facts.kafka.as_ref().is_some_and(|kafka| kafka.no_response);
        match L7FlowType::try_from(l7.r#type) {
            Ok(L7FlowType::Response) if !is_interim(record, facts.ended) => {}
            Ok(L7FlowType::Request) if silent => {}
            _ => return None,
        }
        let unanswered = facts.ended || facts.reset_code.is_some();
        let (protocol, method, target, outcome) = match record {
            Record::Http(http) => match facts.grpc {
                Some(ref grpc) => {
                    let outcome = match grpc.status {
                        Some(0) => Outcome::Good,
                        Some(_) => Outcome::Error,
                        None => http_outcome(http, unanswered),
                    };
                    let target = match (grpc.service.as_str(), grpc.method.as_str()) {
                        ("", "") => "(unknown)".to_owned(),
                        ("", method) => format!("/{method}"),
                        (service, method) => format!("/{service}/{method}"),
                    };
                    (Protocol::Grpc, "GRPC".into(), target.into(), outcome)
                }
                None => {
                    let method: &str = if http.method.is_empty() { "?" } else { &http.method };
                    (Protocol::Http, method.into(), http.url.as_str().into(), http_outcome(http, unanswered))
                }
            },
            Record::Dns(dns) => {
                let types = match dns.qtypes.as_slice() {
                    [one] => one.as_str().into(),
                    types => types.join(",").into(),
                };
                let name = dns.query.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(&dns.query);
                let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    true => name.to_ascii_lowercase().into(),
                    false => name.into(),
                };
                (Protocol::Dns, types, name, outcome(dns.rcode != 0, facts.ended))
            }
            #[allow(deprecated)]
            Record::Kafka(kafka) => {
                let topics = topics(&facts, &kafka.topic);
                let outcome = outcome(kafka.error_code != 0, facts.ended);
                (Protocol::Kafka, kafka.api_key.as_str().into(), topics, outcome)
            }
        };
        let at_client = flow.traffic_direction == TrafficDirection::Egress as i32;
        Some(Self {
            protocol,
            method,
            target,
            outcome,
            latency_ns: Some(l7.latency_ns).filter(|latency| *latency > 0),
            seen: if at_client { Seen::AtClient } else { Seen::AtServer },
        })
    }
}

/// An answer before the answer (RFC 9110 section 15.2), if another one can still come. A 101 is the last
/// of its connection.
fn is_interim(record: &Record, ended: bool) -> bool {
    matches!(record, Record::Http(http) if matches!(http.code, 100 | 102..200)) && !ended
}

fn outcome(error: bool, ended: bool) -> Outcome {
    match (error, ended) {
        (true, _) => Outcome::Error,
        (false, true) => Outcome::Unanswered,
        (false, false) => Outcome::Good,
    }
}

fn http_outcome(http: &Http, unanswered: bool) -> Outcome {
    match http.code {
        500.. => Outcome::Error,
        400.. => Outcome::ClientError,
        0 if unanswered => Outcome::Unanswered,
        _ => Outcome::Good,
    }
}

/// `orders`, `orders and 3 more`, or nothing.
fn topics<'a>(facts: &L7Facts, topic: &'a str) -> Cow<'a, str> {
    let kafka = facts.kafka.as_ref();
    let first = kafka.and_then(|kafka| kafka.topics.first());
    let more = kafka.map_or(0, |kafka| kafka.topic_count.max(kafka.topics.len() as u32)).saturating_sub(1);
    match first {
        Some(first) if more > 0 => format!("{first} and {more} more").into(),
        Some(first) if topic.is_empty() => first.clone().into(),
        _ => topic.into(),
    }
}

/// Appends who was asked: the workload, else the service, else the pod, a name or the address. Of an
/// answer, that is its source.
pub fn append_server(flow: &Flow, out: &mut String) {
    let end = flow.source.as_ref();
    let namespace = end.map_or("", |end| end.namespace.as_str());
    let workload =
        end.and_then(|end| end.workloads.first()).map(|workload| (namespace, workload.name.as_str()));
    let service = flow.source_service.as_ref().map(|service| (&*service.namespace, service.name.as_str()));
    let pod = end.map(|end| (namespace, end.pod_name.as_str()));
    let name = flow.source_names.first().map(|name| ("", name.as_str()));
    let address = flow.ip.as_ref().map(|ip| ("", ip.source.as_str()));
    let known =
        [workload, service, pod, name, address].into_iter().flatten().find(|(_, name)| !name.is_empty());
    if let Some((namespace, name)) = known {
        if !namespace.is_empty() {
            out.push_str(namespace);
            out.push('/');
        }
        out.push_str(name);
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
