//! Values of filter flags: text in, the wire's types out, with errors that say what would be right.

use std::net::IpAddr;

use fathom_api::flow::{EventTypeFilter, IpVersion, NetworkInterface, TcpFlags, TrafficDirection, Workload};
use fathom_api::names;
use ipnet::IpNet;

/// Why a value was refused; reads on after `invalid argument "V" for "--flag" flag: `.
pub type Refusal = String;

pub fn verdict(text: &str) -> Result<i32, Refusal> {
    names::verdict::parse(text).map(i32::from).map_err(refusal)
}

pub fn drop_reason(text: &str) -> Result<i32, Refusal> {
    names::drop_reason::parse(text).map(i32::from).map_err(refusal)
}

/// `drop`, `trace:to-endpoint`, `4:0`, `agent:policy-updated`.
pub fn event_type(text: &str) -> Result<EventTypeFilter, Refusal> {
    if let Some(sub_type) = text.strip_prefix("agent:").and_then(agent_sub_type) {
        return Ok(EventTypeFilter { r#type: names::event::AGENT, match_sub_type: true, sub_type });
    }
    names::event::parse(text).map_err(refusal)
}

/// A number, or the name of a reserved identity.
pub fn identity(text: &str) -> Result<u32, Refusal> {
    names::identity::parse(text).map_err(refusal)
}

fn refusal(error: names::NameError) -> Refusal {
    error.to_string()
}

/// Subtypes of agent notifications, under the names Hubble's command line takes.
fn agent_sub_type(name: &str) -> Option<i32> {
    const NAMES: [&str; 11] = [
        "unspecified",
        "message",
        "agent-started",
        "policy-updated",
        "policy-deleted",
        "endpoint-regenerate-success",
        "endpoint-regenerate-failure",
        "endpoint-created",
        "endpoint-deleted",
        "ipcache-upserted",
        "ipcache-deleted",
    ];
    NAMES.iter().zip(0..).find(|(known, _)| **known == name).map(|(_, number)| number)
}

/// `syn,ack`: all of them together.
pub fn tcp_flags(text: &str) -> Result<TcpFlags, Refusal> {
    let mut flags = TcpFlags::default();
    for name in text.split(',') {
        let flag = match name.to_ascii_uppercase().as_str() {
            "SYN" => &mut flags.syn,
            "FIN" => &mut flags.fin,
            "RST" => &mut flags.rst,
            "PSH" => &mut flags.psh,
            "ACK" => &mut flags.ack,
            "URG" => &mut flags.urg,
            "ECE" => &mut flags.ece,
            "CWR" => &mut flags.cwr,
            "NS" => &mut flags.ns,
            _ => {
                return Err(format!(
                    "unknown tcp flag: {name}; one of SYN, FIN, RST, PSH, ACK, URG, ECE, CWR, NS, joined by commas"
                ));
            }
        };
        *flag = true;
    }
    Ok(flags)
}

/// `Deployment/api`, `Deployment/`, `api`: split at the first slash.
pub fn workload(text: &str) -> Result<Workload, Refusal> {
    let (kind, name) = text.split_once('/').unwrap_or(("", text));
    if kind.is_empty() && name.is_empty() {
        return Err("a workload is KIND/NAME, KIND/ or NAME".to_owned());
    }
    Ok(Workload { name: name.to_owned(), kind: kind.to_owned() })
}

/// An address in its canonical form (servers may compare text), or a CIDR as typed.
pub fn address(text: &str) -> Result<String, Refusal> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    match text.parse::<IpNet>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("neither an IP address nor a CIDR (\"10.0.0.1\", \"fd00::/64\")".to_owned()),
    }
}

pub fn port(text: &str) -> Result<String, Refusal> {
    match text.parse::<u16>() {
        Ok(port) => Ok(port.to_string()),
        Err(_) => Err("not a port; a number from 0 to 65535".to_owned()),
    }
}

pub fn traffic_direction(text: &str) -> Result<i32, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "ingress" => Ok(TrafficDirection::Ingress as i32),
        "egress" => Ok(TrafficDirection::Egress as i32),
        other => Err(format!("{other}: invalid traffic direction, expected ingress or egress")),
    }
}

pub fn ip_version(text: &str) -> Result<i32, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "4" | "v4" | "ipv4" | "ip4" => Ok(IpVersion::IPv4 as i32),
        "6" | "v6" | "ipv6" | "ip6" => Ok(IpVersion::IPv6 as i32),
        "none" => Ok(IpVersion::IpNotUsed as i32),
        _ => Err("not an IP version; one of v4, v6, none".to_owned()),
    }
}

pub fn ip_trace_id(text: &str) -> Result<u64, Refusal> {
    match text.parse() {
        Ok(id) if id > 0 => Ok(id),
        _ => Err("invalid --ip-trace-id value; must be greater than 0".to_owned()),
    }
}

pub fn interface(text: &str) -> NetworkInterface {
    NetworkInterface { index: 0, name: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_go_by_name_or_number() {
        let of = |r#type, sub: Option<i32>| EventTypeFilter {
            r#type,
            match_sub_type: sub.is_some(),
            sub_type: sub.unwrap_or(0),
        };
        for (text, expected) in [
            ("drop", of(1, None)),
            ("l7", of(129, None)),
            ("5", of(5, None)),
            ("trace:to-endpoint", of(4, Some(0))),
            ("trace:to-stack", of(4, Some(3))),
            ("trace:from-network", of(4, Some(10))),
            ("drop:133", of(1, Some(133))),
            ("trace-sock:2", of(7, Some(2))),
            ("agent:policy-updated", of(130, Some(3))),
        ] {
            assert_eq!(event_type(text), Ok(expected), "{text}");
        }
        for text in ["", "traces", "trace:to-moon", "drop:policy", "-1", "agent:x"] {
            assert!(event_type(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_become_canonical_and_networks_stay() {
        assert_eq!(address("2001:DB8:0:0::0001").as_deref(), Ok("2001:db8::1"));
        assert_eq!(address("10.1.2.3/8").as_deref(), Ok("10.1.2.3/8"));
        for text in ["10.0.0", "10.0.0.0/33", "web", ""] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn workloads_split_at_the_first_slash() {
        let of = |kind: &str, name: &str| Workload { name: name.into(), kind: kind.into() };
        assert_eq!(workload("Deployment/api"), Ok(of("Deployment", "api")));
        assert_eq!(workload("Deployment/"), Ok(of("Deployment", "")));
        assert_eq!(workload("api"), Ok(of("", "api")));
        assert_eq!(workload("a/b/c"), Ok(of("a", "b/c")));
        assert!(workload("/").is_err());
    }

    #[test]
    fn tcp_flags_combine_in_any_case() {
        assert_eq!(tcp_flags("syn,ACK"), Ok(TcpFlags { syn: true, ack: true, ..Default::default() }));
        assert!(tcp_flags("syn,").is_err());
    }
}
