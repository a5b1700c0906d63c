//! Promises about what pods say to each other: flows of application messages.

use fathom_api::facts;
use fathom_api::fathom_v1::Grpc;
use fathom_api::flow::layer7::Record;
use fathom_api::flow::{Flow, L7FlowType};

/// HTTP's answer of this status about a URL with `part` in it, timed.
pub fn http_answer(flow: &Flow, code: u32, part: &str) -> bool {
    matches!(timed_answer(flow), Some(Record::Http(http)) if http.code == code && http.url.contains(part))
}

/// How a call of this method ended, or, in a sample, how far it is.
pub fn grpc(flow: &Flow, kind: L7FlowType, method: &str) -> Option<Grpc> {
    let same = flow.l7.as_ref().is_some_and(|l7| l7.r#type == kind as i32);
    let call = facts::of(flow).filter(|_| same)?.l7?.grpc?;
    (format!("{}/{}", call.service, call.method) == method).then_some(call)
}

/// DNS' answer with an address for this name, timed.
pub fn dns_answer(flow: &Flow, name: &str) -> bool {
    matches!(timed_answer(flow), Some(Record::Dns(dns))
        if dns.query.trim_end_matches('.') == name && !dns.ips.is_empty())
}

/// Kafka's answer about this topic, timed.
#[allow(deprecated)] // by Hubble, which stopped reading Kafka; the message stayed
pub fn kafka_answer(flow: &Flow, api: &str, topic: &str, error: i32) -> bool {
    matches!(timed_answer(flow), Some(Record::Kafka(kafka))
        if kafka.api_key == api && kafka.topic == topic && kafka.error_code == error)
}

fn timed_answer(flow: &Flow) -> Option<&Record> {
    let l7 = flow.l7.as_ref()?;
    let timed = l7.r#type == L7FlowType::Response as i32 && l7.latency_ns > 0;
    l7.record.as_ref().filter(|_| timed)
}
