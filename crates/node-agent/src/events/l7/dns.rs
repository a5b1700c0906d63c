//! A DNS message's texts, and what they say about addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use fathom_bpf::abi::{L7Head, l7_dns_fault, l7_flag, l7_text};
use fathom_bpf::decode::{self, Text};
use smallvec::SmallVec;

use super::message::Dns;
use super::text::{dns_name, host_name};

/// Record types that have texts of their own (RFC 1035 section 3.2.2, RFC 3596).
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// Reads the texts.
pub fn read(message: &decode::Message<'_>) -> Dns {
    let head = message.head;
    let (mut ips, mut rrtypes) = (SmallVec::<[IpAddr; 8]>::new(), SmallVec::<[u16; 8]>::new());
    let mut cnames = Vec::<Arc<str>>::new();
    let mut query = String::new();
    let mut ttl = None::<u32>;
    for text in message.texts() {
        let rrtype = match text.kind {
            l7_text::DNS_NAME => {
                query = dns_name(text.bytes);
                continue;
            }
            l7_text::DNS_A => A,
            l7_text::DNS_AAAA => AAAA,
            l7_text::DNS_CNAME => CNAME,
            l7_text::DNS_OTHER => <[u8; 2]>::try_from(text.bytes).map_or(0, u16::from_be_bytes),
            _ => continue,
        };
        match address(&text) {
            Some(ip) => ips.push(ip),
            None if rrtype == CNAME => cnames.push(dns_name(text.bytes).into()),
            None => {}
        }
        rrtypes.push(rrtype);
        ttl = Some(ttl.map_or(text.number, |lowest| lowest.min(text.number)));
    }
    let problem = problem(head);
    Dns {
        query: query.into(),
        qtype: (head.flags & l7_flag::CODE != 0 && problem.is_empty()).then_some(head.code),
        ips: ips.into_vec().into(),
        cnames: cnames.into(),
        rrtypes: rrtypes.into_vec().into(),
        ttl: ttl.unwrap_or(0),
        problem,
    }
}

/// The address an answer gives.
fn address(text: &Text<'_>) -> Option<IpAddr> {
    match text.kind {
        l7_text::DNS_A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(text.bytes).ok()?).into()),
        l7_text::DNS_AAAA => Some(Ipv6Addr::from(<[u8; 16]>::try_from(text.bytes).ok()?).into()),
        _ => None,
    }
}

/// Every name on the way to the addresses of an answer: the one asked for, then its aliases.
pub fn host_names(message: &decode::Message<'_>) -> Vec<Arc<str>> {
    let names = message.texts().filter(|text| matches!(text.kind, l7_text::DNS_NAME | l7_text::DNS_CNAME));
    names.filter_map(|text| host_name(&text)).map(Arc::from).collect()
}

fn problem(head: &L7Head) -> Box<str> {
    if head.flags & l7_flag::MALFORMED == 0 {
        return Box::default();
    }
    match head.detail {
        l7_dns_fault::QUESTIONS => format!("{} questions where there must be one", head.code).into(),
        l7_dns_fault::NAME => "a name that is none".into(),
        l7_dns_fault::SHORT => "breaks off".into(),
        other => format!("malformed (fault {other})").into(),
    }
}
