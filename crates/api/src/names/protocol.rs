//! Protocol names, as `FlowFilter.protocol` takes them.

use super::{NameError, choices};
use crate::filter::{Application, Transport};

/// What a protocol name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Transport(Transport),
    /// ICMPv4 or ICMPv6.
    Icmp,
    Application(Application),
}

const NAMES: [(&str, Protocol); 12] = [
    ("icmp", Protocol::Icmp),
    ("icmpv4", Protocol::Transport(Transport::Icmpv4)),
    ("icmpv6", Protocol::Transport(Transport::Icmpv6)),
    ("tcp", Protocol::Transport(Transport::Tcp)),
    ("udp", Protocol::Transport(Transport::Udp)),
    ("sctp", Protocol::Transport(Transport::Sctp)),
    ("vrrp", Protocol::Transport(Transport::Vrrp)),
    ("igmp", Protocol::Transport(Transport::Igmp)),
    ("dns", Protocol::Application(Application::Dns)),
    ("http", Protocol::Application(Application::Http)),
    ("grpc", Protocol::Application(Application::Grpc)),
    ("kafka", Protocol::Application(Application::Kafka)),
];

/// Every name, lower case.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// A protocol from its name, in any case.
///
/// # Errors
/// When there is no such protocol; the text lists them.
pub fn parse(text: &str) -> Result<Protocol, NameError> {
    let known = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|(_, protocol)| *protocol).ok_or_else(|| NameError::new("protocol", text, choices(names())))
}

impl Transport {
    /// As metrics and people write it: "TCP", "ICMPv4".
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Icmpv4 => "ICMPv4",
            Self::Icmpv6 => "ICMPv6",
            Self::Sctp => "SCTP",
            Self::Vrrp => "VRRP",
            Self::Igmp => "IGMP",
        }
    }

    /// From the IANA protocol number.
    pub fn from_iana(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Icmpv4,
            2 => Self::Igmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmpv6,
            112 => Self::Vrrp,
            132 => Self::Sctp,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_read_in_any_case_and_others_are_refused() {
        assert_eq!(parse("TCP"), Ok(Protocol::Transport(Transport::Tcp)));
        assert_eq!(parse("icmp"), Ok(Protocol::Icmp));
        assert_eq!(parse("gRPC"), Ok(Protocol::Application(Application::Grpc)));
        assert!(parse("amqp").unwrap_err().to_string().ends_with("grpc or kafka)"));
    }
}
