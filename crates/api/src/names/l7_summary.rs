//! `Flow.Summary` of an application message.
//!
//! In Hubble's shapes, but what is not known is said or left out instead of being zero, and a latency below
//! a millisecond keeps its decimals.

use std::fmt;

use super::{dns, grpc, kafka};
use crate::flow::L7FlowType;
use crate::write::{Dns, Http, Kafka, L7, L7Record};

/// Prints the summary of a message.
#[derive(Clone, Copy, Debug)]
pub struct L7Summary<'a>(pub &'a L7<'a>);

impl fmt::Display for L7Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = L7FlowType::try_from(self.0.kind).unwrap_or_default();
        let latency = Latency(self.0.latency_ns);
        match (&self.0.record, kind) {
            (L7Record::Http(http), L7FlowType::Response) => answered(f, http, latency),
            (L7Record::Http(http), L7FlowType::Sample) => {
                write!(f, "{} {} {} (goes on)", http.protocol, http.method, http.url)
            }
            (L7Record::Http(http), _) => write!(f, "{} {} {}", http.protocol, http.method, http.url),
            (L7Record::Dns(dns), L7FlowType::Response) => {
                f.write_str("DNS Answer ")?;
                answers(f, dns)?;
                write!(f, "TTL: {} (Query {})", dns.ttl, Question(dns))
            }
            (L7Record::Dns(dns), _) => write!(f, "DNS Query {}", Question(dns)),
            (L7Record::Kafka(kafka), L7FlowType::Response) => {
                f.write_str("Kafka ")?;
                if let Some(code) = kafka.error_code {
                    write!(f, "{code} ")?;
                }
                write!(f, "{latency}({})", Asked(kafka))
            }
            (L7Record::Kafka(kafka), _) => write!(f, "Kafka {}", Asked(kafka)),
        }
    }
}

fn answered(f: &mut fmt::Formatter<'_>, http: &Http<'_>, latency: Latency) -> fmt::Result {
    write!(f, "{} ", http.protocol)?;
    match http.code {
        // Reset, or ended with its connection.
        0 => f.write_str("no status ")?,
        code => write!(f, "{code} ")?,
    }
    write!(f, "{latency}({} {})", http.method, http.url)?;
    match http.grpc_status.map(u32::from) {
        None => Ok(()),
        Some(code) => match grpc::status(code) {
            Some(name) => write!(f, ", gRPC {code} {name}"),
            None => write!(f, ", gRPC {code}"),
        },
    }
}

fn answers(f: &mut fmt::Formatter<'_>, dns: &Dns<'_>) -> fmt::Result {
    if dns.rcode != 0 {
        return write!(f, "RCode: {} ", dns::Rcode(dns.rcode));
    }
    if !dns.ips.is_empty() {
        write!(f, "\"{}\" ", List(dns.ips))?;
    }
    if !dns.cnames.is_empty() {
        write!(f, "CNAMEs: \"{}\" ", List(dns.cnames))?;
    }
    Ok(())
}

/// "4ms " or "0.123ms "; nothing when not known.
#[derive(Clone, Copy)]
struct Latency(u64);

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            nanos @ ..1_000_000 => write!(f, "0.{:03}ms ", (nanos / 1000).max(1)),
            nanos => write!(f, "{}ms ", nanos / 1_000_000),
        }
    }
}

/// "name A,AAAA".
struct Question<'a>(&'a Dns<'a>);

impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.query)?;
        let mut separator = ' ';
        for kind in self.0.qtypes {
            write!(f, "{separator}{}", dns::Type(*kind))?;
            separator = ',';
        }
        Ok(())
    }
}

/// "produce orders".
struct Asked<'a>(&'a Kafka<'a>);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.api_key {
            Some(api_key) => kafka::ApiKey(api_key).fmt(f)?,
            None => f.write_str("unknown request")?,
        }
        let separator = if self.0.topic.is_empty() { "" } else { " " };
        write!(f, "{separator}{}", self.0.topic)
    }
}

/// "a,b".
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for item in self.0 {
            write!(f, "{separator}{item}")?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: L7FlowType, latency_ns: u64, record: L7Record<'_>) -> String {
        L7Summary(&L7 { kind: kind.into(), latency_ns, record }).to_string()
    }

    #[test]
    fn http_has_hubbles_shapes() {
        let http =
            Http { method: "GET", url: "http://chat/rooms?x=1", protocol: "HTTP/1.1", ..Default::default() };
        let request = text(L7FlowType::Request, 0, L7Record::Http(http));
        assert_eq!(request, "HTTP/1.1 GET http://chat/rooms?x=1");
        let answer = L7Record::Http(Http { code: 200, ..http });
        let response = |latency| text(L7FlowType::Response, latency, answer);
        assert_eq!(response(4_900_000), "HTTP/1.1 200 4ms (GET http://chat/rooms?x=1)");
        assert_eq!(response(123_456), "HTTP/1.1 200 0.123ms (GET http://chat/rooms?x=1)");
        assert_eq!(response(0), "HTTP/1.1 200 (GET http://chat/rooms?x=1)");
        let ended = text(L7FlowType::Response, 0, L7Record::Http(http));
        assert_eq!(ended, "HTTP/1.1 no status (GET http://chat/rooms?x=1)");
        let grpc = L7Record::Http(Http { code: 200, grpc_status: Some(5), ..http });
        let grpc = text(L7FlowType::Response, 1_000_000, grpc);
        assert_eq!(grpc, "HTTP/1.1 200 1ms (GET http://chat/rooms?x=1), gRPC 5 NOT_FOUND");
    }

    #[test]
    fn dns_has_hubbles_shapes() {
        let question = Dns { query: "db.shop.", qtypes: &[1, 28], ..Default::default() };
        assert_eq!(text(L7FlowType::Request, 0, L7Record::Dns(question)), "DNS Query db.shop. A,AAAA");
        let ips = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let cnames = ["a.b.".into()];
        let answer = Dns { qtypes: &[1], ips: &ips, cnames: &cnames, ttl: 30, ..question };
        assert_eq!(
            text(L7FlowType::Response, 7, L7Record::Dns(answer)),
            "DNS Answer \"10.0.0.1,10.0.0.2\" CNAMEs: \"a.b.\" TTL: 30 (Query db.shop. A)"
        );
        let nothing = Dns { rcode: 3, qtypes: &[1], ..question };
        assert_eq!(
            text(L7FlowType::Response, 7, L7Record::Dns(nothing)),
            "DNS Answer RCode: Non-Existent Domain TTL: 0 (Query db.shop. A)"
        );
    }

    #[test]
    fn kafka_reads_like_http() {
        let asked = Kafka { api_key: Some(0), topic: "orders", ..Default::default() };
        assert_eq!(text(L7FlowType::Request, 0, L7Record::Kafka(asked)), "Kafka produce orders");
        let answer = Kafka { error_code: Some(0), ..asked };
        let answer = text(L7FlowType::Response, 4_000_000, L7Record::Kafka(answer));
        assert_eq!(answer, "Kafka 0 4ms (produce orders)");
        let bare = Kafka { api_key: Some(18), ..Default::default() };
        assert_eq!(text(L7FlowType::Response, 0, L7Record::Kafka(bare)), "Kafka (apiversions)");
        let stray = text(L7FlowType::Response, 0, L7Record::Kafka(Kafka::default()));
        assert_eq!(stray, "Kafka (unknown request)");
    }
}
