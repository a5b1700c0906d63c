//! `toPorts` and `icmps`: which packets of the peers are meant.

use super::rule::Faults;
use super::written::{IcmpField, IcmpRule, PortProtocol, PortRule};
use crate::policy::{PortMatch, Ports, Protocol};
use crate::problem::Fault;

/// Reads both; what is wrong goes to `faults`.
pub(super) fn read(rules: Option<&[PortRule]>, icmps: Option<&[IcmpRule]>, faults: &mut Faults) -> Ports {
    let (rules, icmps) = (rules.unwrap_or_default(), icmps.unwrap_or_default());
    if !rules.is_empty() && !icmps.is_empty() {
        faults.push((".icmps".to_owned(), Fault::IcmpsBesidePorts));
    }
    let mut everything = rules.is_empty() && icmps.is_empty();
    let mut ports = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let place = format!(".toPorts[{at}]");
        refused(rule, &place, faults);
        let written = rule.ports.as_deref().unwrap_or_default();
        if written.is_empty() {
            faults.push((format!("{place}.ports"), Fault::NoPorts));
        }
        for (index, port) in written.iter().enumerate() {
            match read_port(port) {
                Ok(Meant::Everything) => everything = true,
                Ok(Meant::These(found)) => ports.extend(found),
                Err((field, fault)) => faults.push((format!("{place}.ports[{index}]{field}"), fault)),
            }
        }
    }
    for (at, rule) in icmps.iter().enumerate() {
        let fields = rule.fields.as_deref().unwrap_or_default();
        if fields.is_empty() {
            faults.push((format!(".icmps[{at}].fields"), Fault::NoIcmpFields));
        }
        for (index, field) in fields.iter().enumerate() {
            match read_icmp(field) {
                Ok(port) => ports.push(port),
                Err((name, fault)) => faults.push((format!(".icmps[{at}].fields[{index}]{name}"), fault)),
            }
        }
    }
    ports.sort_unstable();
    ports.dedup();
    if everything { Ports::Any } else { Ports::Of(ports) }
}

/// What only a proxy could enforce.
fn refused(rule: &PortRule, place: &str, faults: &mut Faults) {
    let says_nothing = |value: &serde_json::Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    if let Some(rules) = rule.rules.as_ref().filter(|rules| !says_nothing(rules)) {
        let known = ["http", "kafka", "dns", "l7"];
        let named = known.into_iter().find(|name| rules.get(name).is_some());
        let name = match named {
            Some("http") => "rules.http",
            Some("kafka") => "rules.kafka",
            Some("dns") => "rules.dns",
            Some("l7") => "rules.l7",
            _ => "rules",
        };
        faults.push((format!("{place}.{name}"), Fault::NotEnforced(name)));
    }
    for (name, value) in [
        ("terminatingTLS", &rule.terminating_tls),
        ("originatingTLS", &rule.originating_tls),
        ("serverNames", &rule.server_names),
        ("listener", &rule.listener),
    ] {
        if value.is_some() {
            faults.push((format!("{place}.{name}"), Fault::NotEnforced(name)));
        }
    }
}

enum Meant {
    Everything,
    These(Vec<PortMatch>),
}

fn read_port(written: &PortProtocol) -> Result<Meant, (&'static str, Fault)> {
    let protocols = match written.protocol.as_deref() {
        None | Some("" | "ANY") => vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
        Some(name) => match Protocol::from_name(name) {
            Some(protocol) => vec![protocol],
            None => return Err((".protocol", Fault::UnknownProtocolOrAny(name.to_owned()))),
        },
    };
    let Some(port) = written.port.as_ref().filter(|port| !port.0.is_empty()) else {
        return Err((".port", Fault::PortMissing));
    };
    let end = written.end_port.filter(|end| *end != 0);
    let each = |meant: &dyn Fn(Protocol) -> PortMatch| {
        Ok(Meant::These(protocols.iter().map(|protocol| meant(*protocol)).collect()))
    };
    if !port.0.bytes().all(|byte| byte.is_ascii_digit()) {
        let name = port.0.to_ascii_lowercase();
        if !crate::parse::is_port_name(&name) {
            return Err((".port", Fault::InvalidPortName(port.0.clone())));
        }
        if end.is_some() {
            return Err((".endPort", Fault::EndPortWithName(port.0.clone())));
        }
        return each(&|protocol| PortMatch::Named { protocol, name: name.as_str().into() });
    }
    let number: i32 = port.0.parse().unwrap_or(i32::MAX);
    let first = u16::try_from(number).map_err(|_| (".port", Fault::PortOutOfRange(number)))?;
    if first == 0 {
        return match (end, protocols.len()) {
            (Some(_), _) => Err((".endPort", Fault::EndPortWithoutPort)),
            (None, 1) => each(&|protocol| PortMatch::All { protocol }),
            (None, _) => Ok(Meant::Everything),
        };
    }
    let last = u16::try_from(end.unwrap_or(first.into())).ok().filter(|last| *last >= first);
    let Some(last) = last else {
        let end = end.and_then(|end| i32::try_from(end).ok()).unwrap_or(i32::MAX);
        return Err((".endPort", Fault::EndPortOutOfRange { first: number, end }));
    };
    each(&|protocol| PortMatch::Range { protocol, first, last })
}

fn read_icmp(written: &IcmpField) -> Result<PortMatch, (&'static str, Fault)> {
    let v6 = match written.family.as_deref() {
        None | Some("" | "IPv4") => false,
        Some("IPv6") => true,
        Some(other) => return Err((".family", Fault::UnknownFamily(other.to_owned()))),
    };
    let text = written.kind.0.as_str();
    let names: &[(&str, u8)] = if v6 { &ICMP6_NAMES } else { &ICMP4_NAMES };
    let named = || names.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let kind = if digits { text.parse().ok() } else { named() };
    let kind = kind.ok_or_else(|| (".type", Fault::UnknownIcmpType(text.to_owned())))?;
    Ok(PortMatch::Icmp { v6, kind })
}

/// Names of ICMP's types, after IANA's list.
const ICMP4_NAMES: [(&str, u8); 14] = [
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("Photuris", 40),
    ("ExtendedEchoRequest", 42),
    ("ExtendedEchoReply", 43),
];

/// Names of ICMPv6's types, after IANA's list.
const ICMP6_NAMES: [(&str, u8); 27] = [
    ("DestinationUnreachable", 1),
    ("PacketTooBig", 2),
    ("TimeExceeded", 3),
    ("ParameterProblem", 4),
    ("EchoRequest", 128),
    ("EchoReply", 129),
    ("MulticastListenerQuery", 130),
    ("MulticastListenerReport", 131),
    ("MulticastListenerDone", 132),
    ("RouterSolicitation", 133),
    ("RouterAdvertisement", 134),
    ("NeighborSolicitation", 135),
    ("NeighborAdvertisement", 136),
    ("RedirectMessage", 137),
    ("RouterRenumbering", 138),
    ("ICMPNodeInformationQuery", 139),
    ("ICMPNodeInformationResponse", 140),
    ("InverseNeighborDiscoverySolicitation", 141),
    ("InverseNeighborDiscoveryAdvertisement", 142),
    ("HomeAgentAddressDiscoveryRequest", 144),
    ("HomeAgentAddressDiscoveryReply", 145),
    ("MobilePrefixSolicitation", 146),
    ("MobilePrefixAdvertisement", 147),
    ("DuplicateAddressRequestCodeSuffix", 157),
    ("DuplicateAddressConfirmationCodeSuffix", 158),
    ("ExtendedEchoRequest", 160),
    ("ExtendedEchoReply", 161),
];
